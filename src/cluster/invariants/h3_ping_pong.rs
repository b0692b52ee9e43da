//! H3: no ping-pong: the primary's seat does not move to and fro without a new fault.
//!
//! While a fault lasts, each tenure can end by the same lost renewals: another move is allowed for every stretch of
//! it that may cause another failover (H2). Once nothing lasts any more, the count alone is allowed.

use super::h2_one_per_cause::cause_every_ms;
use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::replaces;
use crate::cluster::time::SimNanos;
use crate::core::MemberId;
use crate::events::Decision;

/// The invariant: winners since the last fault began or everything was mended, since when that is, and until when
/// any fault lasts.
#[derive(Default)]
pub(super) struct PingPong {
    winners: Vec<MemberId>,
    since: SimNanos,
    lasts_until: SimNanos,
}

/// More often than this is to and fro, whatever a fault leaves behind.
const MOVES_MAX: u64 = 4;

impl Invariant for PingPong {
    fn id(&self) -> &'static str {
        "H3"
    }
    fn says(&self) -> &'static str {
        "no ping-pong: the primary's seat does not move to and fro without a new fault"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let now = world.now();
        match fact {
            Fact::FaultBegan(i) => {
                (self.winners, self.since) = (Vec::new(), now);
                if let Some(timed) = world.scenario.faults.get(*i) {
                    let ends = world.scenario.fault_end(timed.at_ms, timed.fault.length_ms());
                    self.lasts_until = self.lasts_until.max(ends);
                }
            }
            Fact::Healed => {
                (self.winners, self.since) = (Vec::new(), now);
                self.lasts_until = now;
            }
            Fact::Decided { member, decision } => {
                if let Decision::ElectionWon { kind, .. } = &**decision
                    && replaces(*kind)
                {
                    self.winners.push(*member);
                }
            }
            _ => return Ok(()),
        }
        let lasted_ms = now.min(self.lasts_until).since(self.since).0 / 1_000_000;
        let allowed = MOVES_MAX + lasted_ms / cause_every_ms(world);
        if self.winners.len() as u64 > allowed {
            return Err(format!("the seat moved to {:?} since the last fault", self.winners));
        }
        Ok(())
    }
}
