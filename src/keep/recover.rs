//! Owns recovery: the state of a member at some record of its log, from the newest checkpoint that can
//! be used, else from the log's beginning. It folds `evolve` only, and never guesses a beginning.

use super::state::{Place, open_state};
use crate::core::{CORE_REVISION, Incarnation, States};
use crate::events::{
    Checkpoint, Condition, Damage, Event, EventLog, Hash, LogOptions, OpenError, Opened, Record, Records,
    Settings, put_aside,
};
use pgfo_replay::{BootNanos, Seq, WallNanos};
use std::path::Path;

/// A state, and where it comes from.
#[derive(Debug)]
pub struct Recovered {
    /// The state.
    pub states: States,
    /// The record up to which it is folded; `None`: there is none.
    pub place: Option<Place>,
    /// The checkpoint's record, if it was begun from one.
    pub from: Option<Seq>,
    /// Records folded after it.
    pub folded: u64,
    /// Checkpoints that could not be used, with the reason.
    pub unused: Vec<(Seq, String)>,
}

/// Why no state can be recovered.
#[derive(Debug, thiserror::Error)]
pub enum Unrecoverable {
    /// A record can't be read.
    #[error("the log is damaged: {0}")]
    Damaged(#[from] Damage),
    /// The store can't be read.
    #[error("the log can't be read: {0}")]
    Store(String),
    /// The oldest records are gone, and no checkpoint stands for them.
    #[error("the log begins with record {first}, and no checkpoint before it can be used{}", reasons(unused))]
    Beginning {
        /// The first record.
        first: Seq,
        /// The checkpoints, and why not.
        unused: Vec<(Seq, String)>,
    },
}

fn reasons(unused: &[(Seq, String)]) -> String {
    unused.iter().map(|(seq, why)| format!("; that of {seq}: {why}")).collect()
}

/// Folds records, which begin with a whole batch, up to `until`; returns the last one's place and how
/// many there were.
///
/// # Errors
/// The damage that was met.
pub fn fold_all(
    states: &mut States,
    records: &mut Records<Event>,
    until: Seq,
    mut each: impl FnMut(&[Record], Place),
) -> Result<(Option<Place>, u64), Damage> {
    let mut batch: Vec<Record> = Vec::new();
    let mut place = None;
    let mut folded = 0;
    let mut finish = |batch: &mut Vec<Record>, states: &mut States, hash: Hash| {
        let Some(last) = batch.last() else { return };
        let at = Place { seq: last.seq, hash, boot: last.boot, wall: last.wall };
        states.fold(batch);
        folded += batch.len() as u64;
        each(batch, at);
        batch.clear();
        place = Some(at);
    };
    let mut hash = None;
    while let Some(record) = records.next() {
        let record = record?;
        if record.cause.is_none()
            && let Some(hash) = hash
        {
            finish(&mut batch, states, hash);
        }
        if record.seq > until {
            batch.clear();
            break;
        }
        batch.push(record);
        hash = records.hash();
    }
    if let Some(hash) = hash {
        finish(&mut batch, states, hash);
    }
    Ok((place, folded))
}

/// Recovers the state at the end of the log.
///
/// # Errors
/// [`Unrecoverable`].
pub fn recover(log: &EventLog<Event>, settings: &Settings) -> Result<Recovered, Unrecoverable> {
    states_at(log, settings, Seq(u64::MAX - 1))
}

/// Recovers the state after record `at`, the last of a batch; `Seq(0)`: before the first.
///
/// # Errors
/// [`Unrecoverable`].
pub fn states_at(log: &EventLog<Event>, settings: &Settings, at: Seq) -> Result<Recovered, Unrecoverable> {
    let first = log.stats().first;
    let mut unused = Vec::new();
    let checkpoints = log.checkpoints().map_err(Unrecoverable::Store)?;
    for checkpoint in checkpoints.into_iter().filter(|c| c.seq <= at) {
        match usable(log, &checkpoint, first) {
            Ok((mut states, mut records)) => {
                let (place, folded) = fold_all(&mut states, &mut records, at, |_, _| {})?;
                let place = place.or(Some(place_of(&checkpoint)));
                return Ok(Recovered { states, place, from: Some(checkpoint.seq), folded, unused });
            }
            Err(why) => unused.push((checkpoint.seq, why)),
        }
    }
    if first > Seq(1) {
        return Err(Unrecoverable::Beginning { first, unused });
    }
    let mut states = States::new(settings);
    let (place, folded) = fold_all(&mut states, &mut log.records(Seq(1)), at, |_, _| {})?;
    Ok(Recovered { states, place, from: None, folded, unused })
}

fn place_of(checkpoint: &Checkpoint) -> Place {
    let Checkpoint { seq, hash, boot, wall, .. } = *checkpoint;
    Place { seq, hash, boot, wall }
}

fn usable(
    log: &EventLog<Event>,
    checkpoint: &Checkpoint,
    first: Seq,
) -> Result<(States, Records<Event>), String> {
    // Another revision may fold a mended way; while the whole log is there, that is what counts.
    if checkpoint.core_revision != CORE_REVISION && first == Seq(1) {
        return Err(format!("core revision {} made it", checkpoint.core_revision));
    }
    Ok((open_state(checkpoint)?, log.records_after(checkpoint)?))
}

/// Opens a member's log and recovers from it. A log that has lost its oldest records, and the state
/// that stood for them, is put aside like a damaged one: the member may have forgotten.
///
/// # Errors
/// [`OpenError`], or damage, in words.
pub fn open_log(
    dir: &Path,
    options: LogOptions,
    settings: &Settings,
) -> Result<(Opened<Event>, Recovered), OpenLogError> {
    let opened = EventLog::<Event>::open(dir, options)?;
    let why = match recover(&opened.log, settings) {
        Ok(recovered) => return Ok((opened, recovered)),
        Err(beginning @ Unrecoverable::Beginning { .. }) => beginning.to_string(),
        Err(other) => return Err(OpenLogError::Unrecoverable(other)),
    };
    opened.log.close().map_err(|error| OpenLogError::Close(error.to_string()))?;
    let path = put_aside(dir)?;
    let mut opened = EventLog::<Event>::open(dir, options)?;
    opened.condition = Condition::PutAside { path, why };
    let recovered = recover(&opened.log, settings).map_err(OpenLogError::Unrecoverable)?;
    Ok((opened, recovered))
}

/// Why a member's log can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nothing can be recovered from it.
    #[error("{0}")]
    Unrecoverable(Unrecoverable),
    /// It could not be closed to be put aside.
    #[error("{0}")]
    Close(String),
}

impl Recovered {
    /// Returns the place of a state that may be one of an empty log.
    #[must_use]
    pub fn place_or_begin(&self, origin: Incarnation) -> Place {
        self.place.unwrap_or(Place {
            seq: Seq(0),
            hash: Hash::genesis(origin),
            boot: BootNanos(0),
            wall: WallNanos(0),
        })
    }
}
