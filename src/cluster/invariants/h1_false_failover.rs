//! H1: a healthy primary, with its daemon, seen by a quorum, is never failed over or fenced.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::replaces;
use crate::cluster::time::SimNanos;
use crate::core::Nanos;
use crate::events::Decision;

/// After the last fault, this long may pass until nothing of it is felt any more.
const SETTLES: Nanos = Nanos::from_millis(90_000);

/// The invariant: when the last fault ends.
#[derive(Default)]
pub(super) struct FalseFailover(Option<SimNanos>);

impl Invariant for FalseFailover {
    fn id(&self) -> &'static str {
        "H1"
    }
    fn says(&self) -> &'static str {
        "a healthy primary, with its daemon, seen by a quorum, is never failed over or fenced"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let calm = match self.0 {
            None => true,
            Some(end) => world.now() > end.plus(SETTLES),
        };
        match fact {
            Fact::FaultBegan(i) if !world.scenario.faults.get(*i).is_some_and(|f| f.fault.may_disturb()) => {}
            Fact::FaultBegan(i) => {
                let ends = world
                    .scenario
                    .faults
                    .get(*i)
                    .map(|f| world.scenario.fault_end(f.at_ms, f.fault.length_ms()));
                self.0 = self.0.max(ends).max(Some(world.now()));
            }
            Fact::Healed => self.0 = self.0.max(Some(world.now())),
            Fact::FenceBegan { member, was_writable: true, .. } if calm => {
                return Err(format!("member {} is fenced, and nothing was wrong", member.0));
            }
            Fact::Decided { member, decision } if calm => {
                if let Decision::ElectionWon { kind, term, .. } = &**decision
                    && replaces(*kind)
                {
                    return Err(format!("member {} won term {term}, and nothing was wrong", member.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
