//! S1: at most one member wins an election in a term, as long as anybody's log remembers one.

use super::memory::Memory;
use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::Decision;
use std::collections::BTreeMap;

/// The invariant.
#[derive(Default)]
pub(super) struct OneWinner {
    winners: BTreeMap<Term, MemberId>,
    memory: Memory,
}

impl Invariant for OneWinner {
    fn id(&self) -> &'static str {
        "S1"
    }
    fn says(&self) -> &'static str {
        "at most one member wins an election in a term"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        if self.memory.note(world, fact) {
            self.winners.clear();
        }
        let Fact::Decided { member, decision } = fact else { return Ok(()) };
        let term = match &**decision {
            Decision::ElectionWon { term, .. } => *term,
            Decision::PrimaryAnnounced(a) => a.term,
            _ => return Ok(()),
        };
        match *self.winners.entry(term).or_insert(*member) {
            first if first == *member => Ok(()),
            first => Err(format!("term {term} was won by member {} and by member {}", first.0, member.0)),
        }
    }
}
