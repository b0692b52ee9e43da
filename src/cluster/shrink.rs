//! Shrinking: leaves out faults one by one while the same invariant still breaks. Draws are keyed, so
//! what is left out changes nothing else.

use super::run::run;
use super::scenario::Scenario;

/// Runs one shrinking may cost; a scenario of a hundred faults needs a few hundred.
const RUNS_MAX: usize = 2_000;

/// Returns the scenario with as few faults as still break the invariant it breaks; `None` if it breaks
/// none.
#[must_use]
pub fn shrink(scenario: &Scenario) -> Option<Scenario> {
    let id = run(scenario).broken?.id;
    let breaks = |candidate: &Scenario| run(candidate).broken.is_some_and(|b| b.id == id);
    let mut small = scenario.clone();
    let mut runs = 0;
    let mut chunk = small.faults.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        let mut left_out = false;
        while from < small.faults.len() && runs < RUNS_MAX {
            let mut candidate = small.clone();
            let to = (from + chunk).min(candidate.faults.len());
            candidate.faults.drain(from..to);
            runs += 1;
            if breaks(&candidate) {
                small = candidate;
                left_out = true;
            } else {
                from = to;
            }
        }
        if chunk == 1 && !left_out || runs >= RUNS_MAX {
            return Some(small);
        }
        chunk = (chunk / 2).max(1);
    }
}
