//! Owns what the log's thread shares with its readers: the store and the counters. Only the log's
//! thread replaces the store or writes to it.

use super::entry::Header;
use super::store::{Store, StoreError};
use pgfo_replay::Seq;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The log's numbers, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Records in the log, as far as appended.
    pub records: u64,
    /// The last appended record.
    pub last: Seq,
    /// The last record that is known to be on the disk.
    pub flushed: Seq,
    /// Records that are not packed.
    pub hot_records: u64,
    /// Bytes of the blocks that were packed since the log was opened.
    pub packed_bytes: u64,
    /// The first record there is.
    pub first: Seq,
    /// Bytes of the stored batches and blocks.
    pub value_bytes: u64,
    /// Bytes of the store on disk.
    pub disk_bytes: u64,
    /// Bytes held in memory until they are flushed.
    pub backlog_bytes: u64,
    /// Whether the log is stalled: batches wait in memory for the disk.
    pub stalled: bool,
}

pub(crate) struct Shared {
    store: RwLock<Option<Store>>,
    header: RwLock<Header>,
    /// From which record on each reader needs the log: what it needs is not removed.
    pins: Mutex<Vec<(u64, Seq)>>,
    pin_next: AtomicU64,
    pub(crate) last: AtomicU64,
    pub(crate) flushed: AtomicU64,
    pub(crate) hot_first: AtomicU64,
    pub(crate) packed_bytes: AtomicU64,
    pub(crate) backlog_bytes: AtomicU64,
    pub(crate) stalled: AtomicBool,
    pub(crate) closing: AtomicBool,
    /// When the log's thread began its present work, in milliseconds after `origin`; 0: it waits for some.
    busy_since: AtomicU64,
    origin: Instant,
}

impl Shared {
    pub(crate) fn new(store: Store, header: Header, last: Seq, hot_first: Seq) -> Self {
        Self {
            store: RwLock::new(Some(store)),
            header: RwLock::new(header),
            pins: Mutex::new(Vec::new()),
            pin_next: AtomicU64::new(0),
            last: AtomicU64::new(last.0),
            flushed: AtomicU64::new(last.0),
            hot_first: AtomicU64::new(hot_first.0),
            packed_bytes: AtomicU64::new(0),
            backlog_bytes: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            busy_since: AtomicU64::new(0),
            origin: Instant::now(),
        }
    }

    /// The log's thread begins work that may need the disk, or has done it.
    pub(crate) fn busy(&self, busy: bool) {
        self.busy_since.store(if busy { self.millis() } else { 0 }, Ordering::Release);
    }

    /// Returns how long the log's thread has been at its present work.
    pub(crate) fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.millis().saturating_sub(since)),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Runs `work` on the store; it is away while the log recovers from an error.
    pub(crate) fn with_store<T>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let away = || StoreError::Environment("the store is being reopened".to_string());
        work(store.as_ref().ok_or_else(away)?)
    }

    /// Returns where the log begins now.
    pub(crate) fn header(&self) -> Header {
        *self.header.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the records from `from` on in the log until the pin is dropped.
    pub(crate) fn pin(self: &Arc<Self>, from: Seq) -> Pin {
        let id = self.pin_next.fetch_add(1, Ordering::Relaxed);
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).push((id, from));
        Pin { shared: Arc::clone(self), id }
    }

    /// Lets `work` move the log's beginning to `header`, unless somebody reads what would go.
    pub(crate) fn move_beginning<T, X>(
        &self,
        header: Header,
        work: impl FnOnce() -> Result<T, X>,
    ) -> Option<Result<T, X>> {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if pins.iter().any(|(_, from)| *from < header.first) {
            return None;
        }
        let done = work();
        if done.is_ok() {
            *self.header.write().unwrap_or_else(PoisonError::into_inner) = header;
        }
        Some(done)
    }

    /// Takes the store out, dropping it, and puts `store` in.
    pub(crate) fn set_store(&self, store: Option<Store>) {
        let mut place = self.store.write().unwrap_or_else(PoisonError::into_inner);
        // The old one goes first: it holds sled's lock.
        *place = None;
        *place = store;
    }

    /// Keeps the store from everybody, as a disk does that hangs.
    #[cfg(test)]
    pub(crate) fn hold_store(&self) -> impl Sized + '_ {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> LogStats {
        let last = self.last.load(Ordering::Acquire);
        let hot_first = self.hot_first.load(Ordering::Acquire);
        LogStats {
            records: (last + 1).saturating_sub(self.header().first.0),
            last: Seq(last),
            flushed: Seq(self.flushed.load(Ordering::Acquire)),
            hot_records: (last + 1).saturating_sub(hot_first),
            packed_bytes: self.packed_bytes.load(Ordering::Acquire),
            first: self.header().first,
            value_bytes: self.with_store(|store| Ok(store.value_bytes())).unwrap_or(0),
            disk_bytes: self.with_store(|store| Ok(store.disk_bytes())).unwrap_or(0),
            backlog_bytes: self.backlog_bytes.load(Ordering::Acquire),
            stalled: self.stalled.load(Ordering::Acquire),
        }
    }
}

/// Keeps records from being removed while they are read.
pub(crate) struct Pin {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.shared.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|(id, _)| *id != self.id);
    }
}
