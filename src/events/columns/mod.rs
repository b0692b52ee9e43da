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
mod range;
mod search;
mod shape;
#[cfg(test)]
mod tests;

use super::chain::{Hash, link};
use super::codec::{FRAME_EXTRA_BYTES, RECORD_BYTES_MAX, split_frame};
use pgfo_replay::Seq;
use plan::{COMMON_COLUMNS, LAST_BOOT, LAST_WALL_LESS_BOOT, Learning, Plan, Source};
use range::{Bit, Decoder, Encoder, Number, Symbol};
use search::Table;
use shape::{Shape, put_head, put_number, put_wide, split};

/// The version of the frames that are split; others are left to the other packing.
const FRAME_VERSION: u16 = 1;
/// Bound of the classes of a block.
const CLASSES_MAX: usize = 512;
/// Bound of all classes' columns.
const COLUMNS_MAX: usize = 16 * 1024;
/// Constants from here on are looked up among those before.
const LARGE_MIN: u64 = 1 << 20;

/// How a column's plan is told apart in its first symbol.
const CONSTANT: usize = 0;
const CONSTANT_AGAIN: usize = 1;
const EXACT: usize = 2;
const FIXED: usize = 3;
const WHOLE: usize = 4;
const QUARTER: usize = 5;
const KINDS: usize = 6;

/// The models of what comes before the records, alike for writing and reading.
struct Preface {
    number: Number,
    kinds: Vec<Symbol>,
    constant: Number,
    again: Number,
    offset: Number,
    source: Number,
    /// Constants that were too large to write twice.
    large: Vec<u64>,
}

impl Preface {
    fn new() -> Self {
        Self {
            number: Number::new(),
            kinds: vec![Symbol::new(KINDS); KINDS],
            constant: Number::new(),
            again: Number::new(),
            offset: Number::new(),
            source: Number::new(),
            large: Vec::new(),
        }
    }
}

/// A class while records are written or read.
struct Class {
    shape: Shape,
    first: usize,
    /// Its columns that are not constant, by their numbers over all classes.
    changing: Vec<usize>,
    /// How its payload goes on after the stamps, when it is read.
    text: Vec<Text>,
    /// Its next classes, as learned.
    next: Option<Symbol>,
}

/// A part of a payload.
enum Text {
    /// Constant numbers, as they are written.
    Fixed(Vec<u8>),
    /// The newest number of a column.
    Number(usize),
    /// The newest number of 128 bits, of a column and the next.
    Wide(usize),
}

impl Class {
    fn new(shape: Shape, first: usize, plans: &[Plan]) -> Self {
        let columns = first..first + shape.columns;
        let changing: Vec<usize> = columns.clone().filter(|&at| !plans[at].is_constant()).collect();
        let mut text = Vec::new();
        let mut at = first + shape.event_from();
        let mut wide = shape.wide.iter().map(|wide| first + wide).peekable();
        while at < columns.end {
            let is_wide = wide.next_if_eq(&at).is_some();
            let end = at + 1 + usize::from(is_wide);
            if plans[at..end].iter().all(Plan::is_constant) {
                if !matches!(text.last(), Some(Text::Fixed(_))) {
                    text.push(Text::Fixed(Vec::new()));
                }
                if let Some(Text::Fixed(bytes)) = text.last_mut() {
                    if is_wide {
                        put_wide(plans[at].offset, plans[at + 1].offset, bytes);
                    } else {
                        put_number(plans[at].offset, bytes);
                    }
                }
            } else {
                text.push(if is_wide { Text::Wide(at) } else { Text::Number(at) });
            }
            at = end;
        }
        Self { shape, first, changing, text, next: None }
    }
}

