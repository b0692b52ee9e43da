//! Grants: what a voter promises to a primary, and why not (L1 to L5), and what forbids its vote in a term (E6). It changes
//! nothing of the voter.

use super::Voter;
use crate::core::{BootNanos, MemberId, Plant, Term, planted};
use crate::events::{Decision, Event, LeaseAsk, Refusal};

impl Voter {
    pub(super) fn grant_or_refuse(
        &self,
        from: MemberId,
        ask: &LeaseAsk,
        announced: bool,
        out: &mut Vec<Event>,
    ) {
        if !self.ledger.leases() {
            return;
        }
        out.push(Event::Decided(match self.refuses_lease(from, ask, announced) {
            Some(why) => Decision::LeaseRefused { to: from, ask: Box::new(*ask), why },
            None => Decision::LeaseGranted {
                to: from,
                ask: *ask,
                until: self.promised_until(from, ask),
                first: self.is_first(from, ask),
            },
        }));
    }

    /// L1: a shorter request never shortens a promise that stands: its holder still counts on it.
    pub(super) fn promised_until(&self, to: MemberId, ask: &LeaseAsk) -> BootNanos {
        let duration = if planted(Plant::OwnDurationPromised) {
            self.ledger.settings.lease_duration
        } else {
            ask.duration
        };
        let asked = self.ledger.now.plus_nanos(duration.0);
        if planted(Plant::PromiseShortened) {
            return asked;
        }
        let standing = self.ledger.standing_promise().filter(|p| p.holder == to).map(|p| p.until);
        standing.map_or(asked, |until| until.max(asked))
    }

    /// L4, L5: the first grant of a term and a longer one than ever are flushed, and so is every grant
    /// until that is known to be done, and until the winner's line of history is flushed.
    pub(super) fn is_first(&self, from: MemberId, ask: &LeaseAsk) -> bool {
        if planted(Plant::FirstGrantUnflushed) {
            return false;
        }
        ask.duration > self.ledger.promise_longest
            || self.ledger.bound_at > self.ledger.flushed && !planted(Plant::RenewalOvertakesFirst)
            || self.ledger.winner_at > self.ledger.flushed && !planted(Plant::RenewalOvertakesFirst)
            || !self.ledger.promise.is_some_and(|p| p.holder == from && p.term == ask.term)
    }

    /// L3: the reasons against a grant, in the order in which they are told.
    pub(super) fn refuses_lease(&self, from: MemberId, ask: &LeaseAsk, announced: bool) -> Option<Refusal> {
        let l = &self.ledger;
        if !l.settings.votes(l.me()) {
            return Some(Refusal::NoVoter);
        }
        if !l.registered() || !l.peer_registered(from, &ask.process) {
            return Some(Refusal::NotRegistered);
        }
        if !l.heard_from(from) {
            return Some(Refusal::NotHeardYet);
        }
        if ask.roster_number != l.roster.number {
            return Some(Refusal::OtherConfiguration { own: l.roster.number });
        }
        if ask.term <= l.released && !planted(Plant::TenureOutlivesRelease) {
            return Some(Refusal::Released(l.released));
        }
        // Voted, not merely seen: a failed candidacy must not kill a healthy lease.
        if let Some(v) = l.voted.filter(|v| v.ask.term > ask.term && v.candidate != from)
            && !planted(Plant::GrantsAfterVote)
        {
            return Some(Refusal::VotedInTerm { term: v.ask.term, candidate: v.candidate });
        }
        if let Some(a) = l.history.iter().find(|a| a.term >= ask.term && a.primary != from)
            && !planted(Plant::GrantsAgainstWinner)
        {
            return Some(Refusal::OtherWinner { primary: a.primary, term: a.term });
        }
        // L5: who keeps a primary writing must know, after a crash too, which history it writes: it must not
        // vote for a candidate that lacks it.
        if announced && !l.history.iter().any(|a| a.term == ask.term && a.primary == from) {
            return Some(Refusal::WinnerUnknown);
        }
        if let Some(p) = l.standing_promise().filter(|p| p.holder != from)
            && !planted(Plant::GrantsAgainstPromise)
        {
            return Some(Refusal::PromiseStands { holder: p.holder, left: left(p.until, l.now) });
        }
        let promised_to_it = l.promise.is_some_and(|p| p.holder == from);
        if l.silence_left().0 > 0 && !promised_to_it {
            return Some(Refusal::SilentAfterRestart { left: l.silence_left() });
        }
        if l.log_stalled && self.is_first(from, ask) {
            return Some(Refusal::LogStalled);
        }
        let about_it = l.announced().is_some_and(|a| a.primary == from && a.term == ask.term);
        if about_it && l.paused.is_none() && l.verdict.is_down() && l.quorum_holds_down() {
            let holders = u8::try_from(l.holders_of_down().len()).unwrap_or(u8::MAX);
            return Some(Refusal::QuorumHoldsDown { holders });
        }
        None
    }

    /// The reasons against freezing or voting for somebody in a term that hold whatever its
    /// position.
    pub(super) fn refuses_term(
        &self,
        candidate: MemberId,
        term: Term,
        roster_number: u32,
        waived: impl Fn(&Refusal) -> bool,
    ) -> Option<Refusal> {
        let l = &self.ledger;
        let promised_to_it = l.standing_promise().is_some_and(|p| p.holder == candidate);
        let silent = |why: &Refusal| matches!(why, Refusal::SilentAfterRestart { .. });
        if let Err(why) = l.ability_but(|why| promised_to_it && silent(why) || waived(why)) {
            return Some(why);
        }
        if !l.heard_from(candidate) {
            return Some(Refusal::NotHeardYet);
        }
        if roster_number != l.roster.number {
            return Some(Refusal::OtherConfiguration { own: l.roster.number });
        }
        let any_term = planted(Plant::VotesInOldTerm);
        let second = |v: &crate::core::Vote| v.ask.term == term && planted(Plant::VotesTwice);
        if let Some(v) = l.voted.filter(|v| v.ask.term >= term && !second(v) && !any_term) {
            return Some(Refusal::VotedInTerm { term: v.ask.term, candidate: v.candidate });
        }
        if l.term_frozen > term && !any_term {
            return Some(Refusal::FrozenForTerm(l.term_frozen));
        }
        if term <= l.released {
            return Some(Refusal::Released(l.released));
        }
        if let Some(a) = l.history.iter().find(|a| a.term >= term) {
            return Some(Refusal::OtherWinner { primary: a.primary, term: a.term });
        }
        if let Some(p) = l.standing_promise().filter(|p| p.holder != candidate)
            && !planted(Plant::VotesAgainstPromise)
        {
            return Some(Refusal::PromiseStands { holder: p.holder, left: left(p.until, l.now) });
        }
        None
    }
}

fn left(until: BootNanos, now: BootNanos) -> crate::core::Nanos {
    crate::core::Nanos(until.nanos_since(now))
}
