//! Owns the reading of evidence: a log's directory, its store alone, or a flat file. It must never
//! write to it, panic on it, or pass over damage in silence.

use super::chain::{Hash, Verifier};
use super::checkpoint::Checkpoint;
use super::damage::{Damage, DamageKind};
use super::entry::{Entry, Header};
use super::evidence::Evidence;
use super::flat::{ExportError, Exported, Extent, FLAT_MAGIC, FlatFile, FlatHeader, export};
use super::head::{Head, HeadFound, read_head};
use super::open::{HEAD_NAME, STORE_NAME};
use super::source::{CopiedStore, EntrySource, FrameStream, Stored};
use super::store::{Store, StoreError};
use crate::core::Incarnation;
use pgfo_replay::{Record, Seq};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// sled's cache of a copy that is read once, bytes.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Buffer of a flat file, bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why evidence can't be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no log of any kind.
    #[error("{} is not an event log; name a log's directory, its {STORE_NAME}, or an exported file", path.display())]
    NotALog {
        /// What was named.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}: {error}; check the path, its permissions, and the room for a copy in TMPDIR", path.display())]
    Io {
        /// What was named.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

/// Reads the records of a log, verifying the chain from the first to the last.
///
/// Yields each record, and after the last verified one at most one [`Damage`], which ends it.
pub struct LogReader<E> {
    /// `None` when the end or damage was met. Before `_evidence`, because it is dropped first.
    stream: Option<FrameStream>,
    /// Damage found before the first record.
    damage: Option<Damage>,
    end: End,
    origin: Incarnation,
    incarnation: Incarnation,
    first: Seq,
    last_hint: Seq,
    base: Option<Checkpoint>,
    _evidence: Option<Evidence>,
    _event: PhantomData<fn() -> E>,
}

/// What proves that the log ends where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The head.
    Head(Head),
    /// The head should, but there is none.
    HeadMissing,
    /// A flat file's trailer.
    Trailer,
    /// Nothing: a store without what was beside it.
    Unproven,
}

/// No entries: of a log that can't be opened.
struct Nothing;

impl EntrySource for Nothing {
    fn next_entry(&mut self, _due: Verifier) -> Option<Result<Stored, Damage>> {
        None
    }
}

impl<E: DeserializeOwned> LogReader<E> {
    /// Opens the log at `path`: a log's directory, the `events.db` in it, or a flat file. Stores are
    /// copied to the directory for temporary files first.
    ///
    /// # Errors
    /// [`ReadError`] if there is no log or it can't be copied. Damage is no error: it is yielded.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let io_error = |error| ReadError::Io { path: path.to_path_buf(), error };
        // `events.db/` names the same directory as `events.db`.
        let path = std::path::absolute(path).map_err(io_error)?;
        let metadata = std::fs::metadata(&path).map_err(io_error)?;
        if metadata.is_file() {
            return Self::open_flat(&path);
        }
        if path.join(STORE_NAME).is_dir() || path.join(HEAD_NAME).is_file() {
            return Self::open_store(&path.join(STORE_NAME), Some(&path.join(HEAD_NAME)), true);
        }
        let named = path.file_name().is_some_and(|name| name == STORE_NAME);
        if named || path.join("db").is_file() {
            let head = path.parent().filter(|_| named).map(|dir| dir.join(HEAD_NAME));
            return Self::open_store(&path, head.as_deref(), false);
        }
        Err(ReadError::NotALog { path })
    }

    fn open_flat(path: &Path) -> Result<Self, ReadError> {
        let io_error = |error| ReadError::Io { path: path.to_path_buf(), error };
        let mut magic = Vec::new();
        let file = File::open(path).map_err(io_error)?;
        (&file).take(FLAT_MAGIC.len() as u64).read_to_end(&mut magic).map_err(io_error)?;
        // A file cut or altered within its magic is damaged; anything else is not ours to judge.
        let alike = magic.iter().zip(FLAT_MAGIC).filter(|(a, b)| a == b).count();
        if alike < magic.len().saturating_sub(1) {
            return Err(ReadError::NotALog { path: path.to_path_buf() });
        }
        let mut input = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(io_error)?);
        let reader = match FlatHeader::read(&mut input).map_err(io_error)? {
            Ok((header, base)) => {
                let at = Verifier { next: header.first, previous: header.before };
                let mut reader = Self::new(Box::new(FlatFile::new(input, header)), at, End::Trailer);
                if let Ok(reader) = &mut reader {
                    reader.origin = header.origin;
                    reader.incarnation = header.incarnation;
                    reader.last_hint = header.last;
                    reader.begin_with(base);
                }
                reader
            }
            Err(why) => Self::unreadable(DamageKind::Header(why)),
        };
        reader.map_err(io_error)
    }

    fn open_store(path: &Path, head: Option<&Path>, head_required: bool) -> Result<Self, ReadError> {
        let io_error = |error| ReadError::Io { path: path.to_path_buf(), error };
        // Before the copy is made: of a log that is being written, the copy then has at least that.
        let found = match head {
            Some(head) => read_head(head).map_err(io_error)?,
            None => HeadFound::Absent,
        };
        let end = match found {
            HeadFound::Present(head, _) => End::Head(head),
            HeadFound::Damaged => End::HeadMissing,
            HeadFound::Absent if head_required => End::HeadMissing,
            HeadFound::Absent => End::Unproven,
        };
        if !path.is_dir() {
            let what = DamageKind::Store(format!("{STORE_NAME} is missing"));
            return Self::unreadable(what).map_err(io_error);
        }
        let evidence = Evidence::copy(path).map_err(io_error)?;
        let reader = match Store::open_copy(evidence.path(), CACHE_BYTES) {
            Ok(store) => Self::of_copy(store, end),
            Err(error) => Self::of_error(error),
        };
        let mut reader = reader.map_err(io_error)?;
        reader._evidence = Some(evidence);
        Ok(reader)
    }

    fn of_error(error: StoreError) -> io::Result<Self> {
        match error {
            StoreError::Environment(why) => Err(io::Error::other(why)),
            StoreError::Damaged(_) | StoreError::Locked => {
                Self::unreadable(DamageKind::Store(error.to_string()))
            }
        }
    }

    fn of_copy(store: Store, end: End) -> io::Result<Self> {
        let header = match store.header() {
            Ok(Some(bytes)) => Header::parse(&bytes),
            Ok(None) => Err("it is missing".to_string()),
            Err(error) => return Self::of_error(error),
        };
        let header = match (header, end) {
            (Ok(header), _) => header,
            // Nothing was ever flushed: a crash came before the header.
            (Err(_), End::Head(head)) if head.last == Seq(0) => Header::begin(head.origin),
            (Err(why), _) => return Self::unreadable(DamageKind::Header(why)),
        };
        let last_hint = match store.last_entry() {
            Ok(Some((first, value))) => Entry::parse(&value)
                .map_or(first, |entry| Seq(first.0.saturating_add(entry.count().max(1) - 1))),
            Ok(None) | Err(_) => Seq(header.first.0 - 1),
        };
        let base = match store.base(&header) {
            Ok(base) => base,
            Err(error) => return Self::of_error(error),
        };
        let source = match CopiedStore::new(store) {
            Ok(source) => source,
            Err(error) => return Self::of_error(error),
        };
        let at = Verifier { next: header.first, previous: header.before };
        let mut reader = Self::new(Box::new(source), at, end)?;
        reader.origin = header.origin;
        reader.incarnation = header.origin;
        reader.last_hint = last_hint;
        reader.begin_with(base);
        if let End::Head(head) = end {
            reader.incarnation = head.incarnation;
            if head.origin != header.origin {
                reader.damage = Some(Damage { seq: header.first, what: DamageKind::HeadForeign });
            }
        }
        Ok(reader)
    }

    fn begin_with(&mut self, base: Option<Result<Checkpoint, String>>) {
        match base {
            None => {}
            Some(Ok(base)) => self.base = Some(base),
            Some(Err(why)) => {
                self.damage = Some(Damage { seq: self.first, what: DamageKind::Checkpoint(why) });
            }
        }
    }

    /// Returns the checkpoint that the log begins with: one that lacks its oldest records.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.base.as_ref()
    }

    /// Returns the incarnation that the log began with.
    #[must_use]
    pub const fn origin(&self) -> Incarnation {
        self.origin
    }

    /// Returns the number and hash of the last record read; of the one before the first at first.
    #[must_use]
    pub fn position(&self) -> Option<(Seq, Hash)> {
        self.stream.as_ref().map(|stream| stream.verifier().last())
    }

    fn new(source: Box<dyn EntrySource>, at: Verifier, end: End) -> io::Result<Self> {
        Ok(Self {
            stream: Some(FrameStream::new(source, at)?),
            damage: None,
            end,
            origin: Incarnation(0),
            incarnation: Incarnation(0),
            first: at.next,
            last_hint: Seq(at.next.0 - 1),
            base: None,
            _evidence: None,
            _event: PhantomData,
        })
    }

    fn unreadable(what: DamageKind) -> io::Result<Self> {
        let at = Verifier { next: Seq(1), previous: Hash([0; Hash::BYTES]) };
        let mut reader = Self::new(Box::new(Nothing), at, End::Unproven)?;
        reader.damage = Some(Damage { seq: Seq(1), what });
        Ok(reader)
    }

    /// Returns the log's incarnation: the head's, or the one it began with.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Returns the first record's number.
    #[must_use]
    pub const fn first(&self) -> Seq {
        self.first
    }

    /// Returns how many records there seem to be, for a progress bar.
    #[must_use]
    pub const fn count_hint(&self) -> u64 {
        (self.last_hint.0 + 1).saturating_sub(self.first.0)
    }

    /// Returns whether a head or trailer proves where the log ends; a store that was named alone may
    /// lack a tail that nobody can miss.
    #[must_use]
    pub const fn end_is_proven(&self) -> bool {
        !matches!(self.end, End::Unproven)
    }

    /// Writes what is left to read, up to `to`, as a flat file. One that does not begin with the log
    /// needs the `checkpoint` of the record last read to be audited.
    ///
    /// # Errors
    /// [`ExportError::Damaged`] at the first damage; the file then lacks its trailer.
    pub fn export_to(
        mut self,
        to: Option<Seq>,
        checkpoint: Option<&Checkpoint>,
        out: &mut impl Write,
    ) -> Result<Exported, ExportError> {
        if let Some(damage) = self.damage.take() {
            return Err(damage.into());
        }
        let Some(mut stream) = self.stream.take() else {
            return Err(ExportError::Unreadable("its end was reached before".to_string()));
        };
        let base = self.base.as_ref().filter(|base| base.seq.next() == stream.verifier().next);
        let last = to.map_or(self.last_hint, |to| to.min(self.last_hint));
        let extent = Extent { origin: self.origin, incarnation: self.incarnation, last };
        export(&mut stream, extent, checkpoint.or(base), out)
    }

    /// Returns what the end of the log tells, after the record `last`.
    fn end_damage(&self, last: Seq) -> Option<Damage> {
        let what = match self.end {
            End::Head(head) if head.last > last => DamageKind::TailLost { head: head.last },
            End::HeadMissing => DamageKind::HeadMissing,
            End::Head(_) | End::Trailer | End::Unproven => return None,
        };
        Some(Damage { seq: last.next(), what })
    }

    fn read(&mut self) -> Option<Result<Record<E>, Damage>> {
        if let Some(damage) = self.damage.take() {
            return Some(Err(damage));
        }
        let stream = self.stream.as_mut()?;
        let due = stream.verifier().next;
        let found = stream.next_with(|frame| (frame.hash, frame.record::<E>()));
        let Some(found) = found else {
            let (last, _) = stream.verifier().last();
            return self.end_damage(last).map(Err);
        };
        Some(found.and_then(|(hash, record)| {
            if let End::Head(head) = self.end
                && head.last == due
                && head.hash != hash
            {
                let what = DamageKind::HeadMismatch { found: hash, flushed: head.hash };
                return Err(Damage { seq: due, what });
            }
            record.map_err(|error| Damage { seq: due, what: DamageKind::Undecodable(error.to_string()) })
        }))
    }
}

impl<E: DeserializeOwned> Iterator for LogReader<E> {
    type Item = Result<Record<E>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read();
        if !matches!(item, Some(Ok(_))) {
            self.stream = None;
        }
        item
    }
}
