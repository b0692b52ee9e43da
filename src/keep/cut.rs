//! Owns the cutting of an incident out of a log that is read as evidence. It must never write to the
//! log, nor begin a file with a state that was not folded from it.

use super::state::{Place, open_state, seal_state};
use super::watcher::{IncidentWatcher, Window};
use crate::core::States;
use crate::events::{Damage, Event, ExportError, Exported, LogReader, Observation, ReadError, Record};
use pgfo_replay::Seq;
use std::io::Write;
use std::path::Path;

/// A stretch of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first record wanted; the batch that holds it is the first.
    pub first: Seq,
    /// The last record wanted.
    pub last: Seq,
}

/// Why nothing was cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log is damaged before the end of what was wanted.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The state to begin with can't be had.
    #[error("the log can't be cut: {0}")]
    Beginning(String),
    /// The file can't be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The system refused.
    #[error("the file can't be written: {0}")]
    Io(#[from] std::io::Error),
}

/// Folds a log that is read from its beginning, batch by batch.
struct Folding {
    states: Option<States>,
}

impl Folding {
    fn begin(reader: &LogReader<Event>) -> Result<Self, CutError> {
        let states = reader.checkpoint().map(open_state).transpose();
        Ok(Self { states: states.map_err(CutError::Beginning)? })
    }

    fn fold(&mut self, batch: &[Record]) -> Result<(), CutError> {
        let Some(first) = batch.first() else { return Ok(()) };
        if self.states.is_none() {
            let Event::Observed(Observation::ProcessStarted(start)) = &first.event else {
                let why =
                    format!("record {} is no process start, and no checkpoint stands before it", first.seq);
                return Err(CutError::Beginning(why));
            };
            self.states = Some(States::new(&start.settings));
        }
        if let Some(states) = &mut self.states {
            states.fold(batch);
        }
        Ok(())
    }
}

/// Returns the incidents in a log, the oldest first, the one it ends in included.
///
/// # Errors
/// [`CutError`], a damaged log included.
pub fn windows(path: &Path) -> Result<Vec<Window>, CutError> {
    let (found, damage) = windows_before_damage(path)?;
    damage.map_or(Ok(found), |damage| Err(damage.into()))
}

/// Returns the incidents of the undamaged part of a log, as [`windows`] does, and how it is damaged.
///
/// # Errors
/// [`CutError`]
pub fn windows_before_damage(path: &Path) -> Result<(Vec<Window>, Option<Damage>), CutError> {
    let reader = LogReader::<Event>::open(path)?;
    let begun = reader.checkpoint().map(open_state).transpose().map_err(CutError::Beginning)?;
    let mut watcher = IncidentWatcher::new(begun.as_ref().and_then(|states| states.ledger.announced()));
    let mut found = Vec::new();
    let mut batch: Vec<Record> = Vec::new();
    let mut damage = None;
    for record in reader {
        let record = match record {
            Ok(record) => record,
            Err(found) => {
                damage = Some(found);
                break;
            }
        };
        if record.cause.is_none() {
            found.extend(watcher.see(&batch));
            batch.clear();
        }
        batch.push(record);
    }
    // Damage may have cut the last batch, and a file without its end would replay as a divergence.
    if damage.is_none() {
        found.extend(watcher.see(&batch));
    }
    found.extend(watcher.finish());
    Ok((found, damage))
}

/// Writes a stretch of a log as a file that can be audited by itself. `place` says where a record lies.
///
/// # Errors
/// [`CutError`]; what was written lacks its end then.
pub fn cut(path: &Path, span: Span, out: &mut impl Write) -> Result<Exported, CutError> {
    // Once to find where the batch begins that holds the first record, and the state before it.
    let mut reader = LogReader::<Event>::open(path)?;
    let mut folding = Folding::begin(&reader)?;
    let origin = reader.origin();
    let mut batch: Vec<Record> = Vec::new();
    let mut before: Option<Place> = None;
    let mut place: Option<Place> = None;
    while let Some(record) = reader.next() {
        let record = record?;
        if record.cause.is_none() {
            folding.fold(&batch)?;
            batch.clear();
            before = place;
            if record.seq >= span.first {
                break;
            }
        }
        let Some((seq, hash)) = reader.position() else { break };
        place = Some(Place { seq, hash, boot: record.boot, wall: record.wall });
        // The batch that holds the first record is wanted from its beginning: the state stays before it.
        batch.push(record);
        if seq >= span.first {
            break;
        }
    }
    drop(reader);
    let mut reader = LogReader::<Event>::open(path)?;
    let Some(before) = before.filter(|before| before.seq.next() > reader.first()) else {
        // It begins with the log.
        return Ok(reader.export_to(Some(span.last), None, out)?);
    };
    let states = folding.states.ok_or_else(|| CutError::Beginning("nothing was folded".to_owned()))?;
    let checkpoint = seal_state(&states, before, origin).map_err(CutError::Beginning)?;
    while reader.position().is_some_and(|(seq, _)| seq < before.seq) {
        match reader.next() {
            Some(record) => drop(record?),
            None => break,
        }
    }
    Ok(reader.export_to(Some(span.last), Some(&checkpoint), out)?)
}
