//! The Voter: what binds this member. Grants (L1 to L5), freeze promises (E2), votes (E6), pauses
//! (M3), rosters (M1, M2). It never stands itself and never promotes.

mod ballots;
mod pauses;
mod projection;

use crate::core::{
    BootNanos, Ledger, LedgerRole, MemberId, Plant, Term, freeze_overdue, ordered_at, planted, report_overdue,
};
use crate::events::{
    CandidacyKind, Deadline, Decision, Event, FreezeOutcome, GuardReport, LeaseAsk, LogFound, Message,
    Observation, Position, Record, Refusal, Roster, Settings, Verdict, VoteAsk,
};
use pgfo_replay::Machine;
use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voter {
    ledger: Box<Ledger>,
    /// A vote request that waits for this member's freeze to be observed.
    pending: Option<(MemberId, VoteAsk)>,
    /// A request to freeze that was refused for a reason that may pass at any moment.
    refused_freeze: Option<FreezeAsk>,
    /// The operator wants this daemon to end: its own pause must outlive it.
    stopping: bool,
    /// This role was rebuilt without a record, which may have told how far the log is flushed: the next
    /// heartbeat tells it again.
    flush_unknown: bool,
    /// Whether a freeze was ordered and has not ended yet.
    freezing: bool,
    /// When the freeze or the catching up was ordered that has not ended yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ordered_at: Option<BootNanos>,
    /// The postmaster start in which the last freeze was observed (E2).
    frozen_in: Option<i64>,
    /// The missing WAL is being streamed (E7): the receiver may run meanwhile.
    catching_up: bool,
    /// The process before found this log rolled back, and ended before it was given another incarnation (M1).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    renewal_owed: bool,
    /// Whether the guard holds a deadline that this process gave it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    guard_armed: bool,
    /// What the highest vote was cast on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cast_on: Option<CastOn>,
}

/// What a vote was cast on: a repetition of it says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct CastOn {
    own: Option<Position>,
    loss_bytes: u64,
}

/// A request to freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct FreezeAsk {
    from: MemberId,
    term: Term,
    nonce: u64,
    roster_number: u32,
}

