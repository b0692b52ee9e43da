//! H3: no ping-pong: the primary's seat does not move to and fro without a new fault.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::replaces;
use crate::core::MemberId;
use crate::events::Decision;

/// The invariant: winners since the last fault began or everything was mended.
#[derive(Default)]
pub(super) struct PingPong(Vec<MemberId>);

/// A fault that lasts may move the seat; more often than this is to and fro.
const MOVES_MAX: usize = 4;

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
    fn look(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::FaultBegan(_) | Fact::Healed => self.0.clear(),
            Fact::Decided { member, decision } => {
                if let Decision::ElectionWon { kind, .. } = &**decision
                    && replaces(*kind)
                {
                    self.0.push(*member);
                }
            }
            _ => {}
        }
        if self.0.len() > MOVES_MAX {
            return Err(format!("the seat moved to {:?} since the last fault", self.0));
        }
        Ok(())
    }
}
