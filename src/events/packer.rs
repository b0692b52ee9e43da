//! Owns packing: old hot batches become compressed blocks, one small step at a time. It must never
//! change a byte of a record, nor run while a batch waits.

use super::chain::Hash;
use super::entry::{BLOCK_RAW_BYTES_MAX, Entry, INLINE_BYTES_MAX, count_frames, pack};
use super::store::{Store, StoreError};
use pgfo_replay::Seq;

/// Bounds of what stays hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackOptions {
    /// The newest records that always stay hot.
    pub keep_records: u64,
    /// Packing starts when this many more are hot.
    pub start_records: u64,
    /// Past this many hot records a step is taken even while batches wait.
    pub force_records: u64,
    /// Batches of one step; bounds the time a flush can wait for it.
    pub step_batches_max: usize,
}

impl Default for PackOptions {
    /// About an hour of heartbeats hot; a step of a few milliseconds.
    fn default() -> Self {
        Self { keep_records: 1024, start_records: 4096, force_records: 65_536, step_batches_max: 128 }
    }
}

/// A block should come this close to the bound of a value.
const FILL_BYTES_MIN: usize = INLINE_BYTES_MAX * 3 / 4;

/// The packer's place in the log.
#[derive(Debug)]
pub(crate) struct Packer {
    options: PackOptions,
    /// The first record that is still hot.
    hot_first: Seq,
    /// Frames to gather for one block, bytes; follows the compression that is seen.
    target_bytes: usize,
    /// Packing goes on until only `keep_records` are left.
    running: bool,
}

impl Packer {
    pub(crate) const fn new(options: PackOptions, hot_first: Seq) -> Self {
        Self { options, hot_first, target_bytes: 3 * INLINE_BYTES_MAX, running: false }
    }

    /// Returns the first record that is still hot.
    pub(crate) const fn hot_first(&self) -> Seq {
        self.hot_first
    }

    /// Begins again at `hot_first`, the end of what is known to be packed on the disk.
    pub(crate) const fn restart(&mut self, hot_first: Seq) {
        self.hot_first = hot_first;
    }

    const fn hot_records(&self, last: Seq) -> u64 {
        (last.0 + 1).saturating_sub(self.hot_first.0)
    }

    /// Returns whether there is something to pack while the log is idle.
    pub(crate) fn wants(&mut self, last: Seq) -> bool {
        let hot = self.hot_records(last);
        if hot >= self.options.keep_records + self.options.start_records {
            self.running = true;
        }
        if hot <= self.options.keep_records {
            self.running = false;
        }
        self.running
    }

    /// Returns whether packing can't wait for the log to be idle.
    pub(crate) const fn must(&self, last: Seq) -> bool {
        self.hot_records(last) > self.options.force_records
    }

    /// Packs one block of old batches. The caller flushes before (so that only durable records are
    /// moved) and after (so that the space they leave is not reused before the block is durable).
    pub(crate) fn step(&mut self, store: &Store, last: Seq) -> Result<(), StoreError> {
        let end = Seq((last.0 + 1).saturating_sub(self.options.keep_records));
        let mut gathered = self.gather(store, end)?;
        loop {
            let Some(first) = gathered.firsts.first().copied() else {
                // Less than one batch is left to pack.
                self.running = false;
                return Ok(());
            };
            let value = pack(&gathered.frames, gathered.count, gathered.before)
                .map_err(|error| StoreError::Environment(error.to_string()))?;
            let batches = gathered.firsts.len();
            if value.len() > INLINE_BYTES_MAX && batches > 1 {
                self.target_bytes = (gathered.frames.len() * 2 / 3).max(INLINE_BYTES_MAX);
                gathered.truncate(batches * 2 / 3);
                continue;
            }
            store.replace(&gathered.firsts, value.clone())?;
            if value.len() < FILL_BYTES_MIN && gathered.frames.len() >= self.target_bytes {
                self.target_bytes = (self.target_bytes * 5 / 4).min(BLOCK_RAW_BYTES_MAX / 2);
            }
            self.hot_first = Seq(first.0 + u64::from(gathered.count));
            return Ok(());
        }
    }

    fn gather(&self, store: &Store, end: Seq) -> Result<Gathered, StoreError> {
        let mut gathered = Gathered::new(store.hash_before(self.hot_first)?);
        for entry in store.entries(self.hot_first)? {
            let (first, value) = entry?;
            let parsed = Entry::parse(&value).map_err(StoreError::Damaged)?;
            let mut raw = Vec::new();
            let frames = match &parsed {
                Entry::Hot(frames) => *frames,
                Entry::Packed(packed) => {
                    let mut unpacker = zstd::bulk::Decompressor::new()?;
                    packed.unpack(&mut unpacker, &mut raw).map_err(StoreError::Damaged)?;
                    &raw
                }
            };
            let count = count_frames(frames)
                .map_err(|whole| StoreError::Damaged(format!("batch {first} ends after {whole} records")))?;
            if first.0 + count > end.0 {
                break;
            }
            let bytes = gathered.frames.len() + frames.len();
            let full = bytes > self.target_bytes || gathered.firsts.len() >= self.options.step_batches_max;
            if full && !gathered.firsts.is_empty() {
                break;
            }
            gathered.push(first, frames, count);
        }
        Ok(gathered)
    }
}

/// Batches on their way into one block.
struct Gathered {
    before: Hash,
    firsts: Vec<Seq>,
    /// Where each batch's frames end, and how many records there are up to there.
    ends: Vec<(usize, u32)>,
    frames: Vec<u8>,
    count: u32,
}

impl Gathered {
    const fn new(before: Hash) -> Self {
        Self { before, firsts: Vec::new(), ends: Vec::new(), frames: Vec::new(), count: 0 }
    }

    fn push(&mut self, first: Seq, frames: &[u8], count: u64) {
        self.firsts.push(first);
        self.frames.extend_from_slice(frames);
        self.count += u32::try_from(count).unwrap_or(u32::MAX);
        self.ends.push((self.frames.len(), self.count));
    }

    /// Keeps the first `batches`, at least one.
    fn truncate(&mut self, batches: usize) {
        let batches = batches.clamp(1, self.firsts.len());
        let (bytes, count) = self.ends[batches - 1];
        self.firsts.truncate(batches);
        self.ends.truncate(batches);
        self.frames.truncate(bytes);
        self.count = count;
    }
}
