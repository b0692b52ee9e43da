//! What the roles conclude. Part of the log's format: variants are added at the end only.

use super::facts::{
    Announcement, FenceReason, LeaseAsk, Lineage, PauseId, Position, ProbeReport, Refusal, Roster,
    Unelectable, Verdict,
};
use super::message::{CandidacyKind, Heartbeat, Testimony, VoteAsk};
use crate::core::{BootId, Lsn, MemberId, Term};
use pgfo_replay::{BootNanos, Seq};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Why an election did not go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NoElection {
    /// Too few voters hold the primary down (E1).
    TooFewHoldItDown {
        /// Who does.
        holders: Vec<MemberId>,
        /// Who still sees it.
        seers: Vec<MemberId>,
        /// Who did not answer.
        silent: Vec<MemberId>,
        /// How many are needed.
        needed: u8,
    },
    /// Enough hold it down, but too few can vote.
    TooFewCanVote {
        /// Who can't, and why.
        unable: Vec<(MemberId, Refusal)>,
        /// How many are needed.
        needed: u8,
    },
    /// The primary is no longer down.
    PrimaryBack(Verdict),
    /// This member is no longer electable.
    NotElectable(Unelectable),
    /// The own freeze could not be observed, or did not settle.
    NotFrozen,
    /// Too few votes came in time.
    TooFewVotes {
        /// Who voted for this member.
        granted: Vec<MemberId>,
        /// Who refused, and why.
        refused: Vec<(MemberId, Refusal)>,
        /// How many are needed.
        needed: u8,
    },
}

/// How a tie between candidates was ordered: what this candidate compared (E5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The member.
    pub member: MemberId,
    /// Its position.
    pub position: Option<Position>,
    /// Its priority.
    pub priority: u32,
    /// Whether it could be promoted.
    pub electable: Result<(), Unelectable>,
}

