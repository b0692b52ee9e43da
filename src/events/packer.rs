//! Owns packing: old hot batches become compressed blocks, one small step at a time. It must never
//! change a byte of a record, nor run while a batch waits.

use super::chain::Hash;
use super::entry::{
    BLOCK_RAW_BYTES_MAX, COLUMNS_RAW_BYTES_MAX, Entry, INLINE_BYTES_MAX, count_frames, pack, pack_columns,
};
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
    /// A few minutes of heartbeats hot; a step of some ten milliseconds, a few times in six minutes.
    fn default() -> Self {
        Self { keep_records: 1024, start_records: 4096, force_records: 65_536, step_batches_max: 1024 }
    }
}

/// A block should come this close to the bound of a value.
const FILL_BYTES_MIN: usize = INLINE_BYTES_MAX * 7 / 8;
/// Frames that are gathered at first.
const TARGET_BYTES: usize = 96 * 1024;
/// Frames that are gathered at most: with one more batch they stay below the bound of a block.
const TARGET_BYTES_MAX: usize = COLUMNS_RAW_BYTES_MAX / 2;

/// The packer's place in the log.
#[derive(Debug)]
pub(crate) struct Packer {
    options: PackOptions,
    /// The first record that is still hot.
    hot_first: Seq,
    /// The last block and its bytes, if there was too little to fill it: the next step begins with it.
    unfilled: Option<(Seq, u64)>,
    /// Bytes of all blocks that were packed.
    packed_bytes: u64,
    /// Frames to gather for one block, bytes; follows the compression that is seen.
    target_bytes: usize,
    /// Packing goes on until only `keep_records` are left.
    running: bool,
}

impl Packer {
    pub(crate) const fn new(options: PackOptions, hot_first: Seq) -> Self {
        Self {
            options,
            hot_first,
            unfilled: None,
            packed_bytes: 0,
            target_bytes: TARGET_BYTES,
            running: false,
        }
    }

    /// Returns the first record that is still hot.
    pub(crate) const fn hot_first(&self) -> Seq {
        self.hot_first
    }

    /// Returns the bytes of all blocks that were packed.
    pub(crate) const fn packed_bytes(&self) -> u64 {
        self.packed_bytes
    }

    /// Begins again at `hot_first`, the end of what is known to be packed on the disk.
    pub(crate) const fn restart(&mut self, hot_first: Seq) {
        self.hot_first = hot_first;
        self.unfilled = None;
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
            let batches = gathered.firsts.len();
            let value = match gathered.pack(first)? {
                Some(value) if value.len() <= INLINE_BYTES_MAX || batches == 1 => value,
                too_large => {
                    let fits = |value: Vec<u8>| gathered.frames.len() * INLINE_BYTES_MAX / value.len();
                    let bytes = too_large.map_or(BLOCK_RAW_BYTES_MAX, fits) / 16 * 15;
                    self.target_bytes = bytes.clamp(INLINE_BYTES_MAX, TARGET_BYTES_MAX);
                    gathered.truncate_to(self.target_bytes);
                    continue;
                }
            };
            let next = Seq(first.0 + u64::from(gathered.count));
            if next <= self.hot_first {
                // Nothing can be added to the unfilled block.
                self.unfilled = None;
                return Ok(());
            }
            let bytes = value.len();
            store.replace(&gathered.firsts, value)?;
            // An unfilled block is the first of what was gathered: it is replaced.
            self.packed_bytes -= self.unfilled.map_or(0, |(_, bytes)| bytes);
            self.packed_bytes += bytes as u64;
            self.unfilled = (bytes < FILL_BYTES_MIN / 2).then_some((first, bytes as u64));
            if bytes < FILL_BYTES_MIN && gathered.frames.len() >= self.target_bytes * 7 / 8 {
                self.target_bytes = (self.target_bytes * 9 / 8).min(TARGET_BYTES_MAX);
            }
            self.hot_first = next;
            return Ok(());
        }
    }

    fn gather(&self, store: &Store, end: Seq) -> Result<Gathered, StoreError> {
        let begin = match self.unfilled {
            // Retention may have removed it meanwhile.
            Some((first, _)) if store.entry_before(first)?.is_some_and(|(found, _)| found == first) => first,
            _ => self.hot_first,
        };
        let mut gathered = Gathered::new(store.hash_before(begin)?);
        for entry in store.entries(begin)? {
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

    /// Keeps the batches whose frames end within so many bytes; at least one, and not all.
    fn truncate_to(&mut self, bytes: usize) {
        let fit = self.ends.partition_point(|(end, _)| *end <= bytes);
        let batches = fit.min(self.firsts.len() - 1).max(1);
        let (bytes, count) = self.ends[batches - 1];
        self.firsts.truncate(batches);
        self.ends.truncate(batches);
        self.frames.truncate(bytes);
        self.count = count;
    }

    /// Returns the value of a block that begins at `first`; `None` if it is too large for any.
    fn pack(&self, first: Seq) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = pack_columns(&self.frames, first, self.count, self.before) {
            return Ok(Some(value));
        }
        if self.frames.len() > BLOCK_RAW_BYTES_MAX {
            return Ok(None);
        }
        let value = pack(&self.frames, self.count, self.before);
        value.map(Some).map_err(|error| StoreError::Environment(error.to_string()))
    }
}
