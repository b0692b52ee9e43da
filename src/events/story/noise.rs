//! Owns the judgement which records say nothing new. It must leave out no vote, no promise that was
//! flushed, and nothing that stops or starts a PostgreSQL.

use super::memory::StoryMemory;
use crate::core::MemberId;
use crate::events::{
    Decision, Event, FollowOutcome, GuardReport, Heartbeat, Message, NoElection, Observation, ProbeFailure,
    ProbeKind, ProbeReport, Record, Refusal, Testimony, Unelectable,
};
use std::mem::discriminant;

/// Why a record is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noise {
    Heartbeat,
    Renewal,
    Probe,
    /// A step whose result is told by another record.
    Step,
    /// The same was told before.
    Repeat,
}

fn if_repeated(repeated: bool) -> Option<Noise> {
    repeated.then_some(Noise::Repeat)
}

/// Returns why a record says nothing new, `None` if it is to be told.
pub(super) fn noise(record: &Record, memory: &mut StoryMemory) -> Option<Noise> {
    match &record.event {
        Event::Observed(observation) => observed(observation, memory),
        Event::Decided(decision) => decided(decision, memory),
    }
}

fn observed(observation: &Observation, memory: &mut StoryMemory) -> Option<Noise> {
    /// The local PostgreSQL and its guard.
    const LOCAL: MemberId = MemberId(u8::MAX);
    match observation {
        Observation::HeartbeatDue { .. } => Some(Noise::Heartbeat),
        Observation::DeadlinePassed(_) => Some(Noise::Step),
        Observation::ProbeCompleted { target, kind, report, .. } => {
            let same = memory.repeats("probe", *target, probe_key(report));
            let told = matches!((kind, report), (ProbeKind::Massage(_), ProbeReport::Failed(_)));
            (same && !told).then_some(Noise::Probe)
        }
        Observation::PostmasterSeen { pid, sealed } => {
            if_repeated(memory.repeats("postmaster", LOCAL, (pid, sealed)))
        }
        Observation::PostmasterGone { sealed } => {
            if_repeated(memory.repeats("postmaster", LOCAL, (0, sealed)))
        }
        Observation::MessageReceived { from, message, .. } => heard(*from, message, memory),
        Observation::FollowCompleted { term, outcome, .. } => {
            let kind = match outcome {
                FollowOutcome::Streaming { .. } => return None,
                FollowOutcome::Diverged { why } => (1, why),
                FollowOutcome::Failed { why } => (2, why),
                FollowOutcome::Unknown { why } => (3, why),
            };
            if_repeated(memory.repeats("follow outcome", LOCAL, (term, kind)))
        }
        Observation::GuardReported(report) => match report {
            GuardReport::Present { armed } => {
                if_repeated(memory.repeats("guard", LOCAL, (0, armed.map(|a| a.0))))
            }
            GuardReport::Armed { term, .. } => {
                memory.repeats("guard", LOCAL, (1, Some(*term))).then_some(Noise::Renewal)
            }
            GuardReport::Refused { term } => if_repeated(memory.repeats("guard", LOCAL, (2, Some(*term)))),
            GuardReport::Lost => if_repeated(memory.repeats("guard", LOCAL, 3)),
            GuardReport::StoodDown => if_repeated(memory.repeats("guard", LOCAL, 4)),
            GuardReport::Fenced { term } => if_repeated(memory.repeats("guard", LOCAL, (5, Some(*term)))),
            GuardReport::FenceBegun { .. } => None,
        },
        Observation::ProcessStarted(_)
        | Observation::ReceiverEnded
        | Observation::ReceiverSeen { .. }
        | Observation::PeerConnected { .. }
        | Observation::PeerDisconnected { .. }
        | Observation::FenceCompleted(_)
        | Observation::FreezeCompleted { .. }
        | Observation::PromotionCompleted { .. }
        | Observation::CatchUpCompleted { .. }
        | Observation::OperatorRequested(_)
        | Observation::LogStalled { .. }
        | Observation::LogRecovered
        | Observation::UpstreamRecorded { .. }
        | Observation::SettingsChanged { .. } => None,
    }
}

