//! The one queue of what is to happen, ordered by time, then by order of insertion. It performs nothing.

use super::time::SimNanos;
use crate::stamp::Nanos;

/// A bucket of the wheel is 2^20 ns, about a millisecond, wide: few events share one.
const BUCKET_BITS: u32 = 20;
/// Buckets: what is due within two seconds is in the wheel.
const BUCKETS: usize = 1 << 11;
/// Words of the bits that say which bucket has any; one bit each fits the summary.
const WORDS: usize = BUCKETS / 64;
const _: () = assert!(WORDS == u32::BITS as usize);
/// No slot.
const NONE: u32 = u32::MAX;

/// An event and its place in the order; a free slot has none.
struct Slot<E> {
    at: SimNanos,
    tie: u64,
    /// The next one of the same bucket, or the next free one.
    next: u32,
    event: Option<E>,
}

/// The queue of a simulation's events.
///
/// Most of what a simulation adds is due soon: that goes into a wheel of buckets, each a short sorted list, and bits
/// say which buckets have any. What is due later waits in a sorted list, the next one at its end, until the wheel
/// has come so far. The events themselves stay in their slots until they are due.
pub struct Queue<E> {
    slots: Vec<Slot<E>>,
    free: u32,
    /// The first slot of each bucket.
    buckets: Box<[u32; BUCKETS]>,
    /// Which buckets have any.
    bits: [u64; WORDS],
    /// Which words of the bits have any.
    summary: u32,
    later: Vec<(SimNanos, u64, u32)>,
    waiting: usize,
    ties: u64,
    now: SimNanos,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            buckets: Box::new([NONE; BUCKETS]),
            bits: [0; WORDS],
            summary: 0,
            later: Vec::new(),
            waiting: 0,
            ties: 0,
            now: SimNanos(0),
        }
    }
}

/// Returns the number of the bucket of an instant, counted from the beginning of time.
const fn turn(at: SimNanos) -> u64 {
    at.0 >> BUCKET_BITS
}

const fn bucket(at: SimNanos) -> usize {
    turn(at) as usize & (BUCKETS - 1)
}

impl<E> Queue<E> {
    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> SimNanos {
        self.now
    }

    /// Adds an event at an instant; the past counts as now.
    #[inline(always)]
    pub fn at(&mut self, at: SimNanos, event: E) {
        let slot = self.place(at.max(self.now));
        self.slots[slot as usize].event = Some(event);
    }

    /// Adds an event after a length of time.
    #[inline(always)]
    pub fn after(&mut self, length: Nanos, event: E) {
        self.at(self.now.plus(length), event);
    }

    /// Makes a place for an event that is due then.
    ///
    /// # Panics
    /// When more events wait than can be numbered.
    fn place(&mut self, at: SimNanos) -> u32 {
        self.ties += 1;
        self.waiting += 1;
        let tie = self.ties;
        let slot = match self.free {
            NONE => {
                self.slots.push(Slot { at, tie, next: NONE, event: None });
                let slot = u32::try_from(self.slots.len() - 1).unwrap_or(NONE);
                assert!(slot != NONE, "the simulation's queue is full");
                slot
            }
            slot => {
                let free = &mut self.slots[slot as usize];
                self.free = free.next;
                (free.at, free.tie) = (at, tie);
                slot
            }
        };
        if self.is_near(at) {
            self.put(slot, at, tie);
        } else {
            let after = self.later.partition_point(|(a, t, _)| (*a, *t) > (at, tie));
            self.later.insert(after, (at, tie, slot));
        }
        slot
    }

    /// Whether an instant, which is not past, is within the wheel.
    fn is_near(&self, at: SimNanos) -> bool {
        turn(at) - turn(self.now) < BUCKETS as u64
    }

