//! Owns the bytes: bounded bincode, and the frame that envelops one record. It must never read from
//! a stream (a hostile length would allocate before it is checked) nor accept trailing bytes.
//!
//! Frame, little-endian: format version `u16`, payload length `u32`, payload, chained hash (16 B).
//! The hash covers everything before it and the previous record's hash, see [`super::chain`].
//! Wire types must hold no zero-sized elements in sequences: no limit on bytes bounds their number.

use super::chain::{Hash, link};
use bincode::Options;
use pgfo_replay::{Record, Seq};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format that is written. Older ones are upcast on reading, newer ones are refused.
pub const FORMAT_VERSION: u16 = 1;
/// Bound of one record's payload, bytes. The largest event carries the effective configuration
/// (a few KiB); the store keeps values inline only below 128 KiB for a whole leaf of them.
pub const RECORD_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a frame's head: version and length.
const FRAME_HEAD_BYTES: usize = 2 + 4;
/// Bytes that a frame adds to its payload.
pub(crate) const FRAME_EXTRA_BYTES: usize = FRAME_HEAD_BYTES + Hash::BYTES;

/// Why bytes are not a value, or a value can't become bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the bound of this kind of value.
    #[error("{bytes} bytes, more than the bound of {bytes_max}")]
    TooLarge {
        /// Bytes there are, at least.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The bytes end inside a frame.
    #[error("cut short: {have} bytes where {need} are needed")]
    CutShort {
        /// Bytes there are.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// Written by a newer release.
    #[error("format version {found} is unknown, this release reads up to {known}; use a newer one")]
    UnknownFormat {
        /// The version found.
        found: u16,
        /// The newest version this release reads.
        known: u16,
    },
    /// Not an encoding of the expected type.
    #[error("malformed: {why}")]
    Malformed {
        /// bincode's reason.
        why: String,
    },
}

fn options(limit: usize) -> impl Options {
    bincode::DefaultOptions::new().with_limit(limit as u64)
}

fn malformed(error: &bincode::Error) -> CodecError {
    CodecError::Malformed { why: error.to_string() }
}

/// Returns the encoding of `value`: varint bincode of at most `limit` bytes.
///
/// # Errors
/// [`CodecError::TooLarge`] past the limit; [`CodecError::Malformed`] if the type can't be encoded.
pub fn encode_bounded<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    encode_onto(value, limit, &mut out)?;
    Ok(out)
}

fn encode_onto<T: Serialize + ?Sized>(value: &T, limit: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    options(limit).serialize_into(out, value).map_err(|error| match *error {
        bincode::ErrorKind::SizeLimit => CodecError::TooLarge { bytes: limit + 1, bytes_max: limit },
        _ => malformed(&error),
    })
}

/// Returns the value that `bytes` encode, all of them. Allocates no more than about `limit` bytes,
/// whatever lengths the bytes claim.
///
/// # Errors
/// [`CodecError::TooLarge`] for more than `limit` bytes; [`CodecError::Malformed`] for anything that
/// is not exactly one value.
pub fn decode_bounded<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLarge { bytes: bytes.len(), bytes_max: limit });
    }
    options(limit).deserialize(bytes).map_err(|error| malformed(&error))
}

/// One record's bytes, split but neither verified nor decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) version: u16,
    pub(crate) payload: &'a [u8],
    /// Everything that the hash covers: version, length, payload.
    pub(crate) hashed: &'a [u8],
    /// The stored hash.
    pub(crate) hash: Hash,
}

