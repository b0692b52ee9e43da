//! From decisions to deeds: what the hands are to do, and whether it may only be done once the
//! decision is durable. The one place where this is written; live daemon and simulator share it.

use crate::core::{BootNanos, Lsn, MemberId, Plant, Term, planted};
use crate::events::{
    Announcement, CandidacyKind, Decision, Event, FenceReason, Message, Observation, Record, Settings,
};

/// What a hand is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell a peer.
    Send {
        /// The peer.
        to: MemberId,
        /// What.
        message: Message,
    },
    /// Probe at once, over a fresh connection.
    Massage {
        /// Whose PostgreSQL.
        target: MemberId,
        /// Number of the massage.
        attempt: u8,
    },
    /// Probe this primary with every heartbeat from now on.
    WatchPrimary(Announcement),
    /// Stop the WAL receiver, and observe it (E2).
    Freeze {
        /// For which term.
        term: Term,
    },
    /// Seal and stop PostgreSQL, and observe it (L7).
    Fence {
        /// Why.
        why: FenceReason,
    },
    /// Hand the guard its deadline (L6).
    ArmGuard {
        /// The term.
        term: Term,
        /// Until when.
        until: BootNanos,
    },
    /// Tell the guard that the tenure is over (L8).
    ReleaseGuard {
        /// The term.
        term: Term,
    },
    /// Let the guard stand down (L6).
    StandDownGuard,
    /// Promote (E8).
    Promote {
        /// The term.
        term: Term,
        /// When the postmaster started that is meant, microseconds since 1970; another one is not promoted.
        /// `None`: whichever runs, as decided before core revision 4.
        postmaster_started: Option<i64>,
    },
    /// Follow the winner.
    Follow {
        /// The winner's term.
        term: Term,
        /// The winner.
        primary: MemberId,
    },
    /// Stream what is missing from another standby, then freeze again (E7).
    CatchUp {
        /// The term that was given up.
        term: Term,
        /// From whom.
        from: MemberId,
        /// Up to where.
        until: Lsn,
    },
    /// End the daemon.
    Stop,
    /// Tell the operator that the daemon stays.
    StayRunning,
    /// Start anew, with a log of another incarnation: this one was rolled back (M1).
    StartAnew,
}

/// When effects may be performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// At once, and past whatever waits for the disk: heartbeats and renewals (L5), and a question that binds nobody (E3).
    Overtakes,
    /// In order, without a flush of its own.
    InOrder,
    /// In order, once flushed: it binds this node (S5).
    Durable,
}

/// Returns whether a decision binds this node, so that the log must be flushed before its effects.
#[must_use]
pub fn urgency(event: &Event) -> Urgency {
    let Event::Decided(decision) = event else {
        return match event {
            Event::Observed(Observation::ProcessStarted(_) | Observation::UpstreamRecorded { .. }) => {
                Urgency::Durable
            }
            _ => Urgency::InOrder,
        };
    };
    match decision {
        Decision::VoteGranted { .. } if planted(Plant::VoteUnflushed) => Urgency::Overtakes,
        Decision::LeaseGranted { first: false, .. }
        | Decision::LeaseRefused { .. }
        | Decision::LeaseRequested(_)
        | Decision::RenewalRequested(_)
        | Decision::LeaseExtended { .. }
        | Decision::HeartbeatSent(_)
        | Decision::HistoryRequested => Urgency::Overtakes,
        Decision::LeaseGranted { first: true, .. }
        | Decision::FreezePromised { .. }
        | Decision::VoteGranted { .. }
        | Decision::PauseAgreed(_)
        | Decision::PauseEnded(_)
        | Decision::PauseConfirmed { .. }
        | Decision::RosterAccepted { .. }
        | Decision::RosterCommitted(_)
        | Decision::RosterAdopted(_)
        | Decision::RollbackDetected { .. }
        | Decision::DownConfirmed { .. }
        | Decision::FenceOrdered { .. }
        | Decision::LeaseReleased { .. }
        | Decision::ElectionWon { .. }
        | Decision::PromotionOrdered { .. }
        | Decision::PromotionOrderedOf { .. }
        | Decision::PrimaryAnnounced(_)
        | Decision::AnnouncementAdopted(_)
        | Decision::FollowOrdered { .. }
        | Decision::FollowRefused { .. }
        | Decision::CatchUpOrdered { .. }
        | Decision::LineageConfirmed(_)
        | Decision::RoleFailed { .. } => Urgency::Durable,
        _ => Urgency::InOrder,
    }
}