fn heard(from: MemberId, message: &Message, memory: &mut StoryMemory) -> Option<Noise> {
    match message {
        Message::Heartbeat(h) => {
            memory.repeats("heartbeat", from, heartbeat_key(h)).then_some(Noise::Heartbeat)
        }
        Message::LeaseRequested(_) | Message::RenewalRequested(_) | Message::LeaseGranted(_) => {
            Some(Noise::Renewal)
        }
        Message::LeaseRefused(ask, why) => {
            if_repeated(memory.repeats("lease refused to me", from, (ask.term, refusal_key(why))))
        }
        Message::Testified(t) => if_repeated(memory.repeats("testimony heard", from, testimony_key(t))),
        // What this member answers is told.
        Message::TestimonyRequested { .. }
        | Message::FreezeRequested { .. }
        | Message::VoteRequested(_)
        | Message::PrimaryAnnounced(_)
        | Message::RosterCommitted(_)
        | Message::RosterProposed(_)
        | Message::RosterAccepted { .. }
        | Message::RosterAgreed { .. }
        | Message::PauseRequested(_)
        | Message::Resumed(_) => Some(Noise::Step),
        Message::LeaseReleased { .. }
        | Message::ConfirmedDown { .. }
        | Message::FreezeReported { .. }
        | Message::FreezeRefused { .. }
        | Message::VoteGranted(_)
        | Message::VoteRefused(..)
        | Message::CandidacyYielded { .. }
        | Message::PauseAgreed(_)
        | Message::CandidacyEnded { .. }
        | Message::AdoptionRequested
        | Message::AdoptionVouched
        | Message::HistoryRequested => None,
    }
}

fn decided(decision: &Decision, memory: &mut StoryMemory) -> Option<Noise> {
    let mut repeats = |kind, member, what: &dyn HashKey| if_repeated(what.repeats(memory, kind, member));
    let nobody = MemberId(u8::MAX);
    match decision {
        Decision::MassageOrdered { .. } => Some(Noise::Probe),
        Decision::LeaseGranted { first: false, .. }
        | Decision::LeaseRequested(_)
        | Decision::RenewalRequested(_) => Some(Noise::Renewal),
        Decision::LeaseExtended { term, .. } => {
            memory.repeats("lease extended", nobody, term).then_some(Noise::Renewal)
        }
        Decision::LeaseRefused { to, ask, why } => {
            repeats("lease refused", *to, &(ask.term, refusal_key(why)))
        }
        Decision::RosterAccepted { to, roster, .. } => repeats("roster accepted", *to, roster),
        Decision::RosterProposed(roster) => repeats("roster proposed", nobody, roster),
        Decision::RosterShared { to, roster } => repeats("roster shared", *to, roster),
        Decision::ResumeRepeated { to, pause } => repeats("resume repeated", *to, pause),
        Decision::HistoryShared { to, history } => repeats("history shared", *to, history),
        Decision::TestimonyRequested { about, .. } => repeats("testimony asked", nobody, about),
        Decision::Testified { to, testimony } => repeats("testified", *to, &testimony_key(testimony)),
        Decision::ElectionAbandoned { term, why } => {
            repeats("abandoned", nobody, &(term.is_some(), abandonment_key(why)))
        }
        Decision::CandidacyWithheld { why, holders, rank } => {
            repeats("withheld", nobody, &(unelectable_key(why), holders, rank))
        }
        Decision::FollowOrdered { term, primary } => repeats("follow", *primary, term),
        Decision::FollowRefused { term, past_fork_bytes } => {
            repeats("follow refused", nobody, &(term, past_fork_bytes.is_some()))
        }
        Decision::AdoptionRefused { why } => repeats("adoption refused", nobody, &refusal_key(why)),
        Decision::HeartbeatSent(_) => Some(Noise::Heartbeat),
        Decision::SuspicionRaised { .. }
        | Decision::VerdictChanged { .. }
        | Decision::DownConfirmed { .. }
        | Decision::LeaseGranted { first: true, .. }
        | Decision::FreezePromised { .. }
        | Decision::FreezeReported { .. }
        | Decision::FreezeRefused { .. }
        | Decision::VoteGranted { .. }
        | Decision::VoteRefused { .. }
        | Decision::PauseAgreed(_)
        | Decision::PauseEnded(_)
        | Decision::RosterAdopted(_)
        | Decision::RollbackDetected { .. }
        | Decision::CandidacyClosed { .. }
        | Decision::LeaseExpired { .. }
        | Decision::FenceOrdered { .. }
        | Decision::LeaseReleased { .. }
        | Decision::PauseRequested(_)
        | Decision::PauseConfirmed { .. }
        | Decision::StopAllowed
        | Decision::StopRefused { .. }
        | Decision::RosterCommitted(_)
        | Decision::ElectionPlanned { .. }
        | Decision::CandidacyOpened { .. }
        | Decision::CandidacyYielded { .. }
        | Decision::CatchUpOrdered { .. }
        | Decision::VoteRequested(_)
        | Decision::ElectionWon { .. }
        | Decision::PromotionOrdered { .. }
        | Decision::PromotionOrderedOf { .. }
        | Decision::PrimaryAnnounced(_)
        | Decision::AnnouncementAdopted(_)
        | Decision::LineageConfirmed(_)
        | Decision::AdoptionForwarded { .. }
        | Decision::VouchForwarded { .. }
        | Decision::HistoryRequested
        | Decision::RoleFailed { .. } => None,
    }
}

