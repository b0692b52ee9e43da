//! Owns the reports of the log's thread about itself. It must never block that thread.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Reports that may wait for the daemon. Stalls alternate with recoveries half a second apart, so
/// this is half a minute.
const NOTICES_MAX: usize = 64;

/// What the log's thread has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogCondition {
    /// The disk does not take records: they are kept in memory, and flushed receipts stay pending.
    Stalled {
        /// The first error.
        why: String,
    },
    /// All that was kept is on the disk.
    Recovered,
    /// A flush took long.
    Slow {
        /// How long, in nanoseconds.
        nanos: u64,
    },
}

pub(crate) struct Notices {
    sender: mpsc::Sender<LogCondition>,
    /// Stalls and recoveries that found the channel full; they alternate, so two tell the story.
    pending: VecDeque<LogCondition>,
}

impl Notices {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<LogCondition>) {
        let (sender, receiver) = mpsc::channel(NOTICES_MAX);
        (Self { sender, pending: VecDeque::new() }, receiver)
    }

    /// Reports a change; it arrives, though perhaps later.
    pub(crate) fn push(&mut self, condition: LogCondition) {
        if self.pending.len() >= NOTICES_MAX {
            // The oldest pair cancels itself.
            self.pending.drain(..2);
        }
        self.pending.push_back(condition);
        self.deliver();
    }

    /// Reports a slow flush, unless the channel is half full of other things.
    pub(crate) fn slow(&mut self, took: Duration) {
        if self.sender.capacity() > NOTICES_MAX / 2 {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            // Lost if the daemon is gone or busy: the next slow flush says the same.
            let _ = self.sender.try_send(LogCondition::Slow { nanos });
        }
    }

    pub(crate) fn undelivered(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn deliver(&mut self) {
        while let Some(condition) = self.pending.pop_front() {
            match self.sender.try_send(condition) {
                Ok(()) => {}
                Err(TrySendError::Full(condition)) => {
                    self.pending.push_front(condition);
                    return;
                }
                Err(TrySendError::Closed(_)) => self.pending.clear(),
            }
        }
    }
}
