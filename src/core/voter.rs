//! The Voter: what binds this member. Grants (L1 to L5), freeze promises (E2), votes (E6), pauses
//! (M3), rosters (M1, M2). It never stands itself and never promotes.

mod ballots;
mod freezes;
mod grants;
mod pauses;
mod projection;
mod rosters;

use crate::core::{
    BootNanos, Ledger, LedgerRole, MemberId, Plant, Term, freeze_overdue, ordered_at, planted, report_overdue,
};
use crate::events::{
    CandidacyKind, Deadline, Decision, Event, GuardReport, LogFound, Message, Observation, Position, Record,
    Settings, Verdict, VoteAsk,
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
            Event::Observed(Observation::GuardReported(GuardReport::Armed { term, until }))
                if !self.stopping
                    && self.ledger.tenure == Some(*term)
                    && (*until > self.ledger.now || self.ledger.revision < 4) =>
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
