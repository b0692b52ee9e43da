//! Owns the body of a packed block of columns: records by class, each number stored as its distance
//! from what the numbers before it foretell. It must never give back other bytes than it was given,
//! nor trust a number that it reads.
//!
//! A day of an idle member is a million records that say almost the same, and whose hashes say
//! nothing that the records do not. So hashes are left out and computed again, records are split into
//! numbers ([`shape`]), records of the same make are a class, and each column of a class has a plan
//! ([`plan`]): constant, equal to another column, or near what others foretell. The plans come first,
//! then the records in their order; all of it is one arithmetic code ([`range`]).
//!
//! What is not bincode as this release writes it can't be split; it is left to the other packing.

mod plan;
mod preface;
mod range;
mod search;
mod shape;
mod state;
#[cfg(test)]
mod tests;

use super::chain::{Hash, link};
use super::codec::{FRAME_EXTRA_BYTES, RECORD_BYTES_MAX, split_frame};
use pgfo_replay::Seq;
use plan::COMMON_COLUMNS;
use preface::{Preface, read_preface};
use range::{Decoder, Encoder};
use search::Table;
use shape::{Shape, put_head, put_number, put_wide, split};
use state::{Class, State, Text};

/// The version of the frames that are split; others are left to the other packing.
const FRAME_VERSION: u16 = 1;
/// Bound of the classes of a block.
const CLASSES_MAX: usize = 512;
/// Bound of all classes' columns.
const COLUMNS_MAX: usize = 16 * 1024;

/// Returns the body of a block with these frames, the first of which is record `first`; `None` if
/// they can't be split.
pub(crate) fn compress(frames: &[u8], first: Seq) -> Option<Vec<u8>> {
    let (shapes, table) = classify(frames, first)?;
    let plans = search::plans(&table);
    let mut out = Encoder::new();
    let mut preface = Preface::new();
    out.plain(first.0, 64);
    preface.put_count(shapes.len(), &mut out);
    for (shape, &(from, count)) in shapes.iter().zip(&table.columns) {
        preface.put_shape(shape, &mut out);
        let mut before = preface::CONSTANT;
        for plan in &plans[from..from + count] {
            before = preface.put_plan(plan, before, &mut out);
        }
    }
    let mut state = State::new(shapes, plans);
    for at in 0..table.classes.len() {
        state.put(table.classes[at], table.record(at), &mut out);
    }
    Some(out.finish())
}

/// Splits frames into a table of columns.
fn classify(frames: &[u8], first: Seq) -> Option<(Vec<Shape>, Table)> {
    /// Numbers at the beginning of an event that tell kinds of events apart.
    type Lead = [u64; 3];
    let mut keys: Vec<(Shape, Lead)> = Vec::new();
    let mut table =
        Table { classes: Vec::new(), starts: Vec::new(), values: Vec::new(), columns: Vec::new() };
    let mut rest = frames;
    let mut due = first;
    let mut columns = Vec::new();
    let mut total = COMMON_COLUMNS;
    while !rest.is_empty() {
        let (frame, length) = split_frame(rest).ok()?;
        rest = &rest[length..];
        if frame.version != FRAME_VERSION {
            return None;
        }
        let shape = split(frame.payload, due, &mut columns)?;
        due = due.next();
        let from = shape.event_from();
        let lead: Lead = std::array::from_fn(|at| columns.get(from + at).map_or(0, |value| (*value).min(64)));
        let class = keys.iter().position(|(known, led)| *led == lead && *known == shape);
        let class = class.unwrap_or_else(|| {
            table.columns.push((total, shape.columns));
            total += shape.columns;
            keys.push((shape, lead));
            keys.len() - 1
        });
        if keys.len() > CLASSES_MAX || total > COLUMNS_MAX {
            return None;
        }
        table.classes.push(class);
        table.starts.push(table.values.len());
        table.values.extend_from_slice(&columns);
    }
    Some((keys.into_iter().map(|(shape, _)| shape).collect(), table))
}

/// Writes the `count` frames of a block to `raw`, `raw_bytes` at most, and returns the last hash. The
/// caller has bounded both, and compares the hash: it proves every byte.
pub(crate) fn expand(
    body: &[u8],
    count: u32,
    before: Hash,
    raw_bytes: usize,
    raw: &mut Vec<u8>,
) -> Result<Hash, String> {
    raw.clear();
    let least = count as usize * FRAME_EXTRA_BYTES;
    if least > raw_bytes {
        return Err(format!("{count} records claimed in {raw_bytes} bytes"));
    }
    let mut input = Decoder::new(body);
    let mut seq = Seq(input.plain(64));
    let mut state = read_preface(&mut input)?;
    raw.reserve(raw_bytes);
    let mut hash = before;
    for _ in 0..count {
        let class = state.get(&mut input)?;
        let class = &state.classes[class];
        hash = put_frame(seq, class, &state.newest, hash, raw)?;
        // The last one may go beyond it, by a record at most.
        if raw.len() > raw_bytes {
            break;
        }
        seq = seq.next();
    }
    if raw.len() != raw_bytes || !input.is_used_up() {
        return Err(format!("{} bytes unpacked where {raw_bytes} were packed", raw.len()));
    }
    Ok(hash)
}

/// Appends one frame and returns its hash.
fn put_frame(
    seq: Seq,
    class: &Class,
    newest: &[u64],
    before: Hash,
    raw: &mut Vec<u8>,
) -> Result<Hash, String> {
    let start = raw.len();
    raw.extend_from_slice(&FRAME_VERSION.to_le_bytes());
    raw.extend_from_slice(&[0; 4]);
    let payload = raw.len();
    put_head(seq, &class.shape, &newest[class.first..], raw);
    for text in &class.text {
        match text {
            Text::Fixed(bytes) => raw.extend_from_slice(bytes),
            Text::Number(at) => put_number(newest[*at], raw),
            Text::Wide(at) => put_wide(newest[*at], newest[*at + 1], raw),
        }
    }
    let length = raw.len() - payload;
    if length > RECORD_BYTES_MAX {
        return Err(format!("a record of {length} bytes"));
    }
    raw[payload - 4..payload].copy_from_slice(&(length as u32).to_le_bytes());
    let hash = link(before, &raw[start..]);
    raw.extend_from_slice(&hash.0);
    Ok(hash)
}
