//! Owns the batches between their acceptance and the disk: their order, bytes and hashes are fixed
//! here, once. It must never forget a batch before it is flushed.

use super::chain::Hash;
use super::codec::{CodecError, encode_frame};
use super::entry::{BATCH_BYTES_MAX, INLINE_BYTES_MAX, hot, pack};
use pgfo_replay::{Record, Seq};
use serde::Serialize;
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Bound of the batches in memory, bytes. Past it the log takes no more until the disk works again:
/// at 300 bytes a second of heartbeats that is half a day, and far below the daemon's memory.
pub const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a batch was not appended, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A batch without records.
    #[error("a batch holds at least one record")]
    Empty,
    /// The batch does not continue the log.
    #[error("record {found} where {due} is due; a batch continues the log without a gap")]
    OutOfOrder {
        /// The number that is due.
        due: Seq,
        /// The number it has.
        found: Seq,
    },
    /// The batch, or a record in it, is too large or can't be encoded.
    #[error("record {seq} can't be stored: {why}")]
    Encode {
        /// The record.
        seq: Seq,
        /// The reason.
        why: CodecError,
    },
    /// The log was closed first: whether the batch is on the disk is unknown.
    #[error("the log was closed before it flushed the batch; whether it is on the disk is unknown")]
    Closed,
}

pub(crate) type Reply = oneshot::Sender<Result<Seq, AppendError>>;

struct Waiting {
    first: Seq,
    last: Seq,
    hash: Hash,
    value: Vec<u8>,
    reply: Option<Reply>,
}

/// Batches in order; the first `inserted` are in the store, but not known to be on the disk.
pub(crate) struct Backlog {
    batches: VecDeque<Waiting>,
    inserted: usize,
    bytes: usize,
    waiters: usize,
    next: Seq,
    hash: Hash,
}

impl Backlog {
    pub(crate) const fn new(last: Seq, hash: Hash) -> Self {
        Self { batches: VecDeque::new(), inserted: 0, bytes: 0, waiters: 0, next: last.next(), hash }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether another batch may be taken.
    pub(crate) const fn has_room(&self) -> bool {
        self.bytes + BATCH_BYTES_MAX <= BACKLOG_BYTES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Returns whether anyone waits for a flush.
    pub(crate) const fn has_waiters(&self) -> bool {
        self.waiters > 0
    }

    pub(crate) const fn last(&self) -> Seq {
        Seq(self.next.0 - 1)
    }

    /// Takes a batch. With `flushed` the reply waits for the flush, else it is answered now: the
    /// batch has its place, and a buffered one is promised no more.
    pub(crate) fn accept<E: Serialize>(&mut self, records: &[Record<E>], flushed: bool, reply: Reply) {
        match self.encode(records) {
            Err(error) => {
                // A receipt that nobody waits for any more is no error.
                let _ = reply.send(Err(error));
            }
            Ok((value, hash)) => {
                let first = self.next;
                self.next = Seq(first.0 + records.len() as u64);
                self.hash = hash;
                self.bytes += value.len();
                let last = self.last();
                let reply = if flushed {
                    self.waiters += 1;
                    Some(reply)
                } else {
                    let _ = reply.send(Ok(last));
                    None
                };
                self.batches.push_back(Waiting { first, last, hash, value, reply });
            }
        }
    }

    fn encode<E: Serialize>(&self, records: &[Record<E>]) -> Result<(Vec<u8>, Hash), AppendError> {
        if records.is_empty() {
            return Err(AppendError::Empty);
        }
        let mut frames = Vec::new();
        let mut hash = self.hash;
        let mut due = self.next;
        for record in records {
            let seq = record.seq;
            if seq != due {
                return Err(AppendError::OutOfOrder { due, found: seq });
            }
            hash = encode_frame(record, hash, &mut frames).map_err(|why| AppendError::Encode { seq, why })?;
            if frames.len() > BATCH_BYTES_MAX {
                let why = CodecError::TooLarge { bytes: frames.len(), bytes_max: BATCH_BYTES_MAX };
                return Err(AppendError::Encode { seq, why });
            }
            due = due.next();
        }
        let packed = if frames.len() > INLINE_BYTES_MAX {
            // Compression of bytes in memory fails for want of memory only; then it stays as it is.
            pack(&frames, u32::try_from(records.len()).unwrap_or(u32::MAX), self.hash).ok()
        } else {
            None
        };
        Ok((packed.unwrap_or_else(|| hot(&frames)), hash))
    }

    /// Hands the batches that are not in the store yet to `insert`, in order, until it fails.
    pub(crate) fn insert<X>(&mut self, mut insert: impl FnMut(Seq, &[u8]) -> Result<(), X>) -> Result<(), X> {
        while let Some(batch) = self.batches.get(self.inserted) {
            insert(batch.first, &batch.value)?;
            self.inserted += 1;
        }
        Ok(())
    }

    /// Returns the last record in the store and its hash, if it is not flushed yet.
    pub(crate) fn inserted_last(&self) -> Option<(Seq, Hash)> {
        let batch = self.batches.get(self.inserted.checked_sub(1)?)?;
        Some((batch.last, batch.hash))
    }

    /// Forgets what is in the store, which is now flushed, and answers who waited.
    pub(crate) fn flushed(&mut self) {
        for batch in self.batches.drain(..self.inserted) {
            self.bytes -= batch.value.len();
            if let Some(reply) = batch.reply {
                self.waiters -= 1;
                let _ = reply.send(Ok(batch.last));
            }
        }
        self.inserted = 0;
    }

    /// After the store was reopened and ends at (`last`, `hash`): sets what is in it. `flushed` is
    /// what was flushed before. Returns whether the store is a prefix of what was accepted.
    pub(crate) fn reconcile(&mut self, last: Seq, hash: Hash, flushed: (Seq, Hash)) -> bool {
        let place = if (last, hash) == flushed {
            Some(0)
        } else {
            self.batches.iter().position(|batch| (batch.last, batch.hash) == (last, hash)).map(|at| at + 1)
        };
        if let Some(place) = place {
            self.inserted = place;
        }
        place.is_some()
    }
}