/// Appends `record`'s frame to `out` and returns its hash; leaves `out` as it was on an error.
pub(crate) fn encode_frame<E: Serialize>(
    record: &Record<E>,
    previous: Hash,
    out: &mut Vec<u8>,
) -> Result<Hash, CodecError> {
    let start = out.len();
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    if let Err(error) = encode_onto(record, RECORD_BYTES_MAX, out) {
        out.truncate(start);
        return Err(error);
    }
    let payload_bytes = out.len() - start - FRAME_HEAD_BYTES;
    let length = u32::try_from(payload_bytes)
        .map_err(|_| CodecError::TooLarge { bytes: payload_bytes, bytes_max: RECORD_BYTES_MAX })?;
    out[start + 2..start + FRAME_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
    let hash = link(previous, &out[start..]);
    out.extend_from_slice(&hash.0);
    Ok(hash)
}

/// Splits the first frame off `bytes`; returns it and how long it is.
pub(crate) fn split_frame(bytes: &[u8]) -> Result<(Frame<'_>, usize), CodecError> {
    let short = |need| CodecError::CutShort { have: bytes.len(), need };
    let (head, rest) =
        bytes.split_first_chunk::<FRAME_HEAD_BYTES>().ok_or_else(|| short(FRAME_EXTRA_BYTES))?;
    let version = u16::from_le_bytes([head[0], head[1]]);
    let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
    if length > RECORD_BYTES_MAX {
        return Err(CodecError::TooLarge { bytes: length, bytes_max: RECORD_BYTES_MAX });
    }
    let whole = length + FRAME_EXTRA_BYTES;
    let payload = rest.get(..length).ok_or_else(|| short(whole))?;
    let hash = rest[length..].first_chunk::<{ Hash::BYTES }>().ok_or_else(|| short(whole))?;
    let hashed = &bytes[..FRAME_HEAD_BYTES + length];
    Ok((Frame { version, payload, hashed, hash: Hash(*hash) }, whole))
}

impl Frame<'_> {
    /// Returns the record's number without decoding the event.
    pub(crate) fn seq(&self) -> Result<Seq, CodecError> {
        match self.version {
            1 => options(RECORD_BYTES_MAX)
                .allow_trailing_bytes()
                .deserialize(self.payload)
                .map(Seq)
                .map_err(|error| malformed(&error)),
            found => Err(CodecError::UnknownFormat { found, known: FORMAT_VERSION }),
        }
    }

    /// Returns the record, upcast to the present format.
    pub(crate) fn record<E: DeserializeOwned>(&self) -> Result<Record<E>, CodecError> {
        match self.version {
            1 => decode_bounded(self.payload, RECORD_BYTES_MAX),
            found => Err(CodecError::UnknownFormat { found, known: FORMAT_VERSION }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgfo_replay::{BootNanos, WallNanos};

    fn record(event: String) -> Record<String> {
        Record { seq: Seq(7), boot: BootNanos(1), wall: WallNanos(-2), actor: 3, cause: Some(Seq(6)), event }
    }

    #[test]
    fn a_frame_round_trips() {
        let mut bytes = vec![9];
        let hash = encode_frame(&record("suspicion".into()), Hash([1; 16]), &mut bytes).unwrap();
        let (frame, length) = split_frame(&bytes[1..]).unwrap();
        assert_eq!((length, frame.hash, frame.seq()), (bytes.len() - 1, hash, Ok(Seq(7))));
        assert_eq!(frame.record::<String>().unwrap(), record("suspicion".into()));
    }

    #[test]
    fn an_oversized_record_is_refused_and_leaves_nothing() {
        let mut bytes = vec![9];
        let error =
            encode_frame(&record("x".repeat(RECORD_BYTES_MAX)), Hash([1; 16]), &mut bytes).unwrap_err();
        assert!(matches!(error, CodecError::TooLarge { .. }));
        assert_eq!(bytes, [9]);
    }

    #[test]
    fn an_unknown_format_is_named() {
        let mut bytes = Vec::new();
        encode_frame(&record(String::new()), Hash([1; 16]), &mut bytes).unwrap();
        bytes[0] = 2;
        let (frame, _) = split_frame(&bytes).unwrap();
        assert_eq!(frame.record::<String>(), Err(CodecError::UnknownFormat { found: 2, known: 1 }));
        assert_eq!(frame.seq(), Err(CodecError::UnknownFormat { found: 2, known: 1 }));
    }

    #[test]
    fn hostile_lengths_allocate_nothing() {
        // A varint length of 2^36, then of 2^64 - 1, for types that would allocate it.
        for hostile in [
            [253, 0, 0, 0, 0, 16, 0, 0, 0],
            [253, 255, 255, 255, 255, 255, 255, 255, 255],
            [252, 255, 255, 255, 127, 0, 0, 0, 0],
        ] {
            assert!(decode_bounded::<String>(&hostile, 1024).is_err());
            assert!(decode_bounded::<Vec<u64>>(&hostile, 1024).is_err());
            assert!(decode_bounded::<Vec<Vec<u8>>>(&hostile, 1024).is_err());
        }
        let mut frame = vec![1, 0, 255, 255, 255, 255];
        frame.resize(64, 0);
        assert!(matches!(split_frame(&frame), Err(CodecError::TooLarge { .. })));
    }

    #[test]
    fn trailing_bytes_and_long_input_are_refused() {
        let mut bytes = encode_bounded(&5_u32, 16).unwrap();
        bytes.push(0);
        assert!(matches!(decode_bounded::<u32>(&bytes, 16), Err(CodecError::Malformed { .. })));
        assert!(matches!(decode_bounded::<Vec<u8>>(&[0; 17], 16), Err(CodecError::TooLarge { .. })));
        assert!(matches!(encode_bounded("0123456789", 4), Err(CodecError::TooLarge { .. })));
    }

    #[test]
    fn every_prefix_is_cut_short() {
        let mut bytes = Vec::new();
        encode_frame(&record("abc".into()), Hash([1; 16]), &mut bytes).unwrap();
        for end in 0..bytes.len() {
            assert!(matches!(split_frame(&bytes[..end]), Err(CodecError::CutShort { .. })), "{end}");
        }
    }
}
