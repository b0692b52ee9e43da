//! S10: folding the log gives the live state, at each crash.

use super::{Fact, Hearing, Invariant, World};

/// The invariant.
pub(super) struct Recovery;

impl Invariant for Recovery {
    fn id(&self) -> &'static str {
        "S10"
    }
    fn says(&self) -> &'static str {
        "folding the log gives the live state, at each crash"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::DaemonEnded { member, differs: Some(how) } => Err(format!("member {}:\n{how}", member.0)),
            _ => Ok(()),
        }
    }
}
