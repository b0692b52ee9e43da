//! What is too large to be moved with every event of the queue: it is put down once, and the event carries its number.
//! It performs nothing.

use crate::events::{Event, Observation, ProbeFailure, ProbeReport};

/// The number of something that was put down. It is to be taken, once, by whoever handles or drops the event.
#[derive(Debug)]
#[must_use = "what is put down takes memory until it is taken"]
pub struct Parcel(usize);

/// What can be put down. It is moved whole: what is told apart on its way, as an `Option` is, is moved in pieces.
pub(super) trait Load {
    /// What lies where nothing was put down.
    const NOTHING: Self;
}

impl Load for Event {
    const NOTHING: Self = Self::Observed(Observation::ReceiverEnded);
}

impl Load for ProbeReport {
    const NOTHING: Self = Self::Failed(ProbeFailure::Refused);
}

/// Things that were put down.
pub(super) struct Parcels<T> {
    slots: Vec<T>,
    free: Vec<usize>,
}

impl<T> Default for Parcels<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T: Load> Parcels<T> {
    /// Puts something down.
    #[inline(always)]
    pub(super) fn put(&mut self, thing: T) -> Parcel {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(T::NOTHING);
                self.slots.len() - 1
            }
        };
        // Nothing lies there, which need not be dropped.
        std::mem::forget(std::mem::replace(&mut self.slots[slot], thing));
        Parcel(slot)
    }

    /// Takes it.
    #[inline(always)]
    pub(super) fn take(&mut self, parcel: Parcel) -> T {
        self.free.push(parcel.0);
        std::mem::replace(&mut self.slots[parcel.0], T::NOTHING)
    }
}
