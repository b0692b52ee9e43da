//! Owns the handle of a live log: appending, reading, exporting, closing. It must never block the
//! caller of [`EventLog::append`].

use super::backlog::{AppendError, Backlog};
use super::chain::Hash;
use super::checkpoint::Checkpoint;
use super::damage::{Damage, DamageKind};
use super::entry::Entry;
use super::flat::{ExportError, Exported, Extent, export};
use super::notices::{LogCondition, Notices};
use super::open::{Condition, LogOptions, OpenError, STORE_NAME, start};
use super::packer::Packer;
use super::shared::{LogStats, Shared};
use super::source::FrameStream;
use super::store::Slot;
use super::upkeep::{Task, Upkeep, UpkeepError};
use super::writer::{Job, Order, QUEUE_BATCHES_MAX, Writer};
use crate::core::Incarnation;
use pgfo_replay::{Record, Seq, WallNanos};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::io::Write;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a receipt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A place in the log's order. On the disk within about a second.
    Buffered,
    /// The disk, and the head.
    Flushed,
}

/// A batch that was not taken, handed back.
pub enum AppendRefused<E> {
    /// Too many batches wait: the disk is stalled or too slow. Nothing was appended.
    Full(Vec<Record<E>>),
    /// The log's thread has ended.
    Closed(Vec<Record<E>>),
}

impl<E> AppendRefused<E> {
    const fn text(&self) -> &'static str {
        match self {
            Self::Full(_) => "the log's queue is full; retry once the disk takes records again",
            Self::Closed(_) => "the log is closed",
        }
    }
}

impl<E> fmt::Debug for AppendRefused<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<E> fmt::Display for AppendRefused<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<E> std::error::Error for AppendRefused<E> {}

/// Resolves with the batch's last record once its [`Durability`] is reached. Dropping it changes
/// nothing for the batch.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Seq, AppendError>>);

impl Receipt {
    /// Blocks the thread until it resolves; not for use within the runtime.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn wait(self) -> Result<Seq, AppendError> {
        self.0.blocking_recv().unwrap_or(Err(AppendError::Closed))
    }
}

impl Future for Receipt {
    type Output = Result<Seq, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

/// Records that could not be flushed when the log was closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log {} was closed, but {why}", dir.display())]
pub struct CloseError {
    /// The log's directory.
    pub dir: PathBuf,
    /// Which records, and why.
    pub why: String,
}

/// A log that was opened.
pub struct Opened<E> {
    /// The log.
    pub log: EventLog<E>,
    /// In what condition it was found.
    pub condition: Condition,
    /// The last record, `None` if there is none.
    pub last: Option<(Seq, Hash)>,
    /// Its present incarnation; another one whenever it may have lost records.
    pub incarnation: Incarnation,
    /// What the log's thread reports about itself.
    pub conditions: mpsc::Receiver<LogCondition>,
}

/// An append-only, hash-chained log of records, written by a thread of its own.
pub struct EventLog<E> {
    shared: Arc<Shared>,
    dir: PathBuf,
    incarnation: Incarnation,
    jobs: Option<SyncSender<Order<E>>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl<E: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> EventLog<E> {
    /// Opens the log in the directory `dir`, creating it if there is none.
    ///
    /// # Errors
    /// [`OpenError`] if another process has it, or the system refuses. A damaged log is no error: it
    /// is put aside, see [`Condition`].
    pub fn open(dir: impl AsRef<Path>, options: LogOptions) -> Result<Opened<E>, OpenError> {
        let dir = dir.as_ref().to_path_buf();
        let started = start(&dir, &options)?;
        let head = started.head;
        let shared = Arc::new(Shared::new(started.store, started.header, head.last, started.hot_first));
        let (jobs, receiver) = sync_channel(QUEUE_BATCHES_MAX);
        let (notices, conditions) = Notices::channel();
        let writer = Writer {
            shared: Arc::clone(&shared),
            jobs: receiver,
            upkeep: Vec::new(),
            dir: dir.clone(),
            store_path: dir.join(STORE_NAME),
            cache_bytes: options.cache_bytes,
            head_file: started.head_file,
            head,
            backlog: Backlog::new(head.last, head.hash),
            packer: Packer::new(options.pack, started.hot_first),
            notices,
            retry_at: None,
            oldest: None,
            lock: started.lock,
        };
        let thread = std::thread::Builder::new()
            .name("pgfo-log".to_string())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { dir: dir.clone(), source })?;
        let log = Self { shared, dir, incarnation: head.incarnation, jobs: Some(jobs), thread: Some(thread) };
        let last = (head.last >= started.header.first).then_some((head.last, head.hash));
        Ok(Opened { log, condition: started.condition, last, incarnation: head.incarnation, conditions })
    }

