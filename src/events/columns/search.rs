//! Owns the choice of each column's plan: which newer values its own follow from. A bad choice costs
//! bytes, never a record.

use super::plan::{COMMON_COLUMNS, Learning, Plan, Source};

/// Sources that are tried together with each possible second one.
const BEST_MAX: usize = 3;
/// Samples that are looked at; as many as a block of a quiet member has of its commonest class.
const SAMPLES_MAX: usize = 512;

/// The records of a block as columns.
pub(super) struct Table {
    /// The class of each record, in order.
    pub(super) classes: Vec<usize>,
    /// Of each record, where its values begin.
    pub(super) starts: Vec<usize>,
    pub(super) values: Vec<u64>,
    /// Of each class, the number of its first column over all classes, and how many it has.
    pub(super) columns: Vec<(usize, usize)>,
}

impl Table {
    pub(super) fn total(&self) -> usize {
        self.columns.last().map_or(COMMON_COLUMNS, |(first, count)| first + count)
    }

    pub(super) fn record(&self, at: usize) -> &[u64] {
        let (_, count) = self.columns[self.classes[at]];
        &self.values[self.starts[at]..self.starts[at] + count]
    }
}

/// What a class's records have, and what was newest before each of them.
struct Samples<'a> {
    first_column: usize,
    own: Vec<&'a [u64]>,
    /// For each sample one value per candidate.
    before: Vec<Vec<u64>>,
}

impl Samples<'_> {
    /// Returns what candidate `at`, the column `column`, held when own column `own` was foreseen.
    fn candidate(&self, sample: usize, at: usize, column: usize, own: usize) -> u64 {
        match column.checked_sub(self.first_column) {
            Some(earlier) if earlier < own => self.own[sample][earlier],
            _ => self.before[sample][at],
        }
    }

    fn values(&self, own: usize) -> impl Iterator<Item = u64> + '_ {
        self.own.iter().map(move |record| record[own])
    }
}

/// Returns a plan for every column, by its number over all classes.
pub(super) fn plans(table: &Table) -> Vec<Plan> {
    let mut plans = vec![Plan::constant(0); table.total()];
    let mut changing: Vec<usize> = (0..COMMON_COLUMNS).collect();
    for (class, &(first, count)) in table.columns.iter().enumerate() {
        let mut records = (0..table.classes.len()).filter(|&at| table.classes[at] == class);
        let Some(example) = records.next().map(|at| table.record(at)) else { continue };
        let mut same = vec![true; count];
        for at in records {
            for (same, (value, first)) in same.iter_mut().zip(table.record(at).iter().zip(example)) {
                *same &= value == first;
            }
        }
        for (own, same) in same.into_iter().enumerate() {
            plans[first + own] = Plan::constant(example[own]);
            if !same {
                changing.push(first + own);
            }
        }
    }
    // First what follows exactly from another column; the rest is guessed at by what is left.
    let mut left: Vec<usize> = (0..COMMON_COLUMNS).collect();
    each_class(table, &changing, |samples, count| {
        for own in (0..count).filter(|own| changing.binary_search(&(samples.first_column + own)).is_ok()) {
            match exact(samples, own, &changing) {
                Some(plan) => plans[samples.first_column + own] = plan,
                None => left.push(samples.first_column + own),
            }
        }
    });
    each_class(table, &left, |samples, count| {
        for own in (0..count).filter(|own| left.binary_search(&(samples.first_column + own)).is_ok()) {
            plans[samples.first_column + own] = guess(samples, own, &left);
        }
    });
    plans
}

