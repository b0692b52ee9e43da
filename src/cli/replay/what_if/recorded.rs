//! Owns the recorded part: one member's observations under another configuration, up to its first decision
//! that differs. It must never go on as if what follows had been observed.

use super::changes::{Changes, Value};
use crate::cli::explain::Gathered;
use crate::cli::replay::{AuditOptions, Seen, audit_path};
use crate::core::{MemberId, Nanos, Role, States, roles};
use crate::events::story::{StoryMemory, describe, tell};
use crate::events::{
    Actor, Deadline, Decision, Event, LeaseAsk, Message, Observation, ReadError, Record, Settings,
    Unelectable,
};
use pgfo_replay::{Difference, Instead, Seq, Terms, Told, WallNanos, WhatIf};
use serde::Serialize;
use std::mem::discriminant;
use std::sync::Arc;

/// Instants closer than this are the same: a timer is that late on a busy host.
const TOLERANCE_NANOS: u64 = 5_000_000;

/// A decision that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Since the first sign of the incident, nanoseconds.
    pub after_ns: i64,
    /// The story's words.
    pub text: String,
}

/// What one member's record says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recorded {
    /// The member.
    pub member: String,
    /// The first record that would be another, or behind which another would come; `None`: none.
    pub differs_at: Option<u64>,
    /// What it decided.
    pub recorded: Option<Side>,
    /// What it would have decided.
    pub what_if: Option<Side>,
    /// How much earlier it would have decided the same, or stood by its plan, nanoseconds; negative: later.
    /// `None`: the record does not say.
    pub earlier_by_ns: Option<i64>,
    /// Whether that distance assumes that all it saw would have stayed the same.
    pub assumed: bool,
}

/// Feeds one log; `began` is the common time from which on members are silent, slow or gone.
///
/// # Errors
/// When the log can't be read again.
pub(super) fn recorded(log: &Gathered, changes: &Changes, began: i64) -> Result<Recorded, ReadError> {
    let mut feed = Feed {
        changes,
        log,
        began,
        settings: None,
        memory: StoryMemory::new(),
        what_if: None,
        batch: Vec::new(),
        cut: false,
        words: None,
    };
    let options = AuditOptions { all: false, story: false, receipts: false };
    audit_path(&log.log.path, options, |seen| feed.take(seen))?;
    feed.finish_batch();
    let member = log.audit().member().unwrap_or("?").to_owned();
    let difference = feed.what_if.take().and_then(WhatIf::finish);
    let Some(difference) = difference else {
        return Ok(Recorded {
            member,
            differs_at: None,
            recorded: None,
            what_if: None,
            earlier_by_ns: None,
            assumed: false,
        });
    };
    let (recorded, what_if) = match feed.words.take() {
        Some(words) => words,
        None => feed.sides(&difference),
    };
    let differs_at = difference.recorded.as_ref().or(difference.altered.as_ref()).map(|t| t.seq.0);
    Ok(Recorded {
        member,
        differs_at,
        recorded,
        what_if,
        earlier_by_ns: planned_apart(&difference)
            .or_else(|| difference.earlier_by_nanos())
            .and_then(|nanos| i64::try_from(nanos).ok()),
        assumed: planned_apart(&difference).is_none() && difference.recorded_counterpart.is_none(),
    })
}

/// A plan names the moment itself: nothing has to be waited for.
fn planned_apart(difference: &Difference<Event>) -> Option<i128> {
    let planned = |told: &Option<Told<Event>>| match &told.as_ref()?.event {
        Event::Decided(Decision::ElectionPlanned { at, .. }) => Some(i128::from(at.0)),
        _ => None,
    };
    Some(planned(&difference.recorded)? - planned(&difference.altered)?)
}

struct Feed<'a> {
    changes: &'a Changes,
    log: &'a Gathered,
    began: i64,
    settings: Option<Settings>,
    memory: StoryMemory,
    what_if: Option<WhatIf<Role>>,
    batch: Vec<Record>,
    /// Whether members were taken away already.
    cut: bool,
    /// The first difference in words, told while the memory stands where it happened.
    words: Option<(Option<Side>, Option<Side>)>,
}

