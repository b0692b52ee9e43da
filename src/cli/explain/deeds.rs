//! Owns the reading of one record: whose deed in a failover it shows, as its own or as heard from a
//! peer. It must never look at more than the record.

use crate::core::{MemberId, Term};
use crate::events::{
    CandidacyKind, Decision, Event, FenceReason, FollowOutcome, GuardReport, Message, Observation, Position,
    PromotionOutcome, Record, Unelectable, Verdict,
};

/// What somebody did, as far as a failover is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Something that may be the beginning of a failure was seen.
    Sign,
    /// The verdict is now that the primary is down.
    HeldDown(Verdict),
    /// The verdict is now that the primary is up.
    SeenAgain,
    /// A fence was ordered or began.
    Fence(Option<FenceReason>),
    /// A fence ended.
    FenceEnded {
        /// Sealed, and nothing is left.
        complete: bool,
    },
    /// No process of the primary is left.
    Confirmed,
    /// The tenure was given up.
    Released,
    /// The lease ran out.
    Expired,
    /// A pre-vote began.
    Asked,
    /// A pre-vote was answered.
    Testified {
        /// What the witness holds.
        verdict: Verdict,
    },
    /// A candidacy was planned.
    Planned,
    /// A candidacy was not, or no longer, pursued.
    Abandoned,
    /// A candidacy was withheld.
    Withheld(Unelectable),
    /// A candidacy was opened.
    Stood(CandidacyKind),
    /// A candidacy was given up for a better one.
    Yielded,
    /// Missing WAL is fetched first.
    CaughtUp,
    /// A freeze was promised.
    FreezePromised,
    /// A freeze was refused.
    FreezeRefused,
    /// Stands still here.
    Frozen(Option<Position>),
    /// Votes were asked for.
    AskedForVotes,
    /// A vote.
    Voted {
        /// For whom.
        candidate: MemberId,
        /// Bytes the voter has and the candidate lacks.
        loss_bytes: u64,
    },
    /// No vote.
    Refused {
        /// To whom.
        candidate: MemberId,
    },
    /// An election was won.
    Won {
        /// Bytes that the old primary was heard to have written and the winner lacks; `None`: not known.
        loss_bytes: Option<u64>,
    },
    /// A promotion was ordered.
    PromotionOrdered,
    /// A promotion ended.
    Promoted {
        /// Whether it took effect.
        done: bool,
    },
    /// The primary was announced.
    Announced,
    /// A primary was learned of.
    Learned,
    /// Following was ordered.
    FollowOrdered,
    /// Following ended.
    Followed {
        /// Whether it streams.
        streams: bool,
    },
    /// Following is impossible without a rewind.
    FollowRefused {
        /// Bytes past the fork.
        past_fork_bytes: Option<u64>,
    },
    /// A connection was lost.
    Lost(MemberId),
    /// A postmaster was found.
    PostmasterSeen {
        /// Read-only by its seal.
        sealed: bool,
    },
    /// A daemon started.
    Started,
}

/// A deed, and who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Who.
    pub who: MemberId,
    /// What.
    pub what: What,
    /// Whether it was only heard of.
    pub heard: bool,
    /// The term of the election, or the primary, that it is about, if it names one.
    pub term: Option<Term>,
}

/// Returns what a record of `me` shows; `None` if it is nothing to a failover.
#[must_use]
pub(super) fn deed(record: &Record, me: MemberId) -> Option<Deed> {
    match &record.event {
        Event::Decided(decision) => {
            let (what, term) = decided(decision)?;
            Some(Deed { who: me, what, heard: false, term })
        }
        Event::Observed(Observation::MessageReceived { from, message, .. }) => {
            let (what, term) = heard(message, me)?;
            Some(Deed { who: *from, what, heard: true, term })
        }
        Event::Observed(observation) => {
            let (what, term) = observed(observation)?;
            Some(Deed { who: me, what, heard: false, term })
        }
    }
}

