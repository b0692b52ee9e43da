//! Owns what writer and reader know between two records, and how each takes in the next: the one mirrors
//! the other. It must never learn from anything that the other does not see.

use super::plan::{COMMON_COLUMNS, LAST_BOOT, LAST_WALL_LESS_BOOT, Plan};
use super::range::{Bit, Decoder, Encoder, Number, Symbol};
use super::shape::{self, Shape, put_number, put_wide};

/// A class while records are written or read.
pub(super) struct Class {
    pub(super) shape: Shape,
    /// Its first column's number over all classes.
    pub(super) first: usize,
    /// Its columns that are not constant, by their numbers over all classes.
    changing: Vec<usize>,
    /// How its payload goes on after the stamps, when it is read.
    pub(super) text: Vec<Text>,
    /// Its next classes, as learned.
    next: Option<Symbol>,
}

/// A part of a payload.
pub(super) enum Text {
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

/// What writer and reader know after each record.
pub(super) struct State {
    pub(super) classes: Vec<Class>,
    plans: Vec<Plan>,
    /// The newest value of each column.
    pub(super) newest: Vec<u64>,
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
    pub(super) fn new(shapes: Vec<Shape>, plans: Vec<Plan>) -> Self {
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

    /// Writes the next record, of that class.
    pub(super) fn put(&mut self, class: usize, values: &[u64], out: &mut Encoder) {
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
    pub(super) fn get(&mut self, input: &mut Decoder<'_>) -> Result<usize, String> {
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
