//! Owns the telling of observations: what this member saw, apart from what peers said.

use super::settings::{describe_settings_changes, fencing_word, mode};
use super::words::{commands, left, report};
use super::{Level, Scene, Told, hearsay, told};
use crate::core::Term;
use crate::events::{
    Deadline, FenceOutcome, FollowOutcome, FreezeOutcome, GuardReport, LogFound, Observation,
    OperatorRequest, ProbeKind, ProbeReport, ProcessStart, PromotionOutcome,
};

pub(super) fn tell(scene: &Scene<'_>, observation: &Observation) -> Told {
    let (me, w) = (scene.me(), &scene.words);
    match observation {
        Observation::ProcessStarted(start) => started(scene, start),
        Observation::HeartbeatDue { flushed } => {
            let text = format!("heartbeat due; the log is flushed up to {flushed}");
            told(Level::Debug, "heartbeat due", text)
        }
        Observation::DeadlinePassed(deadline) => {
            told(Level::Debug, "deadline passed", format!("deadline passed: {}", deadline_words(*deadline)))
        }
        Observation::ProbeCompleted { target, kind, report: seen, took, stalled } => {
            let probe = match kind {
                ProbeKind::Heartbeat => "probe".to_owned(),
                ProbeKind::Massage(n) => {
                    format!("heart massage {n} of {}", w.settings.escalation_attempts)
                }
            };
            let late = if stalled.0 > 0 {
                format!("; the prober itself ran {stalled} late, so this counts less")
            } else {
                String::new()
            };
            let level = match seen {
                ProbeReport::Answered(_) => Level::Info,
                ProbeReport::Alive(_) | ProbeReport::Failed(_) => Level::Warning,
            };
            let text = format!(
                "{me}'s {probe} of {}: {} after {took}{late}",
                w.itself(me, w.name(*target)),
                report(seen)
            );
            told(level, "probe completed", text)
        }
        Observation::ReceiverEnded => {
            let text = format!("the WAL receiver of {me} ended: {me} lost its stream from upstream");
            told(Level::Warning, "receiver ended", text)
        }
        Observation::ReceiverSeen { from } => {
            let from = from.map_or("no member that is known by that address", |m| w.name(m));
            told(Level::Info, "receiver seen", format!("the WAL receiver of {me} streams from {from}"))
        }
        Observation::PostmasterSeen { pid, sealed } => {
            let seal = if *sealed { ", standby.signal in place: read-only" } else { "" };
            told(Level::Info, "postmaster seen", format!("PostgreSQL runs on {me} (postmaster {pid}{seal})"))
        }
        Observation::PostmasterGone { sealed } => {
            let seal = if *sealed { "; it is sealed and can only come back read-only" } else { "" };
            let text = format!("the postmaster process of {me} is gone{seal}");
            told(Level::Warning, "postmaster gone", text)
        }
        Observation::MessageReceived { from, message, .. } => hearsay::tell(scene, *from, message),
        Observation::PeerConnected { member, .. } => {
            told(Level::Info, "peer connected", format!("{me} is connected to {}", w.name(*member)))
        }
        Observation::PeerDisconnected { member, refused } => {
            let why =
                if *refused { "; its host answers that nobody listens: its daemon is down" } else { "" };
            let text = format!("{me} lost its connection to {}{why}", w.name(*member));
            told(Level::Warning, "peer disconnected", text)
        }
        Observation::FenceCompleted(outcome) => fenced(me, outcome),
        Observation::FreezeCompleted { term, outcome } => frozen(me, *term, outcome),
        Observation::PromotionCompleted { term, outcome, commands: runs } => {
            promoted(me, *term, outcome, &commands(runs))
        }
        Observation::FollowCompleted { term, outcome, commands: runs } => {
            followed(me, &format!("follow the primary of term {term}"), outcome, &commands(runs))
        }
        Observation::CatchUpCompleted { term, outcome } => {
            followed(me, &format!("fetch the missing WAL for term {term}"), outcome, "")
        }
        Observation::GuardReported(said) => guard(scene, said),
        Observation::OperatorRequested(OperatorRequest::Adopt { member }) => {
            let text = format!("the operator asked {me} to make {} the primary", w.name(*member));
            told(Level::Info, "operator request", text)
        }
        Observation::OperatorRequested(OperatorRequest::AdoptVouched { member }) => {
            let text = format!(
                "the operator asked {me} to make {} the primary, and vouches that nothing is left of the paused \
                 one",
                w.name(*member)
            );
            told(Level::Info, "operator request", text)
        }
        Observation::OperatorRequested(OperatorRequest::Stop) => {
            told(Level::Info, "operator request", format!("the daemon of {me} was asked to stop"))
        }
        Observation::LogStalled { why } => {
            let text = format!(
                "the event log of {me} can't be written ({why}): {me} neither votes nor stands until it can; \
                 free space on its disk"
            );
            told(Level::Critical, "log stalled", text)
        }
        Observation::LogRecovered => {
            told(Level::Info, "log recovered", format!("the event log of {me} can be written again"))
        }
        Observation::UpstreamRecorded { primary_conninfo } => {
            let text = format!("{me} kept its upstream before the freeze empties it: {primary_conninfo}");
            told(Level::Info, "upstream recorded", text)
        }
        Observation::SettingsChanged { settings, .. } => {
            let changes =
                scene.memory.settings().map_or(Vec::new(), |old| describe_settings_changes(old, settings));
            let what = if changes.is_empty() {
                "nothing that decisions depend on".to_owned()
            } else {
                changes.join(", ")
            };
            let text = format!("{me} read its configuration again; changed settings: {what}");
            told(Level::Info, "settings changed", text)
        }
    }
}

