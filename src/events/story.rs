//! Owns the projection of events to text for people: the only place where text is made from events,
//! so that the text log and `pgfo replay` say the same. It must never decide or change anything.

mod conclusions;
mod elections;
mod hearsay;
mod memory;
mod noise;
mod settings;
mod sights;
mod words;

pub use memory::{Folded, StoryMemory};
pub use settings::describe_settings_changes;
pub use words::{ability, electable, fence_reason, grouped, lineage, position};

use super::{Decision, Event, Message, Observation, Record, Settings};
use crate::core::Term;
use words::Words;

/// How much a line matters to somebody who was paged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Says nothing new; told only to those who want all.
    Debug,
    /// The normal course of things.
    Info,
    /// Something is wrong, or somebody was refused.
    Warning,
    /// The service is, or may be, interrupted, or a guarantee is at stake.
    Critical,
}

impl Level {
    /// Returns the word for machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One event, told in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// Short kind of what happened, stable, in lower case: "vote granted".
    pub subject: &'static str,
    /// What, who and why, in one sentence without line breaks or control characters.
    pub text: String,
    /// The record's number, actor and cause, for logs that are searched by machines.
    pub fields: Vec<(&'static str, String)>,
    /// Whether a role decided it; else it was observed.
    pub decision: bool,
    /// The term it is about, if it is about one.
    pub term: Option<Term>,
}

/// What a teller made of an event, before it becomes a line.
struct Told {
    level: Level,
    subject: &'static str,
    text: String,
}

const fn told(level: Level, subject: &'static str, text: String) -> Told {
    Told { level, subject, text }
}

/// What the tellers look at: the record, the settings it was made under, what was told before.
struct Scene<'a> {
    record: &'a Record,
    words: Words<'a>,
    memory: &'a StoryMemory,
}

impl Scene<'_> {
    /// This member's name.
    fn me(&self) -> &str {
        self.words.me()
    }
}

/// Tells one record, or folds it: `None` if it says nothing new, unless the memory tells all.
///
/// `settings` are those in force at the record; a process start is told by the settings it brings.
#[must_use]
pub fn tell(record: &Record, settings: &Settings, memory: &mut StoryMemory) -> Option<Line> {
    let folded = memory.take_in(record);
    let line = (!folded || memory.tells_all()).then(|| {
        let mut line = describe(record, settings, memory);
        if folded {
            line.level = Level::Debug;
        }
        line
    });
    memory.remember(record);
    line
}

/// Tells one record whatever was told before, and remembers nothing.
#[must_use]
pub fn describe(record: &Record, settings: &Settings, memory: &StoryMemory) -> Line {
    let settings = match &record.event {
        Event::Observed(Observation::ProcessStarted(start)) => &start.settings,
        Event::Observed(_) | Event::Decided(_) => settings,
    };
    let scene = Scene { record, words: Words::new(settings, memory.primary()), memory };
    let (decision, Told { level, subject, text }) = match &record.event {
        Event::Observed(observation) => (false, sights::tell(&scene, observation)),
        Event::Decided(decision) => (true, conclusions::tell(&scene, decision)),
    };
    let mut fields = vec![("record", record.seq.0.to_string())];
    if let Some(cause) = record.cause {
        fields.push(("cause", cause.0.to_string()));
    }
    if let Some(actor) = super::Actor::from_number(record.actor) {
        fields.push(("actor", actor.name().to_owned()));
    }
    Line { level, subject, text: printable(text), fields, decision, term: term_of(&record.event) }
}

/// Replaces what could move a terminal's cursor: some of the text came from outside.
#[must_use]
pub fn printable(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    } else {
        text
    }
}

/// Returns the term that an event is about.
#[must_use]
pub fn term_of(event: &Event) -> Option<Term> {
    match event {
        Event::Observed(observation) => observed_term(observation),
        Event::Decided(decision) => decided_term(decision),
    }
}

fn observed_term(observation: &Observation) -> Option<Term> {
    match observation {
        Observation::FreezeCompleted { term, .. }
        | Observation::PromotionCompleted { term, .. }
        | Observation::FollowCompleted { term, .. }
        | Observation::CatchUpCompleted { term, .. } => Some(*term),
        Observation::MessageReceived { message, .. } => heard_term(message),
        Observation::GuardReported(report) => sights::guard_term(report),
        Observation::ProcessStarted(_)
        | Observation::HeartbeatDue { .. }
        | Observation::DeadlinePassed(_)
        | Observation::ProbeCompleted { .. }
        | Observation::ReceiverEnded
        | Observation::ReceiverSeen { .. }
        | Observation::PostmasterSeen { .. }
        | Observation::PostmasterGone { .. }
        | Observation::PeerConnected { .. }
        | Observation::PeerDisconnected { .. }
        | Observation::FenceCompleted(_)
        | Observation::OperatorRequested(_)
        | Observation::LogStalled { .. }
        | Observation::LogRecovered
        | Observation::UpstreamRecorded { .. }
        | Observation::SettingsChanged { .. } => None,
    }
}

