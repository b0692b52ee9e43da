//! L3: a lease is granted only by who voted for nobody else above its term and knows no other winner of that term or
//! above. (The third part, standing promises to others, is L1's.)
//!
//! Judged by what the voter decided itself: a first grant when it is decided, since its flush takes a while, a renewal
//! when it leaves. What a crash takes from its log the voter need not know any more.

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::{Decision, Message};
use std::collections::BTreeMap;

/// What binds one voter.
#[derive(Default)]
struct Bound {
    voted: Option<(Term, MemberId)>,
    winners: BTreeMap<Term, MemberId>,
    /// First grants that wait for their flush: to whom, in which process, which request, and how often: it may have
    /// arrived twice.
    waiting: BTreeMap<(MemberId, u64, u64), u32>,
}

/// The invariant: what each voter voted and which winners it knows.
#[derive(Default)]
pub(super) struct GrantsToWhomItMay(BTreeMap<MemberId, Bound>);

impl Invariant for GrantsToWhomItMay {
    fn id(&self) -> &'static str {
        "L3"
    }
    fn says(&self) -> &'static str {
        "who voted for another in a later term, or knows another winner, grants no lease"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Grant, Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Decided { member, decision } => {
                let bound = self.0.entry(*member).or_default();
                match &**decision {
                    Decision::VoteGranted { candidate, ask, .. } => {
                        bound.voted = bound.voted.max(Some((ask.term, *candidate)));
                    }
                    Decision::AnnouncementAdopted(a) | Decision::PrimaryAnnounced(a) => {
                        bound.winners.insert(a.term, a.primary);
                    }
                    Decision::LeaseGranted { to, ask, .. } => {
                        *bound.waiting.entry((*to, ask.process.nonce, ask.number)).or_default() += 1;
                        return bound.judge(*member, *to, ask.term);
                    }
                    _ => {}
                }
            }
            Fact::Sent { from, to, message } => {
                let (Message::LeaseGranted(ask), Some(bound)) = (message, self.0.get_mut(from)) else {
                    return Ok(());
                };
                match bound.waiting.get_mut(&(*to, ask.process.nonce, ask.number)) {
                    Some(times) if *times > 0 => *times -= 1,
                    _ => return bound.judge(*from, *to, ask.term),
                }
            }
            Fact::LogLost { member, .. } => {
                self.0.remove(member);
            }
            Fact::DaemonStarted { member, .. } => {
                if let (Some(bound), Some(ledger)) = (self.0.get_mut(member), world.node(*member).ledger()) {
                    bound.waiting.clear();
                    let kept = |v: &(Term, MemberId)| ledger.voted.is_some_and(|k| k.ask.term >= v.0);
                    bound.voted = bound.voted.filter(kept);
                    bound.winners.retain(|term, _| ledger.history.iter().any(|a| a.term == *term));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Bound {
    fn judge(&self, voter: MemberId, to: MemberId, term: Term) -> Result<(), String> {
        if let Some((voted, candidate)) = self.voted.filter(|(t, candidate)| *t > term && *candidate != to) {
            return Err(format!(
                "member {} grants {} a lease of term {term}, but voted for {} in term {voted}",
                voter.0, to.0, candidate.0
            ));
        }
        match self.winners.range(term..).find(|(_, winner)| **winner != to) {
            Some((won, winner)) => Err(format!(
                "member {} grants {} a lease of term {term}, but knows that {} won term {won}",
                voter.0, to.0, winner.0
            )),
            None => Ok(()),
        }
    }
}
