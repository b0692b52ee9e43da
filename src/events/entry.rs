//! Owns the value under one key of the store: a batch as it was appended, or a packed block. It must
//! never trust a length it reads: every one has a bound.
//!
//! Hot: kind 1, frames. Packed: kind 2 or 3, raw length `u32`, records `u32`, hash before, hash of the
//! last record, and the frames: compressed by zstd (2), or as [`super::columns`] (3). The frames are the
//! same bytes in all of them, so is the chain.

use super::chain::Hash;
use super::codec::{FRAME_EXTRA_BYTES, RECORD_BYTES_MAX, split_frame};
use super::columns;
use crate::core::Incarnation;
use pgfo_replay::Seq;
use std::io;

/// Bound of a batch's frames, bytes: twice the largest record, hundreds of common ones.
pub const BATCH_BYTES_MAX: usize = 2 * (RECORD_BYTES_MAX + FRAME_EXTRA_BYTES);
/// Bound of a block's frames, bytes; decompression allocates no more.
pub(crate) const BLOCK_RAW_BYTES_MAX: usize = 256 * 1024;
/// The same of a block of columns, whose frames are twenty times as large as itself.
pub(crate) const COLUMNS_RAW_BYTES_MAX: usize = 1024 * 1024;
/// A value above this is stored compressed at once. sled writes a whole leaf of up to 20 values as
/// one item, and an item above 128 KiB goes to a file of its own that sled never syncs.
pub(crate) const INLINE_BYTES_MAX: usize = 6 * 1024;
/// zstd's default: blocks this small gain little from a higher one.
const COMPRESSION_LEVEL: i32 = 3;
const KIND_HOT: u8 = 1;
const KIND_PACKED: u8 = 2;
const KIND_COLUMNS: u8 = 3;
const PACKED_HEAD_BYTES: usize = 1 + 4 + 4 + 2 * Hash::BYTES;
const HEADER_MAGIC: &[u8; 8] = b"pgfolog1";
const HEADER_BYTES: usize = 8 + 8 + 8 + Hash::BYTES;

/// A value of the store, split but not verified.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    /// One batch's frames.
    Hot(&'a [u8]),
    /// A compressed run of frames.
    Packed(Packed<'a>),
}

/// The parts of a packed block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed<'a> {
    raw_bytes: usize,
    /// Records in it.
    pub(crate) count: u32,
    /// Hash of the record before the first.
    pub(crate) before: Hash,
    /// Hash of the last record.
    pub(crate) last: Hash,
    /// Whether its body is columns, whose hashes are computed and not stored.
    pub(crate) columns: bool,
    body: &'a [u8],
}

/// Returns the value for a batch's frames.
pub(crate) fn hot(frames: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + frames.len());
    value.push(KIND_HOT);
    value.extend_from_slice(frames);
    value
}

/// Returns the packed value for `frames`, `count` records after the hash `before`.
pub(crate) fn pack(frames: &[u8], count: u32, before: Hash) -> io::Result<Vec<u8>> {
    assert!(frames.len() <= BLOCK_RAW_BYTES_MAX, "a block is bounded before it is packed");
    let compressed = zstd::bulk::compress(frames, COMPRESSION_LEVEL)?;
    Ok(packed(KIND_PACKED, frames, count, before, &compressed))
}

/// Returns the same as columns, of records from `first` on; `None` if these frames can't be split
/// into columns, or would not be the same again.
pub(crate) fn pack_columns(frames: &[u8], first: Seq, count: u32, before: Hash) -> Option<Vec<u8>> {
    if frames.len() > COLUMNS_RAW_BYTES_MAX {
        return None;
    }
    let body = columns::compress(frames, first)?;
    let mut again = Vec::new();
    columns::expand(&body, count, before, frames.len(), &mut again).ok()?;
    (again == frames).then(|| packed(KIND_COLUMNS, frames, count, before, &body))
}

fn packed(kind: u8, frames: &[u8], count: u32, before: Hash, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(PACKED_HEAD_BYTES + body.len());
    value.push(kind);
    value.extend_from_slice(&u32::try_from(frames.len()).unwrap_or(u32::MAX).to_le_bytes());
    value.extend_from_slice(&count.to_le_bytes());
    value.extend_from_slice(&before.0);
    value.extend_from_slice(&last_hash(frames).unwrap_or(before).0);
    value.extend_from_slice(body);
    value
}

fn last_hash(frames: &[u8]) -> Option<Hash> {
    frames.last_chunk::<{ Hash::BYTES }>().map(|hash| Hash(*hash))
}

impl<'a> Entry<'a> {
    /// Splits a stored value.
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, String> {
        match value.split_first() {
            Some((&KIND_HOT, frames)) if frames.len() <= BATCH_BYTES_MAX => Ok(Self::Hot(frames)),
            Some((&KIND_HOT, frames)) => Err(format!("a batch of {} bytes", frames.len())),
            Some((&KIND_PACKED, _)) => Packed::parse(value, BLOCK_RAW_BYTES_MAX).map(Self::Packed),
            Some((&KIND_COLUMNS, _)) => Packed::parse(value, COLUMNS_RAW_BYTES_MAX).map(Self::Packed),
            Some((kind, _)) => Err(format!("unknown kind {kind}")),
            None => Err("empty value".to_string()),
        }
    }

