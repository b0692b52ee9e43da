//! H2: one failover per cause.
//!
//! A fault that lasts may cause another one every ten seconds.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::replaces;
use crate::events::Decision;

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
                self.allowed += 1 + ms / 10_000;
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
