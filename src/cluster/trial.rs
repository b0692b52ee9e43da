//! One trial: a scenario played for what a person who waits for a primary feels of it: who took over, how
//! long it took, what was lost, whether a healthy primary was fenced. It judges no invariant.

use super::fact::Fact;
use super::scenario::Scenario;
use super::time::SimNanos;
use super::world::World;
use crate::core::{MemberId, Nanos};

/// What came of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// The first member that took over after the moment, and how long after it.
    pub promoted: Option<(MemberId, Nanos)>,
    /// Bytes of WAL that the primary of the beginning had, and the new one lacks.
    pub lost_bytes: Option<u64>,
    /// Promotions that took effect, all in all.
    pub promotions: u64,
    /// Guards that fenced a PostgreSQL that accepted writes.
    pub guard_fences: u64,
    /// Fences of a PostgreSQL that accepted writes, all in all.
    pub fences: u64,
    /// Simulated time.
    pub length: Nanos,
}

/// Plays a scenario; ends when somebody took over after `moment`, if `first_only`.
#[must_use]
pub fn trial(scenario: &Scenario, moment: SimNanos, first_only: bool) -> Trial {
    let mut world = World::new(scenario.clone(), &mut Vec::new());
    let end = SimNanos::from_millis(scenario.end_at_ms);
    let mut trial = Trial::default();
    while world.step(end) {
        for fact in std::mem::take(&mut world.facts) {
            match fact {
                Fact::Promoted { member, at, .. } => {
                    trial.promotions += 1;
                    if trial.promoted.is_none() && world.now() >= moment {
                        trial.promoted = Some((member, world.now().since(moment)));
                        let old = world.node(scenario.primary).postgres.as_ref();
                        trial.lost_bytes = old.map(|p| p.lsn.bytes_since(at));
                    }
                }
                Fact::FenceBegan { by_guard, was_writable: true, .. } => {
                    trial.fences += 1;
                    trial.guard_fences += u64::from(by_guard);
                }
                _ => {}
            }
        }
        if first_only && trial.promoted.is_some() {
            break;
        }
    }
    trial.length = world.now().since(SimNanos(0));
    trial
}