/// Appends what the hands are to do about a record.
pub fn effects(record: &Record, settings: &Settings, process_nonce: u64, out: &mut Vec<Effect>) {
    let Event::Decided(decision) = &record.event else { return };
    let me = settings.me;
    let everybody = |message: Message, out: &mut Vec<Effect>| {
        out.reserve(settings.members.len());
        for to in settings.others() {
            out.push(Effect::Send { to, message: message.clone() });
        }
    };
    let unless_me = |to: MemberId, message: Message, out: &mut Vec<Effect>| {
        if to != me {
            out.push(Effect::Send { to, message });
        }
    };
    match decision {
        Decision::MassageOrdered { target, attempt } => {
            out.push(Effect::Massage { target: *target, attempt: *attempt });
        }
        Decision::DownConfirmed { term, boot_id, postmaster_started } => everybody(
            Message::ConfirmedDown {
                term: *term,
                boot_id: *boot_id,
                postmaster_started: *postmaster_started,
            },
            out,
        ),
        Decision::LeaseGranted { to, ask, .. } => unless_me(*to, Message::LeaseGranted(*ask), out),
        Decision::LeaseRefused { to, ask, why } => {
            unless_me(*to, Message::LeaseRefused(ask.clone(), *why), out)
        }
        Decision::FreezePromised { term, .. } if settings.has_postgres() => {
            out.push(Effect::Freeze { term: *term });
        }
        Decision::FreezeReported { to, nonce, term, position, electable } => unless_me(
            *to,
            Message::FreezeReported {
                term: *term,
                nonce: *nonce,
                position: *position,
                electable: *electable,
                priority: settings.priority,
            },
            out,
        ),
        Decision::FreezeRefused { to, nonce, term, why } => {
            unless_me(*to, Message::FreezeRefused { term: *term, nonce: *nonce, why: *why }, out);
        }
        Decision::VoteGranted { candidate, ask, .. } => {
            unless_me(*candidate, Message::VoteGranted(**ask), out)
        }
        Decision::VoteRefused { candidate, ask, why } => {
            unless_me(*candidate, Message::VoteRefused(ask.clone(), *why), out)
        }
        Decision::PauseAgreed(pause) => unless_me(pause.primary, Message::PauseAgreed(*pause), out),
        Decision::PauseEnded(pause) if pause.primary == me => everybody(Message::Resumed(*pause), out),
        Decision::RosterAccepted { to, roster, voted } => {
            // M1: the content is named, not its number: another proposer may use the same one.
            unless_me(*to, Message::RosterAgreed { roster: roster.clone(), voted: *voted }, out);
        }
        Decision::LeaseRequested(ask) => everybody(Message::LeaseRequested(*ask), out),
        Decision::RenewalRequested(ask) => everybody(Message::RenewalRequested(*ask), out),
        Decision::LeaseExtended { term, until } | Decision::ElectionWon { term, until, .. } => {
            out.push(Effect::ArmGuard { term: *term, until: *until });
        }
        Decision::FenceOrdered { why, .. } => out.push(Effect::Fence { why: *why }),
        Decision::LeaseReleased { term, last_number } => {
            out.push(Effect::ReleaseGuard { term: *term });
            everybody(Message::LeaseReleased { term: *term, last_number: *last_number }, out);
        }
        Decision::PauseRequested(pause) => everybody(Message::PauseRequested(*pause), out),
        Decision::PauseConfirmed { .. } => out.push(Effect::StandDownGuard),
        Decision::StopAllowed => out.push(Effect::Stop),
        Decision::StopRefused { .. } => out.push(Effect::StayRunning),
        Decision::RollbackDetected { .. } => out.push(Effect::StartAnew),
        Decision::RosterProposed(roster) => everybody(Message::RosterProposed(roster.clone()), out),
        Decision::RosterCommitted(roster) => everybody(Message::RosterCommitted(roster.clone()), out),
        Decision::RosterShared { to, roster } => {
            unless_me(*to, Message::RosterCommitted(roster.clone()), out)
        }
        Decision::TestimonyRequested { number, about } => everybody(
            Message::TestimonyRequested { nonce: process_nonce, number: *number, about: *about },
            out,
        ),
        // Freezing begins everywhere at once: the vote needs it, and time is write outage.
        Decision::CandidacyOpened { term, kind: CandidacyKind::Failover, roster_number } => everybody(
            Message::FreezeRequested { term: *term, nonce: process_nonce, roster_number: *roster_number },
            out,
        ),
        Decision::CandidacyYielded { term, to, .. } => {
            unless_me(*to, Message::CandidacyYielded { term: *term }, out)
        }
        Decision::CatchUpOrdered { term, from, until } => {
            out.push(Effect::CatchUp { term: *term, from: *from, until: *until });
        }
        Decision::VoteRequested(ask) => everybody(Message::VoteRequested(ask.clone()), out),
        Decision::CandidacyClosed { term, nonce } => {
            everybody(Message::CandidacyEnded { term: *term, nonce: *nonce }, out);
        }
        Decision::PromotionOrdered { term } => {
            out.push(Effect::Promote { term: *term, postmaster_started: None });
        }
        Decision::PromotionOrderedOf { term, postmaster_started } => {
            let named = Some(*postmaster_started).filter(|_| !planted(Plant::PromotesWhoeverRuns));
            out.push(Effect::Promote { term: *term, postmaster_started: named });
        }
        Decision::PrimaryAnnounced(a) => {
            out.push(Effect::WatchPrimary(*a));
            everybody(Message::PrimaryAnnounced(*a), out);
        }
        Decision::AnnouncementAdopted(a) => out.push(Effect::WatchPrimary(*a)),
        Decision::HistoryShared { to, history } => {
            for a in history {
                unless_me(*to, Message::PrimaryAnnounced(*a), out);
            }
        }
        Decision::FollowOrdered { term, primary } => {
            out.push(Effect::Follow { term: *term, primary: *primary });
        }
        // E3: what it streams from now may be rebuilt with another history under the same timeline number.
        Decision::FollowRefused { term, .. } => out.push(Effect::Freeze { term: *term }),
        Decision::HeartbeatSent(h) => everybody(Message::Heartbeat(h.clone()), out),
        Decision::Testified { to, testimony } => unless_me(*to, Message::Testified(testimony.clone()), out),
        Decision::ResumeRepeated { to, pause } => unless_me(*to, Message::Resumed(*pause), out),
        Decision::AdoptionForwarded { to } => unless_me(*to, Message::AdoptionRequested, out),
        Decision::HistoryRequested => everybody(Message::HistoryRequested, out),
        Decision::VouchForwarded { to } => unless_me(*to, Message::AdoptionVouched, out),
        _ => {}
    }
}