/// A role's conclusion. What is large and rare is boxed: a decision is moved several times, and most are small.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Decision {
    // EscalationTracker
    /// A heartbeat failed.
    SuspicionRaised {
        /// The primary.
        primary: MemberId,
        /// Its term.
        term: Term,
        /// What was seen.
        evidence: ProbeReport,
    },
    /// A heart massage, over a fresh connection.
    MassageOrdered {
        /// Which PostgreSQL.
        target: MemberId,
        /// Number, from 1.
        attempt: u8,
    },
    /// The verdict changed.
    VerdictChanged {
        /// The primary.
        primary: MemberId,
        /// Its term.
        term: Term,
        /// Before.
        from: Verdict,
        /// Now.
        to: Verdict,
        /// The last thing seen, if it was a probe.
        evidence: Option<ProbeReport>,
    },
    /// This node's primary has no process left (D3).
    DownConfirmed {
        /// Its term.
        term: Term,
        /// The boot of this host.
        boot_id: BootId,
        /// When its postmaster started, microseconds since 1970; 0: not known.
        postmaster_started: i64,
    },

    // Voter
    /// A lease was granted: a promise not to vote for another until then (L1).
    LeaseGranted {
        /// To whom.
        to: MemberId,
        /// The request.
        ask: LeaseAsk,
        /// Until when, by this host's clock.
        until: BootNanos,
        /// The first of this term or longer than any before: flushed (L4, L5).
        first: bool,
    },
    /// A lease was refused.
    LeaseRefused {
        /// To whom.
        to: MemberId,
        /// The request.
        ask: Box<LeaseAsk>,
        /// Why.
        why: Refusal,
    },
    /// The WAL receiver is to stop and stay stopped, until a winner of this term or above (E2).
    FreezePromised {
        /// The term.
        term: Term,
        /// The candidate.
        candidate: MemberId,
        /// The candidate's process.
        nonce: u64,
    },
    /// Frozen: this is where this member stands.
    FreezeReported {
        /// To whom.
        to: MemberId,
        /// The candidate's process.
        nonce: u64,
        /// The term.
        term: Term,
        /// The position; `None`: no PostgreSQL runs here.
        position: Option<Position>,
        /// Whether this member could be promoted.
        electable: Result<(), Unelectable>,
    },
    /// No freeze.
    FreezeRefused {
        /// To whom.
        to: MemberId,
        /// The candidate's process.
        nonce: u64,
        /// The term.
        term: Term,
        /// Why.
        why: Refusal,
    },
    /// A vote, once a term, and a promise with it (E6).
    VoteGranted {
        /// For whom.
        candidate: MemberId,
        /// The request.
        ask: Box<LeaseAsk>,
        /// The candidate's position.
        position: Option<Position>,
        /// This member's own frozen position.
        own: Option<Position>,
        /// This member's verdict.
        verdict: Verdict,
        /// Bytes this member has and the candidate lacks (E7).
        loss_bytes: u64,
        /// The promise, by this host's clock.
        until: BootNanos,
    },
    /// No vote.
    VoteRefused {
        /// For whom.
        candidate: MemberId,
        /// The request.
        ask: Box<LeaseAsk>,
        /// Why.
        why: Refusal,
    },
    /// A pause was agreed to (M3).
    PauseAgreed(PauseId),
    /// A pause is over.
    PauseEnded(PauseId),
    /// A new roster was accepted, though not yet in force (M1).
    RosterAccepted {
        /// Who proposed it.
        to: MemberId,
        /// The roster.
        roster: Roster,
        /// The highest term voted in.
        voted: Term,
    },
    /// A roster is in force.
    RosterAdopted(Roster),
    /// Peers remember more of this log than it holds: it may have forgotten (M1).
    RollbackDetected {
        /// Who remembers.
        peer: MemberId,
        /// The number it remembers.
        remembered: Seq,
        /// The highest flushed here.
        own: Seq,
    },

    // Promoter: holder of the lease
    /// Ask every voter for a lease.
    LeaseRequested(LeaseAsk),
    /// The lease stands until then (L2); the guard is told.
    LeaseExtended {
        /// The term.
        term: Term,
        /// Until when.
        until: BootNanos,
    },
    /// The lease ran out.
    LeaseExpired {
        /// The term.
        term: Term,
        /// When.
        at: BootNanos,
    },
    /// Stop the local PostgreSQL, sealed (L7).
    FenceOrdered {
        /// The term it was primary of; 0: none.
        term: Term,
        /// Why.
        why: FenceReason,
    },
    /// The tenure is over (L8).
    LeaseReleased {
        /// The term.
        term: Term,
        /// The last request's number.
        last_number: u64,
    },
    /// Let the others pause while this daemon is away (L6).
    PauseRequested(PauseId),
    /// A quorum agreed: the guard may stand down.
    PauseConfirmed {
        /// The pause.
        pause: PauseId,
        /// Who agreed.
        agreed: Vec<MemberId>,
    },
    /// The daemon may end now.
    StopAllowed,
    /// The daemon stays: ending it would stop PostgreSQL.
    StopRefused {
        /// Who agreed to pause.
        agreed: Vec<MemberId>,
        /// How many are needed.
        needed: u8,
    },
    /// Register a member's new log (M1).
    RosterProposed(Roster),
    /// Enough others flushed it.
    RosterCommitted(Roster),

    // Promoter: election
    /// Ask everybody (E1).
    TestimonyRequested {
        /// The question's number.
        number: u64,
        /// The announced term it is about.
        about: Term,
    },
    /// This member would stand.
    ElectionPlanned {
        /// When.
        at: BootNanos,
        /// Its rank among the candidates, from 0.
        rank: u8,
        /// Who holds the primary down.
        holders: Vec<MemberId>,
        /// What was compared.
        placements: Vec<Placement>,
        /// When enough promises will have run out.
        free_at: BootNanos,
    },
    /// The election does not go on.
    ElectionAbandoned {
        /// The term, if one was opened.
        term: Option<Term>,
        /// Why.
        why: NoElection,
    },
    /// This member would have stood, but may not.
    CandidacyWithheld {
        /// Why.
        why: Unelectable,
        /// Who holds the primary down.
        holders: Vec<MemberId>,
        /// Its rank among all that have a position, from 0.
        rank: u8,
    },
    /// This member stands: everybody is asked to freeze.
    CandidacyOpened {
        /// The term.
        term: Term,
        /// Why it stands.
        kind: CandidacyKind,
        /// Number of its roster (M2).
        roster_number: u32,
    },
    /// Another is better placed: it is asked to stand.
    CandidacyYielded {
        /// The term that is given up.
        term: Term,
        /// To whom.
        to: MemberId,
        /// Its position.
        position: Position,
    },
    /// First stream what is missing from a better placed member that can't stand (E7).
    CatchUpOrdered {
        /// The term that is given up.
        term: Term,
        /// From whom.
        from: MemberId,
        /// Up to where.
        until: Lsn,
    },
    /// Ask for votes.
    VoteRequested(Box<VoteAsk>),
    /// A quorum voted for this member.
    ElectionWon {
        /// The term.
        term: Term,
        /// Who voted.
        voters: Vec<MemberId>,
        /// The lease that comes with the votes.
        until: BootNanos,
        /// Why it stood.
        kind: CandidacyKind,
        /// Bytes the last heard primary position is ahead, at most lost.
        loss_bytes_max: Option<u64>,
    },
    /// Promote (E8).
    PromotionOrdered {
        /// The term.
        term: Term,
    },
    /// This is the primary.
    PrimaryAnnounced(Announcement),
    /// A higher announcement was learned.
    AnnouncementAdopted(Announcement),

    // Promoter: following
    /// Follow the primary.
    FollowOrdered {
        /// The primary's term.
        term: Term,
        /// The primary.
        primary: MemberId,
    },
    /// This member can't follow without a rewind.
    FollowRefused {
        /// The primary's term.
        term: Term,
        /// Bytes past the fork; `None`: its line of history is not among the primary's.
        past_fork_bytes: Option<u64>,
    },
    /// The local PostgreSQL is on this line of history.
    LineageConfirmed(Lineage),

    // Witness
    /// Tell every peer.
    HeartbeatSent(Arc<Heartbeat>),
    /// Answer a pre-vote.
    Testified {
        /// To whom.
        to: MemberId,
        /// The answer.
        testimony: Box<Testimony>,
    },
    /// Pass the operator's wish on.
    AdoptionForwarded {
        /// To whom.
        to: MemberId,
    },
    /// Tell a member that missed it.
    RosterShared {
        /// To whom.
        to: MemberId,
        /// The roster.
        roster: Roster,
    },

    /// Tell a member the winners that it missed.
    HistoryShared {
        /// To whom.
        to: MemberId,
        /// All winners known, by term.
        history: Vec<Announcement>,
    },
    /// The operator's wish can't be granted.
    AdoptionRefused {
        /// Why.
        why: Refusal,
    },

    // Any role's shell
    /// A role failed on the record this answers, and was rebuilt without it.
    RoleFailed {
        /// The role's actor number.
        role: u8,
        /// What it said, bounded.
        why: String,
        /// Whether it is quarantined now: no votes, no promotions.
        quarantined: bool,
    },
    /// Tell a member again that a pause is over.
    ResumeRepeated {
        /// To whom.
        to: MemberId,
        /// The pause.
        pause: PauseId,
    },
    /// This process no longer stands in this term: who voted for it is told.
    CandidacyClosed {
        /// The term.
        term: Term,
        /// This process.
        nonce: u64,
    },
    /// Ask every voter to renew the lease of an announced tenure (L5).
    RenewalRequested(LeaseAsk),
    /// Pass the operator's wish on, with his word that nothing is left of the paused primary (M3).
    VouchForwarded {
        /// To whom.
        to: MemberId,
    },
    /// Ask for all winners so far: the first of them is not known here (E3).
    HistoryRequested,
    /// The local standby is to be promoted, if it is still run by the postmaster that this member knows: whoever
    /// takes its place was not asked for (E8).
    PromotionOrderedOf {
        /// The term that was won.
        term: Term,
        /// When that postmaster started, microseconds since 1970; 0: none was seen.
        postmaster_started: i64,
    },
}