    /// Returns the hash of its last record, as stored.
    pub(crate) fn last_hash(&self) -> Option<Hash> {
        match self {
            Self::Hot(frames) => last_hash(frames),
            Self::Packed(packed) => Some(packed.last),
        }
    }

    /// Returns how many records it says it holds, as far as whole frames go.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Hot(frames) => count_frames(frames).unwrap_or_else(|whole| whole),
            Self::Packed(packed) => u64::from(packed.count),
        }
    }
}

/// Returns the number of frames; as an error if the bytes end inside one.
pub(crate) fn count_frames(mut frames: &[u8]) -> Result<u64, u64> {
    let mut count = 0;
    while !frames.is_empty() {
        let (_, length) = split_frame(frames).map_err(|_| count)?;
        frames = &frames[length..];
        count += 1;
    }
    Ok(count)
}

impl<'a> Packed<'a> {
    fn parse(value: &'a [u8], raw_bytes_max: usize) -> Result<Self, String> {
        let (head, body) =
            value.split_first_chunk::<PACKED_HEAD_BYTES>().ok_or("a packed block cut inside its head")?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let hash = |at: usize| {
            let mut bytes = [0; Hash::BYTES];
            bytes.copy_from_slice(&head[at..at + Hash::BYTES]);
            Hash(bytes)
        };
        let raw_bytes = number(1) as usize;
        if raw_bytes > raw_bytes_max {
            return Err(format!("a packed block that claims {raw_bytes} bytes"));
        }
        let count = number(5);
        let columns = head[0] == KIND_COLUMNS;
        Ok(Self { raw_bytes, count, before: hash(9), last: hash(9 + Hash::BYTES), columns, body })
    }

    /// Unpacks the frames into `raw`, which grows to the bound of its kind of block at most (of columns,
    /// to that and a record). Of columns, the frames are proven to follow from the hash before.
    pub(crate) fn unpack(
        &self,
        unpacker: &mut zstd::bulk::Decompressor<'static>,
        raw: &mut Vec<u8>,
    ) -> Result<(), String> {
        if self.columns {
            let last = columns::expand(self.body, self.count, self.before, self.raw_bytes, raw)?;
            return if last == self.last {
                Ok(())
            } else {
                Err("its records do not lead to its last hash; it was altered".to_string())
            };
        }
        raw.clear();
        raw.reserve(self.raw_bytes);
        let bytes = unpacker.decompress_to_buffer(self.body, raw).map_err(|error| error.to_string())?;
        if bytes != self.raw_bytes {
            return Err(format!("{bytes} bytes unpacked where {} were packed", self.raw_bytes));
        }
        Ok(())
    }
}

/// Where the chain begins: the value under key 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The incarnation that the log began with.
    pub(crate) origin: Incarnation,
    /// The first record kept; 1 until old ones are removed.
    pub(crate) first: Seq,
    /// The hash before it.
    pub(crate) before: Hash,
}

impl Header {
    /// Returns the header of a log that begins as `origin`.
    pub(crate) fn begin(origin: Incarnation) -> Self {
        Self { origin, first: Seq(1), before: Hash::genesis(origin) }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = HEADER_MAGIC.to_vec();
        value.extend_from_slice(&self.origin.0.to_le_bytes());
        value.extend_from_slice(&self.first.0.to_le_bytes());
        value.extend_from_slice(&self.before.0);
        value
    }

    /// Splits and checks a stored header.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, String> {
        if value.len() != HEADER_BYTES || !value.starts_with(HEADER_MAGIC) {
            return Err("not a log's header".to_string());
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&value[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut before = [0; Hash::BYTES];
        before.copy_from_slice(&value[24..]);
        let header = Self { origin: Incarnation(number(8)), first: Seq(number(16)), before: Hash(before) };
        if header.first.0 == 0 || (header.first == Seq(1) && header != Self::begin(header.origin)) {
            return Err("its start does not follow from its incarnation".to_string());
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_block_is_bounded() {
        let mut bomb = pack(&vec![0; BLOCK_RAW_BYTES_MAX], 1, Hash([0; 16])).unwrap();
        let mut unpacker = zstd::bulk::Decompressor::new().unwrap();
        let mut raw = Vec::new();
        // It claims less than it holds: refused without growing past the claim.
        bomb[1..5].copy_from_slice(&100_u32.to_le_bytes());
        let Ok(Entry::Packed(packed)) = Entry::parse(&bomb) else { panic!("packed") };
        assert!(packed.unpack(&mut unpacker, &mut raw).is_err());
        assert!(raw.capacity() < 4096, "{}", raw.capacity());
        // It claims more than is allowed.
        bomb[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Entry::parse(&bomb).is_err());
        assert!(Entry::parse(&[]).is_err());
        assert!(Entry::parse(&[9]).is_err());
    }

    #[test]
    fn any_change_of_the_header_is_found() {
        let value = Header::begin(Incarnation(77)).encode();
        assert_eq!(Header::parse(&value), Ok(Header::begin(Incarnation(77))));
        for at in 0..value.len() {
            let mut flipped = value.clone();
            flipped[at] ^= 1;
            // The number of the first record may change: then the first key is not where it says.
            let first = (16..24).contains(&at);
            assert!(first || Header::parse(&flipped).is_err(), "byte {at}");
        }
    }
}
