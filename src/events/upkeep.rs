//! Owns what the log's thread does besides appending and packing: it keeps checkpoints, and removes
//! old records behind one. It must never remove a record without a durable state to begin from.

use super::checkpoint::Checkpoint;
use super::entry::Header;
use super::shared::Shared;
use super::store::{Slot, Store, StoreError};
use pgfo_replay::Seq;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Why upkeep was not done. Nothing was changed, unless the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpkeepError {
    /// Somebody reads what would be removed, or too much waits; try again later.
    #[error("the log is busy; it is tried again")]
    Busy,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// What was asked does not fit the log.
    #[error("{0}")]
    Unfit(String),
    /// The store failed; the log recovers by itself.
    #[error("the store failed: {0}")]
    Store(String),
}

/// What is to be done.
pub(crate) enum Task {
    /// Keep a checkpoint.
    Keep(Checkpoint),
    /// Begin the log behind this checkpoint.
    Cut(Checkpoint),
}

/// A task, and who waits for it.
pub(crate) struct Upkeep {
    pub(crate) task: Task,
    pub(crate) reply: oneshot::Sender<Result<(), UpkeepError>>,
}

impl Upkeep {
    /// Does it on the log's thread; all up to `flushed` is on the disk.
    pub(crate) fn run(self, shared: &Shared, flushed: Seq) -> Result<(), StoreError> {
        let done = match &self.task {
            Task::Keep(checkpoint) => shared.with_store(|store| keep(store, shared, checkpoint, flushed)),
            Task::Cut(base) => shared.with_store(|store| cut(store, shared, base)),
        };
        let (answer, result) = match done {
            Ok(answer) => (answer, Ok(())),
            Err(error) => (Err(UpkeepError::Store(error.to_string())), Err(error)),
        };
        // Who no longer waits finds it done, or tries again.
        let _ = self.reply.send(answer);
        result
    }
}

fn unfit(why: &str) -> Result<Result<(), UpkeepError>, StoreError> {
    Ok(Err(UpkeepError::Unfit(why.to_string())))
}

fn keep(
    store: &Store,
    shared: &Shared,
    checkpoint: &Checkpoint,
    flushed: Seq,
) -> Result<Result<(), UpkeepError>, StoreError> {
    if checkpoint.origin != shared.header().origin || checkpoint.seq > flushed {
        return unfit("the checkpoint is of another log, or of a record that is not flushed");
    }
    let sealed = match checkpoint.seal() {
        Ok(sealed) => sealed,
        Err(why) => return unfit(&why),
    };
    let seq_in = |slot| Ok::<_, StoreError>(store.checkpoint(slot)?.and_then(Result::ok).map(|c| c.seq));
    let older = if seq_in(Slot::Even)? <= seq_in(Slot::Odd)? { Slot::Even } else { Slot::Odd };
    store.put_checkpoint(older, &sealed)?;
    store.flush()?;
    Ok(Ok(()))
}

fn cut(store: &Store, shared: &Shared, base: &Checkpoint) -> Result<Result<(), UpkeepError>, StoreError> {
    let old = shared.header();
    let header = Header { origin: old.origin, first: base.seq.next(), before: base.hash };
    let packed = header.first <= Seq(shared.hot_first.load(Ordering::Acquire));
    if base.origin != old.origin || header.first <= old.first || !packed {
        return unfit("the log can't begin there: only whole packed blocks are removed");
    }
    if store.entry_at(header.first)?.is_none() || store.hash_before(header.first)? != base.hash {
        return unfit("no block begins behind the checkpoint, or it is of another log");
    }
    let sealed = match base.seal() {
        Ok(sealed) => sealed,
        Err(why) => return unfit(&why),
    };
    let moved = shared.move_beginning(header, || {
        store.cut(&header, &sealed)?;
        store.flush()
    });
    match moved {
        None => Ok(Err(UpkeepError::Busy)),
        Some(done) => done.map(Ok),
    }
}