impl Feed<'_> {
    fn take(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Beginning(states) => self.begin(states),
            Seen::Record(record) => self.see(record),
        }
    }

    /// Begins in the state of a checkpoint; the altered side as if it had been told of its settings there.
    fn begin(&mut self, states: &States) {
        let settings = states.ledger.settings.clone();
        let mut changed = settings.clone();
        self.changes.apply(&mut changed);
        let told =
            Observation::SettingsChanged { settings: Box::new(changed), configuration_digest: String::new() };
        let mut altered = states.clone();
        altered.fold(&[Record {
            seq: Seq(0),
            boot: states.ledger.now,
            wall: WallNanos(0),
            actor: Actor::Daemon.number(),
            cause: None,
            event: Event::Observed(told),
        }]);
        let terms = Terms { is_of_substance, same, counterpart, passed, tolerance_nanos: TOLERANCE_NANOS };
        self.what_if = Some(WhatIf::new(states.roles(), altered.roles(), terms));
        self.memory.resume(&settings, states.ledger.announced().map(|a| (a.primary, a.term)));
        self.settings = Some(settings);
    }

    fn see(&mut self, record: &Record) {
        if record.cause.is_none() {
            self.finish_batch();
        }
        self.batch.push(record.clone());
    }

    fn finish_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let Some(first) = batch.first() else { return };
        if let Event::Observed(Observation::ProcessStarted(start)) = &first.event {
            if self.what_if.is_none() {
                let mut altered = start.settings.clone();
                self.changes.apply(&mut altered);
                let terms =
                    Terms { is_of_substance, same, counterpart, passed, tolerance_nanos: TOLERANCE_NANOS };
                self.what_if = Some(WhatIf::new(roles(&start.settings), roles(&altered), terms));
            }
            self.settings = Some(start.settings.clone());
        }
        let instead = self.instead(first);
        let before = self.what_if.as_ref().is_some_and(|w| w.difference().is_some());
        if let Some(what_if) = &mut self.what_if
            && !what_if.is_complete()
        {
            what_if.feed(&batch, instead);
        }
        let found = self.what_if.as_ref().and_then(WhatIf::difference).filter(|_| !before).cloned();
        if let Some(found) = found {
            self.words = Some(self.sides(&found));
        }
        if let Some(settings) = &self.settings {
            for record in &batch {
                // Told for what the memory keeps of it.
                let _ = tell(record, settings, &mut self.memory);
            }
        }
        if let Event::Observed(Observation::SettingsChanged { settings, .. }) = &first.event {
            self.settings = Some((**settings).clone());
        }
    }

    fn sides(&self, found: &Difference<Event>) -> (Option<Side>, Option<Side>) {
        let mut changed = self.settings.clone();
        if let Some(settings) = &mut changed {
            self.changes.apply(settings);
        }
        let side = |told: &Option<Told<Event>>, settings: &Option<Settings>| {
            let told = told.as_ref()?;
            let Told { at: boot, wall, seq, actor, ref event } = *told;
            let record = Record { seq, boot, wall, actor, cause: Some(seq), event: event.clone() };
            let text = describe(&record, settings.as_ref()?, &self.memory).text;
            Some(Side { after_ns: self.log.common(seq, wall) - self.began, text })
        };
        (side(&found.recorded, &self.settings), side(&found.altered, &changed))
    }

    /// What the altered machines observe instead of an observation.
    fn instead(&mut self, record: &Record) -> Vec<Instead<Event>> {
        let Event::Observed(observation) = &record.event else { return Vec::new() };
        let struck = self.log.common(record.seq, record.wall) >= self.began;
        let actor = record.actor;
        let now = |observation| Instead { later_nanos: 0, actor, event: Event::Observed(observation) };
        let mut out = Vec::new();
        let settings = self.settings.clone();
        let ids = |names: &[String]| settings.as_ref().map_or_else(Vec::new, |s| Changes::ids(names, s));
        let (removed, dropped) = (ids(&self.changes.removed), ids(&self.changes.dropped));
        if struck && !self.cut {
            self.cut = true;
            for member in &removed {
                let actor = Actor::PeerLink.number();
                let gone = Observation::PeerDisconnected { member: *member, refused: false };
                out.push(Instead { later_nanos: 0, actor, event: Event::Observed(gone) });
            }
        }
        match observation {
            Observation::ProcessStarted(start) => {
                let mut start = start.clone();
                self.changes.apply(&mut start.settings);
                out.push(now(Observation::ProcessStarted(start)));
            }
            Observation::SettingsChanged { settings, configuration_digest } => {
                let (mut settings, configuration_digest) = (settings.clone(), configuration_digest.clone());
                self.changes.apply(&mut settings);
                out.push(now(Observation::SettingsChanged { settings, configuration_digest }));
            }
            Observation::MessageReceived { from, .. } | Observation::PeerConnected { member: from, .. }
                if struck && removed.contains(from) => {}
            Observation::MessageReceived { from, .. } if struck && dropped.contains(from) => {}
            Observation::MessageReceived { from, sent_by, message } => {
                let mut message = message.clone();
                self.rewrite(*from, &mut message);
                let (from, sent_by) = (*from, *sent_by);
                let slow = |member: MemberId| {
                    let name = settings.as_ref().map(|s| s.name(member));
                    let by = self.changes.delayed.iter().filter(|(n, _)| Some(n.as_str()) == name);
                    by.map(|(_, by)| by.0).sum::<u64>()
                };
                // What answers a question of a slow member comes later, for the question came later.
                let me = settings.as_ref().map(|s| s.me).filter(|_| is_answer(&message));
                let later_nanos = if struck { slow(from) + me.map_or(0, slow) } else { 0 };
                let event = Event::Observed(Observation::MessageReceived { from, sent_by, message });
                out.push(Instead { later_nanos, actor, event });
            }
            other => out.push(now(other.clone())),
        }
        out
    }

    /// The others run under the changed configuration, too: what they say carries it.
    fn rewrite(&self, from: MemberId, message: &mut Message) {
        let Some(settings) = &self.settings else { return };
        let name = settings.name(from);
        let value = |key| self.changes.value(name, key);
        if let Some(Value::Length(duration)) = value("lease.duration") {
            let old = settings.lease_duration;
            let longer = |ask: &mut LeaseAsk| ask.duration = duration;
            match message {
                Message::LeaseRequested(ask)
                | Message::RenewalRequested(ask)
                | Message::LeaseGranted(ask)
                | Message::VoteGranted(ask) => longer(ask),
                Message::LeaseRefused(ask, _) | Message::VoteRefused(ask, _) => longer(ask),
                Message::VoteRequested(ask) => longer(&mut ask.ask),
                Message::Testified(t) => {
                    t.promise = t
                        .promise
                        .map(|(holder, left)| (holder, Nanos((left.0 + duration.0).saturating_sub(old.0))));
                }
                _ => {}
            }
        }
        let priority = match value("failover.priority") {
            Some(Value::Number(priority)) => Some(priority),
            _ => None,
        };
        let manual = value("failover.mode") == Some(Value::Flag(false));
        let adjust = |own: &mut u32, electable: &mut Result<(), Unelectable>| {
            if let Some(priority) = priority {
                *own = priority;
                let zero = *electable == Err(Unelectable::PriorityZero);
                match (priority, electable.is_ok()) {
                    (0, true) => *electable = Err(Unelectable::PriorityZero),
                    (1.., _) if zero => *electable = Ok(()),
                    _ => {}
                }
            }
            if manual && electable.is_ok() {
                *electable = Err(Unelectable::Manual);
            }
        };
        match message {
            Message::Heartbeat(h) => {
                let h = Arc::make_mut(h);
                adjust(&mut h.priority, &mut h.electable);
            }
            Message::Testified(t) => adjust(&mut t.priority, &mut t.electable),
            Message::FreezeReported { electable, priority, .. } => adjust(priority, electable),
            _ => {}
        }
    }
}

