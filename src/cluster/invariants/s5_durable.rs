//! S5: no effect of a binding decision before the decision is durable.

use super::{Fact, Invariant, World};

/// The invariant.
pub(super) struct Durable;

impl Invariant for Durable {
    fn id(&self) -> &'static str {
        "S5"
    }
    fn says(&self) -> &'static str {
        "no effect of a binding decision before the decision is durable"
    }
    fn look(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::EffectTooEarly { member, what } => Err(format!("member {}: {what}", member.0)),
            _ => Ok(()),
        }
    }
}