/// Hands each class's samples to `work`, with the values of `candidates` before each.
fn each_class(table: &Table, candidates: &[usize], mut work: impl FnMut(&Samples<'_>, usize)) {
    for (class, &(first, count)) in table.columns.iter().enumerate() {
        // Stamps always change where there is more than one record; a class without is skipped.
        let from = candidates.partition_point(|&column| column < first);
        if candidates.get(from).is_none_or(|&column| column >= first + count) {
            continue;
        }
        let mut samples = Samples { first_column: first, own: Vec::new(), before: Vec::new() };
        let mut newest = vec![0; table.total()];
        for at in 0..table.classes.len() {
            let record = table.record(at);
            if table.classes[at] == class && samples.own.len() < SAMPLES_MAX {
                samples.own.push(record);
                samples.before.push(candidates.iter().map(|&column| newest[column]).collect());
            }
            let (from, columns) = table.columns[table.classes[at]];
            newest[from..from + columns].copy_from_slice(record);
            newest[..COMMON_COLUMNS].copy_from_slice(&record[..COMMON_COLUMNS]);
        }
        if samples.own.len() > 1 {
            work(&samples, count);
        }
    }
}

/// Returns the plan that is always met, if the column is another one plus something fixed.
fn exact(samples: &Samples<'_>, own: usize, candidates: &[usize]) -> Option<Plan> {
    if samples.own.len() == SAMPLES_MAX {
        // Not all were looked at.
        return None;
    }
    candidates.iter().enumerate().find_map(|(at, &column)| {
        let mut offsets = samples
            .values(own)
            .enumerate()
            .map(|(sample, value)| value.wrapping_sub(samples.candidate(sample, at, column, own)));
        let offset = offsets.next()?;
        let plan = Plan { plus: Source::Column(column), offset, ..Plan::constant(0) };
        offsets.all(|other| other == offset).then_some(plan)
    })
}

/// Returns the plan that leaves the fewest bits.
fn guess(samples: &Samples<'_>, own: usize, candidates: &[usize]) -> Plan {
    let values: Vec<u64> = samples.values(own).collect();
    let less = |from: &[u64], at: usize| -> Vec<u64> {
        let column = candidates[at];
        let values = from.iter().enumerate();
        values.map(|(sample, value)| value.wrapping_sub(samples.candidate(sample, at, column, own))).collect()
    };
    let mut best = vec![(choose(&values), None)];
    best.extend((0..candidates.len()).map(|at| (choose(&less(&values, at)), Some(at))));
    best.sort_by(|((a, ..), _), ((b, ..), _)| a.total_cmp(b));
    best.truncate(BEST_MAX);
    let source = |at: Option<usize>| at.map_or(Source::Nothing, |at| Source::Column(candidates[at]));
    let plan = |(_, offset, learning): Choice, plus, minus| Plan {
        plus: source(plus),
        minus: source(minus),
        offset,
        learning,
        exact: false,
    };
    let (mut least, mut found) = (best[0].0.0, plan(best[0].0, best[0].1, None));
    for (_, plus) in best {
        let rest = plus.map_or_else(|| values.clone(), |at| less(&values, at));
        for (at, &column) in candidates.iter().enumerate() {
            let summed: Vec<u64> = rest
                .iter()
                .enumerate()
                .map(|(sample, value)| value.wrapping_add(samples.candidate(sample, at, column, own)))
                .collect();
            let choice = choose(&summed);
            // A second source costs a little itself.
            if choice.0 + 16.0 < least {
                least = choice.0;
                found = plan(choice, plus, Some(at));
            }
        }
    }
    found
}

/// Bits, offset, and how it is learned.
type Choice = (f64, u64, Learning);

/// Returns the best way to foresee numbers from nothing but themselves.
fn choose(numbers: &[u64]) -> Choice {
    let mut sorted: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
    let middle = sorted.len() / 2;
    let middle = *sorted.select_nth_unstable(middle).1 as u64;
    let first = numbers.first().copied().unwrap_or(0);
    [(middle, Learning::Fixed), (first, Learning::Whole), (first, Learning::Quarter)]
        .into_iter()
        .map(|(offset, learning)| {
            let mut plan = Plan { learning, ..Plan::constant(offset) };
            let aboves = numbers.iter().map(|number| {
                let above = number.wrapping_sub(plan.offset);
                plan.learn(above);
                above
            });
            (bits(aboves), offset, learning)
        })
        .min_by(|(a, ..), (b, ..)| a.total_cmp(b))
        .unwrap_or((0.0, middle, Learning::Fixed))
}

/// Returns about how many bits these distances take.
fn bits(aboves: impl Iterator<Item = u64>) -> f64 {
    let mut lengths = [0_u32; 65];
    let mut sum = 0.0;
    let mut count = 0.0;
    for above in aboves {
        let length = 64 - super::shape::signed(above).leading_zeros();
        lengths[length as usize] += 1;
        sum += f64::from(length.saturating_sub(1));
        count += 1.0;
    }
    for &seen in lengths.iter().filter(|&&seen| seen > 0) {
        let seen = f64::from(seen);
        // What each length's own bits are, and a few to learn that it occurs.
        sum += seen * (count / seen).log2() + 3.0;
    }
    sum
}
