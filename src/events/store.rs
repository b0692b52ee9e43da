//! Owns sled: one tree of entries, durable flushes, and errors instead of panics. It must never be
//! opened on evidence (opening writes), nor answer a flush before the disk has it.
//!
//! sled 0.34's `flush` hands the bytes to the disk without committing the file's size or the drive's
//! cache, so each is followed by an `fdatasync` through a descriptor of our own.

use super::chain::Hash;
use super::checkpoint::Checkpoint;
use super::entry::{Entry, Header};
use super::guarded::guarded;
use pgfo_replay::Seq;
use sled::{Batch, Db, IVec, Tree};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TREE: &str = "events";
/// The header's key; records begin at 1.
const HEADER_KEY: u64 = 0;
/// Checkpoints lie behind the header and before the first record: their keys are one byte longer.
const SIDE_KEY_BYTES: usize = 9;
/// sled's file, its directory of oversized items, in its directory.
const FILE_NAME: &str = "db";
const OVERSIZED_DIR: &str = "blobs";
/// Default of sled's cache, bytes: writes touch the newest leaf only, reads stream.
pub(crate) const CACHE_BYTES_DEFAULT: u64 = 1024 * 1024;

/// Why the store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another process holds sled's lock.
    #[error("another process has it open")]
    Locked,
    /// The machine's fault (full disk, permissions, I/O error): the files may be sound.
    #[error("{0}")]
    Environment(String),
    /// The files' fault: an error or a panic that reading again will repeat.
    #[error("{0}")]
    Damaged(String),
}

impl StoreError {
    fn of_sled(error: &sled::Error) -> Self {
        let text = error.to_string();
        match error {
            sled::Error::Io(_) if text.contains("could not acquire lock") => Self::Locked,
            sled::Error::Io(io)
                if !matches!(
                    io.kind(),
                    io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Environment(text)
            }
            _ => Self::of_text(text),
        }
    }

    /// sled wraps some system errors in text and unwraps others: both keep the error's number.
    fn of_text(text: String) -> Self {
        if text.contains("os error") || text.contains("Os {") || text.contains("StorageFull") {
            Self::Environment(text)
        } else {
            Self::Damaged(text)
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Environment(error.to_string())
    }
}

/// sled's pool threads may hold its file, and with it the lock, for a moment after it was closed in
/// this process. The caller holds a lock on the directory, so that no other daemon is waited for.
const UNLOCK_TIME_MAX: Duration = Duration::from_secs(1);
const UNLOCK_PAUSE: Duration = Duration::from_millis(5);

/// An open store.
pub(crate) struct Store {
    db: Option<Db>,
    events: Option<Tree>,
    file: File,
    path: PathBuf,
    /// Bytes of all entries' values, once they were counted.
    value_bytes: AtomicU64,
}

/// Where a checkpoint is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Slot {
    /// What a log begins with that has lost its oldest records.
    Base = 1,
    /// One of the two newest, written in turn.
    Even = 2,
    /// The other.
    Odd = 3,
}

impl Slot {
    const fn key(self) -> [u8; SIDE_KEY_BYTES] {
        [0, 0, 0, 0, 0, 0, 0, 0, self as u8]
    }
}

/// Returns the key of the entry whose first record is `seq`.
pub(crate) fn key(seq: Seq) -> [u8; 8] {
    seq.0.to_be_bytes()
}

fn seq_of(key: &[u8]) -> Result<Seq, StoreError> {
    let bytes: [u8; 8] =
        key.try_into().map_err(|_| StoreError::Damaged(format!("a key of {} bytes", key.len())))?;
    Ok(Seq(u64::from_be_bytes(bytes)))
}

fn entry_of(pair: (IVec, IVec)) -> Result<(Seq, IVec), StoreError> {
    Ok((seq_of(&pair.0)?, pair.1))
}

fn call<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match guarded(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StoreError::of_sled(&error)),
        Err(panicked) => Err(StoreError::of_text(panicked.0)),
    }
}