fn started(scene: &Scene<'_>, start: &ProcessStart) -> Told {
    let s = &start.settings;
    let kind = if s.has_postgres() { "data member" } else { "witness" };
    let (level, log) = match &start.log {
        LogFound::Fresh => (Level::Info, "a fresh log".to_owned()),
        LogFound::Intact => (Level::Info, "an intact log".to_owned()),
        LogFound::TailLost { head } => (
            Level::Critical,
            format!(
                "a log that lost its tail: records up to {head} were flushed; it may have forgotten votes"
            ),
        ),
        LogFound::PutAside { path, why } => (
            Level::Critical,
            format!(
                "a new log, for the old one can't be read ({why}) and is kept as {path}; it may have forgotten votes"
            ),
        ),
    };
    let changes = scene.memory.settings().map_or(Vec::new(), |old| describe_settings_changes(old, s));
    let changes = if changes.is_empty() {
        String::new()
    } else {
        format!("; changed settings: {}", changes.join(", "))
    };
    let text = format!(
        "pgfo {} started on {}, {kind} of cluster {} ({} members, mode {}, priority {}, fencing {}), with {log}{changes}",
        start.version,
        s.name(s.me),
        s.cluster,
        s.members.len(),
        mode(s.automatic),
        s.priority,
        fencing_word(s.fencing),
    );
    told(level, "process started", text)
}

const fn deadline_words(deadline: Deadline) -> &'static str {
    match deadline {
        Deadline::MassageDue => "the next heart massage is due",
        Deadline::TestimonyEnds => "no more waiting for testimonies",
        Deadline::StandDue => "the moment to stand",
        Deadline::FreezeEnds => "no more waiting for freezes",
        Deadline::CandidacyEnds => "no more waiting for votes",
        Deadline::LeaseEnds => "the lease ends",
        Deadline::PromotionEnds => "the promotion takes too long",
        Deadline::FollowDue => "time to try again to follow",
        Deadline::PauseEnds => "no more waiting for the others to pause",
        Deadline::ElectionDue => "time to try again to be elected",
    }
}

fn fenced(me: &str, outcome: &FenceOutcome) -> Told {
    let FenceOutcome { sealed, nothing_left, killed, took, trouble } = outcome;
    let seal = if *sealed { "sealed" } else { "NOT sealed" };
    let rest = if *nothing_left { "no process is left" } else { "processes ARE LEFT" };
    let trouble = trouble.as_ref().map_or(String::new(), |why| format!("; trouble: {why}"));
    let text = format!("the fence of {me} ended after {took}: {seal}, {rest} ({killed} killed){trouble}");
    let level = if *nothing_left { Level::Warning } else { Level::Critical };
    told(level, "fence completed", text)
}

fn frozen(me: &str, term: Term, outcome: &FreezeOutcome) -> Told {
    match outcome {
        FreezeOutcome::Frozen { lsn, settled, .. }
        | FreezeOutcome::FrozenOn { lsn, settled, .. }
        | FreezeOutcome::FrozenAt { lsn, settled, .. } => {
            let at = lsn.map_or("an unknown position".to_owned(), |lsn| lsn.to_string());
            let counts = if *settled {
                ""
            } else {
                "; it is not settled since PostgreSQL restarted, so it does not count"
            };
            let level = if *settled { Level::Info } else { Level::Warning };
            told(level, "frozen", format!("{me} stands still at {at} for term {term}{counts}"))
        }
        FreezeOutcome::NothingRuns => told(
            Level::Info,
            "frozen",
            format!("{me} stands still for term {term}: no PostgreSQL runs there"),
        ),
        FreezeOutcome::NotObserved { why } => {
            let text = format!("{me} could not be seen to stand still for term {term}: {why}");
            told(Level::Warning, "not frozen", text)
        }
    }
}

