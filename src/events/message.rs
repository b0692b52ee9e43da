//! What members say to each other. Part of the log's format: variants are added at the end only.

use super::facts::{
    Ability, Announcement, FlushedMark, LeaseAsk, PauseId, Position, Refusal, Roster, Unelectable, Verdict,
};
use crate::core::{BootId, Incarnation, Lsn, MemberId, Nanos, SystemId, Term, Timeline};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a member tells of itself with every heartbeat. It binds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The newest announcement it knows.
    pub announced: Option<Announcement>,
    /// Its verdict about that announcement's primary.
    pub verdict: Verdict,
    /// The highest term it voted or froze in.
    pub term_seen: Term,
    /// Number of its roster.
    pub roster_number: u32,
    /// Its log.
    pub incarnation: Incarnation,
    /// How far its log is flushed.
    pub flushed: FlushedMark,
    /// How far it has heard each member's log to be flushed, in membership order.
    pub heard_flushed: Vec<FlushedMark>,
    /// Its PostgreSQL, if it has one and its daemon knows something of it.
    pub postgres: Option<PostgresState>,
    /// Whether it could be promoted.
    pub electable: Result<(), Unelectable>,
    /// Its priority.
    pub priority: u32,
    /// Whether it can vote.
    pub able: Ability,
    /// The pause it knows of.
    pub paused: Option<PauseId>,
    /// The last pause it knows to be over.
    pub resumed: Option<PauseId>,
    /// Time left of its lease, if it holds one.
    pub lease_left: Option<Nanos>,
}

/// A member's PostgreSQL as its heartbeat tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PostgresState {
    /// Whether its postmaster lives and answers, or shows a sign of life: the daemon vouches (D2).
    pub alive: bool,
    /// Whether it is in recovery; `None`: not known while it is alive, else it does not run.
    pub in_recovery: Option<bool>,
    /// Whether `standby.signal` was left by a fence.
    pub sealed: bool,
    /// Whether its WAL receiver streams.
    pub streaming: bool,
    /// Its system identifier.
    pub system_id: Option<SystemId>,
    /// Its timeline.
    pub timeline: Option<Timeline>,
    /// Written or received.
    pub received: Option<Lsn>,
    /// Replayed.
    pub replayed: Option<Lsn>,
}

/// The answer to a pre-vote (E1). It binds nothing and changes no term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Testimony {
    /// Echo of the asker's process and question.
    pub nonce: u64,
    /// Echo of the question's number.
    pub number: u64,
    /// The term of the announcement the verdict is about.
    pub about: Term,
    /// The verdict.
    pub verdict: Verdict,
    /// The standing promise: to whom, for how long still.
    pub promise: Option<(MemberId, Nanos)>,
    /// Whether it could vote, promises and verdict aside.
    pub able: Ability,
    /// The highest term it voted or froze in.
    pub term_seen: Term,
    /// Its rough position: it only orders candidates.
    pub position: Option<Position>,
    /// Whether it could be promoted.
    pub electable: Result<(), Unelectable>,
    /// Its priority.
    pub priority: u32,
    /// Number of its roster.
    pub roster_number: u32,
}

/// Why somebody stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CandidacyKind {
    /// The primary is down.
    Failover,
    /// The holder of the lease stands above a higher term (E9).
    Incumbent,
    /// The first primary, found by all members together (E10).
    FirstAdoption,
    /// The operator named a running primary (E10).
    OperatorAdoption,
    /// The operator named a primary, and vouches that nothing is left of the paused one (M3).
    OperatorVouched,
}

impl CandidacyKind {
    /// Returns whether the operator named the candidate.
    #[must_use]
    pub const fn is_by_name(self) -> bool {
        matches!(self, Self::OperatorAdoption | Self::OperatorVouched)
    }
}

