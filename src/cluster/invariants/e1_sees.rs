//! E1: visibility is a veto of the voter who sees.

use super::{Fact, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::{CandidacyKind, Decision};
use std::collections::BTreeSet;

/// The invariant: the failover candidacies.
#[derive(Default)]
pub(super) struct WhoSeesRefuses(BTreeSet<(MemberId, Term)>);

impl Invariant for WhoSeesRefuses {
    fn id(&self) -> &'static str {
        "E1"
    }
    fn says(&self) -> &'static str {
        "who does not hold the primary down votes for no other"
    }
    fn look(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Decided { member, decision } = fact else { return Ok(()) };
        match &**decision {
            Decision::CandidacyOpened { term, kind: CandidacyKind::Failover, .. } => {
                self.0.insert((*member, *term));
            }
            Decision::VoteGranted { candidate, ask, verdict, .. }
                if self.0.contains(&(*candidate, ask.term)) && !verdict.is_down() =>
            {
                return Err(format!(
                    "member {} holds the primary {verdict:?}, and votes for {} in term {}",
                    member.0, candidate.0, ask.term
                ));
            }
            _ => {}
        }
        Ok(())
    }
}
