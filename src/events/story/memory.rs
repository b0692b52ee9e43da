//! Owns what a story told so far, so that it can leave out what says nothing new. Its size is bounded
//! by the number of members and of event kinds.

use super::noise::{Noise, noise};
use crate::core::{MemberId, Term};
use crate::events::{
    CandidacyKind, Decision, Event, Message, Observation, ProbeReport, ProcessStart, Record, Settings,
};
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// What a story told so far of one member's log.
#[derive(Clone, Debug, Default)]
pub struct StoryMemory {
    all: bool,
    primary: Option<(MemberId, Term)>,
    evidence: Option<ProbeReport>,
    asked: Option<(MemberId, Term, CandidacyKind)>,
    settings: Option<Settings>,
    /// A digest of what was last told, by kind and by whom it was about.
    last_told: BTreeMap<(&'static str, MemberId), u64>,
    folded: Folded,
}

/// How many records were left out of a story, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Heartbeats, sent and heard.
    pub heartbeats: u64,
    /// Requests, grants and extensions of a lease that stands.
    pub renewals: u64,
    /// Probes with the same result as before, and orders to probe.
    pub probes: u64,
    /// Deadlines, and messages whose answer is told.
    pub steps: u64,
    /// What was told before in the same words.
    pub repeats: u64,
}

impl Folded {
    /// Returns how many there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.heartbeats + self.renewals + self.probes + self.steps + self.repeats
    }
}

impl std::fmt::Display for Folded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [
            (self.heartbeats, "heartbeat"),
            (self.renewals, "lease renewal"),
            (self.probes, "probe"),
            (self.steps, "step"),
            (self.repeats, "repetition"),
        ];
        let mut before = "";
        for (count, name) in kinds.into_iter().filter(|(count, _)| *count > 0) {
            let s = if count == 1 { "" } else { "s" };
            write!(f, "{before}{} {name}{s}", super::grouped(count))?;
            before = ", ";
        }
        if before.is_empty() { f.write_str("nothing folded") } else { f.write_str(" folded") }
    }
}

impl StoryMemory {
    /// Makes the memory of a story that leaves out what says nothing new.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the memory of a story that tells all, what says nothing new with level debug.
    #[must_use]
    pub fn telling_all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Begins in the middle of a log, under these settings and with this primary.
    pub fn resume(&mut self, settings: &Settings, primary: Option<(MemberId, Term)>) {
        self.settings = Some(settings.clone());
        self.primary = primary;
    }

    /// Returns how many records were left out since this was last asked.
    pub fn take_folded(&mut self) -> Folded {
        std::mem::take(&mut self.folded)
    }

    pub(super) const fn tells_all(&self) -> bool {
        self.all
    }

    pub(super) fn primary(&self) -> Option<MemberId> {
        self.primary.map(|(member, _)| member)
    }

    /// What was last seen of the primary that is held down.
    pub(super) const fn evidence(&self) -> Option<&ProbeReport> {
        self.evidence.as_ref()
    }

    /// Why somebody stands in a term, if the story heard of it.
    pub(super) fn kind_of(&self, candidate: MemberId, term: Term) -> Option<CandidacyKind> {
        self.asked.filter(|(c, t, _)| *c == candidate && *t == term).map(|(_, _, kind)| kind)
    }

    /// The settings recorded last.
    pub(super) const fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// Returns whether the same was told of the same kind and member last, and remembers it.
    pub(super) fn repeats(&mut self, kind: &'static str, member: MemberId, what: impl Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let digest = hasher.finish();
        self.last_told.insert((kind, member), digest) == Some(digest)
    }

    /// Returns whether a record is to be left out, and counts it if it is.
    pub(super) fn take_in(&mut self, record: &Record) -> bool {
        let Some(noise) = noise(record, self) else { return false };
        let count = match noise {
            Noise::Heartbeat => &mut self.folded.heartbeats,
            Noise::Renewal => &mut self.folded.renewals,
            Noise::Probe => &mut self.folded.probes,
            Noise::Step => &mut self.folded.steps,
            Noise::Repeat => &mut self.folded.repeats,
        };
        *count += 1;
        true
    }

    /// Takes in what later lines refer to.
    pub(super) fn remember(&mut self, record: &Record) {
        match &record.event {
            Event::Observed(Observation::ProcessStarted(start)) => self.restart(start),
            Event::Observed(Observation::SettingsChanged { settings, .. }) => {
                self.settings = Some((**settings).clone());
            }
            Event::Observed(Observation::MessageReceived {
                from,
                message: Message::VoteRequested(ask),
                ..
            }) => self.asked = Some((*from, ask.ask.term, ask.kind)),
            Event::Decided(Decision::VoteRequested(ask)) => {
                let me = self.settings.as_ref().map(|s| s.me);
                self.asked = me.map(|me| (me, ask.ask.term, ask.kind));
            }
            Event::Decided(Decision::SuspicionRaised { evidence, .. }) => self.evidence = Some(*evidence),
            Event::Decided(Decision::VerdictChanged { evidence, .. }) => {
                self.evidence = *evidence;
                self.forget_repeats();
            }
            Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a))
                if self.primary.is_none_or(|(_, term)| term < a.term) =>
            {
                self.primary = Some((a.primary, a.term));
                self.evidence = None;
                self.forget_repeats();
            }
            Event::Observed(_) | Event::Decided(_) => {}
        }
    }

    fn restart(&mut self, start: &ProcessStart) {
        self.settings = Some(start.settings.clone());
        self.evidence = None;
        self.asked = None;
        self.last_told.clear();
    }

    /// Refusals and abandonments are news again once the verdict or the primary is another.
    fn forget_repeats(&mut self) {
        self.last_told.retain(|(kind, _), _| matches!(*kind, "probe" | "heartbeat" | "postmaster" | "guard"));
    }
}
