//! L1: who granted a lease or a vote votes for nobody else until it ran out or was released.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::time::SimNanos;
use crate::core::{MemberId, Term};
use crate::events::{Decision, Message};
use std::collections::{BTreeMap, BTreeSet};

/// A promise as the world saw it leave.
#[derive(Clone, Copy)]
struct Promise {
    holder: MemberId,
    term: Term,
    until: SimNanos,
}

/// The invariant: the promises of each voter, and the highest term each holder released (L8).
#[derive(Default)]
pub(super) struct PromiseKept {
    promises: BTreeMap<MemberId, Vec<Promise>>,
    released: BTreeMap<MemberId, Term>,
    /// The term that each holder won and did not release: a tenure outlives a candidacy above it (E9).
    won: BTreeMap<MemberId, Term>,
    /// Candidacies that their holder said to have given up, while it could not be told to those who voted for it.
    abandoned: BTreeSet<(MemberId, Term)>,
    /// Candidacies that their process gave up: no vote of theirs counts any more.
    closed: BTreeSet<(MemberId, Term, u64)>,
}

impl Invariant for PromiseKept {
    fn id(&self) -> &'static str {
        "L1"
    }
    fn says(&self) -> &'static str {
        "who granted a lease or a vote votes for nobody else until it ran out or was released"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Grant, Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Sent { from, to, message } => {
                let (ask, votes) = match message {
                    Message::VoteGranted(ask) => (ask, true),
                    Message::LeaseGranted(ask) => (ask, false),
                    _ => return Ok(()),
                };
                // A request may be answered after its holder has given the term up.
                let closed = (*to, ask.term, ask.process.nonce);
                if self.released.get(to).is_some_and(|t| ask.term <= *t) || self.closed.contains(&closed) {
                    return Ok(());
                }
                let now = world.now();
                let promises = self.promises.entry(*from).or_default();
                promises.retain(|p| p.until > now);
                if let Some(p) = promises.iter().find(|p| p.holder != *to) {
                    let what = if votes { "votes for" } else { "grants to" };
                    return Err(format!(
                        "member {} {what} {} in term {}, but promised {} (term {}) to wait {} more",
                        from.0,
                        to.0,
                        ask.term,
                        p.holder.0,
                        p.term,
                        p.until.since(now)
                    ));
                }
                // The holder counts 98 % from its sending, by its own clock, and nobody else relies on it.
                let holder = world.node(*to);
                if holder.boot_id != ask.process.boot_id {
                    return Ok(());
                }
                let until = holder.clock.instant(ask.sent_at.plus_nanos(ask.duration.0 / 100 * 98));
                // A later promise to the same holder makes no earlier one shorter.
                match promises.iter_mut().find(|p| p.term == ask.term) {
                    Some(p) => p.until = p.until.max(until),
                    None => promises.push(Promise { holder: *to, term: ask.term, until }),
                }
            }
            Fact::Decided { member, decision } => {
                self.decided(*member, decision);
            }
            // A candidacy dies with its process (E6); a tenure does not.
            Fact::DaemonEnded { member, .. } => {
                let won = self.won.get(member).copied();
                self.forget(*member, |term| won.is_none_or(|won| term > won));
            }
            _ => {}
        }
        Ok(())
    }
}

impl PromiseKept {
    fn decided(&mut self, member: MemberId, decision: &Decision) {
        match decision {
            Decision::ElectionWon { term, .. } => {
                self.won.insert(member, *term);
            }
            Decision::ElectionAbandoned { term: Some(term), .. } => {
                self.abandoned.insert((member, *term));
            }
            Decision::CandidacyClosed { term, nonce } => {
                self.closed.insert((member, *term, *nonce));
                let abandoned = std::mem::take(&mut self.abandoned);
                self.forget(member, |t| t == *term || t < *term && abandoned.contains(&(member, t)));
                self.abandoned = abandoned;
            }
            Decision::LeaseReleased { term, .. } => {
                self.released.insert(member, *term);
                if self.won.get(&member).is_some_and(|won| won <= term) {
                    self.won.remove(&member);
                }
                self.forget(member, |t| t <= *term);
            }
            _ => {}
        }
    }

    /// Nobody relies on promises to that holder of these terms any more.
    fn forget(&mut self, holder: MemberId, of: impl Fn(Term) -> bool) {
        for promises in self.promises.values_mut() {
            promises.retain(|p| p.holder != holder || !of(p.term));
        }
    }
}