fn heard_term(message: &Message) -> Option<Term> {
    match message {
        Message::Heartbeat(h) => h.announced.map(|a| a.term),
        Message::LeaseRequested(ask)
        | Message::RenewalRequested(ask)
        | Message::LeaseGranted(ask)
        | Message::VoteGranted(ask) => Some(ask.term),
        Message::LeaseRefused(ask, _) | Message::VoteRefused(ask, _) => Some(ask.term),
        Message::LeaseReleased { term, .. }
        | Message::ConfirmedDown { term, .. }
        | Message::FreezeRequested { term, .. }
        | Message::FreezeReported { term, .. }
        | Message::FreezeRefused { term, .. }
        | Message::CandidacyYielded { term }
        | Message::CandidacyEnded { term, .. } => Some(*term),
        Message::TestimonyRequested { about, .. } => Some(*about),
        Message::Testified(testimony) => Some(testimony.about),
        Message::VoteRequested(ask) => Some(ask.ask.term),
        Message::PrimaryAnnounced(winner) => Some(winner.term),
        Message::PauseRequested(pause) | Message::PauseAgreed(pause) | Message::Resumed(pause) => {
            Some(pause.term)
        }
        Message::RosterCommitted(_)
        | Message::RosterProposed(_)
        | Message::RosterAccepted { .. }
        | Message::RosterAgreed { .. }
        | Message::AdoptionRequested
        | Message::AdoptionVouched
        | Message::HistoryRequested => None,
    }
}

fn decided_term(decision: &Decision) -> Option<Term> {
    match decision {
        Decision::SuspicionRaised { term, .. }
        | Decision::VerdictChanged { term, .. }
        | Decision::DownConfirmed { term, .. }
        | Decision::FreezePromised { term, .. }
        | Decision::FreezeReported { term, .. }
        | Decision::FreezeRefused { term, .. }
        | Decision::LeaseExtended { term, .. }
        | Decision::LeaseExpired { term, .. }
        | Decision::LeaseReleased { term, .. }
        | Decision::CandidacyOpened { term, .. }
        | Decision::CandidacyYielded { term, .. }
        | Decision::CandidacyClosed { term, .. }
        | Decision::CatchUpOrdered { term, .. }
        | Decision::ElectionWon { term, .. }
        | Decision::PromotionOrdered { term }
        | Decision::PromotionOrderedOf { term, .. }
        | Decision::FollowOrdered { term, .. }
        | Decision::FollowRefused { term, .. } => Some(*term),
        Decision::FenceOrdered { term, .. } => (term.0 > 0).then_some(*term),
        Decision::ElectionAbandoned { term, .. } => *term,
        Decision::LeaseGranted { ask, .. }
        | Decision::LeaseRequested(ask)
        | Decision::RenewalRequested(ask) => Some(ask.term),
        Decision::LeaseRefused { ask, .. }
        | Decision::VoteGranted { ask, .. }
        | Decision::VoteRefused { ask, .. } => Some(ask.term),
        Decision::VoteRequested(ask) => Some(ask.ask.term),
        Decision::PauseAgreed(pause)
        | Decision::PauseEnded(pause)
        | Decision::PauseRequested(pause)
        | Decision::ResumeRepeated { pause, .. }
        | Decision::PauseConfirmed { pause, .. } => Some(pause.term),
        Decision::TestimonyRequested { about, .. } => Some(*about),
        Decision::Testified { testimony, .. } => Some(testimony.about),
        Decision::PrimaryAnnounced(winner) | Decision::AnnouncementAdopted(winner) => Some(winner.term),
        Decision::LineageConfirmed(lineage) => Some(lineage.opened),
        Decision::HeartbeatSent(heartbeat) => heartbeat.announced.map(|a| a.term),
        Decision::MassageOrdered { .. }
        | Decision::RosterAccepted { .. }
        | Decision::RosterAdopted(_)
        | Decision::RollbackDetected { .. }
        | Decision::StopAllowed
        | Decision::StopRefused { .. }
        | Decision::RosterProposed(_)
        | Decision::RosterCommitted(_)
        | Decision::ElectionPlanned { .. }
        | Decision::CandidacyWithheld { .. }
        | Decision::AdoptionForwarded { .. }
        | Decision::VouchForwarded { .. }
        | Decision::HistoryRequested
        | Decision::RosterShared { .. }
        | Decision::HistoryShared { .. }
        | Decision::AdoptionRefused { .. }
        | Decision::RoleFailed { .. } => None,
    }
}