    /// Hands a batch to the log's thread, to be stored atomically. Its records continue the log
    /// without a gap. Returns at once.
    ///
    /// # Errors
    /// [`AppendRefused`] with the batch, of which nothing was appended.
    pub fn append(&self, batch: Vec<Record<E>>, durability: Durability) -> Result<Receipt, AppendRefused<E>> {
        let Some(jobs) = &self.jobs else { return Err(AppendRefused::Closed(batch)) };
        let (reply, receipt) = oneshot::channel();
        let job = Job { records: batch, flushed: durability == Durability::Flushed, reply };
        match jobs.try_send(Order::Append(job)) {
            Ok(()) => Ok(Receipt(receipt)),
            Err(TrySendError::Full(order)) => Err(AppendRefused::Full(records_of(order))),
            Err(TrySendError::Disconnected(order)) => Err(AppendRefused::Closed(records_of(order))),
        }
    }

    /// Puts a checkpoint beside the log, over the older of the two newest, and waits until it is
    /// durable. Blocks; run it where that is allowed.
    ///
    /// # Errors
    /// [`UpkeepError`]; the checkpoints that were there before are as they were.
    pub fn keep_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), UpkeepError> {
        self.keep_up(Task::Keep(checkpoint.clone()))
    }

    /// Removes the records up to the one that `base` is of, which the log begins with from now on;
    /// one atomic write. Blocks; run it where that is allowed.
    ///
    /// # Errors
    /// [`UpkeepError`]; the log is as it was.
    pub fn cut_before(&self, base: &Checkpoint) -> Result<(), UpkeepError> {
        self.keep_up(Task::Cut(base.clone()))
    }

    fn keep_up(&self, task: Task) -> Result<(), UpkeepError> {
        let jobs = self.jobs.as_ref().ok_or(UpkeepError::Closed)?;
        let (reply, answer) = oneshot::channel();
        jobs.try_send(Order::Upkeep(Upkeep { task, reply })).map_err(|_| UpkeepError::Busy)?;
        answer.blocking_recv().unwrap_or(Err(UpkeepError::Closed))
    }

