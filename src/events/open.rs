//! Owns the start of a log: finds out in what condition it is, and puts a damaged one aside. It must
//! never delete anything, nor call a log intact that may have lost a record.

use super::chain::Hash;
use super::entry::Header;
use super::head::{Head, HeadFile, HeadFound, read_head};
use super::packer::PackOptions;
use super::store::{CACHE_BYTES_DEFAULT, Store, StoreError};
use super::verify::{CheckError, Checked, check};
use crate::core::Incarnation;
use pgfo_replay::Seq;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// sled's directory, in the log's.
pub const STORE_NAME: &str = "events.db";
/// The head, in the log's directory.
pub const HEAD_NAME: &str = "head";

/// How a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bound of sled's cache, bytes.
    pub cache_bytes: u64,
    /// What stays hot.
    pub pack: PackOptions,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { cache_bytes: CACHE_BYTES_DEFAULT, pack: PackOptions::default() }
    }
}

/// The condition in which a log was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There was none; it begins now.
    Fresh,
    /// All that was flushed is there.
    Intact,
    /// Flushed records are missing at the end. What is left is kept and continued, under a new
    /// incarnation.
    TailLost {
        /// The last record that was flushed.
        head: Seq,
        /// The last record there is; 0 if the whole store was gone.
        last: Seq,
    },
    /// The head was missing or damaged, so records may be missing at the end. Treat it as
    /// [`Condition::TailLost`]. The log goes on under a new incarnation.
    HeadLost {
        /// The last record there is.
        last: Seq,
    },
    /// It could not be opened, or its chain is broken: it was renamed, and a fresh log begun.
    PutAside {
        /// Where it is now; an audit can read it there.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
}

/// Why a log can't be opened. The files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("log {} is in use by another process; stop that one, or choose another directory", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The system refused.
    #[error("log {}: {source}; check the disk, the path and its permissions", dir.display())]
    Io {
        /// The log's directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store met an error of the system, not of its files.
    #[error("log {}: {why}; check the disk and the permissions, then try again", dir.display())]
    Store {
        /// The log's directory.
        dir: PathBuf,
        /// The store's reason.
        why: String,
    },
}

/// A log that is ready to be written.
pub(crate) struct Started {
    pub(crate) store: Store,
    pub(crate) head_file: HeadFile,
    pub(crate) head: Head,
    pub(crate) header: Header,
    pub(crate) hot_first: Seq,
    pub(crate) condition: Condition,
    /// Held as long as the log is open.
    pub(crate) lock: File,
}

