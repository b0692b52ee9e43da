//! Owns the handle of a live log: appending, reading, exporting, closing. It must never block the
//! caller of [`EventLog::append`].

use super::backlog::{AppendError, Backlog};
use super::chain::Hash;
use super::damage::{Damage, DamageKind};
use super::flat::{ExportError, Exported, export};
use super::notices::{LogCondition, Notices};
use super::open::{Condition, LogOptions, OpenError, STORE_NAME, start};
use super::packer::Packer;
use super::shared::{LogStats, Shared};
use super::source::FrameStream;
use super::writer::{Job, QUEUE_BATCHES_MAX, Writer};
use crate::core::Incarnation;
use pgfo_replay::{Record, Seq};
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
    jobs: Option<SyncSender<Job<E>>>,
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
        match jobs.try_send(job) {
            Ok(()) => Ok(Receipt(receipt)),
            Err(TrySendError::Full(job)) => Err(AppendRefused::Full(job.records)),
            Err(TrySendError::Disconnected(job)) => Err(AppendRefused::Closed(job.records)),
        }
    }

    /// Returns the records from number `from` to the last one in the store now, in order. Appending
    /// and packing may go on meanwhile.
    #[must_use]
    pub fn records(&self, from: Seq) -> Records<E> {
        match FrameStream::live(&self.shared, from) {
            Ok((stream, _)) => Records { stream: Some(stream), damage: None, event: PhantomData },
            Err(error) => {
                let what = DamageKind::Store(error.to_string());
                Records { stream: None, damage: Some(Damage { seq: from, what }), event: PhantomData }
            }
        }
    }

    /// Writes the records from `from` to the last one in the store now as a flat file. Blocks; run
    /// it where that is allowed.
    ///
    /// # Errors
    /// [`ExportError`]; the file then lacks its trailer.
    pub fn export_to(&self, from: Seq, out: &mut impl Write) -> Result<Exported, ExportError> {
        let (mut stream, last) = FrameStream::live(&self.shared, from)
            .map_err(|error| ExportError::Unreadable(error.to_string()))?;
        export(&mut stream, self.shared.header.origin, self.incarnation, last, out)
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

/// Records of a live log, in order; ends after the first damage.
pub struct Records<E> {
    stream: Option<FrameStream>,
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
        if !matches!(found, Some(Ok(_))) {
            self.stream = None;
        }
        found
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
