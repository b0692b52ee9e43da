//! The EscalationTracker: one member's verdict about the primary (D1 to D4). It orders heart
//! massages and says *confirmed down* of its own node only; it never votes.

mod projection;

use crate::core::{BootNanos, Ledger, LedgerRole, MemberId, Plant, Term, planted};
use crate::events::{
    Deadline, Decision, Event, Message, Observation, ProbeFailure, ProbeKind, ProbeReport, Record, Settings,
    Verdict,
};
use pgfo_replay::Machine;
use serde::{Deserialize, Serialize};

/// Massages repeated because the prober itself stalled (D4): more would hide a dead primary behind a
/// slow observer.
const DISCOUNTED_MAX: u8 = 3;

/// A series of heart massages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Escalation {
    ordered: u8,
    failed: u8,
    discounted: u8,
    next_at: BootNanos,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EscalationTracker {
    ledger: Box<Ledger>,
    escalation: Option<Escalation>,
    sign_since: Option<BootNanos>,
    /// The postmaster start that was confirmed gone: a late answer of it is no sign of life.
    confirmed_started: Option<i64>,
}

/// How a probe's report counts.
enum Class {
    Up,
    Down(ProbeReport),
    /// A sign of life that has not lasted too long.
    Bearable,
}

impl EscalationTracker {
    /// Makes the tracker of a member without history.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let ledger = Box::new(Ledger::new(settings));
        Self { ledger, escalation: None, sign_since: None, confirmed_started: None }
    }

    /// Returns what this role knows.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn subject(&self) -> Option<(MemberId, Term)> {
        self.ledger.announced().map(|a| (a.primary, a.term))
    }

    /// D1, D2: what a report says of the announced primary.
    fn classify(&self, target: MemberId, report: ProbeReport) -> Class {
        match report {
            ProbeReport::Answered(a) if self.ledger.system_id().is_some_and(|id| id != a.system_id) => {
                Class::Down(ProbeReport::Failed(ProbeFailure::OtherSystem(a.system_id)))
            }
            // D1: a PostgreSQL in recovery is down as a primary, else a sealed one vetoes for ever.
            ProbeReport::Answered(a) if a.in_recovery && !planted(Plant::RecoveryIsUp) => {
                Class::Down(ProbeReport::Failed(ProbeFailure::InRecovery))
            }
            ProbeReport::Answered(a)
                if self.ledger.verdict == Verdict::ConfirmedDown
                    && self.confirmed_started == Some(a.postmaster_started) =>
            {
                Class::Down(report)
            }
            ProbeReport::Answered(_) => Class::Up,
            // D3, L8: what starts up where a primary was confirmed down comes back sealed.
            ProbeReport::Alive(_) if self.is_over() => Class::Down(report),
            ProbeReport::Alive(_) if self.sign_of_life_counts(target) => Class::Bearable,
            ProbeReport::Alive(_) | ProbeReport::Failed(_) => Class::Down(report),
        }
    }

    /// Whether the announced primary's tenure is known to have ended.
    fn is_over(&self) -> bool {
        self.ledger.verdict == Verdict::ConfirmedDown || self.ledger.released >= self.ledger.announced_term()
    }

    fn sign_of_life_counts(&self, target: MemberId) -> bool {
        let vouched = target == self.ledger.me()
            || self.ledger.heartbeat(target).and_then(|h| h.postgres).is_some_and(|p| p.alive);
        vouched || self.sign_since.is_none_or(|since| self.ledger.now < self.sign_ends(since))
    }

    fn sign_ends(&self, since: BootNanos) -> BootNanos {
        since.plus_nanos(self.ledger.settings.sign_of_life_max.0)
    }

    fn massages_needed(&self, e: &Escalation) -> u8 {
        self.ledger.settings.escalation_attempts.saturating_add(e.discounted)
    }

    fn change(&self, to: Verdict, evidence: Option<ProbeReport>, out: &mut Vec<Event>) {
        let Some((primary, term)) = self.subject() else { return };
        if self.ledger.verdict != to {
            let from = self.ledger.verdict;
            out.push(Event::Decided(Decision::VerdictChanged { primary, term, from, to, evidence }));
        }
    }

    /// All massages were ordered and the last result is long overdue: it was lost, or fewer are asked
    /// for since.
    fn overdue(&self, e: &Escalation) -> bool {
        let patience = 2 * self.ledger.settings.heartbeat_interval.0;
        self.ledger.verdict == Verdict::Suspect
            && e.ordered >= self.massages_needed(e)
            && self.ledger.now.nanos_since(e.next_at) > patience
    }

    fn escalate_again(&self, evidence: ProbeReport, out: &mut Vec<Event>) {
        let Some((primary, term)) = self.subject() else { return };
        out.push(Event::Decided(Decision::SuspicionRaised { primary, term, evidence }));
    }

    fn suspect(&self, evidence: ProbeReport, out: &mut Vec<Event>) {
        let Some((primary, term)) = self.subject() else { return };
        if matches!(self.ledger.verdict, Verdict::Unknown | Verdict::Reachable) {
            out.push(Event::Decided(Decision::SuspicionRaised { primary, term, evidence }));
        }
    }

    fn judge_probe(
        &self,
        target: MemberId,
        kind: ProbeKind,
        report: ProbeReport,
        stalled: bool,
        out: &mut Vec<Event>,
    ) {
        match self.classify(target, report) {
            Class::Up | Class::Bearable => self.change(Verdict::Reachable, Some(report), out),
            Class::Down(evidence) => match (kind, &self.escalation) {
                // D4: a prober that stalled discounts its own window.
                (ProbeKind::Heartbeat, _) if stalled => {}
                (ProbeKind::Heartbeat, Some(e)) if self.overdue(e) => self.escalate_again(evidence, out),
                (ProbeKind::Heartbeat, _) => self.suspect(evidence, out),
                (ProbeKind::Massage(_), Some(e)) if e.failed >= self.ledger.settings.escalation_attempts => {
                    self.change(Verdict::Unreachable, Some(evidence), out);
                }
                (ProbeKind::Massage(_), _) => {}
            },
        }
    }

    /// D3: said by the daemon beside the PostgreSQL, of its own node, once nothing is left of it.
    fn confirm_own(&self, out: &mut Vec<Event>) {
        let Some((primary, term)) = self.subject() else { return };
        if primary != self.ledger.me() || self.ledger.verdict == Verdict::ConfirmedDown {
            return;
        }
        let boot_id = self.ledger.process.boot_id;
        let postmaster_started = self.ledger.local.last_started;
        out.push(Event::Decided(Decision::DownConfirmed { term, boot_id, postmaster_started }));
        self.change(Verdict::ConfirmedDown, None, out);
    }

    fn order_massage(&self, attempt: u8, out: &mut Vec<Event>) {
        if let Some((target, _)) = self.subject() {
            out.push(Event::Decided(Decision::MassageOrdered { target, attempt }));
        }
    }
}

