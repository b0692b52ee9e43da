//! S8: a member that may have forgotten neither votes nor grants until it is registered anew.

use super::memory::Memory;
use super::{Fact, Hearing, Invariant, World};
use crate::core::MemberId;
use crate::events::{Decision, Message};
use std::collections::BTreeSet;

/// The invariant.
#[derive(Default)]
pub(super) struct Forgetful {
    forgot: BTreeSet<MemberId>,
    told: BTreeSet<MemberId>,
    rosters: bool,
    /// Once nobody remembers, there is nothing left that a vote could contradict: the first adoption of such a cluster
    /// is a first one.
    memory: Memory,
}

impl Invariant for Forgetful {
    fn id(&self) -> &'static str {
        "S8"
    }
    fn says(&self) -> &'static str {
        "a member that may have forgotten neither votes nor grants until it is registered anew"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Grant, Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        self.memory.note(world, fact);
        match fact {
            // What nobody can notice by itself counts once a peer has told it, and it came back (M1).
            Fact::LogLost { member, noticed: true } => {
                self.forgot.insert(*member);
            }
            Fact::DaemonStarted { member, .. } if self.told.remove(member) => {
                self.forgot.insert(*member);
            }
            Fact::Decided { member, decision } => {
                if let Decision::RollbackDetected { .. } = &**decision {
                    self.told.insert(*member);
                }
                if let Decision::RosterCommitted(roster) = &**decision {
                    self.rosters = true;
                    self.forgot.retain(|m| {
                        roster.incarnations.get(usize::from(m.0)).copied().flatten()
                            != Some(world.node(*m).log.incarnation)
                    });
                }
            }
            Fact::Sent { from, message, .. }
                if self.rosters && self.memory.is_left() && self.forgot.contains(from) =>
            {
                if matches!(message, Message::VoteGranted(_) | Message::LeaseGranted(_)) {
                    return Err(format!("member {} lost its log, and binds itself: {message:?}", from.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
