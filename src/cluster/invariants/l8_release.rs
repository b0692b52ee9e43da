//! L8: a release comes when nothing writes any more, and ends the tenure: nobody is granted a term that its
//! holder asked for after releasing it.

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::{Decision, Message};
use std::collections::BTreeMap;

/// The invariant: the last release of each member, and the number of its last request before.
#[derive(Default)]
pub(super) struct ReleaseEnds(BTreeMap<MemberId, (Term, u64)>);

impl Invariant for ReleaseEnds {
    fn id(&self) -> &'static str {
        "L8"
    }
    fn says(&self) -> &'static str {
        "a tenure is released only once nothing writes any more, and its term is never asked for again"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Grant, Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Decided { member, decision } => {
                if let Decision::LeaseReleased { term, last_number } = &**decision {
                    if world.writers().contains(member) {
                        return Err(format!(
                            "member {} releases term {term}, and still accepts writes",
                            member.0
                        ));
                    }
                    let last = self.0.entry(*member).or_insert((*term, *last_number));
                    *last = (*last).max((*term, *last_number));
                }
            }
            Fact::LogLost { member, .. } => {
                self.0.remove(member);
            }
            Fact::Sent { from, to, message } => {
                let (Message::LeaseGranted(ask) | Message::VoteGranted(ask)) = message else {
                    return Ok(());
                };
                if let Some((term, number)) = self.0.get(to)
                    && ask.term <= *term
                    && ask.number > *number
                {
                    return Err(format!(
                        "member {} released term {term}, asked for term {} afterwards, and {} granted it",
                        to.0, ask.term, from.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