    /// Returns the checkpoints beside the log, the newest first; damaged ones, and those of records
    /// that the log does not hold, are left out.
    ///
    /// # Errors
    /// In words, when the store can't be read.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, String> {
        let read = |slot| self.shared.with_store(|store| store.checkpoint(slot));
        let mut found = Vec::new();
        for slot in [Slot::Base, Slot::Even, Slot::Odd] {
            let checkpoint = read(slot).map_err(|error| error.to_string())?;
            found.extend(checkpoint.and_then(Result::ok));
        }
        let header = self.shared.header();
        found.retain(|c| c.origin == header.origin && c.seq.next() >= header.first);
        found.sort_by_key(|c| std::cmp::Reverse(c.seq));
        found.dedup();
        Ok(found)
    }

    /// Returns the records behind a checkpoint, in order.
    ///
    /// # Errors
    /// In words, when it is not of this log.
    pub fn records_after(&self, checkpoint: &Checkpoint) -> Result<Records<E>, String> {
        let (stream, _) =
            FrameStream::live(&self.shared, checkpoint.seq.next()).map_err(|e| e.to_string())?;
        if stream.verifier().next != checkpoint.seq.next() || stream.verifier().previous != checkpoint.hash {
            return Err(format!("the checkpoint of record {} is of another log", checkpoint.seq));
        }
        Ok(Records { stream: Some(stream), hash: None, damage: None, event: PhantomData })
    }

    /// Returns the packed blocks, the oldest first, each with the stamps of its first record: where the
    /// log may be cut.
    pub fn blocks(&self) -> impl Iterator<Item = Result<Block, Damage>> {
        let mut next = self.shared.header().first;
        let end = Seq(self.shared.hot_first.load(Ordering::Acquire));
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let block = self.block(next);
            next = block.as_ref().map_or(end, |(_, next)| *next);
            Some(block.map(|(block, _)| block))
        })
    }

    fn block(&self, first: Seq) -> Result<(Block, Seq), Damage> {
        let store = |why: String| Damage { seq: first, what: DamageKind::Store(why) };
        let value =
            self.shared.with_store(|s| s.entry_at(first)).map_err(|error| store(error.to_string()))?;
        let value = value.ok_or(Damage { seq: first, what: DamageKind::Missing { until: first.next() } })?;
        let count = Entry::parse(&value).map_err(store)?.count();
        let (mut stream, _) = FrameStream::live(&self.shared, first).map_err(|e| store(e.to_string()))?;
        let record = match stream.next_with(|frame| frame.record::<E>()) {
            Some(Ok(Ok(record))) => record,
            Some(Err(damage)) => return Err(damage),
            Some(Ok(Err(error))) => return Err(store(error.to_string())),
            None => return Err(store("an empty block".to_string())),
        };
        Ok((Block { first, wall: record.wall, bytes: value.len() as u64 }, Seq(first.0 + count.max(1))))
    }

    /// Returns the records from number `from` to the last one in the store now, in order. Appending
    /// and packing may go on meanwhile.
    #[must_use]
    pub fn records(&self, from: Seq) -> Records<E> {
        match FrameStream::live(&self.shared, from) {
            Ok((stream, _)) => Records { stream: Some(stream), hash: None, damage: None, event: PhantomData },
            Err(error) => {
                let what = DamageKind::Store(error.to_string());
                Records {
                    stream: None,
                    hash: None,
                    damage: Some(Damage { seq: from, what }),
                    event: PhantomData,
                }
            }
        }
    }

    /// Writes the records from `from` to `to`, or to the last one in the store now, as a flat file.
    /// A file that begins behind the log's first record needs the `checkpoint` before it to be
    /// audited. Blocks; run it where that is allowed.
    ///
    /// # Errors
    /// [`ExportError`]; the file then lacks its trailer.
    pub fn export_to(
        &self,
        from: Seq,
        to: Option<Seq>,
        checkpoint: Option<&Checkpoint>,
        out: &mut impl Write,
    ) -> Result<Exported, ExportError> {
        let unreadable = |error: super::store::StoreError| ExportError::Unreadable(error.to_string());
        let (mut stream, last) = FrameStream::live(&self.shared, from).map_err(unreadable)?;
        let header = self.shared.header();
        let base = if checkpoint.is_none() && stream.verifier().next == header.first {
            self.shared.with_store(|store| store.base(&header)).map_err(unreadable)?.and_then(Result::ok)
        } else {
            None
        };
        let last = to.map_or(last, |to| to.min(last));
        let extent = Extent { origin: header.origin, incarnation: self.incarnation, last };
        export(&mut stream, extent, checkpoint.or(base.as_ref()), out)
    }

    /// Returns the log's numbers.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    /// Returns how long the log's thread has been at its present work: more than a moment means that the disk
    /// does not come back.
    #[must_use]
    pub fn busy_for(&self) -> Duration {
        self.shared.busy_for()
    }

    /// Returns the log's present incarnation.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Returns the incarnation that the log began with.
    #[must_use]
    pub fn origin(&self) -> Incarnation {
        self.shared.header().origin
    }

    /// Returns the log's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Flushes what was appended and ends the log's thread. Blocks.
    ///
    /// # Errors
    /// [`CloseError`] if the disk did not take everything.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.stop()
    }
}

