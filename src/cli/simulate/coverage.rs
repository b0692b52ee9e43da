//! What a campaign covered: how many clusters of which size met which faults, and which rare states were
//! reached.

use super::marks::Reached;
use crate::cluster::{Outcome, Scenario};
use std::collections::BTreeMap;

/// Counts over all runs of a campaign.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    /// Runs by size: members with PostgreSQL, witnesses.
    sizes: BTreeMap<(usize, usize), u64>,
    /// Faults by kind.
    faults: BTreeMap<String, u64>,
    /// Runs in which liveness was promised at the end, and so was checked.
    live: u64,
    /// Simulated nanoseconds.
    simulated_ns: u128,
    /// Promotions that took effect.
    promotions: u64,
    /// Batches that members stepped.
    batches: u64,
    /// Rare states.
    reached: Reached,
}

impl Coverage {
    /// Adds a run. Of a run that was made twice, one counts.
    pub(super) fn add(&mut self, scenario: &Scenario, outcome: &Outcome) {
        let witnesses = scenario.members.iter().filter(|m| m.witness).count();
        *self.sizes.entry((scenario.members.len() - witnesses, witnesses)).or_default() += 1;
        for timed in scenario.faults.iter().filter(|f| f.at_ms * 1_000_000 <= outcome.end.0) {
            *self.faults.entry(timed.fault.kind()).or_default() += 1;
        }
        self.live += u64::from(outcome.live);
        self.simulated_ns += u128::from(outcome.end.0);
        self.promotions += outcome.promotions;
        self.batches += outcome.batches;
        self.reached.add(scenario.seed, outcome.marks);
    }

    /// Returns the simulated seconds.
    pub(super) fn simulated_s(&self) -> f64 {
        self.simulated_ns as f64 / 1e9
    }

    /// Returns the promotions that took effect.
    pub(super) const fn promotions(&self) -> u64 {
        self.promotions
    }

    /// Returns the rare states that were reached.
    pub(super) const fn reached(&self) -> &Reached {
        &self.reached
    }

    /// Returns the coverage in words, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let list = |pairs: Vec<String>| pairs.join(", ");
        let sizes = self.sizes.iter().map(|((data, witnesses), n)| match witnesses {
            0 => format!("{data}: {n}"),
            w => format!("{data}+{w}: {n}"),
        });
        let mut faults: Vec<_> = self.faults.iter().collect();
        faults.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let faults = faults.into_iter().map(|(kind, n)| format!("{kind} {n}"));
        vec![
            format!("clusters by size (data+witnesses): {}", list(sizes.collect())),
            format!("faults: {}", list(faults.collect())),
            format!(
                "decided on: {} observations; liveness promised, and checked, in {}",
                self.batches, self.live
            ),
        ]
    }

    /// Returns the coverage for machines.
    pub(super) fn json(&self) -> serde_json::Value {
        let sizes: BTreeMap<String, u64> =
            self.sizes.iter().map(|((data, witnesses), n)| (format!("{data}+{witnesses}"), *n)).collect();
        serde_json::json!({
            "sizes": sizes,
            "faults": self.faults,
            "live": self.live,
            "simulated_s": self.simulated_s(),
            "promotions": self.promotions,
            "batches": self.batches,
        })
    }
}