impl Store {
    /// Opens or creates the store in the directory `path`, and makes its existence durable.
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let begun = Instant::now();
        let store = loop {
            match Self::open_copy(path, cache_bytes) {
                Err(StoreError::Locked) if begun.elapsed() < UNLOCK_TIME_MAX => {
                    std::thread::sleep(UNLOCK_PAUSE);
                }
                opened => break opened?,
            }
        };
        store.flush()?;
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(path)?.sync_all()?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(store)
    }

    /// Opens a store that need not outlive the process: a copy made to be read.
    pub(crate) fn open_copy(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let (db, events) = call(|| {
            let db = sled::Config::new()
                .path(path)
                .cache_capacity(cache_bytes)
                .flush_every_ms(None)
                .mode(sled::Mode::LowSpace)
                .open()?;
            let events = db.open_tree(TREE)?;
            Ok((db, events))
        })?;
        let file = File::open(path.join(FILE_NAME))?;
        let value_bytes = AtomicU64::new(0);
        Ok(Self { db: Some(db), events: Some(events), file, path: path.to_path_buf(), value_bytes })
    }

    fn tree(&self) -> Result<&Tree, StoreError> {
        self.events.as_ref().ok_or_else(|| StoreError::Environment("the store is closed".to_string()))
    }

    /// Puts the value of the entry that begins at `first`.
    pub(crate) fn insert(&self, first: Seq, value: &[u8]) -> Result<(), StoreError> {
        let tree = self.tree()?;
        let old = call(|| tree.insert(key(first), value))?;
        if first.0 != HEADER_KEY {
            self.count(old.map_or(0, |old| old.len()), value.len());
        }
        Ok(())
    }

    fn count(&self, less: usize, more: usize) {
        self.value_bytes.fetch_add(more as u64, Ordering::Relaxed);
        self.value_bytes.fetch_sub(less as u64, Ordering::Relaxed);
    }

    /// Takes over how many bytes the entries' values have, counted by who read them all.
    pub(crate) fn set_value_bytes(&self, bytes: u64) {
        self.value_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Returns the bytes of all entries' values.
    pub(crate) fn value_bytes(&self) -> u64 {
        self.value_bytes.load(Ordering::Relaxed)
    }

    /// Returns the entry that begins at `first`.
    pub(crate) fn entry_at(&self, first: Seq) -> Result<Option<IVec>, StoreError> {
        let tree = self.tree()?;
        call(|| tree.get(key(first)))
    }

    /// Puts a sealed checkpoint.
    pub(crate) fn put_checkpoint(&self, slot: Slot, sealed: &[u8]) -> Result<(), StoreError> {
        let tree = self.tree()?;
        call(|| tree.insert(slot.key(), sealed)).map(|_| ())
    }

    /// Returns a checkpoint, opened; `None` if the slot is empty.
    pub(crate) fn checkpoint(&self, slot: Slot) -> Result<Option<Result<Checkpoint, String>>, StoreError> {
        let tree = self.tree()?;
        let sealed = call(|| tree.get(slot.key()))?;
        Ok(sealed.map(|sealed| Checkpoint::open(&sealed)))
    }

    /// Returns the checkpoint that a log which begins at `header` begins with; `None` if it has all its
    /// records. An inner error says what is wrong with it.
    pub(crate) fn base(&self, header: &Header) -> Result<Option<Result<Checkpoint, String>>, StoreError> {
        if header.first == Seq(1) {
            return Ok(None);
        }
        let found = self.checkpoint(Slot::Base)?.unwrap_or_else(|| Err("it is missing".to_string()));
        Ok(Some(found.and_then(|base| {
            let fits =
                base.seq.next() == header.first && base.hash == header.before && base.origin == header.origin;
            if fits { Ok(base) } else { Err("it is of another record than the one before the first".into()) }
        })))
    }

    /// Removes the entries before `header.first` and puts the header and its checkpoint, atomically.
    pub(crate) fn cut(&self, header: &Header, sealed: &[u8]) -> Result<(), StoreError> {
        let tree = self.tree()?;
        let mut batch = Batch::default();
        let mut less = 0;
        for entry in self.entries(Seq(1))? {
            let (first, value) = entry?;
            if first >= header.first {
                break;
            }
            batch.remove(&key(first));
            less += value.len();
        }
        batch.insert(&key(Seq(HEADER_KEY)), header.encode());
        batch.insert(&Slot::Base.key(), sealed);
        call(|| tree.apply_batch(batch))?;
        self.count(less, 0);
        Ok(())
    }

    /// Puts the header.
    pub(crate) fn put_header(&self, header: &Header) -> Result<(), StoreError> {
        self.insert(Seq(HEADER_KEY), &header.encode())
    }

    /// Returns the header's bytes, if there are any.
    pub(crate) fn header(&self) -> Result<Option<IVec>, StoreError> {
        let tree = self.tree()?;
        call(|| tree.get(key(Seq(HEADER_KEY))))
    }

    /// Replaces the entries `old` by one that begins at the first of them, atomically.
    pub(crate) fn replace(&self, old: &[Seq], value: Vec<u8>) -> Result<(), StoreError> {
        let tree = self.tree()?;
        let Some((&first, rest)) = old.split_first() else { return Ok(()) };
        let mut batch = Batch::default();
        let mut less = 0;
        for &seq in old {
            less += call(|| tree.get(key(seq)))?.map_or(0, |value| value.len());
        }
        let more = value.len();
        rest.iter().for_each(|&seq| batch.remove(&key(seq)));
        batch.insert(&key(first), value);
        call(|| tree.apply_batch(batch))?;
        self.count(less, more);
        Ok(())
    }

    /// Returns when all that was put is on the disk.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        if let Some(db) = &self.db {
            call(|| db.flush())?;
        }
        self.sync_oversized()?;
        self.file.sync_data()?;
        Ok(())
    }

    /// Syncs sled's oversized items, which it never does. Batches and blocks are kept small enough
    /// for there to be none, but a run of unusually large ones may make some.
    fn sync_oversized(&self) -> io::Result<()> {
        let dir = self.path.join(OVERSIZED_DIR);
        let mut found = false;
        for entry in std::fs::read_dir(&dir)? {
            match File::open(entry?.path()) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            found = true;
        }
        if found { File::open(&dir)?.sync_all() } else { Ok(()) }
    }

    /// Returns the entry that holds `seq` if any does: the last that begins at or before it.
    pub(crate) fn entry_before(&self, seq: Seq) -> Result<Option<(Seq, IVec)>, StoreError> {
        let tree = self.tree()?;
        let range = key(Seq(HEADER_KEY + 1))..=key(Seq(seq.0.max(HEADER_KEY + 1)));
        call(|| tree.range(range).next_back().transpose())?.map(entry_of).transpose()
    }

    /// Returns the last entry.
    pub(crate) fn last_entry(&self) -> Result<Option<(Seq, IVec)>, StoreError> {
        self.entry_before(Seq(u64::MAX))
    }

    /// Returns the hash of the record before `first`, the first record of an entry.
    pub(crate) fn hash_before(&self, first: Seq) -> Result<Hash, StoreError> {
        if let Some((_, value)) = self.entry_before(Seq(first.0 - 1))?.filter(|_| first.0 > 1) {
            let hash = Entry::parse(&value).map_err(StoreError::Damaged)?.last_hash();
            return hash.ok_or_else(|| StoreError::Damaged(format!("an empty batch before {first}")));
        }
        let header = self.header()?.ok_or_else(|| StoreError::Damaged("no header".to_string()))?;
        Header::parse(&header).map(|header| header.before).map_err(StoreError::Damaged)
    }

    /// Returns the entries from the one that begins at or after `from`, in order. Correct only while
    /// nothing else writes.
    pub(crate) fn entries(&self, from: Seq) -> Result<Entries, StoreError> {
        let tree = self.tree()?;
        let range = key(Seq(from.0.max(HEADER_KEY + 1)))..;
        Ok(Entries { iter: call(|| Ok(tree.range(range)))? })
    }

    /// Returns the bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let (db, events) = (self.db.take(), self.events.take());
        // sled syncs in its own drop and unwraps the result. What was acknowledged is durable
        // already, and what was not is kept by the writer, so a panic here loses nothing.
        let _ = guarded(move || {
            drop(events);
            drop(db);
        });
    }
}

/// Entries of a store, in order.
pub(crate) struct Entries {
    iter: sled::Iter,
}

impl Iterator for Entries {
    type Item = Result<(Seq, IVec), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let iter = &mut self.iter;
        match call(|| iter.next().transpose()) {
            Ok(None) => None,
            Ok(Some(pair)) => Some(entry_of(pair)),
            Err(error) => Some(Err(error)),
        }
    }
}
