//! E11: a promotion is ordered only under fresh grants of its own term, asked by the very process that
//! orders it; with E6: a candidacy dies with its process.

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Quorum, Term};
use crate::events::Message;
use std::collections::{BTreeMap, BTreeSet};

/// The invariant: who granted what, by holder, term and the process that asked.
#[derive(Default)]
pub(super) struct FreshGrants(BTreeMap<(MemberId, Term, u64), BTreeSet<MemberId>>);

impl Invariant for FreshGrants {
    fn id(&self) -> &'static str {
        "E11"
    }
    fn says(&self) -> &'static str {
        "a promotion is ordered only under grants that the same process asked for"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Grant, Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Sent { from, to, message: Message::LeaseGranted(ask) | Message::VoteGranted(ask) } => {
                self.0.entry((*to, ask.term, ask.process.nonce)).or_default().insert(*from);
            }
            Fact::PromotionSent { member, term } => {
                let node = world.node(*member);
                let Some(daemon) = node.daemon.as_ref() else { return Ok(()) };
                let grants = self.0.get(&(*member, *term, daemon.process.nonce));
                let votes = |m: &MemberId| node.settings.votes(*m);
                let others = grants.map_or(0, |g| g.iter().filter(|m| votes(m)).count());
                let count = others + usize::from(votes(member));
                let needed = Quorum::of(&node.settings).blocking();
                if count < needed {
                    return Err(format!(
                        "member {} promotes in term {term} under {count} grants of its own asking; {needed} are needed",
                        member.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
