//! Owns the log's thread: takes batches, inserts them in order, flushes groups, packs while idle,
//! and outlives a full or failing disk. It must never acknowledge before the disk and the head have
//! it, never lose order, and never panic.

use super::backlog::{Backlog, Reply};
use super::head::{Head, HeadFile};
use super::notices::{LogCondition, Notices};
use super::packer::Packer;
use super::shared::Shared;
use super::store::{Store, StoreError};
use super::upkeep::Upkeep;
use pgfo_replay::{Record, Seq};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Batches that may wait for the log's thread; one more is refused. A disk that hangs is like a full one: the
/// member keeps its lease and waits, so this holds what a member observes within some twenty minutes.
pub const QUEUE_BATCHES_MAX: usize = 16 * 1024;
/// Batches taken before a flush: bounds how long the first of a group waits for the last.
const GROUP_BATCHES_MAX: usize = 256;
/// Buffered batches reach the disk after this long at the latest: what a crash may take from the evidence, never
/// a decision that binds. Each flush of an idle member wakes all of sled's threads and syncs twice.
const BUFFERED_AGE_MAX: Duration = Duration::from_secs(2);
/// Buffered batches are flushed earlier past this many bytes, to keep the backlog small.
const BUFFERED_BYTES_MAX: usize = 1024 * 1024;
/// Pause between two packing steps: half of one core at most, and never a batch waiting.
const PACK_PAUSE: Duration = Duration::from_millis(4);
/// Pause between two attempts to write again after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long a full backlog waits before it looks whether the log is being closed.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// A flush slower than this is reported: it eats into the deadlines of votes and grants.
const SLOW_FLUSH: Duration = Duration::from_millis(100);
/// Written and removed before the store is reopened: two of sled's segments.
const PROBE_BYTES: usize = 1024 * 1024;

/// One batch on its way to the log's thread.
pub(crate) struct Job<E> {
    pub(crate) records: Vec<Record<E>>,
    pub(crate) flushed: bool,
    pub(crate) reply: Reply,
}

/// What the log's thread is told.
pub(crate) enum Order<E> {
    Append(Job<E>),
    Upkeep(Upkeep),
}

/// The state of the log's thread.
pub(crate) struct Writer<E> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: Receiver<Order<E>>,
    /// Asked for, and done once what was appended before is flushed.
    pub(crate) upkeep: Vec<Upkeep>,
    pub(crate) dir: PathBuf,
    pub(crate) store_path: PathBuf,
    pub(crate) cache_bytes: u64,
    pub(crate) head_file: HeadFile,
    pub(crate) head: Head,
    pub(crate) backlog: Backlog,
    pub(crate) packer: Packer,
    pub(crate) notices: Notices,
    /// When to try again, while stalled.
    pub(crate) retry_at: Option<Instant>,
    /// When the oldest batch that is not flushed was taken.
    pub(crate) oldest: Option<Instant>,
    pub(crate) lock: File,
}

/// What came from the channel.
enum Received {
    Something,
    Idle,
    Closed,
}

impl<E: Serialize> Writer<E> {
    /// Runs until the log is closed; returns what could not be flushed, and why.
    pub(crate) fn run(mut self) -> Result<(), String> {
        loop {
            let received = self.receive();
            if matches!(received, Received::Closed) {
                return self.close();
            }
            self.shared.busy(true);
            self.work(matches!(received, Received::Idle));
            self.shared.busy(false);
            self.notices.deliver();
            if self.retry_at.is_some() && self.shared.closing.load(Ordering::Acquire) {
                return self.close();
            }
        }
    }

    /// Waits for a batch as long as there is nothing else to do, then takes those that wait.
    fn receive(&mut self) -> Received {
        if !self.backlog.has_room() {
            // Full, because the disk does not take it: what comes waits in the channel.
            if self.retry_at.is_some() {
                std::thread::sleep(FULL_PAUSE);
            }
            return Received::Idle;
        }
        let job = match self.patience() {
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(patience) => self.jobs.recv_timeout(patience),
        };
        match job {
            Ok(job) => self.take(job),
            Err(RecvTimeoutError::Timeout) => return Received::Idle,
            Err(RecvTimeoutError::Disconnected) => return Received::Closed,
        }
        for _ in 1..GROUP_BATCHES_MAX {
            if !self.backlog.has_room() {
                break;
            }
            let Ok(job) = self.jobs.try_recv() else { break };
            self.take(job);
        }
        Received::Something
    }

    fn take(&mut self, order: Order<E>) {
        let job = match order {
            Order::Append(job) => job,
            Order::Upkeep(upkeep) => return self.upkeep.push(upkeep),
        };
        self.backlog.accept(&job.records, job.flushed, job.reply);
        self.oldest.get_or_insert_with(Instant::now);
        self.shared.last.store(self.backlog.last().0, Ordering::Release);
        self.shared.backlog_bytes.store(self.backlog.bytes() as u64, Ordering::Release);
    }

    /// Returns how long to wait for a batch before something else is due; `None` for ever.
    fn patience(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if let Some(retry_at) = self.retry_at {
            return Some(retry_at.saturating_duration_since(now));
        }
        if self.packer.wants(self.head.last) {
            return Some(PACK_PAUSE);
        }
        if let Some(oldest) = self.oldest {
            return Some((oldest + BUFFERED_AGE_MAX).saturating_duration_since(now));
        }
        self.notices.undelivered().then_some(BUFFERED_AGE_MAX)
    }

