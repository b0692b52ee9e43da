//! E1: visibility is a veto of the voter who sees.

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::{CandidacyKind, Decision, LeaseAsk};
use std::collections::{BTreeMap, BTreeSet};

/// The invariant: the failover candidacies, and the last vote of each member.
#[derive(Default)]
pub(super) struct WhoSeesRefuses {
    candidacies: BTreeSet<(MemberId, Term)>,
    votes: BTreeMap<MemberId, (MemberId, LeaseAsk)>,
}

impl Invariant for WhoSeesRefuses {
    fn id(&self) -> &'static str {
        "E1"
    }
    fn says(&self) -> &'static str {
        "who does not hold the primary down votes for no other"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Decided { member, decision } = fact else { return Ok(()) };
        match &**decision {
            Decision::CandidacyOpened { term, kind: CandidacyKind::Failover, .. } => {
                self.candidacies.insert((*member, *term));
            }
            Decision::VoteGranted { candidate, ask, verdict, .. } => {
                // The same vote may be repeated when the winner is known already.
                let repeated = self.votes.insert(*member, (*candidate, **ask)) == Some((*candidate, **ask));
                let failover = self.candidacies.contains(&(*candidate, ask.term));
                if repeated || !failover || verdict.is_down() {
                    return Ok(());
                }
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
