//! Owns the walk over entries, frame by frame, verifying the chain. It must never go past damage.

use super::chain::Verifier;
use super::codec::{Frame, split_frame};
use super::damage::{Damage, DamageKind};
use super::entry::{Entry, count_frames};
use pgfo_replay::Seq;
use std::io;

/// Frames of one entry after the other, with the chain verified through all of them.
pub(crate) struct Walk {
    verifier: Verifier,
    /// The present entry's frames.
    raw: Vec<u8>,
    at: usize,
    /// The frames of the present entry were proven when it was unpacked.
    proven: bool,
    unpacker: zstd::bulk::Decompressor<'static>,
}

impl Walk {
    /// Begins a walk whose next record is `verifier.next`.
    pub(crate) fn new(verifier: Verifier) -> io::Result<Self> {
        Ok(Self {
            verifier,
            raw: Vec::new(),
            at: 0,
            proven: false,
            unpacker: zstd::bulk::Decompressor::new()?,
        })
    }

    pub(crate) const fn verifier(&self) -> Verifier {
        self.verifier
    }

    /// Moves to another place of the chain; an entry is loaded next.
    pub(crate) fn reposition(&mut self, verifier: Verifier) {
        self.verifier = verifier;
        self.at = self.raw.len();
    }

    /// Takes the entry stored under `first`; the one before must be used up.
    pub(crate) fn load(&mut self, first: Seq, value: &[u8]) -> Result<(), Damage> {
        let due = self.verifier.next;
        let block = |why: String| Damage { seq: due, what: DamageKind::Block(why) };
        if first > due {
            return Err(Damage { seq: due, what: DamageKind::Missing { until: first } });
        }
        if first < due {
            return Err(Damage { seq: due, what: DamageKind::OutOfPlace { found: first } });
        }
        self.at = 0;
        self.proven = false;
        match Entry::parse(value).map_err(block)? {
            Entry::Hot(frames) => {
                self.raw.clear();
                self.raw.extend_from_slice(frames);
            }
            Entry::Packed(packed) => {
                if packed.columns && packed.before != self.verifier.previous {
                    return Err(block("it does not follow the record before it".to_string()));
                }
                packed.unpack(&mut self.unpacker, &mut self.raw).map_err(block)?;
                if packed.columns {
                    self.proven = true;
                    return if self.raw.is_empty() {
                        Err(block("it holds no records".to_string()))
                    } else {
                        Ok(())
                    };
                }
                let ends = self.raw.ends_with(&packed.last.0);
                // Bytes that end inside a frame are left to the walk, which names the record.
                let counted = count_frames(&self.raw).map_or(true, |count| count == u64::from(packed.count));
                if packed.before != self.verifier.previous || !ends || !counted {
                    return Err(block("its head does not match its records".to_string()));
                }
            }
        }
        if self.raw.is_empty() {
            return Err(block("it holds no records".to_string()));
        }
        Ok(())
    }

    /// Returns whether the present entry has another frame.
    pub(crate) fn has_frame(&self) -> bool {
        self.at < self.raw.len()
    }

    /// Verifies the next frame and lets `read` see it; `None` when the entry is used up.
    pub(crate) fn next_with<T>(&mut self, read: impl FnOnce(&Frame<'_>) -> T) -> Option<Result<T, Damage>> {
        if !self.has_frame() {
            return None;
        }
        let due = self.verifier.next;
        Some(match split_frame(&self.raw[self.at..]) {
            Ok((frame, length)) => {
                self.at += length;
                let accepted =
                    if self.proven { self.verifier.follow(&frame) } else { self.verifier.accept(&frame) };
                accepted.map(|_| read(&frame))
            }
            Err(error) => Err(Damage { seq: due, what: DamageKind::Undecodable(error.to_string()) }),
        })
    }

    /// Verifies frames of the present entry until `next` is the next one.
    pub(crate) fn skip_to(&mut self, next: Seq) -> Result<(), Damage> {
        while self.verifier.next < next {
            match self.next_with(|_| ()) {
                Some(result) => result?,
                None => break,
            }
        }
        Ok(())
    }
}