/// Whether a message answers one that its receiver sent.
const fn is_answer(message: &Message) -> bool {
    matches!(
        message,
        Message::LeaseGranted(_)
            | Message::LeaseRefused(..)
            | Message::Testified(_)
            | Message::FreezeReported { .. }
            | Message::FreezeRefused { .. }
            | Message::VoteGranted(_)
            | Message::VoteRefused(..)
            | Message::RosterAccepted { .. }
            | Message::RosterAgreed { .. }
            | Message::PauseAgreed(_)
    )
}

fn passed(deadline: Deadline) -> (u8, Event) {
    (Actor::Clock.number(), Event::Observed(Observation::DeadlinePassed(deadline)))
}

/// Renewals, heartbeats, questions and answers bind nobody to anything that others would notice.
fn is_of_substance(event: &Event) -> bool {
    let Event::Decided(decision) = event else { return false };
    !matches!(
        decision,
        Decision::HeartbeatSent(_)
            | Decision::LeaseRequested(_)
            | Decision::RenewalRequested(_)
            | Decision::LeaseGranted { .. }
            | Decision::LeaseExtended { .. }
            | Decision::MassageOrdered { .. }
            | Decision::TestimonyRequested { .. }
            | Decision::Testified { .. }
            | Decision::RosterShared { .. }
            | Decision::HistoryShared { .. }
            | Decision::ResumeRepeated { .. }
            | Decision::RoleFailed { .. }
    )
}