fn decided(decision: &Decision) -> Option<(What, Option<Term>)> {
    Some(match decision {
        Decision::SuspicionRaised { .. } => (What::Sign, None),
        Decision::VerdictChanged { to, from, .. } => match to {
            Verdict::Unreachable | Verdict::ConfirmedDown => (What::HeldDown(*to), None),
            Verdict::Reachable if *from != Verdict::Unknown => (What::SeenAgain, None),
            Verdict::Reachable | Verdict::Suspect | Verdict::Unknown => return None,
        },
        Decision::DownConfirmed { .. } => (What::Confirmed, None),
        Decision::LeaseExpired { .. } => (What::Expired, None),
        Decision::FenceOrdered { why, .. } => (What::Fence(Some(*why)), None),
        Decision::LeaseReleased { .. } => (What::Released, None),
        Decision::TestimonyRequested { .. } => (What::Asked, None),
        Decision::Testified { testimony, .. } => (What::Testified { verdict: testimony.verdict }, None),
        Decision::ElectionPlanned { .. } => (What::Planned, None),
        Decision::ElectionAbandoned { term, .. } => (What::Abandoned, *term),
        Decision::CandidacyWithheld { why, .. } => (What::Withheld(*why), None),
        Decision::CandidacyOpened { kind: CandidacyKind::FirstAdoption, .. } => return None,
        Decision::CandidacyOpened { term, kind, .. } => (What::Stood(*kind), Some(*term)),
        Decision::CandidacyYielded { term, .. } => (What::Yielded, Some(*term)),
        Decision::CatchUpOrdered { term, .. } => (What::CaughtUp, Some(*term)),
        Decision::FreezePromised { term, .. } => (What::FreezePromised, Some(*term)),
        Decision::FreezeRefused { term, .. } => (What::FreezeRefused, Some(*term)),
        Decision::FreezeReported { term, position, .. } => (What::Frozen(*position), Some(*term)),
        Decision::VoteRequested(ask) => (What::AskedForVotes, Some(ask.ask.term)),
        Decision::VoteGranted { candidate, ask, loss_bytes, .. } => {
            (What::Voted { candidate: *candidate, loss_bytes: *loss_bytes }, Some(ask.term))
        }
        Decision::VoteRefused { candidate, ask, .. } => {
            (What::Refused { candidate: *candidate }, Some(ask.term))
        }
        Decision::ElectionWon { term, loss_bytes_max, .. } => {
            (What::Won { loss_bytes: *loss_bytes_max }, Some(*term))
        }
        Decision::PromotionOrdered { term } | Decision::PromotionOrderedOf { term, .. } => {
            (What::PromotionOrdered, Some(*term))
        }
        Decision::PrimaryAnnounced(a) => (What::Announced, Some(a.term)),
        Decision::AnnouncementAdopted(a) => (What::Learned, Some(a.term)),
        Decision::FollowOrdered { term, .. } => (What::FollowOrdered, Some(*term)),
        Decision::FollowRefused { term, past_fork_bytes } => {
            (What::FollowRefused { past_fork_bytes: *past_fork_bytes }, Some(*term))
        }
        _ => return None,
    })
}

fn observed(observation: &Observation) -> Option<(What, Option<Term>)> {
    Some(match observation {
        Observation::ProcessStarted(_) => (What::Started, None),
        Observation::PostmasterGone { .. } | Observation::ReceiverEnded => (What::Sign, None),
        Observation::PostmasterSeen { sealed, .. } => (What::PostmasterSeen { sealed: *sealed }, None),
        Observation::PeerDisconnected { member, .. } => (What::Lost(*member), None),
        Observation::FenceCompleted(o) => (What::FenceEnded { complete: o.sealed && o.nothing_left }, None),
        Observation::GuardReported(GuardReport::FenceBegun { .. }) => (What::Fence(None), None),
        Observation::PromotionCompleted { term, outcome, .. } => {
            (What::Promoted { done: matches!(outcome, PromotionOutcome::Promoted { .. }) }, Some(*term))
        }
        Observation::FollowCompleted { term, outcome, .. } => {
            (What::Followed { streams: matches!(outcome, FollowOutcome::Streaming { .. }) }, Some(*term))
        }
        _ => return None,
    })
}

/// What a peer did, as its message to `me` tells. What is addressed to another is not heard.
fn heard(message: &Message, me: MemberId) -> Option<(What, Option<Term>)> {
    Some(match message {
        Message::ConfirmedDown { .. } => (What::Confirmed, None),
        Message::LeaseReleased { .. } => (What::Released, None),
        Message::TestimonyRequested { .. } => (What::Asked, None),
        Message::Testified(t) => (What::Testified { verdict: t.verdict }, None),
        Message::FreezeRequested { term, .. } => (What::Stood(CandidacyKind::Failover), Some(*term)),
        Message::FreezeReported { term, position, .. } => (What::Frozen(*position), Some(*term)),
        Message::FreezeRefused { term, .. } => (What::FreezeRefused, Some(*term)),
        Message::VoteRequested(ask) if ask.kind == CandidacyKind::FirstAdoption => return None,
        Message::VoteRequested(ask) => (What::AskedForVotes, Some(ask.ask.term)),
        Message::VoteGranted(ask) => (What::Voted { candidate: me, loss_bytes: 0 }, Some(ask.term)),
        Message::VoteRefused(ask, _) => (What::Refused { candidate: me }, Some(ask.term)),
        Message::CandidacyYielded { term } => (What::Yielded, Some(*term)),
        Message::PrimaryAnnounced(a) => (What::Announced, Some(a.term)),
        _ => return None,
    })
}
