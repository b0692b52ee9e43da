//! Shrinking: leaves out the faults that are not needed to break the same invariant.

use super::run::run;
use super::scenario::Scenario;

/// Runs one shrinking may cost; a scenario of a hundred faults needs a few hundred.
const RUNS_MAX: usize = 5_000;

/// Returns the scenario with as few faults as still break the invariant it breaks; `None` if it breaks
/// none.
#[must_use]
pub fn shrink(scenario: &Scenario) -> Option<Scenario> {
    shrink_while(scenario, || true)
}

/// As [`shrink`], until `go_on` says no: then the least that broke it so far.
#[must_use]
pub fn shrink_while(scenario: &Scenario, mut go_on: impl FnMut() -> bool) -> Option<Scenario> {
    let id = run(scenario).broken?.id;
    let mut runs = 0;
    let shrunk = pgfo_replay::simulation::shrink(&scenario.faults, |faults| {
        runs += 1;
        let candidate = Scenario { faults: faults.to_vec(), ..scenario.clone() };
        (runs <= RUNS_MAX && go_on()).then(|| run(&candidate).broken.is_some_and(|b| b.id == id))
    });
    Some(Scenario { faults: shrunk.left, ..scenario.clone() })
}
