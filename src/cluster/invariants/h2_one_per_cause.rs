//! H2: one failover per cause.
//!
//! A fault that lasts may cause another one every ten seconds, or as often as a tenure can end by the same lost
//! renewals, where that is shorter: its guard fences a lease, less the reserve, after the last that was granted.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::replaces;
use crate::events::{Decision, Settings};

/// A fault of this length may cause another failover.
const LASTS_MS: u64 = 10_000;

/// A fault that lasts may cause another failover every so many milliseconds.
pub(super) fn cause_every_ms(world: &World) -> u64 {
    let tenure = |s: &Settings| s.lease_duration.0.saturating_sub(s.fence_reserve.0) / 1_000_000;
    let shortest_ms = world.nodes.iter().map(|n| tenure(&n.settings)).min();
    LASTS_MS.min(shortest_ms.unwrap_or(LASTS_MS)).max(1)
}

/// The invariant.
#[derive(Default)]
pub(super) struct OnePerCause {
    failovers: u64,
    allowed: u64,
}

impl Invariant for OnePerCause {
    fn id(&self) -> &'static str {
        "H2"
    }
    fn says(&self) -> &'static str {
        "one failover per cause"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::FaultBegan(i) => {
                let ms = world.scenario.faults.get(*i).map_or(0, |f| f.fault.length_ms());
                self.allowed += 1 + ms / cause_every_ms(world);
            }
            Fact::Decided { decision, .. } => {
                if let Decision::ElectionWon { kind, .. } = &**decision {
                    self.failovers += u64::from(replaces(*kind));
                }
            }
            _ => {}
        }
        if self.failovers > self.allowed {
            return Err(format!("{} failovers for {} causes", self.failovers, self.allowed));
        }
        Ok(())
    }
}