/// Opens the log in `dir`, creating it if there is none.
pub(crate) fn start(dir: &Path, options: &LogOptions) -> Result<Started, OpenError> {
    let io_error = |source| OpenError::Io { dir: dir.to_path_buf(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error)?;
    let lock = lock(dir)?;
    let opening = Opening { dir, options };
    let found = read_head(&dir.join(HEAD_NAME)).map_err(io_error)?;
    let generation = match found {
        HeadFound::Present(_, generation) => generation,
        HeadFound::Absent | HeadFound::Damaged => 0,
    };
    let (store, checked, incarnation, condition) = opening.store(found.head())?;
    let head = Head { incarnation, origin: checked.header.origin, last: checked.last, hash: checked.hash };
    // Put aside with its log, the old head is gone; its generation is continued all the same.
    let mut head_file = HeadFile::open(&dir.join(HEAD_NAME), generation).map_err(io_error)?;
    head_file.write(&head).map_err(io_error)?;
    let hot_first = checked.hot_first;
    Ok(Started { store, head_file, head, header: checked.header, hot_first, condition, lock })
}

/// Locks the directory itself: the lock stays while its files are renamed and reopened.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let io_error = |source| OpenError::Io { dir: dir.to_path_buf(), source };
    let lock = File::open(dir).map_err(io_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

/// Renames the store and the head in `dir`, which nobody has open, into a directory of their own that an
/// audit can read; returns it.
///
/// # Errors
/// [`OpenError::Io`] if the system refuses.
pub fn put_aside(dir: &Path) -> Result<PathBuf, OpenError> {
    let aside = dir.join(format!("aside-{:016x}", rand::random::<u64>()));
    let work = || -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&aside)?;
        for name in [STORE_NAME, HEAD_NAME] {
            match std::fs::rename(dir.join(name), aside.join(name)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        File::open(&aside)?.sync_all()?;
        File::open(dir)?.sync_all()
    };
    work().map_err(|source| OpenError::Io { dir: dir.to_path_buf(), source })?;
    Ok(aside)
}

struct Opening<'a> {
    dir: &'a Path,
    options: &'a LogOptions,
}

type OpenStore = (Store, Checked, Incarnation, Condition);

impl Opening<'_> {
    fn path(&self) -> PathBuf {
        self.dir.join(STORE_NAME)
    }

    fn store(&self, head: Option<Head>) -> Result<OpenStore, OpenError> {
        let flushed = head.map_or(Seq(0), |head| head.last);
        if !self.path().try_exists().map_err(|source| self.io(source))? {
            if flushed == Seq(0) {
                return self.begin(None, Condition::Fresh);
            }
            self.put_aside()?;
            return self.begin(None, Condition::TailLost { head: flushed, last: Seq(0) });
        }
        let opened = match Store::open(&self.path(), self.options.cache_bytes) {
            Ok(store) => check(&store, head.map(|head| head.last)).map(|checked| (store, checked)),
            Err(StoreError::Locked) => return Err(OpenError::Locked { dir: self.dir.to_path_buf() }),
            Err(StoreError::Environment(why)) => return Err(self.environment(why)),
            Err(StoreError::Damaged(why)) => return self.replace(why),
        };
        match opened {
            Err(CheckError::Environment(why)) => Err(self.environment(why)),
            Err(CheckError::Damaged(damage)) => self.replace(damage.to_string()),
            Ok((store, None)) => {
                let empty = store.last_entry().map_err(|error| self.environment(error.to_string()))?;
                if empty.is_none() && flushed == Seq(0) {
                    // A crash came between the creation of the store and that of its header.
                    return self.begin(Some(store), Condition::Fresh);
                }
                drop(store);
                self.replace(format!("the store has no header; {flushed} was flushed last"))
            }
            Ok((store, Some(checked))) => self.resume(store, checked, head),
        }
    }

    /// Continues a sound store, as far as the head agrees with it.
    fn resume(&self, store: Store, checked: Checked, head: Option<Head>) -> Result<OpenStore, OpenError> {
        let last = checked.last;
        let fresh = Incarnation(rand::random());
        let Some(head) = head else {
            let condition = if last == Seq(0) { Condition::Fresh } else { Condition::HeadLost { last } };
            return Ok((store, checked, fresh, condition));
        };
        if head.origin != checked.header.origin {
            drop(store);
            return self.replace("the head beside it belongs to another log".to_string());
        }
        if head.last > last {
            return Ok((store, checked, fresh, Condition::TailLost { head: head.last, last }));
        }
        if head.last >= checked.header.first && checked.met != Some(head.hash) {
            drop(store);
            return self.replace(format!("record {} is not the one that was flushed", head.last));
        }
        Ok((store, checked, head.incarnation, Condition::Intact))
    }

    fn replace(&self, why: String) -> Result<OpenStore, OpenError> {
        let path = self.put_aside()?;
        self.begin(None, Condition::PutAside { path, why })
    }

    fn put_aside(&self) -> Result<PathBuf, OpenError> {
        put_aside(self.dir)
    }

    /// Begins an empty log, in `store` if there is one.
    fn begin(&self, store: Option<Store>, condition: Condition) -> Result<OpenStore, OpenError> {
        let origin = Incarnation(rand::random());
        let header = Header::begin(origin);
        let made = match store {
            Some(store) => Ok(store),
            None => Store::open(&self.path(), self.options.cache_bytes),
        };
        let made = made.and_then(|store| {
            store.put_header(&header)?;
            store.flush()?;
            Ok(store)
        });
        let store = made.map_err(|error| self.environment(error.to_string()))?;
        let hash: Hash = header.before;
        let checked = Checked { header, last: Seq(0), hash, hot_first: header.first, met: None };
        Ok((store, checked, origin, condition))
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { dir: self.dir.to_path_buf(), source }
    }

    fn environment(&self, why: String) -> OpenError {
        OpenError::Store { dir: self.dir.to_path_buf(), why }
    }
}
