//! What the invariants are told of: things that happened in the world, as no member sees them.

use super::postgres::BranchId;
use crate::core::{Lsn, MemberId, Term};
use crate::events::{CandidacyKind, Decision, LeaseAsk, Message};

/// A thing that happened.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "a field is named after what it is")]
pub enum Fact {
    /// A role concluded something that matters to others.
    Decided { member: MemberId, decision: Box<Decision> },
    /// A vote, a grant or the request for a renewal left the member.
    Sent { from: MemberId, to: MemberId, message: Message },
    /// PostgreSQL was told to promote.
    PromotionSent { member: MemberId, term: Term },
    /// A promotion took effect.
    Promoted { member: MemberId, from: BranchId, branch: BranchId, at: Lsn },
    /// PostgreSQL began or ceased to accept writes, or a frozen one went on.
    WritabilityChanged,
    /// A fence began.
    FenceBegan { member: MemberId, by_guard: bool, was_writable: bool },
    /// A daemon ended; whether a fold of its log gave its live state.
    DaemonEnded { member: MemberId, differs: Option<String> },
    /// A daemon started.
    DaemonStarted { member: MemberId, term_seen: Term },
    /// A log lost more than its unflushed tail.
    LogLost { member: MemberId, noticed: bool },
    /// Every process and every log is gone at once: what is left begins anew, bound by nothing that was promised.
    EveryLogLost,
    /// A standby streamed another history with the same timeline number.
    Spoilt { member: MemberId, source: MemberId },
    /// A durable effect was performed before its record was flushed.
    EffectTooEarly { member: MemberId, what: String },
    /// A fault began.
    FaultBegan(usize),
    /// Everything was mended.
    Healed,
}

/// Kinds of facts, as invariants choose what they hear. Grants and renewals are most of all facts by far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hearing {
    /// A renewal was asked for.
    Renewal,
    /// A lease was granted.
    Grant,
    /// Everything else.
    Rest,
}

impl Hearing {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Renewal, Self::Grant, Self::Rest];
}

impl Fact {
    /// Returns its kind.
    #[must_use]
    pub fn hearing(&self) -> Hearing {
        match self {
            Self::Sent { message: Message::RenewalRequested(_), .. } => Hearing::Renewal,
            Self::Sent { message: Message::LeaseGranted(_), .. } => Hearing::Grant,
            _ => Hearing::Rest,
        }
    }
}

/// Returns whether invariants want to hear of a decision.
#[must_use]
pub(super) fn is_of_interest(decision: &Decision) -> bool {
    matches!(
        decision,
        Decision::ElectionWon { .. }
            | Decision::VoteGranted { .. }
            | Decision::LeaseGranted { first: true, .. }
            | Decision::PrimaryAnnounced(_)
            | Decision::AnnouncementAdopted(_)
            | Decision::FreezePromised { .. }
            | Decision::FollowOrdered { .. }
            | Decision::LeaseReleased { .. }
            | Decision::PauseConfirmed { .. }
            | Decision::PauseEnded(_)
            | Decision::DownConfirmed { .. }
            | Decision::CandidacyWithheld { .. }
            | Decision::ElectionAbandoned { .. }
            | Decision::FollowRefused { .. }
            | Decision::RosterCommitted(_)
            | Decision::RosterAdopted(_)
            | Decision::CatchUpOrdered { .. }
            | Decision::CandidacyYielded { .. }
            | Decision::CandidacyClosed { .. }
            | Decision::CandidacyOpened { .. }
            | Decision::StopRefused { .. }
            | Decision::RollbackDetected { .. }
    )
}

/// A vote that left a voter.
#[must_use]
pub(super) fn vote_of(message: &Message) -> Option<&LeaseAsk> {
    match message {
        Message::VoteGranted(ask) => Some(ask),
        _ => None,
    }
}

/// Returns whether winning by this kind replaces a primary.
#[must_use]
pub(super) const fn replaces(kind: CandidacyKind) -> bool {
    matches!(kind, CandidacyKind::Failover)
}
