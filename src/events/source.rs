//! Owns where entries come from, and the stream of verified frames over any such source. It must
//! never yield a frame that does not follow from the one before.

use super::chain::{Hash, Verifier};
use super::codec::Frame;
use super::damage::{Damage, DamageKind};
use super::entry::Entry;
use super::shared::{Pin, Shared};
use super::store::{Entries, Store, StoreError};
use super::walk::Walk;
use pgfo_replay::Seq;
use std::io;
use std::sync::Arc;

/// One entry as it is stored.
pub(crate) struct Stored {
    pub(crate) first: Seq,
    pub(crate) value: Vec<u8>,
    /// The hash before it, where the entry may begin before the record that is due.
    pub(crate) before: Option<Hash>,
}

/// A supply of entries.
pub(crate) trait EntrySource: Send {
    /// Returns the entry with the record that is due; `None` at the end.
    fn next_entry(&mut self, due: Verifier) -> Option<Result<Stored, Damage>>;
}

/// The entries of a store that nobody writes to.
pub(crate) struct CopiedStore {
    entries: Entries,
    /// Held open for `entries`.
    _store: Store,
}

impl CopiedStore {
    pub(crate) fn new(store: Store) -> Result<Self, StoreError> {
        Ok(Self { entries: store.entries(Seq(1))?, _store: store })
    }
}

impl EntrySource for CopiedStore {
    fn next_entry(&mut self, due: Verifier) -> Option<Result<Stored, Damage>> {
        let stored =
            |(first, value): (Seq, sled::IVec)| Stored { first, value: value.to_vec(), before: None };
        let unreadable =
            |error: StoreError| Damage { seq: due.next, what: DamageKind::Store(error.to_string()) };
        self.entries.next().map(|entry| entry.map(stored).map_err(unreadable))
    }
}

/// The entries of a live log up to a fixed record. Each is looked up by number, because packing may
/// move records between two look-ups.
pub(crate) struct LiveStore {
    shared: Arc<Shared>,
    end: Seq,
    /// Held while it is read.
    _pin: Pin,
}

impl LiveStore {
    /// Reads from `from` up to the last record that is in the store now, which is returned, too.
    pub(crate) fn new(shared: Arc<Shared>, from: Seq) -> Result<(Self, Seq), StoreError> {
        // The record before the first is looked up, too.
        let pin = shared.pin(Seq(from.0.saturating_sub(1)).max(shared.header().first));
        let last = shared.with_store(Store::last_entry)?;
        let end = match last {
            Some((first, value)) => {
                let count = Entry::parse(&value).map_err(StoreError::Damaged)?.count();
                Seq(first.0 + count.max(1) - 1)
            }
            None => Seq(shared.header().first.0 - 1),
        };
        Ok((Self { shared, end, _pin: pin }, end))
    }

    fn find(&self, due: Seq) -> Result<Option<Stored>, StoreError> {
        self.shared.with_store(|store| {
            let Some((first, value)) = store.entry_before(due)? else { return Ok(None) };
            let before = match Entry::parse(&value) {
                _ if first == due => None,
                Ok(Entry::Packed(packed)) => Some(packed.before),
                _ => Some(store.hash_before(first)?),
            };
            Ok(Some(Stored { first, value: value.to_vec(), before }))
        })
    }
}

impl EntrySource for LiveStore {
    fn next_entry(&mut self, due: Verifier) -> Option<Result<Stored, Damage>> {
        if due.next > self.end {
            return None;
        }
        let missing = DamageKind::Missing { until: self.end.next() };
        Some(match self.find(due.next) {
            Ok(Some(stored)) => Ok(stored),
            Ok(None) => Err(Damage { seq: due.next, what: missing }),
            Err(error) => Err(Damage { seq: due.next, what: DamageKind::Store(error.to_string()) }),
        })
    }
}

/// Verified frames, one after the other.
pub(crate) struct FrameStream {
    source: Box<dyn EntrySource>,
    walk: Walk,
    /// The last record that is yielded: packing may put later ones into the same entry.
    end: Seq,
}

impl FrameStream {
    /// Begins before the record `at.next`.
    pub(crate) fn new(source: Box<dyn EntrySource>, at: Verifier) -> io::Result<Self> {
        Ok(Self { source, walk: Walk::new(at)?, end: Seq(u64::MAX) })
    }

    /// Begins a stream over a live log before record `from`, and returns its last record.
    pub(crate) fn live(shared: &Arc<Shared>, from: Seq) -> Result<(Self, Seq), StoreError> {
        let (live, end) = LiveStore::new(Arc::clone(shared), from)?;
        let header = shared.header();
        let first = header.first;
        let begin = Verifier { next: first, previous: header.before };
        if from <= first || end < first {
            return Ok((Self { end, ..Self::new(Box::new(live), begin)? }, end));
        }
        // The record before `from` is verified on the way, so that its hash is known.
        let stored = live.find(Seq(from.0.min(end.0 + 1) - 1))?;
        let at = match stored {
            Some(Stored { first, before: Some(before), .. }) => Verifier { next: first, previous: before },
            Some(Stored { first, before: None, .. }) => {
                let previous = shared.with_store(|store| store.hash_before(first))?;
                Verifier { next: first, previous }
            }
            None => begin,
        };
        let mut stream = Self { end, ..Self::new(Box::new(live), at)? };
        while stream.walk.verifier().next < from {
            match stream.next_with(|_| ()) {
                Some(Ok(())) => {}
                Some(Err(damage)) => return Err(StoreError::Damaged(damage.to_string())),
                None => break,
            }
        }
        Ok((stream, end))
    }

    pub(crate) const fn verifier(&self) -> Verifier {
        self.walk.verifier()
    }

    /// Verifies the next frame and lets `read` see it; `None` at the end.
    pub(crate) fn next_with<T>(&mut self, read: impl FnOnce(&Frame<'_>) -> T) -> Option<Result<T, Damage>> {
        if self.walk.verifier().next > self.end {
            return None;
        }
        while !self.walk.has_frame() {
            let due = self.walk.verifier();
            match self.source.next_entry(due)?.and_then(|stored| self.load(due, &stored)) {
                Ok(()) => {}
                Err(damage) => return Some(Err(damage)),
            }
        }
        self.walk.next_with(read)
    }

    fn load(&mut self, due: Verifier, stored: &Stored) -> Result<(), Damage> {
        let Some(before) = stored.before else { return self.walk.load(stored.first, &stored.value) };
        // The entry begins before what is due: it was packed meanwhile. Walk to the place again, and
        // meet the same hash there.
        self.walk.reposition(Verifier { next: stored.first, previous: before });
        let found = self.walk.load(stored.first, &stored.value).and_then(|()| self.walk.skip_to(due.next));
        let reached = self.walk.verifier();
        if found.is_err() || reached.next != due.next || reached.previous != due.previous {
            let what = match found {
                Err(damage) => damage.what,
                Ok(()) if reached.next < due.next => DamageKind::Missing { until: due.next.next() },
                Ok(()) => DamageKind::Altered,
            };
            return Err(Damage { seq: due.next, what });
        }
        Ok(())
    }
}
