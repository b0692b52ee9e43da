//! Whose log still holds a roster or, before the first one, a vote. Once nobody's does, nothing is left in the cluster that could tell of a former term:
//! not a log, nor a peer that could be asked. It is a new one, whose terms begin again, and what its members said before
//! binds nobody (S8).

use super::{Fact, World};
use crate::core::MemberId;
use crate::events::{Decision, Event, Record};
use std::collections::BTreeSet;

/// Who remembers.
#[derive(Default)]
pub(super) struct Memory(BTreeSet<MemberId>);

impl Memory {
    /// Takes a fact in. Returns whether it took away the last log that remembered.
    pub(super) fn note(&mut self, world: &World, fact: &Fact) -> bool {
        match fact {
            Fact::LogLost { member, .. } if world.node(*member).log.records.is_empty() => {
                let last = self.0.remove(member);
                self.0.is_empty() && (last || !any_vote(world))
            }
            Fact::Decided { member, decision } => {
                if let Decision::RosterAdopted(_) | Decision::RosterCommitted(_) = &**decision {
                    self.0.insert(*member);
                }
                false
            }
            _ => false,
        }
    }

    /// Returns whether somebody's log holds a roster.
    pub(super) fn is_left(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Whether somebody's log holds a vote, as the first adoption leaves one that was not won.
fn any_vote(world: &World) -> bool {
    let vote = |r: &Record| matches!(&r.event, Event::Decided(Decision::VoteGranted { .. }));
    world.scenario.ids().any(|m| world.node(m).log.records.iter().any(vote))
}