    /// Puts a slot into the list of its bucket, in order.
    #[inline(always)]
    fn put(&mut self, slot: u32, at: SimNanos, tie: u64) {
        let bucket = bucket(at);
        let (mut before, mut next) = (NONE, self.buckets[bucket]);
        while next != NONE {
            let other = &self.slots[next as usize];
            if (at, tie) < (other.at, other.tie) {
                break;
            }
            (before, next) = (next, other.next);
        }
        self.slots[slot as usize].next = next;
        if before == NONE {
            self.buckets[bucket] = slot;
            self.bits[bucket / 64] |= 1 << (bucket % 64);
            self.summary |= 1 << (bucket / 64);
        } else {
            self.slots[before as usize].next = slot;
        }
    }

    /// Returns the first bucket, from that of the time on, that has any.
    #[inline(always)]
    fn first_bucket(&self) -> Option<usize> {
        let from = bucket(self.now);
        let word = from / 64;
        let rest = self.bits[word] & (u64::MAX << (from % 64));
        if rest != 0 {
            return Some(word * 64 + rest.trailing_zeros() as usize);
        }
        // Once around, from the next word on: what is left of this one is the last to come.
        let first = (word + 1) % WORDS;
        let turned = self.summary.rotate_right(first as u32);
        if turned == 0 {
            return None;
        }
        let word = (first + turned.trailing_zeros() as usize) % WORDS;
        Some(word * 64 + self.bits[word].trailing_zeros() as usize)
    }

    /// Takes the next event and moves the time; `None` when it lies beyond `end`.
    #[inline]
    pub fn next(&mut self, end: SimNanos) -> Option<E> {
        while let Some((at, tie, slot)) = self.later.last().copied() {
            if !self.is_near(at) {
                if self.summary != 0 || at > end {
                    break;
                }
                // Nothing is near: the wheel turns on at once.
                self.now = SimNanos(at.0 >> BUCKET_BITS << BUCKET_BITS);
            }
            self.later.pop();
            self.put(slot, at, tie);
        }
        let Some(bucket) = self.first_bucket() else { return self.rest_until(end) };
        let slot = self.buckets[bucket];
        let taken = &mut self.slots[slot as usize];
        if taken.at > end {
            return self.rest_until(end);
        }
        self.buckets[bucket] = taken.next;
        if taken.next == NONE {
            let word = &mut self.bits[bucket / 64];
            *word &= !(1 << (bucket % 64));
            if *word == 0 {
                self.summary &= !(1 << (bucket / 64));
            }
        }
        self.waiting -= 1;
        self.now = taken.at;
        taken.next = self.free;
        self.free = slot;
        taken.event.take()
    }

    fn rest_until(&mut self, end: SimNanos) -> Option<E> {
        self.now = self.now.max(end);
        None
    }

    /// Returns how many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Draws;
    use std::collections::BTreeMap;

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

    #[test]
    fn near_and_far_come_in_one_order() {
        let (draws, mut queue, mut sorted) = (Draws::new(3), Queue::default(), BTreeMap::new());
        let mut added = 0;
        for round in 0..20_000_u64 {
            for n in 0..draws.draw(1_u64, &[round]).below(4) {
                // At once, within a bucket, within the wheel, at its edge, far beyond it.
                let draw = draws.draw(2_u64, &[round, n]);
                let edge = (BUCKETS as u64) << BUCKET_BITS;
                let bounds = [1, 1 << BUCKET_BITS, edge, edge + (2 << BUCKET_BITS), 9 * edge];
                let length = draw.again().below(bounds[draw.below(5) as usize]);
                let at = queue.now().0 + if draw.again().again().happens(100) { edge } else { length };
                queue.at(SimNanos(at), added);
                sorted.insert((at, added), added);
                added += 1;
            }
            // Sometimes the time moves on without an event.
            let end = SimNanos(queue.now().0 + draws.draw(3_u64, &[round]).below(1 << 27));
            let due = sorted.first_key_value().filter(|((at, _), _)| *at <= end.0).map(|(key, _)| *key);
            assert_eq!(queue.next(end), due.map(|(_, event)| event), "round {round}");
            assert_eq!(queue.now().0, due.map_or(end.0, |(at, _)| at));
            if let Some(key) = due {
                sorted.remove(&key);
            }
            assert_eq!(queue.waiting(), sorted.len());
        }
        assert!(added > 20_000);
    }
}
