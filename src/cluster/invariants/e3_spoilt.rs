//! E3: no standby streams another history that bears the same timeline number.

use super::{Fact, Hearing, Invariant, World};

/// The invariant.
pub(super) struct Unspoilt;

impl Invariant for Unspoilt {
    fn id(&self) -> &'static str {
        "E3"
    }
    fn says(&self) -> &'static str {
        "no standby streams another history that bears the same timeline number"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Spoilt { member, source } => {
                Err(format!("member {} streams from {} and spoils its data", member.0, source.0))
            }
            _ => Ok(()),
        }
    }
}
