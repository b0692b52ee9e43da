//! The Promoter: holds the lease (L1, L2, L8, L9), stands for election (E1, E5, E7 to E10), orders
//! the promotion, and follows the winner. It never votes and performs nothing.

mod candidacy;
mod election;
mod follow;
mod leaving;
mod phases;
mod prevote;
mod projection;
mod promotion;
mod roster;
mod tenure;

use crate::core::{BootNanos, Incarnation, Ledger, LedgerRole, MemberId, Nanos, Plant, Term, planted};
use crate::events::{
    CandidacyKind, Deadline, Decision, Event, FreezeOutcome, GuardReport, LeaseAsk, Message, Observation,
    OperatorRequest, PauseId, Position, Record, Refusal, Roster, Settings, Testimony, Unelectable,
};
use pgfo_replay::{Machine, Seq};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The share of a promise that its holder counts on: clocks run within 2 % of each other (L1).
pub(crate) const LEASE_PERCENT: u64 = 98;

/// How long a quorum may take to agree to a pause, in heartbeats.
const PAUSE_HEARTBEATS: u64 = 3;

/// More requests than a process can have made since the log was last flushed.
const NUMBERS_SKIPPED: u64 = 1 << 20;

/// The time for answers to a pre-vote is doubled at most so often.
const PATIENCE_MAX: u8 = 8;

/// After so many yields in a row to a member that did not win, this one stands, if no WAL is given up by it.
const YIELDS_MAX: u8 = 2;

/// A withheld candidacy is looked at again after this many retries: nothing is lost by waiting.
const WITHHELD_RETRIES: u64 = 5;

/// What a member answered to the request to freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum FreezeAnswer {
    Frozen { position: Option<Position>, electable: Result<(), Unelectable>, priority: u32 },
    Refused(Refusal),
}

/// Where an attempt at an election stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Phase {
    Idle,
    /// The pre-vote (E1).
    Asking {
        number: u64,
        ends_at: BootNanos,
        answers: BTreeMap<MemberId, (BootNanos, Testimony)>,
    },
    /// Waiting for promises to run out and for better ranks.
    Planned {
        at: BootNanos,
        above: Term,
    },
    /// Waiting for freezes.
    Freezing {
        term: Term,
        ends_at: BootNanos,
        answers: BTreeMap<MemberId, FreezeAnswer>,
    },
    /// Waiting for votes.
    Standing {
        ask: LeaseAsk,
        kind: CandidacyKind,
        ends_at: BootNanos,
        granted: Vec<MemberId>,
        refused: BTreeMap<MemberId, Refusal>,
    },
    /// Won: the guard is armed, then the promotion runs, then it is announced.
    Promoting {
        term: Term,
        kind: CandidacyKind,
        armed: bool,
        ordered: bool,
        ends_at: BootNanos,
    },
    /// Streaming what is missing from a better placed member that can't stand (E7).
    CatchingUp {
        ends_at: BootNanos,
    },
}

/// An orderly end of the primary's daemon that waits for a quorum (L6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Pausing {
    pause: PauseId,
    agreed: Vec<MemberId>,
    ends_at: BootNanos,
    confirmed: bool,
    /// The record of its confirmation, until that is known to be flushed: then the guard is told to stand down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirmed_in: Option<Seq>,
    /// Whether the guard was lost until then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lost: bool,
}

/// A change of the roster that waits for a quorum (M1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Proposal {
    roster: Roster,
    member: MemberId,
    accepted: BTreeMap<MemberId, Term>,
    /// How often it was sent.
    sent: u8,
}

