//! What is too large to be moved with every event of the queue: it is put down once, and the event carries its number.
//! It performs nothing.

/// The number of something that was put down. It is to be taken, once, by whoever handles or drops the event.
#[derive(Debug)]
#[must_use = "what is put down takes memory until it is taken"]
pub struct Parcel(usize);

/// Things that were put down.
pub(super) struct Parcels<T> {
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Parcels<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Parcels<T> {
    /// Puts something down.
    pub(super) fn put(&mut self, thing: T) -> Parcel {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(thing);
                Parcel(slot)
            }
            None => {
                self.slots.push(Some(thing));
                Parcel(self.slots.len() - 1)
            }
        }
    }

    /// Takes it; `None` if it was taken already.
    pub(super) fn take(&mut self, parcel: Parcel) -> Option<T> {
        let thing = self.slots[parcel.0].take();
        if thing.is_some() {
            self.free.push(parcel.0);
        }
        thing
    }
}