/// A candidate's request for a vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteAsk {
    /// Why it stands.
    pub kind: CandidacyKind,
    /// Term, number, duration, sending time, process: a vote is a grant too (E8).
    pub ask: LeaseAsk,
    /// Its frozen position; an incumbent's current one; `None` on a first adoption.
    pub position: Option<Position>,
    /// Its PostgreSQL cluster.
    pub system_id: SystemId,
    /// On an adoption: the incarnations it heard, to be registered.
    pub roster: Option<Roster>,
    /// A better placed member can't stand and its WAL can't be had: grant at a loss (E7).
    pub accepts_loss: bool,
}

/// A message between members. What is large and rare is boxed: a message is moved several times, and most are small.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// I am here.
    Heartbeat(Arc<Heartbeat>),
    /// Grant me a lease (L1).
    LeaseRequested(LeaseAsk),
    /// Granted; echoes the request.
    LeaseGranted(LeaseAsk),
    /// Refused; echoes the request.
    LeaseRefused(Box<LeaseAsk>, Refusal),
    /// My tenure of this term is over; the last request was this (L8).
    LeaseReleased {
        /// The term.
        term: Term,
        /// The last request's number.
        last_number: u64,
    },
    /// No process of this primary is left (D3).
    ConfirmedDown {
        /// Its term.
        term: Term,
        /// The boot of its host.
        boot_id: BootId,
        /// When its postmaster started, microseconds since 1970; 0: not known.
        postmaster_started: i64,
    },
    /// What do you hold of the primary? (E1)
    TestimonyRequested {
        /// The asker's process.
        nonce: u64,
        /// The question's number.
        number: u64,
        /// The announced term the question is about.
        about: Term,
    },
    /// The answer.
    Testified(Box<Testimony>),
    /// Freeze for this term (E2).
    FreezeRequested {
        /// The term.
        term: Term,
        /// The candidate's process.
        nonce: u64,
        /// Number of the candidate's roster.
        roster_number: u32,
    },
    /// Frozen, and this is where I stand; `None`: no PostgreSQL runs here.
    FreezeReported {
        /// The term.
        term: Term,
        /// Echo.
        nonce: u64,
        /// The frozen position.
        position: Option<Position>,
        /// Whether this member could be promoted.
        electable: Result<(), Unelectable>,
        /// Its priority.
        priority: u32,
    },
    /// Not frozen.
    FreezeRefused {
        /// The term.
        term: Term,
        /// Echo.
        nonce: u64,
        /// Why.
        why: Refusal,
    },
    /// Vote for me.
    VoteRequested(Box<VoteAsk>),
    /// A vote, and a grant with it; echoes the request.
    VoteGranted(LeaseAsk),
    /// No vote; echoes the request.
    VoteRefused(Box<LeaseAsk>, Refusal),
    /// You are better placed: stand.
    CandidacyYielded {
        /// The term that was given up.
        term: Term,
    },
    /// This is the primary.
    PrimaryAnnounced(Announcement),
    /// The roster with a higher number.
    RosterCommitted(Roster),
    /// Accept this roster: it registers a member's new log (M1).
    RosterProposed(Roster),
    /// Accepted, flushed; with the highest term voted in.
    RosterAccepted {
        /// The proposal's number.
        number: u32,
        /// The highest term voted in.
        voted: Term,
    },
    /// Agree to pause while my daemon is away (L6).
    PauseRequested(PauseId),
    /// Agreed, flushed.
    PauseAgreed(PauseId),
    /// The pause is over.
    Resumed(PauseId),
    /// The operator asks you to stand (E10).
    AdoptionRequested,
    /// This process's candidacy in this term is over and was not won: promises that came with votes for it
    /// need not be kept.
    CandidacyEnded {
        /// The term.
        term: Term,
        /// The candidate's process.
        nonce: u64,
    },
    /// Grant me a lease, as the announced primary of that term: only who knows that (L5).
    RenewalRequested(LeaseAsk),
    /// This very roster is accepted, flushed; with the highest term voted in (M1).
    RosterAgreed {
        /// The roster.
        roster: Roster,
        /// The highest term voted in.
        voted: Term,
    },
    /// The operator asks you to stand, and vouches that nothing is left of the paused primary (M3).
    AdoptionVouched,
    /// Tell me all winners so far (E3).
    HistoryRequested,
}