/// The last attempt to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Following {
    term: Term,
    under_way: bool,
    due_at: BootNanos,
    refused: bool,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promoter {
    ledger: Box<Ledger>,
    phase: Phase,
    /// No attempt before this.
    retry_at: BootNanos,
    /// Number of the last lease, vote or testimony request of this process.
    number: u64,
    /// Until when each member's grant of the own tenure counts, by the own clock.
    grants: Vec<BootNanos>,
    /// Whether a grant that this process asked for has extended the lease (L6, E11).
    extended: bool,
    /// Whether a fence is under way.
    fencing: bool,
    /// After a fence without success, no other before this.
    fence_again_at: BootNanos,
    /// A promotion of the own tenure was ordered by the process before: it may still happen.
    repeated: bool,
    /// Whether the guard was reached.
    guard_present: bool,
    pausing: Option<Pausing>,
    proposal: Option<Proposal>,
    following: Option<Following>,
    /// Whether a freeze was ordered and has not ended yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    freezing: bool,
    /// When the freeze or the fence was ordered that has not ended yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ordered_at: Option<BootNanos>,
    /// Since when the local standby has no WAL receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unattached_since: Option<BootNanos>,
    /// Since when the line of the local data can't be told, though it may yet be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubt_since: Option<BootNanos>,
    /// The winner whose PostgreSQL was last seen, by this process, to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_writing: Option<Term>,
    /// The record of the last winner that was learned, or of the start.
    #[serde(default, skip_serializing_if = "is_first")]
    learned_in: Seq,
    /// The operator named this member: it may stand though manual or of priority 0.
    named: bool,
    /// A better placed member yielded nothing: the next candidacy accepts a loss (E7).
    accepts_loss: bool,
    /// A voter whose line of history is not known has more bytes, which nobody can stream: the next candidacy accepts
    /// their loss (E7). The request has one word for both: who knows its line takes it for `accepts_loss`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    accepts_unknown: bool,
    /// Whom this member yielded to last, and how often in a row without a winner (E5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    yielded: Option<(MemberId, u8)>,
    /// How often the time for answers to a pre-vote was doubled, since connected members did not answer in it (E1).
    #[serde(default, skip_serializing_if = "is_zero")]
    patience: u8,
    /// Another candidate yielded to this member: no waiting for its rank.
    preferred: bool,
    /// The reason that was last told for not standing.
    withheld: Option<Unelectable>,
    /// A pause was confirmed for the end of this daemon, and the guard told to stand down: it is not armed
    /// again, unless the daemon stays (L6).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
    /// The highest term that this member opened: it stands but once in a term, so that the end of a candidacy
    /// is the end of that one (L8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened: Option<Term>,
    /// The term that this process last asked for votes in, until it won it or told that it no longer stands (L8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_in: Option<Term>,
    /// Members whose log is not the registered one, and since when that is known (M1).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    strangers: BTreeMap<MemberId, (Incarnation, BootNanos)>,
    /// The roster that the last adoption asked for: what was voted on is what is registered (M1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_roster: Option<Box<Roster>>,
}

impl Promoter {
    /// Makes the promoter of a member without history.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let members = settings.members.len();
        Self {
            ledger: Box::new(Ledger::new(settings)),
            phase: Phase::Idle,
            retry_at: BootNanos(0),
            number: 0,
            grants: vec![BootNanos(0); members],
            extended: false,
            fencing: false,
            fence_again_at: BootNanos(0),
            repeated: false,
            guard_present: false,
            pausing: None,
            proposal: None,
            following: None,
            freezing: false,
            ordered_at: None,
            unattached_since: None,
            doubt_since: None,
            seen_writing: None,
            learned_in: Seq(0),
            named: false,
            accepts_loss: false,
            accepts_unknown: false,
            yielded: None,
            patience: 0,
            preferred: false,
            withheld: None,
            leaving: false,
            opened: None,
            asked_in: None,
            strangers: BTreeMap::new(),
            asked_roster: None,
        }
    }

    /// Returns what this role knows.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the step of an election or promotion for people; empty when nothing is under way.
    #[must_use]
    pub fn activity(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "",
            Phase::Asking { .. } => "asking the others",
            Phase::Planned { .. } => "waiting to stand",
            Phase::Freezing { .. } => "freezing",
            Phase::Standing { .. } => "standing",
            Phase::Promoting { .. } => "promoting",
            Phase::CatchingUp { .. } => "catching up",
        }
    }

    fn now(&self) -> BootNanos {
        self.ledger.now
    }

    fn after(&self, length: Nanos) -> BootNanos {
        self.ledger.now.plus_nanos(length.0)
    }

    fn settings(&self) -> &Settings {
        &self.ledger.settings
    }

    /// The next request, in the parts that its answer echoes.
    fn ask(&self, term: Term) -> LeaseAsk {
        if let Phase::Standing { ask, .. } = &self.phase
            && ask.term == term
            && planted(Plant::CandidacyOutlivesProcess)
        {
            return *ask;
        }
        LeaseAsk {
            term,
            number: self.number + 1,
            duration: self.settings().lease_duration,
            sent_at: self.now(),
            process: self.ledger.process,
            roster_number: self.ledger.roster.number,
        }
    }

    /// L1: echoes of another boot, incarnation or process, or from the future, are dropped.
    fn is_own_echo(&self, echo: &LeaseAsk) -> bool {
        if planted(Plant::CandidacyOutlivesProcess) {
            return true;
        }
        echo.process == self.ledger.process && echo.number <= self.number && echo.sent_at <= self.now()
    }

    /// Until when a grant that echoes this request counts: from sending, not from receipt (L1).
    fn counts_until(echo: &LeaseAsk) -> BootNanos {
        echo.sent_at.plus_nanos(echo.duration.0 / 100 * LEASE_PERCENT)
    }

    fn on_restart(&mut self) {
        let stands = matches!(&self.phase, Phase::Standing { .. });
        if !stands || !planted(Plant::CandidacyOutlivesProcess) {
            self.phase = Phase::Idle;
        }
        self.retry_at = self.ledger.now;
        // Requests of the process before may not be in the log: their numbers are left out.
        self.number = self.number.saturating_add(NUMBERS_SKIPPED);
        self.grants = vec![BootNanos(0); self.settings().members.len()];
        self.extended = false;
        self.fencing = false;
        self.fence_again_at = BootNanos(0);
        self.repeated = self.ledger.tenure.is_some() && self.ledger.promotion_ordered == self.ledger.tenure;
        self.guard_present = false;
        self.pausing = None;
        self.proposal = None;
        self.asked_in = None;
        self.following = None;
        self.freezing = false;
        self.ordered_at = None;
        self.unattached_since = None;
        self.doubt_since = None;
        self.seen_writing = None;
        self.named = false;
        self.accepts_loss = false;
        self.accepts_unknown = false;
        self.yielded = None;
        self.patience = 0;
        self.preferred = false;
        self.withheld = None;
        self.leaving = false;
        self.strangers.clear();
        // E11: a won election that was not announced goes on only with fresh grants of its own term.
        let unannounced = self.ledger.tenure.filter(|t| *t > self.ledger.announced_term());
        if let Some(term) = unannounced {
            let kind = if self.ledger.promotion_ordered == Some(term) || self.ledger.announced_term().0 > 0 {
                CandidacyKind::Failover
            } else {
                CandidacyKind::FirstAdoption
            };
            let ends_at = self.after(self.settings().promote_timeout);
            self.phase = Phase::Promoting { term, kind, armed: false, ordered: false, ends_at };
        }
    }
}

