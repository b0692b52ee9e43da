//! Owns what comes before a block's records: the classes and the plans of their columns. It must never
//! give out a class or a plan that was not checked.

use super::plan::{COMMON_COLUMNS, Learning, Plan, Source};
use super::range::{Decoder, Encoder, Number, Symbol};
use super::shape::{self, Shape};
use super::state::State;
use super::{CLASSES_MAX, COLUMNS_MAX};
use crate::events::codec::RECORD_BYTES_MAX;

/// Constants from here on are looked up among those before.
const LARGE_MIN: u64 = 1 << 20;

/// How a column's plan is told apart in its first symbol.
pub(super) const CONSTANT: usize = 0;
const CONSTANT_AGAIN: usize = 1;
const EXACT: usize = 2;
const FIXED: usize = 3;
const WHOLE: usize = 4;
const QUARTER: usize = 5;
const KINDS: usize = 6;

/// The models of what comes before the records, alike for writing and reading.
pub(super) struct Preface {
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
    pub(super) fn new() -> Self {
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

impl Preface {
    /// Writes how many classes there are.
    pub(super) fn put_count(&mut self, classes: usize, out: &mut Encoder) {
        self.number.encode(out, classes as u64);
    }

    /// Writes a class.
    pub(super) fn put_shape(&mut self, shape: &Shape, out: &mut Encoder) {
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

    /// Writes a column's plan after one of the kind `before`, and returns its kind.
    pub(super) fn put_plan(&mut self, plan: &Plan, before: usize, out: &mut Encoder) -> usize {
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

/// Reads the classes and plans of a block; returns what a reader knows before the first record.
pub(super) fn read_preface(input: &mut Decoder<'_>) -> Result<State, String> {
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