impl LedgerRole for EscalationTracker {
    fn ledger_slot(&mut self) -> &mut Box<Ledger> {
        &mut self.ledger
    }

    fn evolve_own(&mut self, record: &Record) {
        let now = self.ledger.now;
        match &record.event {
            Event::Observed(Observation::ProcessStarted(_)) => {
                self.escalation = None;
                self.sign_since = None;
                self.confirmed_started = None;
            }
            Event::Observed(Observation::ProbeCompleted { target, kind, report, stalled, .. })
                if self.subject().map(|s| s.0) == Some(*target) =>
            {
                self.sign_since = match report {
                    ProbeReport::Alive(_) => self.sign_since.or(Some(now)),
                    // D2: only an answer ends what signs of life must not outlast.
                    ProbeReport::Failed(_) if self.ledger.revision >= 3 => self.sign_since,
                    ProbeReport::Failed(_) | ProbeReport::Answered(_) => None,
                };
                let down = matches!(self.classify(*target, *report), Class::Down(_));
                if let (Some(e), ProbeKind::Massage(_), true) = (&mut self.escalation, kind, down) {
                    if stalled.0 > 0 && e.discounted < DISCOUNTED_MAX {
                        e.discounted += 1;
                    } else {
                        e.failed = e.failed.saturating_add(1);
                    }
                }
            }
            Event::Observed(Observation::MessageReceived {
                from,
                message: Message::ConfirmedDown { term, postmaster_started, .. },
                ..
            }) if self.ledger.revision < 3 || self.subject() == Some((*from, *term)) => {
                self.confirmed_started = Some(*postmaster_started);
            }
            Event::Decided(Decision::DownConfirmed { postmaster_started, .. }) => {
                self.confirmed_started = Some(*postmaster_started);
            }
            Event::Decided(Decision::SuspicionRaised { .. }) => {
                self.escalation = Some(Escalation { ordered: 0, failed: 0, discounted: 0, next_at: now });
            }
            Event::Decided(Decision::MassageOrdered { attempt, .. }) => {
                let next_at = now.plus_nanos(self.ledger.settings.escalation_interval.0);
                if let Some(e) = &mut self.escalation {
                    e.ordered = *attempt;
                    e.next_at = next_at;
                }
            }
            Event::Decided(
                Decision::VerdictChanged { .. }
                | Decision::PrimaryAnnounced(_)
                | Decision::AnnouncementAdopted(_),
            ) if self.ledger.verdict != Verdict::Suspect => {
                self.escalation = None;
                if let Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a)) =
                    &record.event
                    && self.subject() == Some((a.primary, a.term))
                    && self.ledger.revision >= 3
                {
                    self.sign_since = None;
                }
            }
            _ => {}
        }
    }
}