impl<E> EventLog<E> {
    fn stop(&mut self) -> Result<(), CloseError> {
        self.shared.closing.store(true, Ordering::Release);
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let ended = thread.join().unwrap_or_else(|_| Err("its thread panicked".to_string()));
        ended.map_err(|why| CloseError { dir: self.dir.clone(), why })
    }
}

impl<E> Drop for EventLog<E> {
    fn drop(&mut self) {
        // Who wants to know calls `close`; receipts that were not flushed resolve as unknown.
        let _ = self.stop();
    }
}

fn records_of<E>(order: Order<E>) -> Vec<Record<E>> {
    match order {
        Order::Append(job) => job.records,
        Order::Upkeep(_) => Vec::new(),
    }
}

/// A packed block of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its first record.
    pub first: Seq,
    /// That record's wall clock.
    pub wall: WallNanos,
    /// Its bytes as stored.
    pub bytes: u64,
}

/// Records of a live log, in order; ends after the first damage.
pub struct Records<E> {
    stream: Option<FrameStream>,
    hash: Option<Hash>,
    damage: Option<Damage>,
    event: PhantomData<fn() -> E>,
}

impl<E: DeserializeOwned> Iterator for Records<E> {
    type Item = Result<Record<E>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(damage) = self.damage.take() {
            return Some(Err(damage));
        }
        let stream = self.stream.as_mut()?;
        let seq = stream.verifier().next;
        let found = stream.next_with(|frame| frame.record::<E>()).map(|found| {
            found.and_then(|record| {
                record.map_err(|error| Damage { seq, what: DamageKind::Undecodable(error.to_string()) })
            })
        });
        self.hash = match found {
            Some(Ok(_)) => self.stream.as_ref().map(|stream| stream.verifier().previous),
            Some(Err(_)) | None => None,
        };
        if self.hash.is_none() {
            self.stream = None;
        }
        found
    }
}

impl<E> Records<E> {
    /// Returns the hash of the record that was yielded last.
    #[must_use]
    pub const fn hash(&self) -> Option<Hash> {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgfo_replay::{BootNanos, WallNanos};
    use std::time::Instant;

    fn batch(seq: u64) -> Vec<Record<u64>> {
        let (boot, wall) = (BootNanos(seq), WallNanos(0));
        vec![Record { seq: Seq(seq), boot, wall, actor: 0, cause: None, event: seq }]
    }

    /// A disk that does not come back is seen, takes in what comes meanwhile, and everything after it.
    #[test]
    fn a_hung_disk_is_seen_and_refuses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = EventLog::<u64>::open(dir.path(), LogOptions::default()).unwrap().log;
        assert_eq!(log.append(batch(1), Durability::Flushed).unwrap().wait(), Ok(Seq(1)));
        let hung = log.shared.hold_store();
        let first = log.append(batch(2), Durability::Flushed).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while log.busy_for() < Duration::from_millis(20) {
            assert!(Instant::now() < patience, "the log's thread never began");
            std::thread::yield_now();
        }
        let many = 2_000;
        for seq in 3..=many {
            log.append(batch(seq), Durability::Buffered).unwrap();
        }
        let last = log.append(batch(many + 1), Durability::Flushed).unwrap();
        drop(hung);
        assert_eq!(first.wait(), Ok(Seq(2)));
        assert_eq!(last.wait(), Ok(Seq(many + 1)));
        log.close().unwrap();
    }
}