/// Anything that can be compared with what was told before.
trait HashKey {
    fn repeats(&self, memory: &mut StoryMemory, kind: &'static str, member: MemberId) -> bool;
}

impl<T: std::hash::Hash> HashKey for T {
    fn repeats(&self, memory: &mut StoryMemory, kind: &'static str, member: MemberId) -> bool {
        memory.repeats(kind, member, self)
    }
}

// ---- what makes two of a kind the same: not the positions and times that always move ------------

fn probe_key(report: &ProbeReport) -> impl std::hash::Hash + use<> {
    match report {
        ProbeReport::Answered(a) => {
            let seen = (a.in_recovery, a.timeline, a.streaming, a.system_id, a.postmaster_started);
            (Some(seen), None, None::<ProbeFailure>)
        }
        ProbeReport::Alive(sign) => (None, Some(*sign), None),
        ProbeReport::Failed(failure) => (None, None, Some(*failure)),
    }
}

fn heartbeat_key(h: &Heartbeat) -> impl std::hash::Hash + use<> {
    let postgres = h.postgres.map(|p| (p.alive, p.in_recovery, p.sealed, p.streaming));
    let able = h.able.as_ref().err().map(discriminant);
    (h.verdict, able, unelectable_of(&h.electable), postgres, h.paused)
}

fn testimony_key(t: &Testimony) -> impl std::hash::Hash + use<> {
    let able = t.able.as_ref().err().map(discriminant);
    let promised = t.promise.map(|(holder, _)| holder);
    (t.about, t.verdict, able, unelectable_of(&t.electable), promised)
}

fn unelectable_of(electable: &Result<(), Unelectable>) -> impl std::hash::Hash + use<> {
    electable.as_ref().err().map(discriminant)
}

fn unelectable_key(why: &Unelectable) -> impl std::hash::Hash + use<> {
    discriminant(why)
}

/// The reason without the time that is left.
fn refusal_key(why: &Refusal) -> impl std::hash::Hash + use<> {
    match why {
        Refusal::PromiseStands { holder, .. } => (Some(*holder), None),
        Refusal::SilentAfterRestart { .. } => (None, None),
        other => (None, Some(*other)),
    }
}

fn abandonment_key(why: &NoElection) -> impl std::hash::Hash + use<> {
    match why {
        NoElection::TooFewHoldItDown { holders, seers, silent, needed } => {
            let who = (holders.clone(), seers.clone(), silent.clone(), *needed);
            (1, Some(who), Vec::new())
        }
        NoElection::TooFewCanVote { unable, .. } => {
            (2, None, unable.iter().map(|(m, why)| (*m, discriminant(why))).collect())
        }
        NoElection::PrimaryBack(_) => (3, None, Vec::new()),
        NoElection::NotElectable(_) => (4, None, Vec::new()),
        NoElection::NotFrozen => (5, None, Vec::new()),
        NoElection::TooFewVotes { granted, refused, needed } => {
            let who = (granted.clone(), Vec::new(), Vec::new(), *needed);
            (6, Some(who), refused.iter().map(|(m, why)| (*m, discriminant(why))).collect())
        }
    }
}