fn promoted(me: &str, term: Term, outcome: &PromotionOutcome, commands: &str) -> Told {
    match outcome {
        PromotionOutcome::Promoted { timeline, switched_at, system_id: _ } => {
            let text = format!(
                "{me} was promoted in term {term}: it writes timeline {timeline}, forked off at {switched_at}{commands}"
            );
            told(Level::Info, "promoted", text)
        }
        PromotionOutcome::Failed { why } => {
            let text = format!("the promotion of {me} in term {term} failed: {why}{commands}");
            told(Level::Critical, "promotion failed", text)
        }
        PromotionOutcome::Unknown { why } => {
            let text = format!(
                "the promotion of {me} in term {term} has an unknown outcome, it may have happened: {why}{commands}"
            );
            told(Level::Critical, "promotion unknown", text)
        }
        PromotionOutcome::Vetoed { why } => {
            let text =
                format!("validation_command vetoed the promotion of {me} in term {term}: {why}{commands}");
            told(Level::Warning, "promotion vetoed", text)
        }
        PromotionOutcome::Refused { .. } => {
            let text = format!(
                "the promotion of {me} in term {term} was refused: PostgreSQL was started anew since it was \
                 ordered{commands}"
            );
            told(Level::Warning, "promotion refused", text)
        }
    }
}

fn followed(me: &str, what: &str, outcome: &FollowOutcome, commands: &str) -> Told {
    match outcome {
        FollowOutcome::Streaming { timeline, lsn } => {
            let at = lsn.map_or(String::new(), |lsn| format!(" and reached {lsn}"));
            let text = format!("{me} was able to {what}: it streams on timeline {timeline}{at}{commands}");
            told(Level::Info, "streaming", text)
        }
        FollowOutcome::Diverged { why } => {
            let text = format!(
                "{me} can't {what} as it is ({why}): it needs a rewind or a new base backup{commands}"
            );
            told(Level::Critical, "diverged", text)
        }
        FollowOutcome::Failed { why } => {
            told(Level::Warning, "following failed", format!("{me} could not {what}: {why}{commands}"))
        }
        FollowOutcome::Unknown { why } => {
            let text = format!("it is not known whether {me} could {what}: {why}{commands}");
            told(Level::Warning, "following unknown", text)
        }
    }
}

fn guard(scene: &Scene<'_>, said: &GuardReport) -> Told {
    let me = scene.me();
    match said {
        GuardReport::Present { armed: None } => {
            told(Level::Info, "guard present", format!("the guard of {me} runs and holds no deadline"))
        }
        GuardReport::Present { armed: Some((term, until)) } => {
            let rest = left(scene.record, *until);
            let text = format!("the guard of {me} runs and holds a deadline in {rest} for term {term}");
            told(Level::Info, "guard present", text)
        }
        GuardReport::Armed { term, until } => {
            let rest = left(scene.record, *until);
            let text =
                format!("the guard of {me} is armed for term {term}: it fences in {rest} unless extended");
            told(Level::Info, "guard armed", text)
        }
        GuardReport::Refused { term } => {
            let text =
                format!("the guard of {me} refused the deadline of term {term}, so nothing is promoted");
            told(Level::Critical, "guard refused", text)
        }
        GuardReport::Lost => {
            let text = format!("the guard of {me} does not answer; it still fences at the deadline it holds");
            told(Level::Critical, "guard lost", text)
        }
        GuardReport::StoodDown => {
            told(Level::Info, "guard stood down", format!("the guard of {me} stood down"))
        }
        GuardReport::Fenced { term } => {
            let text = format!("the guard of {me} runs, has fenced term {term}, and keeps it so");
            told(Level::Info, "guard present", text)
        }
        GuardReport::FenceBegun { lease_over } => {
            let why = if *lease_over { ": the lease ran out" } else { "" };
            told(Level::Critical, "guard fences", format!("the guard of {me} fences its PostgreSQL{why}"))
        }
    }
}

/// The term that the guard spoke of.
pub(super) fn guard_term(said: &GuardReport) -> Option<Term> {
    match said {
        GuardReport::Present { armed } => armed.map(|(term, _)| term),
        GuardReport::Armed { term, .. } | GuardReport::Refused { term } | GuardReport::Fenced { term } => {
            Some(*term)
        }
        GuardReport::Lost | GuardReport::StoodDown | GuardReport::FenceBegun { .. } => None,
    }
}
