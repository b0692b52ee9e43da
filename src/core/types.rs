//! Newtypes of the protocol: terms, positions, members. They hold no policy beyond their order.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A number that only grows; at most one member wins an election in a term. Term 0: no history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A member's place in the membership, whose members are sorted by name; 0 is the first. Names are
/// resolved through the membership, which the handshake compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId(pub u8);

/// A position in PostgreSQL's WAL, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Returns the bytes from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text is not an LSN of the form `16/B374D848`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an LSN of the form 16/B374D848")]
pub struct LsnParseError;

impl FromStr for Lsn {
    type Err = LsnParseError;

    fn from_str(s: &str) -> Result<Self, LsnParseError> {
        let (high, low) = s.split_once('/').ok_or(LsnParseError)?;
        let high = u32::from_str_radix(high, 16).map_err(|_| LsnParseError)?;
        let low = u32::from_str_radix(low, 16).map_err(|_| LsnParseError)?;
        Ok(Self(u64::from(high) << 32 | u64::from(low)))
    }
}

/// A PostgreSQL timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// PostgreSQL's system identifier: two clusters made by different `initdb`s differ in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SystemId(pub u64);

/// The random identity of one event log; a log that was lost or restored gets another one (M1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// The kernel's `boot_id`: tells boots of a host apart, and with them its boot-time clocks. Aligned like everything
/// beside it: by sixteen bytes it would pad every request, message and record.
#[repr(Rust, packed(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootId(pub u128);
