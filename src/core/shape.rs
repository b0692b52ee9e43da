//! The shape of a machine: what of it tells two futures apart. Two machines of equal shape, whose instants
//! lie equally far ahead, answer the same observations in the same way for ever; numbers that only name
//! things, evidence, and whatever nothing reads any more are no part of it. For the model checker, which
//! takes states of one shape for one state. Nothing is decided by it.

use crate::core::BootNanos;
use crate::events::LeaseAsk;
use std::hash::{Hash, Hasher};

/// A shape while it is taken.
pub struct Shape<'a> {
    hasher: &'a mut dyn Hasher,
    instants: &'a mut Vec<BootNanos>,
    left_out: Option<&'a str>,
}

impl<'a> Shape<'a> {
    /// Takes a shape: what is put goes to the hasher, and every instant, in a fixed order, to the list.
    /// A part can be left out on purpose, to see whether anything notices.
    pub fn new(
        hasher: &'a mut dyn Hasher,
        instants: &'a mut Vec<BootNanos>,
        left_out: Option<&'a str>,
    ) -> Self {
        Self { hasher, instants, left_out }
    }

    /// Puts a part.
    pub(crate) fn put(&mut self, part: &str, value: impl Hash) {
        if self.left_out != Some(part) {
            value.hash(&mut self.hasher);
        }
    }

    /// Puts an instant: what lies in the past is all the same, so it is compared with the clock later.
    pub(crate) fn instant(&mut self, part: &str, at: BootNanos) {
        self.instants.push(if self.left_out == Some(part) { BootNanos(0) } else { at });
    }

    /// Puts an instant that may not be there.
    pub(crate) fn maybe(&mut self, part: &str, at: Option<BootNanos>) {
        self.put(part, at.is_some());
        self.instant(part, at.unwrap_or_default());
    }
}

/// What tells the requests of one process apart: it asks once in a term and at a moment. Their numbers
/// only name them.
pub(crate) fn request(ask: &LeaseAsk) -> impl Hash + use<> {
    (ask.term, ask.process, ask.duration, ask.roster_number)
}
