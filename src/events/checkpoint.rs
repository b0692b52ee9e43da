//! Owns the checkpoint: an opaque state as of one record of one log, sealed by a digest. It must never
//! be believed of another log, nor trusted before its digest is checked.
//!
//! Magic, format version `u16`, bincode of the rest with the state compressed, digest (16 B).

use super::chain::{Hash, digest};
use super::codec::{decode_bounded, encode_bounded};
use crate::core::Incarnation;
use pgfo_replay::{BootNanos, Seq, WallNanos};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"pgfockpt";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 8 + 2;
/// Bound of the state, bytes: the largest membership fits several times.
pub const STATE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bound of a sealed checkpoint, bytes. One of a cluster of three takes about 2 KiB.
pub const CHECKPOINT_BYTES_MAX: usize = 512 * 1024;
/// A checkpoint is made once and read rarely.
const COMPRESSION_LEVEL: i32 = 9;

/// The state of a member as of one record of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How the state is laid out; who made it knows.
    pub layout: u16,
    /// Revision of the deciding code that made it.
    pub core_revision: u32,
    /// The incarnation that the log began with.
    pub origin: Incarnation,
    /// The last record that is folded into it.
    pub seq: Seq,
    /// That record's hash.
    pub hash: Hash,
    /// That record's boot-time clock.
    pub boot: BootNanos,
    /// That record's wall clock.
    pub wall: WallNanos,
    /// The state.
    pub state: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    layout: u16,
    core_revision: u32,
    origin: Incarnation,
    seq: Seq,
    hash: Hash,
    boot: BootNanos,
    wall: WallNanos,
    state_bytes: u32,
    compressed: Vec<u8>,
}

impl Checkpoint {
    /// Returns the sealed bytes.
    ///
    /// # Errors
    /// In words, when the state is larger than its bound.
    pub fn seal(&self) -> Result<Vec<u8>, String> {
        if self.state.len() > STATE_BYTES_MAX {
            return Err(format!("a state of {} bytes, more than {STATE_BYTES_MAX}", self.state.len()));
        }
        let compressed =
            zstd::bulk::compress(&self.state, COMPRESSION_LEVEL).map_err(|error| error.to_string())?;
        let body = Body {
            layout: self.layout,
            core_revision: self.core_revision,
            origin: self.origin,
            seq: self.seq,
            hash: self.hash,
            boot: self.boot,
            wall: self.wall,
            state_bytes: u32::try_from(self.state.len()).map_err(|error| error.to_string())?,
            compressed,
        };
        let body = encode_bounded(&body, CHECKPOINT_BYTES_MAX).map_err(|error| error.to_string())?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&body);
        let check = digest(&[&bytes]);
        bytes.extend_from_slice(&check.0);
        Ok(bytes)
    }

    /// Opens sealed bytes.
    ///
    /// # Errors
    /// In words, when they are damaged or of a newer release.
    pub fn open(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > CHECKPOINT_BYTES_MAX + HEAD_BYTES + Hash::BYTES {
            return Err(format!("a checkpoint of {} bytes", bytes.len()));
        }
        let Some((sealed, check)) = bytes.split_last_chunk::<{ Hash::BYTES }>() else {
            return Err("it is cut".to_string());
        };
        if !sealed.starts_with(MAGIC) || sealed.len() < HEAD_BYTES {
            return Err("not a checkpoint".to_string());
        }
        if digest(&[sealed]).0 != *check {
            return Err("it does not match its digest".to_string());
        }
        let version = u16::from_le_bytes([sealed[8], sealed[9]]);
        if version != VERSION {
            return Err(format!("checkpoint version {version} is unknown; use a newer release"));
        }
        let body: Body =
            decode_bounded(&sealed[HEAD_BYTES..], CHECKPOINT_BYTES_MAX).map_err(|error| error.to_string())?;
        let state_bytes = body.state_bytes as usize;
        if state_bytes > STATE_BYTES_MAX {
            return Err(format!("a state that claims {state_bytes} bytes"));
        }
        let state =
            zstd::bulk::decompress(&body.compressed, state_bytes).map_err(|error| error.to_string())?;
        if state.len() != state_bytes || body.seq.0 == u64::MAX {
            return Err("its state is not as long as it says".to_string());
        }
        Ok(Self {
            layout: body.layout,
            core_revision: body.core_revision,
            origin: body.origin,
            seq: body.seq,
            hash: body.hash,
            boot: body.boot,
            wall: body.wall,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            layout: 1,
            core_revision: 1,
            origin: Incarnation(7),
            seq: Seq(9),
            hash: Hash([3; 16]),
            boot: BootNanos(1),
            wall: WallNanos(2),
            state: b"{\"a\":1}".repeat(100),
        }
    }

    #[test]
    fn any_change_or_cut_is_found() {
        let sealed = checkpoint().seal().unwrap();
        assert_eq!(Checkpoint::open(&sealed), Ok(checkpoint()));
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(Checkpoint::open(&flipped).is_err(), "byte {at}");
            assert!(Checkpoint::open(&sealed[..at]).is_err(), "cut at {at}");
        }
    }

    /// Seals a body that was made by hand: its digest is right, what it claims is not.
    fn sealed_by_hand(state_bytes: u32, compressed: Vec<u8>) -> Vec<u8> {
        let c = checkpoint();
        let body = Body {
            layout: c.layout,
            core_revision: c.core_revision,
            origin: c.origin,
            seq: c.seq,
            hash: c.hash,
            boot: c.boot,
            wall: c.wall,
            state_bytes,
            compressed,
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&encode_bounded(&body, CHECKPOINT_BYTES_MAX).unwrap());
        let check = digest(&[&bytes]);
        bytes.extend_from_slice(&check.0);
        bytes
    }

    #[test]
    fn hostile_sizes_are_refused() {
        let bomb = zstd::bulk::compress(&vec![0; STATE_BYTES_MAX], 3).unwrap();
        assert!(Checkpoint::open(&sealed_by_hand(u32::MAX, bomb.clone())).is_err());
        assert!(Checkpoint::open(&sealed_by_hand(10, bomb.clone())).is_err());
        assert!(Checkpoint::open(&sealed_by_hand(10, Vec::new())).is_err());
        assert!(Checkpoint::open(&vec![0; 2 * CHECKPOINT_BYTES_MAX]).is_err());
        let too_large = Checkpoint { state: vec![0; STATE_BYTES_MAX + 1], ..checkpoint() };
        assert!(too_large.seal().is_err());
    }
}
