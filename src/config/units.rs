//! Durations and sizes as people write them, and their one canonical spelling.
//!
//! It must never guess a unit: a bare number is an error that names the units.

use super::finding::{Fault, quote};
use crate::core::Nanos;
use std::fmt;

/// The longest duration accepted: a longer one is a slip of the unit, and sums and products of
/// durations below it stay far inside 64 bits.
pub const DURATION_MAX: Nanos = Nanos(24 * 3600 * 1_000_000_000);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

/// PostgreSQL's units of memory and WAL, 1024-based and case-sensitive, the largest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];

/// Spellings of whole durations, the longest unit first.
const DURATION_UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

/// The longest age accepted: with it, a log is bounded by its size alone.
const AGE_MAX: Nanos = Nanos(36_525 * DAY_NANOS);
const DAY_NANOS: u64 = 24 * 3600 * 1_000_000_000;

/// Spellings of whole ages, the longest unit first.
const AGE_UNITS: [(&str, u64); 4] =
    [("d", DAY_NANOS), ("h", DAY_NANOS / 24), ("s", 1_000_000_000), ("ns", 1)];

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_largest_unit(self.0, &SIZE_UNITS))
    }
}

/// Returns the canonical spelling, such as `300ms`, that [`parse_duration`] reads back.
pub(super) fn duration_text(length: Nanos) -> String {
    in_largest_unit(length.0, &DURATION_UNITS)
}

fn in_largest_unit(amount: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, size)| amount >= *size && amount.is_multiple_of(*size))
        .or(units.last())
        .map_or_else(|| amount.to_string(), |(unit, size)| format!("{}{unit}", amount / size))
}

/// Reads a duration such as `300ms`, `5s` or `1m 30s`: above zero and at most [`DURATION_MAX`].
pub(super) fn parse_duration(text: &str) -> Result<Nanos, Fault> {
    if text.trim().parse::<f64>().is_ok() {
        return Err(bare_number(text.trim()));
    }
    let remedy = "write a number and a unit, such as \"300ms\", \"5s\" or \"1m 30s\"";
    let length = humantime::parse_duration(text)
        .map_err(|_| Fault::new(format!("{} is not a duration", quote(text)), remedy))?;
    if length.is_zero() {
        return Err(Fault::new("the duration is zero", "write a duration above zero, such as \"1s\""));
    }
    match u64::try_from(length.as_nanos()) {
        Ok(nanos) if nanos <= DURATION_MAX.0 => Ok(Nanos(nanos)),
        _ => Err(Fault::new(format!("{} is longer than a day", quote(text)), "write at most \"24h\"")),
    }
}

/// Returns the canonical spelling of an age, such as `30d`, that [`parse_age`] reads back.
pub(super) fn age_text(age: Nanos) -> String {
    in_largest_unit(age.0, &AGE_UNITS)
}

/// Reads an age such as `30d` or `12h`: at most [`AGE_MAX`].
pub(super) fn parse_age(text: &str) -> Result<Nanos, Fault> {
    if text.trim().parse::<f64>().is_ok() {
        return Err(bare_age(text.trim()));
    }
    let remedy = "write a number and a unit, such as \"30d\" or \"12h\"";
    let age = humantime::parse_duration(text)
        .map_err(|_| Fault::new(format!("{} is not an age", quote(text)), remedy))?;
    match u64::try_from(age.as_nanos()) {
        Ok(nanos) if nanos <= AGE_MAX.0 => Ok(Nanos(nanos)),
        _ => Err(Fault::new(format!("{} is longer than a hundred years", quote(text)), remedy)),
    }
}

/// Returns the fault of an age without a unit.
pub(super) fn bare_age(number: &str) -> Fault {
    Fault::new(
        format!("an age needs a unit, and {number} has none"),
        format!("write \"{number}d\" for days or \"{number}h\" for hours"),
    )
}

/// Returns the fault of a duration without a unit.
pub(super) fn bare_number(number: &str) -> Fault {
    Fault::new(
        format!("a duration needs a unit, and {number} has none"),
        format!("write \"{number}s\" for seconds or \"{number}ms\" for milliseconds"),
    )
}

/// Reads a size such as `16MB`, in PostgreSQL's units.
pub(super) fn parse_size(text: &str) -> Result<ByteCount, Fault> {
    let trimmed = text.trim();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start();
    let units = "the units are B, kB, MB, GB and TB, 1024-based and case-sensitive as in PostgreSQL";
    if number.is_empty() {
        return Err(Fault::new(
            format!("{} is not a size", quote(text)),
            format!("write a whole number and a unit, such as \"16MB\"; {units}"),
        ));
    }
    if unit.is_empty() {
        return Err(bare_size(number));
    }
    let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        let meant = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let remedy =
            meant.map_or_else(|| units.to_owned(), |(name, _)| format!("write \"{number}{name}\"; {units}"));
        return Err(Fault::new(format!("{} is not a unit of size", quote(unit)), remedy));
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor));
    bytes.map(ByteCount).ok_or_else(|| {
        Fault::new(
            format!("{} does not fit into 64 bits", quote(text)),
            "write a smaller size, or leave the key out",
        )
    })
}

/// Returns the fault of a size without a unit.
pub(super) fn bare_size(number: &str) -> Fault {
    Fault::new(
        format!("a size needs a unit, and {number} has none"),
        format!("write \"{number}MB\", or another of B, kB, GB, TB"),
    )
}
