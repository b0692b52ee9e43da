//! S6: the promoted position is at least that of every voter that elected it.
//!
//! A voter that recorded a loss (E7), or had no PostgreSQL running, is left out. What a voter has past a
//! fork that was announced is lost already; a history that was never announced counts for nothing (E3).

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::replaces;
use crate::cluster::postgres::BranchId;
use crate::core::{MemberId, Term};
use crate::events::Decision;
use std::collections::BTreeMap;

/// The invariant: whether each vote counts a position, and which lines were announced first when.
#[derive(Default)]
pub(super) struct Position {
    votes: BTreeMap<(MemberId, Term), bool>,
    announced: BTreeMap<BranchId, Term>,
}

impl Invariant for Position {
    fn id(&self) -> &'static str {
        "S6"
    }
    fn says(&self) -> &'static str {
        "the promoted position is at least that of every voter that elected it"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Decided { member, decision } = fact else { return Ok(()) };
        match &**decision {
            Decision::VoteGranted { ask, own, loss_bytes, .. } => {
                self.votes.insert((*member, ask.term), own.is_some() && *loss_bytes == 0);
            }
            Decision::ElectionWon { term, voters, kind, .. } if replaces(*kind) => {
                let Some(winner) = &world.node(*member).postgres else { return Ok(()) };
                for voter in voters.iter().filter(|v| *v != member) {
                    let counts = self.votes.get(&(*voter, *term)).copied().unwrap_or(false);
                    let Some(p) = world.node(*voter).postgres.as_ref().filter(|_| counts) else { continue };
                    let opened = |b| self.announced.get(&b).copied().unwrap_or_default();
                    if opened(p.branch) > opened(winner.branch) {
                        return Err(format!("voter {} is on a newer history", voter.0));
                    }
                    if p.branch == winner.branch && p.lsn > winner.lsn {
                        return Err(format!(
                            "member {} won with {}, but its voter {} has {}",
                            member.0, winner.lsn, voter.0, p.lsn
                        ));
                    }
                }
            }
            Decision::PrimaryAnnounced(a) => {
                if let Some(p) = &world.node(*member).postgres {
                    self.announced.entry(p.branch).or_insert(a.term);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
