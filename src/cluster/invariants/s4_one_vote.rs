//! S4: one vote per term and member, across crashes, and lost logs too, as long as anybody's log remembers a term.

use super::memory::Memory;
use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::vote_of;
use crate::core::{MemberId, Term};
use std::collections::BTreeMap;

/// The invariant.
#[derive(Default)]
pub(super) struct OneVote {
    votes: BTreeMap<(MemberId, Term), (MemberId, u64)>,
    memory: Memory,
}

impl Invariant for OneVote {
    fn id(&self) -> &'static str {
        "S4"
    }
    fn says(&self) -> &'static str {
        "one vote per term and member, across crashes, and lost logs too"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        if self.memory.note(world, fact) {
            self.votes.clear();
        }
        let Fact::Sent { from, to, message } = fact else { return Ok(()) };
        let Some(ask) = vote_of(message) else { return Ok(()) };
        let vote = (*to, ask.process.nonce);
        let first = *self.votes.entry((*from, ask.term)).or_insert(vote);
        if first == vote {
            return Ok(());
        }
        Err(format!(
            "member {} voted twice in term {}: for candidacies {first:?} and {vote:?}",
            from.0, ask.term
        ))
    }
}