impl LedgerRole for Promoter {
    fn ledger_slot(&mut self) -> &mut Box<Ledger> {
        &mut self.ledger
    }

    fn evolve_own(&mut self, record: &Record) {
        match &record.event {
            Event::Observed(Observation::ProcessStarted(_)) => {
                self.on_restart();
                self.learned_in = record.seq;
            }
            Event::Observed(o) => {
                self.tenure_observed(o);
                self.election_observed(o);
                self.follow_observed(o);
            }
            Event::Decided(d) => {
                self.tenure_decided(d);
                match d {
                    Decision::PauseConfirmed { .. } => self.confirmed_by(record.seq),
                    Decision::AnnouncementAdopted(_) => self.learned_in = record.seq,
                    _ => {}
                }
                self.election_decided(d);
                self.follow_decided(d);
            }
        }
    }
}

impl Machine for Promoter {
    type Event = Event;
    type Deadline = Deadline;

    fn evolve(&mut self, record: &Record) {
        self.ledger.evolve(record);
        self.evolve_own(record);
    }

    fn decide(&self, record: &Record, out: &mut Vec<Event>) {
        if !self.settings().has_postgres() {
            if matches!(record.event, Event::Observed(Observation::OperatorRequested(OperatorRequest::Stop)))
            {
                out.push(Event::Decided(Decision::StopAllowed));
            }
            return;
        }
        match &record.event {
            Event::Observed(o) => {
                self.decide_tenure(o, out);
                self.decide_roster(o, out);
                self.decide_election(o, out);
                self.decide_follow(o, out);
            }
            Event::Decided(d) => {
                self.answer_tenure(d, out);
                self.answer_election(d, out);
                self.answer_follow(d, out);
            }
        }
    }

    fn deadlines(&self, out: &mut Vec<(Deadline, BootNanos)>) {
        if !self.settings().has_postgres() {
            return;
        }
        self.tenure_deadlines(out);
        self.election_deadlines(out);
        self.follow_deadlines(out);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u8) -> bool {
    *n == 0
}

fn is_first(seq: &Seq) -> bool {
    seq.0 == 0
}

fn decided(decision: Decision) -> Event {
    Event::Decided(decision)
}

fn is_frozen(outcome: &FreezeOutcome) -> bool {
    outcome.frozen().is_some_and(|f| f.settled && f.lsn.is_some())
}

/// Returns the message inside an observation, with its sender.
fn heard(observation: &Observation) -> Option<(MemberId, &Message)> {
    match observation {
        Observation::MessageReceived { from, message, .. } => Some((*from, message)),
        _ => None,
    }
}

/// Returns what the guard said, if this is that.
fn guard_said(observation: &Observation) -> Option<GuardReport> {
    match observation {
        Observation::GuardReported(report) => Some(*report),
        _ => None,
    }
}