impl Machine for EscalationTracker {
    type Event = Event;
    type Deadline = Deadline;

    fn evolve(&mut self, record: &Record) {
        self.ledger.evolve(record);
        self.evolve_own(record);
    }

    fn decide(&self, record: &Record, out: &mut Vec<Event>) {
        let Some((primary, term)) = self.subject() else { return };
        let me = self.ledger.me();
        match &record.event {
            Event::Observed(Observation::ProbeCompleted { target, kind, report, stalled, .. })
                if *target == primary =>
            {
                self.judge_probe(*target, *kind, *report, stalled.0 > 0, out);
            }
            Event::Observed(Observation::ReceiverEnded) if primary != me && self.ledger.freeze.is_none() => {
                self.suspect(ProbeReport::Failed(ProbeFailure::ReceiverLost), out);
            }
            // The kernel said so: no massage brings a process back.
            Event::Observed(Observation::PostmasterGone { .. })
                if primary == me && self.ledger.verdict != Verdict::ConfirmedDown =>
            {
                let seen = ProbeReport::Failed(ProbeFailure::PostmasterGone);
                self.change(Verdict::Unreachable, Some(seen), out);
                if planted(Plant::ConfirmedWithoutScan) {
                    self.confirm_own(out);
                }
            }
            Event::Observed(Observation::FenceCompleted(o))
                if o.nothing_left && (o.sealed || !self.ledger.leases()) =>
            {
                self.confirm_own(out);
            }
            Event::Observed(Observation::MessageReceived { from, message, .. })
                if *from == primary && *from != me =>
            {
                let confirmed = match message {
                    // D3: void once a later term is known.
                    Message::ConfirmedDown { term: t, .. } => *t == term,
                    Message::Heartbeat(h) => {
                        h.verdict == Verdict::ConfirmedDown && h.announced.is_some_and(|a| a.term == term)
                    }
                    _ => false,
                };
                if confirmed {
                    self.change(Verdict::ConfirmedDown, None, out);
                }
            }
            Event::Observed(Observation::DeadlinePassed(Deadline::MassageDue)) => {
                if let Some(e) = &self.escalation
                    && (self.ledger.now >= e.next_at || planted(Plant::DeadlineActsEarly))
                    && e.ordered < self.massages_needed(e)
                {
                    self.order_massage(e.ordered + 1, out);
                }
            }
            Event::Decided(Decision::SuspicionRaised { .. }) => self.order_massage(1, out),
            _ => {}
        }
    }

    fn deadlines(&self, out: &mut Vec<(Deadline, BootNanos)>) {
        if let Some(e) = &self.escalation
            && e.ordered < self.massages_needed(e)
        {
            out.push((Deadline::MassageDue, e.next_at));
        }
    }
}
