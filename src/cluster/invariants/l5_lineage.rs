//! L5: nobody is elected away from the history of a primary that a blocking set kept writing.
//!
//! Only grants of renewals count, which a primary asks for once its announcement is flushed and told: before, their
//! givers could not know the history.
//! Who lost its log since does not count either (M1), nor what an operator gave up by naming a primary (E10).

use super::{Fact, Invariant, World};
use crate::cluster::fact::replaces;
use crate::cluster::postgres::BranchId;
use crate::core::{MemberId, Quorum, Term};
use crate::events::{Decision, Message};
use std::collections::{BTreeMap, BTreeSet};

/// An announced primary.
struct Announced {
    holder: MemberId,
    branch: BranchId,
    /// The first renewal that was asked for, and by which process.
    renewed: Option<(u64, u64)>,
    granted: BTreeSet<MemberId>,
}

/// The invariant: the announced primaries, by term.
#[derive(Default)]
pub(super) struct Lineages(BTreeMap<Term, Announced>);

impl Invariant for Lineages {
    fn id(&self) -> &'static str {
        "L5"
    }
    fn says(&self) -> &'static str {
        "nobody is elected away from the history of a primary that a blocking set kept writing"
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Decided { member, decision } => match &**decision {
                Decision::PrimaryAnnounced(a) => {
                    let Some(p) = &world.node(*member).postgres else { return Ok(()) };
                    let (branch, granted) = (p.branch, BTreeSet::new());
                    self.0.insert(a.term, Announced { holder: *member, branch, renewed: None, granted });
                }
                // E10: the operator's word replaces the comparison, also with what came before.
                Decision::ElectionWon { kind, .. } if kind.is_by_name() => self.0.clear(),
                Decision::ElectionWon { term, kind, .. } if replaces(*kind) => {
                    return self.judge(world, *member, *term);
                }
                _ => {}
            },
            Fact::Sent { from, message, .. } => match message {
                Message::RenewalRequested(ask) => {
                    if let Some(a) = self.0.get_mut(&ask.term).filter(|a| a.holder == *from) {
                        // Its own grant counts from here on, too: a crash takes no announcement back any more.
                        a.granted.insert(*from);
                        a.renewed.get_or_insert((ask.process.nonce, ask.number));
                    }
                }
                Message::LeaseGranted(ask) => {
                    if let Some(a) = self.0.get_mut(&ask.term)
                        && let Some((nonce, number)) = a.renewed
                        && ask.process.nonce == nonce
                        && ask.number >= number
                    {
                        a.granted.insert(*from);
                    }
                }
                _ => {}
            },
            Fact::LogLost { member, .. } => {
                for a in self.0.values_mut() {
                    a.granted.remove(member);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Lineages {
    fn judge(&self, world: &World, winner: MemberId, term: Term) -> Result<(), String> {
        let node = world.node(winner);
        let Some(tip) = node.postgres.as_ref().map(|p| p.branch) else { return Ok(()) };
        let blocking = Quorum::of(&node.settings).blocking();
        let kept = self
            .0
            .range(..term)
            .rev()
            .find(|(_, a)| a.granted.iter().filter(|m| node.settings.votes(**m)).count() >= blocking);
        match kept {
            Some((t, a)) if world.histories.shared(a.branch, tip).is_none() => Err(format!(
                "member {} won term {term}, off the history of member {}, whose term {t} was granted by {:?}",
                winner.0, a.holder.0, a.granted
            )),
            _ => Ok(()),
        }
    }
}