/// Whether one decision does what the other did: to plan and to stand count whatever the moment and the term.
fn counterpart(one: &Event, other: &Event) -> bool {
    match (one, other) {
        (
            Event::Decided(Decision::ElectionPlanned { .. }),
            Event::Decided(Decision::ElectionPlanned { .. }),
        ) => true,
        (
            Event::Decided(Decision::CandidacyOpened { kind, .. }),
            Event::Decided(Decision::CandidacyOpened { kind: kind2, .. }),
        ) => kind == kind2,
        _ => same(one, other),
    }
}

/// Whether two decisions are the same but for what merely repeats the configuration, or the time.
fn same(one: &Event, other: &Event) -> bool {
    let (Event::Decided(one), Event::Decided(other)) = (one, other) else { return false };
    match (one, other) {
        (
            Decision::VerdictChanged { term, to, .. },
            Decision::VerdictChanged { term: term2, to: to2, .. },
        ) => (term, to) == (term2, to2),
        (
            Decision::VoteGranted { candidate, ask, .. },
            Decision::VoteGranted { candidate: candidate2, ask: ask2, .. },
        ) => (candidate, ask.term) == (candidate2, ask2.term),
        (
            Decision::VoteRefused { candidate, ask, why },
            Decision::VoteRefused { candidate: candidate2, ask: ask2, why: why2 },
        ) => (candidate, ask.term, discriminant(why)) == (candidate2, ask2.term, discriminant(why2)),
        (
            Decision::LeaseRefused { to, ask, why },
            Decision::LeaseRefused { to: to2, ask: ask2, why: why2 },
        ) => (to, ask.term, discriminant(why)) == (to2, ask2.term, discriminant(why2)),
        (
            Decision::FreezePromised { term, candidate, .. },
            Decision::FreezePromised { term: term2, candidate: candidate2, .. },
        ) => (term, candidate) == (term2, candidate2),
        (
            Decision::FreezeReported { to, term, position, .. },
            Decision::FreezeReported { to: to2, term: term2, position: position2, .. },
        ) => (to, term, position) == (to2, term2, position2),
        (
            Decision::FreezeRefused { to, term, why, .. },
            Decision::FreezeRefused { to: to2, term: term2, why: why2, .. },
        ) => (to, term, discriminant(why)) == (to2, term2, discriminant(why2)),
        (
            Decision::ElectionPlanned { at, rank, .. },
            Decision::ElectionPlanned { at: at2, rank: rank2, .. },
        ) => rank == rank2 && at.0.abs_diff(at2.0) <= TOLERANCE_NANOS,
        (
            Decision::ElectionAbandoned { term, why },
            Decision::ElectionAbandoned { term: term2, why: why2 },
        ) => (term, discriminant(why)) == (term2, discriminant(why2)),
        (Decision::CandidacyWithheld { why, .. }, Decision::CandidacyWithheld { why: why2, .. }) => {
            why == why2
        }
        (
            Decision::CandidacyOpened { term, kind, .. },
            Decision::CandidacyOpened { term: term2, kind: kind2, .. },
        ) => (term, kind) == (term2, kind2),
        (Decision::VoteRequested(ask), Decision::VoteRequested(ask2)) => {
            (ask.ask.term, ask.position) == (ask2.ask.term, ask2.position)
        }
        (Decision::ElectionWon { term, .. }, Decision::ElectionWon { term: term2, .. })
        | (Decision::LeaseExpired { term, .. }, Decision::LeaseExpired { term: term2, .. })
        | (Decision::LeaseReleased { term, .. }, Decision::LeaseReleased { term: term2, .. })
        | (Decision::SuspicionRaised { term, .. }, Decision::SuspicionRaised { term: term2, .. }) => {
            term == term2
        }
        (Decision::PauseConfirmed { pause, .. }, Decision::PauseConfirmed { pause: pause2, .. }) => {
            pause == pause2
        }
        (one, other) => one == other,
    }
}