    fn work(&mut self, idle: bool) {
        let done = match self.retry_at {
            Some(retry_at) if Instant::now() < retry_at => return,
            Some(_) => self.recover(),
            None => self.write(false).and_then(|()| self.keep_up()).and_then(|()| self.pack(idle)),
        };
        match (done, self.retry_at) {
            (Ok(()), Some(_)) => {
                self.retry_at = None;
                self.shared.stalled.store(false, Ordering::Release);
                self.notices.push(LogCondition::Recovered);
            }
            (Ok(()), None) => {}
            (Err(error), stalled) => {
                self.retry_at = Some(Instant::now() + RETRY_PAUSE);
                self.shared.stalled.store(true, Ordering::Release);
                if stalled.is_none() {
                    self.notices.push(LogCondition::Stalled { why: error.to_string() });
                }
            }
        }
    }

    /// Inserts what was taken, and flushes if somebody waits for it or it is time.
    fn write(&mut self, flush: bool) -> Result<(), StoreError> {
        let backlog = &mut self.backlog;
        self.shared.with_store(|store| backlog.insert(|first, value| store.insert(first, value)))?;
        let old = self.oldest.is_some_and(|oldest| oldest.elapsed() >= BUFFERED_AGE_MAX);
        if flush || old || self.backlog.has_waiters() || self.backlog.bytes() > BUFFERED_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let Some((last, hash)) = self.backlog.inserted_last() else {
            self.oldest = None;
            return Ok(());
        };
        let begun = Instant::now();
        self.shared.with_store(Store::flush)?;
        let head = Head { last, hash, ..self.head };
        self.head_file.write(&head)?;
        self.head = head;
        self.shared.flushed.store(last.0, Ordering::Release);
        self.backlog.flushed();
        self.oldest = None;
        self.shared.backlog_bytes.store(self.backlog.bytes() as u64, Ordering::Release);
        let took = begun.elapsed();
        if took >= SLOW_FLUSH {
            self.notices.slow(took);
        }
        Ok(())
    }

    /// Does what was asked besides appending; it speaks of records that are flushed first.
    fn keep_up(&mut self) -> Result<(), StoreError> {
        for upkeep in std::mem::take(&mut self.upkeep) {
            self.flush()?;
            upkeep.run(&self.shared, self.head.last)?;
        }
        Ok(())
    }

    /// Takes one packing step if there is something to pack and nothing to do, or far too much.
    fn pack(&mut self, idle: bool) -> Result<(), StoreError> {
        let last = self.head.last;
        if !(self.packer.must(last) || (idle && self.packer.wants(last))) {
            return Ok(());
        }
        self.flush()?;
        let packer = &mut self.packer;
        self.shared.with_store(|store| {
            packer.step(store, last)?;
            store.flush()
        })?;
        self.shared.hot_first.store(self.packer.hot_first().0, Ordering::Release);
        self.shared.packed_bytes.store(self.packer.packed_bytes(), Ordering::Release);
        Ok(())
    }

    /// Opens the store again after an error: sled refuses everything after the first one. Then
    /// writes what it lacks.
    fn recover(&mut self) -> Result<(), StoreError> {
        self.probe()?;
        self.shared.set_store(None);
        let store = Store::open(&self.store_path, self.cache_bytes)?;
        let (last, hash) = self.end(&store)?;
        if !self.backlog.reconcile(last, hash, (self.head.last, self.head.hash)) {
            // Flushed records are gone. Going on would hide it: the next start of the log finds the
            // head ahead of the store, and says so.
            return Err(StoreError::Damaged(format!(
                "the store ends at {last} after it was reopened, though {} was flushed; \
                 restart the daemon",
                self.head.last
            )));
        }
        self.packer.restart(Seq(self.shared.hot_first.load(Ordering::Acquire)));
        self.shared.set_store(Some(store));
        self.write(true)
    }

    fn end(&self, store: &Store) -> Result<(Seq, super::chain::Hash), StoreError> {
        let Some((first, value)) = store.last_entry()? else {
            let header = self.shared.header();
            return Ok((Seq(header.first.0 - 1), header.before));
        };
        let entry = super::entry::Entry::parse(&value).map_err(StoreError::Damaged)?;
        let hash = entry.last_hash().ok_or_else(|| StoreError::Damaged("an empty batch".to_string()))?;
        Ok((Seq(first.0 + entry.count() - 1), hash))
    }

    /// Fails while the disk has no room: a reopening store needs some, and would only fail later.
    fn probe(&self) -> io::Result<()> {
        let path = self.dir.join("probe");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        });
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    }

    /// Flushes what there is, once: a disk that does not work keeps nobody from stopping.
    fn close(mut self) -> Result<(), String> {
        while let Ok(job) = self.jobs.try_recv() {
            self.take(job);
        }
        let result = if self.retry_at.is_some() { self.recover() } else { self.write(true) };
        let last = self.backlog.last();
        let result = result.map_err(|error| {
            format!("records after {} up to {last} are not on the disk: {error}", self.head.last)
        });
        // sled's own lock goes with the store, and ours last.
        self.shared.set_store(None);
        drop(self.lock);
        debug_assert!(result.is_err() || self.backlog.is_empty());
        result
    }
}
