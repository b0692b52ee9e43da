//! Owns the hash chain: each record's hash covers the previous one's, so a changed, missing or
//! reordered record is found at its number. It must never repair what it finds.

use super::codec::{CodecError, Frame};
use super::damage::{Damage, DamageKind};
use crate::core::Incarnation;
use pgfo_replay::Seq;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// A SHA-256 cut to 16 bytes. Half of it keeps records small (heartbeats are about 20 bytes, and
/// hashes don't compress), and 128 bits still leave no chance of an accidental match; whoever can
/// forge a whole chain is found by the head and by what the peers remember, not by longer hashes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hash(pub [u8; 16]);

impl Hash {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// Returns the hash before the first record of the log that began as `incarnation`.
    #[must_use]
    pub fn genesis(incarnation: Incarnation) -> Self {
        digest(&[b"pgfo log genesis", &incarnation.0.to_le_bytes()])
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// Returns the hash of a record whose hashed bytes are `hashed`, after one with hash `previous`.
pub(crate) fn link(previous: Hash, hashed: &[u8]) -> Hash {
    digest(&[&previous.0, hashed])
}

/// Returns the cut SHA-256 of the parts, one after the other.
pub(crate) fn digest(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let whole: [u8; 32] = hasher.finalize().into();
    let mut cut = [0; Hash::BYTES];
    cut.copy_from_slice(&whole[..Hash::BYTES]);
    Hash(cut)
}

/// The place in the chain up to which records were verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verifier {
    /// The number that must come next.
    pub(crate) next: Seq,
    /// The hash of the record before it.
    pub(crate) previous: Hash,
}

impl Verifier {
    /// Verifies that `frame` is the next record, and moves past it.
    pub(crate) fn accept(&mut self, frame: &Frame<'_>) -> Result<Seq, Damage> {
        let due = self.next;
        // The number first: a record in another's place is better named as such than as altered.
        let found = frame.seq();
        if link(self.previous, frame.hashed) != frame.hash {
            let what = match found {
                Ok(found) if found != due => DamageKind::OutOfPlace { found },
                _ => DamageKind::Altered,
            };
            return Err(Damage { seq: due, what });
        }
        let found =
            found.map_err(|error| Damage { seq: due, what: DamageKind::Undecodable(error.to_string()) })?;
        if found != due {
            return Err(Damage { seq: due, what: DamageKind::OutOfPlace { found } });
        }
        self.previous = frame.hash;
        self.next = due.next();
        Ok(due)
    }

    /// Moves past `frame`, whose hash was computed from the record before it and proven by a later one:
    /// only its number is compared.
    pub(crate) fn follow(&mut self, frame: &Frame<'_>) -> Result<Seq, Damage> {
        let due = self.next;
        let undecodable = |error: CodecError| DamageKind::Undecodable(error.to_string());
        match frame.seq().map_err(undecodable) {
            Ok(found) if found == due => {
                self.previous = frame.hash;
                self.next = due.next();
                Ok(due)
            }
            Ok(found) => Err(Damage { seq: due, what: DamageKind::OutOfPlace { found } }),
            Err(what) => Err(Damage { seq: due, what }),
        }
    }

    /// Returns the last verified number and its hash.
    pub(crate) const fn last(&self) -> (Seq, Hash) {
        (Seq(self.next.0.saturating_sub(1)), self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::codec::{encode_frame, split_frame};
    use pgfo_replay::{BootNanos, Record, WallNanos};

    #[test]
    fn the_chain_depends_on_incarnation_order_and_content() {
        let genesis = Hash::genesis(Incarnation(1));
        assert_ne!(genesis, Hash::genesis(Incarnation(2)));
        assert_ne!(link(genesis, b"a"), link(genesis, b"b"));
        assert_ne!(link(link(genesis, b"a"), b"b"), link(link(genesis, b"b"), b"a"));
    }

    #[test]
    fn any_flipped_byte_is_found_at_its_record() {
        let genesis = Hash::genesis(Incarnation(1));
        let record = Record {
            seq: Seq(1),
            boot: BootNanos(5),
            wall: WallNanos(5),
            actor: 1,
            cause: None,
            event: "probe failed".to_string(),
        };
        let mut bytes = Vec::new();
        encode_frame(&record, genesis, &mut bytes).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let mut verifier = Verifier { next: Seq(1), previous: genesis };
                let found = split_frame(&flipped).map(|(frame, _)| verifier.accept(&frame));
                assert!(!matches!(found, Ok(Ok(_))), "byte {at} bit {bit}");
            }
        }
    }
}
