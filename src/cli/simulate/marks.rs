//! The marks that a campaign reached, and those that it should have. It runs nothing.

use crate::cluster::{Mark, Marks};
use comfy_table::{Table, presets};

/// So often a mark would be reached in a campaign that is long enough to ask for it. That it is missed all the
/// same has a chance of e^-25; were it three times rarer than measured, e^-8.
const EXPECTED: u64 = 25;

/// Scenarios of fewer minutes have fewer faults than those the rarities were measured on.
const MINUTES_MIN: u64 = 7;

/// Which marks a campaign has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Those that so many seeds can't miss by chance.
    Likely,
    /// All that the swarm reaches.
    All,
    /// None: its scenarios are shorter than those the rarities were measured on.
    None,
}

impl Asked {
    /// Returns what the command line asks for.
    pub(super) fn of(all: bool, minutes: Option<u64>) -> Self {
        match minutes {
            _ if all => Self::All,
            Some(minutes) if minutes < MINUTES_MIN => Self::None,
            _ => Self::Likely,
        }
    }

    fn asks(self, mark: Mark, seeds: u64) -> bool {
        match self {
            Self::Likely => mark.one_in().is_some_and(|one_in| seeds >= EXPECTED * one_in),
            Self::All => mark.one_in().is_some(),
            Self::None => false,
        }
    }
}

/// One mark's count.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    seeds: u64,
    first: Option<u64>,
}

/// How many seeds reached which mark, and the first that did.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    seeds: u64,
    counts: Vec<Count>,
}

impl Default for Reached {
    fn default() -> Self {
        Self { seeds: 0, counts: vec![Count::default(); Mark::ALL.len()] }
    }
}

impl Reached {
    /// Adds a run.
    pub(super) fn add(&mut self, seed: u64, marks: Marks) {
        self.seeds += 1;
        for (mark, count) in Mark::ALL.iter().zip(&mut self.counts) {
            if marks.has(*mark) {
                count.seeds += 1;
                count.first = Some(count.first.map_or(seed, |first| first.min(seed)));
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = (Mark, Count)> {
        Mark::ALL.iter().copied().zip(self.counts.iter().copied())
    }

    /// Returns the marks that were never reached, though the campaign should have.
    pub(super) fn missed(&self, asked: Asked) -> Vec<Mark> {
        let missed = |(mark, count): &(Mark, Count)| count.seeds == 0 && asked.asks(*mark, self.seeds);
        self.all().filter(missed).map(|(mark, _)| mark).collect()
    }

    /// Returns a table for people.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header([
            "mark",
            "rule",
            "seeds",
            "first",
            "what was reached",
        ]);
        for (mark, count) in self.all() {
            let first = count.first.map_or("-".to_owned(), |seed| seed.to_string());
            table.add_row([mark.name(), mark.rule(), &count.seeds.to_string(), &first, mark.says()]);
        }
        table
    }

    /// Returns the counts for machines.
    pub(super) fn json(&self, asked: Asked) -> serde_json::Value {
        let row = |(mark, count): (Mark, Count)| {
            serde_json::json!({
                "mark": mark.name(),
                "rule": mark.rule(),
                "says": mark.says(),
                "seeds": count.seeds,
                "first": count.first,
                "asked": asked.asks(mark, self.seeds),
            })
        };
        self.all().map(row).collect()
    }
}

/// Returns the lines that tell which marks were missed.
pub(super) fn complaints(missed: &[Mark], seeds: u64) -> Vec<String> {
    let line = |mark: &Mark| {
        let (name, rule, one_in) = (mark.name(), mark.rule(), mark.one_in().unwrap_or_default());
        format!(
            "mark {name} ({rule}) was not reached in {seeds} seeds, but one in {one_in} should: {}",
            mark.says()
        )
    };
    missed.iter().map(line).collect()
}

/// Returns a run's marks by name.
pub(super) fn names(marks: Marks) -> Vec<&'static str> {
    marks.iter().map(Mark::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Marks {
        let mut marks = Marks::default();
        Mark::ALL.iter().for_each(|m| marks.add(*m));
        marks
    }

    fn after(seeds: u64, marks: Marks) -> Reached {
        let mut reached = Reached::default();
        (0..seeds).rev().for_each(|seed| reached.add(seed, marks));
        reached
    }

    #[test]
    fn a_mark_is_asked_for_once_chance_cannot_explain_its_absence() {
        for (mark, one_in) in Mark::ALL.iter().filter_map(|m| Some((m, m.one_in()?))) {
            let enough = EXPECTED * one_in;
            assert!(after(enough, Marks::default()).missed(Asked::Likely).contains(mark));
            assert!(!after(enough - 1, Marks::default()).missed(Asked::Likely).contains(mark));
        }
        assert_eq!(after(1, Marks::default()).missed(Asked::Likely), []);
        let drawn: Vec<Mark> = Mark::ALL.iter().copied().filter(|m| m.one_in().is_some()).collect();
        assert!(drawn.len() >= 25 && drawn.len() < Mark::ALL.len());
        assert_eq!(after(1, Marks::default()).missed(Asked::All), drawn);
        assert!(!after(1_000_000, Marks::default()).missed(Asked::Likely).contains(&Mark::SignOfLifeRanOut));
        assert_eq!(after(1_000_000, Marks::default()).missed(Asked::None), []);
    }

    #[test]
    fn what_was_reached_is_not_missed_and_its_first_seed_is_told() {
        let reached = after(3, all());
        assert_eq!(reached.missed(Asked::All), []);
        assert!(reached.all().all(|(_, count)| count.seeds == 3 && count.first == Some(0)));
    }

    #[test]
    fn short_scenarios_ask_for_none_unless_told() {
        assert_eq!(Asked::of(false, Some(MINUTES_MIN - 1)), Asked::None);
        assert_eq!(Asked::of(true, Some(MINUTES_MIN - 1)), Asked::All);
        assert_eq!(Asked::of(false, Some(MINUTES_MIN)), Asked::Likely);
        assert_eq!(Asked::of(false, None), Asked::Likely);
    }
}
