//! Freezes: the promise to attach to nobody but a winner of a term, and what was observed of it (E2). It changes nothing of
//! the voter.

use super::Voter;
use crate::core::{MemberId, Plant, Term, planted};
use crate::events::{Decision, Event, FreezeOutcome, Position, Refusal};

impl Voter {
    pub(super) fn refuses_freeze(
        &self,
        candidate: MemberId,
        term: Term,
        roster_number: u32,
    ) -> Option<Refusal> {
        // A freeze needs no vote: a member without one may stand, and its WAL counts. What it may have forgotten
        // bound nobody.
        let without_vote = !self.ledger.settings.votes(self.ledger.me());
        let of_votes = |why: &Refusal| {
            let forgot = matches!(why, Refusal::NotRegistered | Refusal::SilentAfterRestart { .. });
            without_vote && (forgot || *why == Refusal::NoVoter)
        };
        // Visibility is a veto of the voter who sees (E1).
        self.refuses_term(candidate, term, roster_number, of_votes).or_else(|| {
            let sees = !self.ledger.verdict.is_down() && !planted(Plant::VotesWhileSeeing);
            sees.then_some(Refusal::SeesPrimary(self.ledger.verdict))
        })
    }

    pub(super) fn freeze_for(
        &self,
        to: MemberId,
        term: Term,
        nonce: u64,
        roster_number: u32,
        out: &mut Vec<Event>,
    ) {
        if let Some(why) = self.refuses_freeze(to, term, roster_number) {
            out.push(Event::Decided(Decision::FreezeRefused { to, nonce, term, why }));
            return;
        }
        if planted(Plant::FreezeLeftOut) && to != self.ledger.me() {
            return out.push(self.report(to, nonce, term, self.ledger.rough_position()));
        }
        out.push(Event::Decided(Decision::FreezePromised { term, candidate: to, nonce }));
        if !self.ledger.settings.has_postgres() {
            out.push(self.report(to, nonce, term, None));
        }
    }

    /// What stood against a freeze is gone a moment later: the candidate need not lose this member's WAL.
    pub(super) fn freeze_after_all(&self, out: &mut Vec<Event>) {
        let Some(ask) = self.refused_freeze else { return };
        if self.refuses_freeze(ask.from, ask.term, ask.roster_number).is_none() {
            self.freeze_for(ask.from, ask.term, ask.nonce, ask.roster_number, out);
        }
    }

    /// E2: the promise stands, but what was observed no longer does: PostgreSQL was started since, a receiver
    /// runs, or the freeze was never seen to end. It is made and observed again.
    pub(super) fn freeze_again(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let Some(freeze) = l.freeze.as_ref().filter(|_| !self.freezing && !self.catching_up) else { return };
        let Some(answer) = l.answer().filter(|a| a.in_recovery && l.tenure.is_none()) else { return };
        // It may be attached to a winner of that term or above, and is: by the operator, who set it up anew.
        let follows = |a: &&crate::events::Announcement| a.term >= freeze.term && a.primary != l.me();
        let winner = l.announced().filter(|a| l.revision >= 3 && !l.verdict.is_down() && follows(a));
        if winner.is_some_and(|w| !answer.receiver || l.sender() == Some(w.primary)) {
            return;
        }
        let still = freeze.outcome.as_ref().is_some_and(|o| o.frozen().is_some())
            && self.frozen_in == Some(answer.postmaster_started)
            && !answer.receiver;
        if !still {
            // On its own behalf: whoever asked has its answer.
            let nonce = l.process.nonce;
            let promised = Decision::FreezePromised { term: freeze.term, candidate: l.me(), nonce };
            out.push(Event::Decided(promised));
        }
    }

    pub(super) fn report(&self, to: MemberId, nonce: u64, term: Term, position: Option<Position>) -> Event {
        let electable = self.ledger.electable();
        Event::Decided(Decision::FreezeReported { to, nonce, term, position, electable })
    }

    /// A freeze was observed: tell who asked, and answer the vote request that waited for it.
    pub(super) fn after_freeze(&self, term: Term, out: &mut Vec<Event>) {
        let Some(freeze) = self.ledger.freeze.as_ref().filter(|f| f.term == term) else { return };
        if freeze.candidate != self.ledger.me() {
            out.push(match &freeze.outcome {
                Some(FreezeOutcome::NotObserved { .. }) if planted(Plant::FreezeNotObserved) => {
                    self.report(freeze.candidate, freeze.nonce, term, self.ledger.rough_position())
                }
                Some(FreezeOutcome::NotObserved { .. }) => Event::Decided(Decision::FreezeRefused {
                    to: freeze.candidate,
                    nonce: freeze.nonce,
                    term,
                    why: Refusal::FreezeNotObserved,
                }),
                Some(outcome) if outcome.frozen().is_some_and(|f| !f.settled) => {
                    Event::Decided(Decision::FreezeRefused {
                        to: freeze.candidate,
                        nonce: freeze.nonce,
                        term,
                        why: Refusal::Unsettled,
                    })
                }
                _ => self.report(freeze.candidate, freeze.nonce, term, self.ledger.frozen_position(term)),
            });
        }
        if let Some((from, ask)) = &self.pending
            && ask.ask.term == term
        {
            self.vote(*from, ask, out);
        }
    }
}
