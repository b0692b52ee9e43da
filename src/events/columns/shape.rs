//! Owns the way from a record's payload to columns of numbers and back, byte for byte. It knows how
//! bincode writes numbers and where a record's stamps stand; of events it knows nothing.
//!
//! Columns of a record: boot-time stamp, wall clock less boot-time clock, the distance to the record
//! it answers if it answers one, then every number of the event in its order. A number of 128 bits
//! takes two.

use pgfo_replay::Seq;

/// Below it a number is its own byte; from it on, a marker and so many bytes follow.
const SHORT_MAX: u8 = 250;
const MARK_16: u8 = 251;
const MARK_32: u8 = 252;
const MARK_64: u8 = 253;
const MARK_128: u8 = 254;
/// The stamps' columns.
pub(super) const BOOT: usize = 0;
pub(super) const WALL_LESS_BOOT: usize = 1;
const BACK: usize = 2;

/// What records of one class have in common besides the values of their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) actor: u8,
    pub(super) answers: bool,
    pub(super) columns: usize,
    /// The first columns of numbers of 128 bits, ascending.
    pub(super) wide: Vec<usize>,
}

impl Shape {
    /// Returns the first column that belongs to the event.
    pub(super) const fn event_from(&self) -> usize {
        if self.answers { BACK + 1 } else { BACK }
    }
}

/// Reads numbers off a payload; `None` for what would not be written again byte for byte.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (&bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(bytes)
    }

    /// Returns a number, its upper half apart if it has 128 bits.
    fn number(&mut self) -> Option<(Option<u64>, u64)> {
        let (value, least) = match self.byte()? {
            short @ 0..=SHORT_MAX => return Some((None, u64::from(short))),
            MARK_16 => (u64::from(u16::from_le_bytes(self.bytes()?)), u64::from(SHORT_MAX) + 1),
            MARK_32 => (u64::from(u32::from_le_bytes(self.bytes()?)), 1 << 16),
            MARK_64 => (u64::from_le_bytes(self.bytes()?), 1 << 32),
            MARK_128 => {
                let value = u128::from_le_bytes(self.bytes()?);
                let upper = (value >> 64) as u64;
                return (upper > 0).then_some((Some(upper), value as u64));
            }
            _ => return None,
        };
        (value >= least).then_some((None, value))
    }

    fn narrow(&mut self) -> Option<u64> {
        self.number().and_then(|(upper, value)| upper.is_none().then_some(value))
    }
}

/// Splits the payload of record `due` into `columns`, and returns its shape; `None` if it could not
/// be put together again.
pub(super) fn split(payload: &[u8], due: Seq, columns: &mut Vec<u64>) -> Option<Shape> {
    columns.clear();
    let mut numbers = Numbers(payload);
    let seq = numbers.narrow()?;
    let boot = numbers.narrow()?;
    let wall = numbers.narrow()?;
    let actor = numbers.byte()?;
    let answers = match numbers.byte()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    columns.push(boot);
    columns.push(unsigned(wall).wrapping_sub(boot));
    if answers {
        columns.push(seq.wrapping_sub(numbers.narrow()?));
    }
    let mut wide = Vec::new();
    while !numbers.0.is_empty() {
        let (upper, value) = numbers.number()?;
        if let Some(upper) = upper {
            wide.push(columns.len());
            columns.push(upper);
        }
        columns.push(value);
    }
    (seq == due.0).then_some(Shape { actor, answers, columns: columns.len(), wide })
}

/// Appends the payload that record `seq` of that shape has.
#[inline]
pub(super) fn put_head(seq: Seq, shape: &Shape, columns: &[u64], out: &mut Vec<u8>) {
    put_number(seq.0, out);
    put_number(columns[BOOT], out);
    put_number(signed(columns[WALL_LESS_BOOT].wrapping_add(columns[BOOT])), out);
    out.push(shape.actor);
    out.push(u8::from(shape.answers));
    if shape.answers {
        put_number(seq.0.wrapping_sub(columns[BACK]), out);
    }
}

/// Appends a number as bincode does.
#[inline]
pub(super) fn put_number(value: u64, out: &mut Vec<u8>) {
    if value <= u64::from(SHORT_MAX) {
        out.push(value as u8);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(MARK_16);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(MARK_32);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        out.push(MARK_64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends a number of 128 bits as bincode does.
pub(super) fn put_wide(upper: u64, lower: u64, out: &mut Vec<u8>) {
    out.push(MARK_128);
    out.extend_from_slice(&lower.to_le_bytes());
    out.extend_from_slice(&upper.to_le_bytes());
}

/// Turns a signed number as bincode writes it (sign in the lowest bit) into two's complement.
pub(super) const fn unsigned(zigzag: u64) -> u64 {
    (zigzag >> 1) ^ (zigzag & 1).wrapping_neg()
}

/// The way back.
pub(super) const fn signed(value: u64) -> u64 {
    (value << 1) ^ ((value as i64 >> 63) as u64)
}
