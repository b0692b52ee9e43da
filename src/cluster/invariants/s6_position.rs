//! S6: the promoted position is at least that of every voter that elected it.
//!
//! A voter that recorded a loss (E7), or had no PostgreSQL running, is left out.

use super::{Fact, Invariant, World};
use crate::cluster::fact::replaces;
use crate::core::{MemberId, Term};
use crate::events::Decision;
use std::collections::BTreeMap;

/// The invariant: what each voter said it had, by voter and term.
#[derive(Default)]
pub(super) struct Position(BTreeMap<(MemberId, Term), bool>);

impl Invariant for Position {
    fn id(&self) -> &'static str {
        "S6"
    }
    fn says(&self) -> &'static str {
        "the promoted position is at least that of every voter that elected it"
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Decided { member, decision } = fact else { return Ok(()) };
        match &**decision {
            Decision::VoteGranted { ask, own, loss_bytes, .. } => {
                self.0.insert((*member, ask.term), own.is_some() && *loss_bytes == 0);
            }
            Decision::ElectionWon { term, voters, kind, .. } if replaces(*kind) => {
                let Some(winner) = &world.node(*member).postgres else { return Ok(()) };
                for voter in voters.iter().filter(|v| *v != member) {
                    let counts = self.0.get(&(*voter, *term)).copied().unwrap_or(false);
                    let Some(p) = world.node(*voter).postgres.as_ref().filter(|_| counts) else { continue };
                    let Some(limit) = world.histories.shared(p.branch, winner.branch) else {
                        return Err(format!("voter {} is on another history", voter.0));
                    };
                    if p.lsn > limit.min(winner.lsn) {
                        return Err(format!(
                            "member {} won with {}, but its voter {} has {}",
                            member.0, winner.lsn, voter.0, p.lsn
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
