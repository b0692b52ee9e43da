//! The one queue of what is to happen, ordered by time, then by order of insertion. It performs nothing.

use super::time::SimNanos;
use crate::stamp::Nanos;

/// Bits of a key that name the slot.
const SLOT_BITS: u32 = 20;
/// Bits of a key that number the insertion.
const TIE_BITS: u32 = 64 - SLOT_BITS;

/// Time, insertion, slot, from the highest bit to the lowest: one number, compared at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u128);

impl Key {
    /// # Panics
    /// When more events wait, or were ever added, than a key can tell apart.
    fn new(at: SimNanos, tie: u64, slot: usize) -> Self {
        assert!(tie >> TIE_BITS == 0 && slot >> SLOT_BITS == 0, "the simulation's queue is full");
        Self(u128::from(at.0) << 64 | u128::from(tie << SLOT_BITS | slot as u64))
    }

    const fn at(self) -> SimNanos {
        SimNanos((self.0 >> 64) as u64)
    }

    const fn slot(self) -> usize {
        (self.0 as u64 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// The queue of a simulation's events.
///
/// A sorted list of small keys, the next one at its end: what a simulation adds is mostly due soon, so few keys
/// move. The events themselves stay where they were put until they are due.
pub struct Queue<E> {
    keys: Vec<Key>,
    slots: Vec<Option<E>>,
    free: Vec<usize>,
    ties: u64,
    now: SimNanos,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { keys: Vec::new(), slots: Vec::new(), free: Vec::new(), ties: 0, now: SimNanos(0) }
    }
}

impl<E> Queue<E> {
    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> SimNanos {
        self.now
    }

    /// Adds an event at an instant; the past counts as now.
    pub fn at(&mut self, at: SimNanos, event: E) {
        self.ties += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() - 1
            }
        };
        let key = Key::new(at.max(self.now), self.ties, slot);
        let later = self.keys.partition_point(|other| *other > key);
        self.keys.insert(later, key);
    }

    /// Adds an event after a length of time.
    pub fn after(&mut self, length: Nanos, event: E) {
        self.at(self.now.plus(length), event);
    }

    /// Takes the next event and moves the time; `None` when it lies beyond `end`.
    pub fn next(&mut self, end: SimNanos) -> Option<E> {
        let Some(key) = self.keys.pop_if(|key| key.at() <= end) else {
            self.now = self.now.max(end);
            return None;
        };
        self.now = key.at();
        self.free.push(key.slot());
        self.slots[key.slot()].take()
    }

    /// Returns how many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_insertion() {
        let mut queue = Queue::default();
        for (at, event) in [(20, 'c'), (10, 'a'), (20, 'd'), (10, 'b'), (90, 'z')] {
            queue.at(SimNanos(at), event);
        }
        let mut came = Vec::new();
        while let Some(event) = queue.next(SimNanos(50)) {
            came.push((queue.now().0, event));
            if event == 'a' {
                // The past counts as now, and comes after what was there before.
                queue.at(SimNanos(3), 'p');
            }
        }
        assert_eq!(came, [(10, 'a'), (10, 'b'), (10, 'p'), (20, 'c'), (20, 'd')]);
        assert_eq!((queue.now(), queue.waiting()), (SimNanos(50), 1));
    }
}
