//! S7: no promotion without the votes of a quorum of registered voters.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::vote_of;
use crate::core::{MemberId, Quorum, Term};
use crate::events::Decision;
use std::collections::{BTreeMap, BTreeSet};

/// The invariant: who voted, by term and candidate.
#[derive(Default)]
pub(super) struct QuorumOfRegistered(BTreeMap<(Term, MemberId), BTreeSet<MemberId>>);

impl Invariant for QuorumOfRegistered {
    fn id(&self) -> &'static str {
        "S7"
    }
    fn says(&self) -> &'static str {
        "no promotion without the votes of a quorum of registered voters"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Sent { from, to, message } => {
                if let Some(ask) = vote_of(message) {
                    self.0.entry((ask.term, *to)).or_default().insert(*from);
                }
            }
            Fact::Decided { member, decision } => {
                if let Decision::VoteGranted { candidate, ask, .. } = &**decision
                    && candidate == member
                {
                    self.0.entry((ask.term, *member)).or_default().insert(*member);
                }
            }
            Fact::PromotionSent { member, term } => {
                let settings = &world.node(*member).settings;
                let voters = self.0.get(&(*term, *member));
                let count = voters.map_or(0, |v| v.iter().filter(|m| settings.votes(**m)).count());
                if count < Quorum::of(settings).needed() {
                    return Err(format!("member {} promotes in term {term} with {count} votes", member.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