/// Returns the body of a block with these frames, the first of which is record `first`; `None` if
/// they can't be split.
pub(crate) fn compress(frames: &[u8], first: Seq) -> Option<Vec<u8>> {
    let (shapes, table) = classify(frames, first)?;
    let plans = search::plans(&table);
    let mut out = Encoder::new();
    let mut preface = Preface::new();
    out.plain(first.0, 64);
    preface.number.encode(&mut out, shapes.len() as u64);
    for (shape, &(from, count)) in shapes.iter().zip(&table.columns) {
        preface.put_shape(shape, &mut out);
        let mut before = CONSTANT;
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

impl Preface {
    fn put_shape(&mut self, shape: &Shape, out: &mut Encoder) {
        out.plain(u64::from(shape.actor), 8);
        out.plain(u64::from(shape.answers), 1);
        self.number.encode(out, shape.columns as u64);
        self.number.encode(out, shape.wide.len() as u64);
        for &at in &shape.wide {
            self.number.encode(out, at as u64);
        }
    }

    fn get_shape(&mut self, input: &mut Decoder<'_>) -> Result<Shape, String> {
        let actor = input.plain(8) as u8;
        let answers = input.plain(1) == 1;
        let columns = self.number.decode(input);
        let wide = self.number.decode(input);
        if columns > RECORD_BYTES_MAX as u64 || wide > columns {
            return Err(format!("a class that claims {columns} columns, {wide} of them wide"));
        }
        let wide = (0..wide).map(|_| self.number.decode(input) as usize).collect();
        let shape = Shape { actor, answers, columns: columns as usize, wide };
        let ascending = shape.wide.windows(2).all(|pair| pair[0] + 1 < pair[1]);
        let inside = shape.wide.first().is_none_or(|&first| first >= shape.event_from())
            && shape.wide.last().is_none_or(|&last| last.saturating_add(1) < shape.columns);
        if shape.columns < shape.event_from() || !ascending || !inside {
            return Err("a class whose columns are not those of a record".to_string());
        }
        Ok(shape)
    }

    fn put_plan(&mut self, plan: &Plan, before: usize, out: &mut Encoder) -> usize {
        let again = plan.is_constant().then(|| self.large.iter().position(|&seen| seen == plan.offset));
        let kind = match (again, plan.exact, plan.learning) {
            (Some(None), ..) => CONSTANT,
            (Some(Some(_)), ..) => CONSTANT_AGAIN,
            (None, true, _) => EXACT,
            (None, false, Learning::Fixed) => FIXED,
            (None, false, Learning::Whole) => WHOLE,
            (None, false, Learning::Quarter) => QUARTER,
        };
        self.kinds[before].encode(out, kind);
        match again {
            Some(Some(at)) => self.again.encode(out, at as u64),
            Some(None) => {
                self.constant.encode(out, plan.offset);
                if plan.offset >= LARGE_MIN {
                    self.large.push(plan.offset);
                }
            }
            None => {
                for source in [plan.plus, plan.minus] {
                    let number = match source {
                        Source::Nothing => 0,
                        Source::Column(at) => at as u64 + 1,
                    };
                    self.source.encode(out, number);
                }
                self.offset.encode(out, shape::signed(plan.offset));
            }
        }
        kind
    }

    fn get_plan(
        &mut self,
        before: usize,
        columns: usize,
        input: &mut Decoder<'_>,
    ) -> Result<(Plan, usize), String> {
        let kind = self.kinds[before].decode(input);
        let plan = match kind {
            CONSTANT => {
                let value = self.constant.decode(input);
                if value >= LARGE_MIN {
                    self.large.push(value);
                }
                Plan::constant(value)
            }
            CONSTANT_AGAIN => {
                let at = self.again.decode(input);
                let value = usize::try_from(at).ok().and_then(|at| self.large.get(at));
                Plan::constant(*value.ok_or("a constant that was not written before")?)
            }
            EXACT | FIXED | WHOLE | QUARTER => {
                let mut source = || match self.source.decode(input) {
                    0 => Ok(Source::Nothing),
                    // Classes that come later are not known yet: checked when all are.
                    at if at <= columns as u64 => Ok(Source::Column(at as usize - 1)),
                    at => Err(format!("a plan that names column {at}")),
                };
                let (plus, minus) = (source()?, source()?);
                let offset = shape::unsigned(self.offset.decode(input));
                let learning = match kind {
                    WHOLE => Learning::Whole,
                    QUARTER => Learning::Quarter,
                    _ => Learning::Fixed,
                };
                Plan { plus, minus, offset, learning, exact: kind == EXACT }
            }
            _ => return Err(format!("a plan of kind {kind}")),
        };
        Ok((plan, kind))
    }
}

/// What writer and reader know after each record.
struct State {
    classes: Vec<Class>,
    plans: Vec<Plan>,
    newest: Vec<u64>,
    /// Of each column, what is learned of its distances; those of an exact one are never used.
    models: Vec<Option<Box<Column>>>,
    last_class: usize,
}

/// What is learned of a column's distances.
struct Column {
    hit: [Bit; 2],
    was_hit: usize,
    distance: Number,
}

impl State {
    fn new(shapes: Vec<Shape>, plans: Vec<Plan>) -> Self {
        let mut first = COMMON_COLUMNS;
        let classes = shapes
            .into_iter()
            .map(|shape| {
                let class = Class::new(shape, first, &plans);
                first += class.shape.columns;
                class
            })
            .collect();
        let newest: Vec<u64> =
            plans.iter().map(|plan| if plan.is_constant() { plan.offset } else { 0 }).collect();
        let models = plans.iter().map(|_| None).collect();
        let mut state = Self { classes, plans, newest, models, last_class: 0 };
        state.newest[..COMMON_COLUMNS].fill(0);
        state
    }

    fn put(&mut self, class: usize, values: &[u64], out: &mut Encoder) {
        let count = self.classes.len();
        self.classes[self.last_class].next.get_or_insert_with(|| Symbol::new(count)).encode(out, class);
        self.last_class = class;
        let Class { first, changing, .. } = &self.classes[class];
        for &at in changing {
            let value = values[at - first];
            let plan = &mut self.plans[at];
            if !plan.exact {
                let above = value.wrapping_sub(plan.foreseen(&self.newest));
                plan.learn(above);
                let column = self.models[at].get_or_insert_with(|| Box::new(Column::new()));
                let hit = above == 0;
                out.bit(&mut column.hit[column.was_hit], !hit);
                column.was_hit = usize::from(hit);
                if !hit {
                    column.distance.encode(out, shape::signed(above).wrapping_sub(1));
                }
            }
            self.newest[at] = value;
        }
        self.newest[LAST_BOOT] = values[shape::BOOT];
        self.newest[LAST_WALL_LESS_BOOT] = values[shape::WALL_LESS_BOOT];
    }

    /// Reads the next record's values into `newest`, and returns its class.
    fn get(&mut self, input: &mut Decoder<'_>) -> Result<usize, String> {
        let count = self.classes.len();
        let class =
            self.classes[self.last_class].next.get_or_insert_with(|| Symbol::new(count)).decode(input);
        let Class { first, changing, .. } = self.classes.get(class).ok_or("a class that is not there")?;
        self.last_class = class;
        for &at in changing {
            let plan = &mut self.plans[at];
            let mut value = plan.foreseen(&self.newest);
            if !plan.exact {
                let column = self.models[at].get_or_insert_with(|| Box::new(Column::new()));
                let hit = !input.bit(&mut column.hit[column.was_hit]);
                column.was_hit = usize::from(hit);
                if !hit {
                    let above = shape::unsigned(column.distance.decode(input).wrapping_add(1));
                    plan.learn(above);
                    value = value.wrapping_add(above);
                }
            }
            self.newest[at] = value;
        }
        self.newest[LAST_BOOT] = self.newest[first + shape::BOOT];
        self.newest[LAST_WALL_LESS_BOOT] = self.newest[first + shape::WALL_LESS_BOOT];
        Ok(class)
    }
}

impl Column {
    const fn new() -> Self {
        Self { hit: [Bit::new(); 2], was_hit: 0, distance: Number::new() }
    }
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

fn read_preface(input: &mut Decoder<'_>) -> Result<State, String> {
    let mut preface = Preface::new();
    let classes = preface.number.decode(input);
    if classes == 0 || classes > CLASSES_MAX as u64 {
        return Err(format!("{classes} classes of records"));
    }
    let mut shapes = Vec::new();
    let mut plans = vec![Plan::constant(0); COMMON_COLUMNS];
    for _ in 0..classes {
        let shape = preface.get_shape(input)?;
        if plans.len() + shape.columns > COLUMNS_MAX {
            return Err("too many columns".to_string());
        }
        let mut before = CONSTANT;
        for _ in 0..shape.columns {
            let (plan, kind) = preface.get_plan(before, COLUMNS_MAX, input)?;
            plans.push(plan);
            before = kind;
        }
        shapes.push(shape);
    }
    let unknown = |source| matches!(source, Source::Column(at) if at >= plans.len());
    if plans.iter().any(|plan| unknown(plan.plus) || unknown(plan.minus)) {
        return Err("a plan that names a column that is not there".to_string());
    }
    Ok(State::new(shapes, plans))
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
