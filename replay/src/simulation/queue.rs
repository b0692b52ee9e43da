//! The one queue of what is to happen, ordered by time, then by order of insertion. It performs nothing.

use super::time::SimNanos;
use crate::stamp::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The queue of a simulation's events.
///
/// The heap orders small keys; the events themselves stay where they were put until they are due.
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<(SimNanos, u64, usize)>>,
    slots: Vec<Option<E>>,
    free: Vec<usize>,
    ties: u64,
    now: SimNanos,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), ties: 0, now: SimNanos(0) }
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
        self.heap.push(Reverse((at.max(self.now), self.ties, slot)));
    }

    /// Adds an event after a length of time.
    pub fn after(&mut self, length: Nanos, event: E) {
        self.at(self.now.plus(length), event);
    }

    /// Takes the next event and moves the time; `None` when it lies beyond `end`.
    pub fn next(&mut self, end: SimNanos) -> Option<E> {
        if self.heap.peek().is_none_or(|Reverse((at, ..))| *at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.now = at;
        self.free.push(slot);
        self.slots[slot].take()
    }

    /// Returns how many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.heap.len()
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