impl Voter {
    /// Makes the voter of a member without history.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            ledger: Box::new(Ledger::new(settings)),
            pending: None,
            refused_freeze: None,
            stopping: false,
            flush_unknown: false,
            freezing: false,
            ordered_at: None,
            frozen_in: None,
            catching_up: false,
            renewal_owed: false,
            guard_armed: false,
            cast_on: None,
        }
    }

    /// Returns what this role knows.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    // ---- grants ---------------------------------------------------------------------------

    fn grant_or_refuse(&self, from: MemberId, ask: &LeaseAsk, announced: bool, out: &mut Vec<Event>) {
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
    fn promised_until(&self, to: MemberId, ask: &LeaseAsk) -> BootNanos {
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
    fn is_first(&self, from: MemberId, ask: &LeaseAsk) -> bool {
        if planted(Plant::FirstGrantUnflushed) {
            return false;
        }
        ask.duration > self.ledger.promise_longest
            || self.ledger.bound_at > self.ledger.flushed && !planted(Plant::RenewalOvertakesFirst)
            || self.ledger.winner_at > self.ledger.flushed && !planted(Plant::RenewalOvertakesFirst)
            || !self.ledger.promise.is_some_and(|p| p.holder == from && p.term == ask.term)
    }

    /// L3: the reasons against a grant, in the order in which they are told.
    fn refuses_lease(&self, from: MemberId, ask: &LeaseAsk, announced: bool) -> Option<Refusal> {
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

    // ---- freezing -------------------------------------------------------------------------

    /// The reasons against freezing or voting for somebody in a term that hold whatever its
    /// position.
    fn refuses_term(
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

    fn refuses_freeze(&self, candidate: MemberId, term: Term, roster_number: u32) -> Option<Refusal> {
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

    fn freeze_for(&self, to: MemberId, term: Term, nonce: u64, roster_number: u32, out: &mut Vec<Event>) {
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
    fn freeze_after_all(&self, out: &mut Vec<Event>) {
        let Some(ask) = self.refused_freeze else { return };
        if self.refuses_freeze(ask.from, ask.term, ask.roster_number).is_none() {
            self.freeze_for(ask.from, ask.term, ask.nonce, ask.roster_number, out);
        }
    }

    /// E2: the promise stands, but what was observed no longer does: PostgreSQL was started since, a receiver
    /// runs, or the freeze was never seen to end. It is made and observed again.
    fn freeze_again(&self, out: &mut Vec<Event>) {
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

    fn report(&self, to: MemberId, nonce: u64, term: Term, position: Option<Position>) -> Event {
        let electable = self.ledger.electable();
        Event::Decided(Decision::FreezeReported { to, nonce, term, position, electable })
    }

    /// A freeze was observed: tell who asked, and answer the vote request that waited for it.
    fn after_freeze(&self, term: Term, out: &mut Vec<Event>) {
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

    // ---- rosters --------------------------------------------------------------------------

    /// M1: only those that are registered register others, and only at the holder's request.
    fn accept_roster(&self, from: MemberId, roster: &Roster, out: &mut Vec<Event>) {
        let l = &self.ledger;
        // M2: at most one member's log differs from the roster in force, and it is not this one's; no floor
        // is lowered.
        let changed: Vec<MemberId> = l
            .settings
            .ids()
            .filter(|m| {
                let at = usize::from(m.0);
                roster.incarnations.get(at) != l.roster.incarnations.get(at)
            })
            .collect();
        let floor = |r: &Roster, m: MemberId| r.vote_floor.get(usize::from(m.0)).copied().unwrap_or_default();
        let floors_hold = l.settings.ids().all(|m| floor(roster, m) >= floor(&l.roster, m));
        // M1: one content a number. A later proposer takes a higher one.
        let new = l.roster_agreed.as_ref().is_none_or(|r| r.number < roster.number || r == roster);
        if l.primary() == Some(from)
            && l.settings.votes(l.me())
            && l.registered()
            && !l.log_stalled
            && roster.number > l.roster.number
            && changed.len() <= 1
            && !changed.contains(&l.me())
            && floors_hold
            && new
        {
            let voted = l.term_seen();
            out.push(Event::Decided(Decision::RosterAccepted { to: from, roster: roster.clone(), voted }));
        }
    }

    fn adopt_roster(&self, roster: &Roster, out: &mut Vec<Event>) {
        if roster.number > self.ledger.roster.number {
            out.push(Event::Decided(Decision::RosterAdopted(roster.clone())));
        }
    }

    fn hear(&self, from: MemberId, message: &Message, out: &mut Vec<Event>) {
        match message {
            Message::LeaseRequested(ask) => self.grant_or_refuse(from, ask, false, out),
            Message::RenewalRequested(ask) => self.grant_or_refuse(from, ask, true, out),
            Message::FreezeRequested { term, nonce, roster_number } => {
                self.freeze_for(from, *term, *nonce, *roster_number, out);
            }
            Message::VoteRequested(ask) => self.vote(from, ask, out),
            Message::PauseRequested(pause) => self.agree_to_pause(from, *pause, out),
            Message::Resumed(pause) if pause.primary == from => self.hear_resumed(*pause, out),
            Message::RosterProposed(roster) => self.accept_roster(from, roster, out),
            Message::RosterCommitted(roster) => self.adopt_roster(roster, out),
            Message::LeaseReleased { term, .. } => {
                self.end_pause_of_released(from, *term, out);
                self.freeze_after_all(out);
            }
            Message::CandidacyEnded { .. } => self.freeze_after_all(out),
            Message::Heartbeat(h) => {
                self.look_for_rollback(from, h, out);
                self.hear_of_pauses(from, h.resumed, out);
                self.answer_pause(h.paused, out);
            }
            _ => {}
        }
    }

    /// M1: peers remember how far this log was flushed. What was found once is found again until the log has
    /// another incarnation: under the old one nobody registers it.
    fn look_for_rollback(&self, peer: MemberId, h: &crate::events::Heartbeat, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let Some(mark) = h.heard_flushed.get(usize::from(l.me().0)) else { return };
        let found = !l.forgetful
            && !self.flush_unknown
            && mark.incarnation == l.process.incarnation
            && mark.seq > l.flushed;
        if found || self.renewal_owed {
            out.push(Event::Decided(Decision::RollbackDetected {
                peer,
                remembered: mark.seq,
                own: l.flushed,
            }));
        }
    }
}

fn left(until: BootNanos, now: BootNanos) -> crate::core::Nanos {
    crate::core::Nanos(until.nanos_since(now))
}

impl LedgerRole for Voter {
    fn ledger_slot(&mut self) -> &mut Box<Ledger> {
        &mut self.ledger
    }

    fn evolve_own(&mut self, record: &Record) {
        match &record.event {
            Event::Observed(Observation::ProcessStarted(start)) => {
                self.renewal_owed = self.ledger.forgetful && start.log == LogFound::Intact;
                self.pending = None;
                self.refused_freeze = None;
                self.stopping = false;
                self.flush_unknown = false;
                self.freezing = false;
                self.ordered_at = None;
                self.frozen_in = None;
                self.catching_up = false;
                self.guard_armed = false;
            }
            Event::Observed(Observation::GuardReported(report)) => {
                self.guard_armed = matches!(report, GuardReport::Armed { .. });
            }
            Event::Decided(Decision::PauseConfirmed { .. }) => self.guard_armed = false,
            Event::Observed(Observation::FreezeCompleted { .. }) => {
                self.freezing = false;
                self.frozen_in = Some(self.ledger.local.last_started);
            }
            Event::Observed(Observation::CatchUpCompleted { .. } | Observation::FenceCompleted(_)) => {
                self.freezing = false;
                self.catching_up = false;
            }
            Event::Decided(Decision::CatchUpOrdered { .. }) => {
                self.freezing = false;
                self.catching_up = true;
                self.ordered_at = ordered_at(&self.ledger);
            }
            // The hand does one thing after the other: what it begins ends what was under way.
            Event::Decided(
                Decision::FollowOrdered { .. }
                | Decision::PromotionOrdered { .. }
                | Decision::PromotionOrderedOf { .. },
            ) => {
                self.freezing = false;
                self.catching_up = false;
            }
            Event::Observed(Observation::HeartbeatDue { .. }) => {
                self.flush_unknown = false;
                // Any report may be lost: it is ordered and observed again.
                self.freezing &= !freeze_overdue(&self.ledger, self.ordered_at);
                if report_overdue(&self.ledger, self.ordered_at) {
                    self.ordered_at = None;
                    self.freezing = false;
                    self.catching_up = false;
                }
            }
            Event::Decided(Decision::RollbackDetected { .. }) => self.renewal_owed = false,
            Event::Decided(Decision::RoleFailed { role, .. }) => {
                self.flush_unknown |= *role == crate::events::Actor::Voter.number();
            }
            Event::Observed(Observation::OperatorRequested(crate::events::OperatorRequest::Stop)) => {
                self.stopping = true;
            }
            Event::Decided(Decision::StopRefused { .. }) => self.stopping = false,
            Event::Observed(Observation::MessageReceived {
                from,
                message: Message::VoteRequested(ask),
                ..
            }) => {
                self.pending = Some((*from, (**ask).clone()));
            }
            Event::Observed(Observation::MessageReceived {
                from,
                message: Message::FreezeRequested { term, nonce, roster_number },
                ..
            }) => {
                self.refused_freeze = Some(FreezeAsk {
                    from: *from,
                    term: *term,
                    nonce: *nonce,
                    roster_number: *roster_number,
                });
            }
            Event::Decided(Decision::FreezePromised { .. }) => {
                self.refused_freeze = None;
                self.freezing = self.ledger.settings.has_postgres();
                self.ordered_at = ordered_at(&self.ledger);
                self.catching_up = false;
            }
            Event::Decided(Decision::VoteRequested(ask)) => {
                self.pending = Some((self.ledger.me(), (**ask).clone()));
            }
            Event::Decided(Decision::VoteGranted { own, loss_bytes, .. }) => {
                self.pending = None;
                self.cast_on = Some(CastOn { own: *own, loss_bytes: *loss_bytes });
            }
            Event::Decided(Decision::VoteRefused { .. }) => self.pending = None,
            _ => {}
        }
    }
}

impl Machine for Voter {
    type Event = Event;
    type Deadline = Deadline;

    fn evolve(&mut self, record: &Record) {
        self.ledger.evolve(record);
        self.evolve_own(record);
    }

    fn decide(&self, record: &Record, out: &mut Vec<Event>) {
        let me = self.ledger.me();
        match &record.event {
            Event::Observed(Observation::MessageReceived { from, message, .. }) => {
                self.hear(*from, message, out)
            }
            Event::Observed(Observation::FreezeCompleted { term, .. }) => self.after_freeze(*term, out),
            // Its own promoter's requests are answered like anybody's.
            Event::Decided(Decision::LeaseRequested(ask)) => self.grant_or_refuse(me, ask, false, out),
            Event::Decided(Decision::RenewalRequested(ask)) => self.grant_or_refuse(me, ask, true, out),
            Event::Observed(Observation::ProbeCompleted { target, .. }) if *target == me => {
                self.freeze_again(out);
            }
            Event::Decided(Decision::CandidacyOpened { term, kind: CandidacyKind::Failover, .. }) => {
                let nonce = self.ledger.process.nonce;
                self.freeze_for(me, *term, nonce, self.ledger.roster.number, out);
            }
            Event::Decided(Decision::VoteRequested(ask)) => self.vote(me, ask, out),
            Event::Decided(Decision::PauseRequested(pause)) => self.agree_to_pause(me, *pause, out),
            // M3: this primary's daemon is back and holds its lease by its own grants.
            Event::Observed(Observation::GuardReported(GuardReport::Armed { term, .. }))
                if !self.stopping && self.ledger.tenure == Some(*term) =>
            {
                self.end_pause_of(me, out);
            }
            Event::Decided(Decision::LeaseReleased { term, .. }) => {
                self.end_pause_of_released(me, *term, out)
            }
            Event::Decided(Decision::VerdictChanged { primary, to, .. }) if to.is_down() => {
                if *to == Verdict::ConfirmedDown || planted(Plant::PauseEndsBySilence) {
                    self.end_pause_of(*primary, out);
                }
                self.freeze_after_all(out);
            }
            Event::Decided(Decision::RosterProposed(roster)) => self.accept_roster(me, roster, out),
            Event::Decided(Decision::RosterCommitted(roster)) => self.adopt_roster(roster, out),
            _ => {}
        }
    }

    fn deadlines(&self, _: &mut Vec<(Deadline, BootNanos)>) {}
}
