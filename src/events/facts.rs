//! Facts that observations, decisions and messages share: positions, verdicts, announcements.
//!
//! Every enum and struct here is part of the log's format: variants are added at the end only.

use crate::core::{BootId, Incarnation, Lsn, MemberId, Nanos, Plant, SystemId, Term, Timeline, planted};
use pgfo_replay::{BootNanos, Seq};
use serde::{Deserialize, Serialize};

/// A timeline with the term that opened it. Timeline numbers collide, terms do not (E3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lineage {
    /// The term whose promotion opened the timeline.
    pub opened: Term,
    /// The timeline's number.
    pub timeline: Timeline,
}

impl Lineage {
    /// Stands for the line of data of which nobody knows how it got there (E3): before every other, equal to none.
    pub const UNKNOWN: Self = Self { opened: Term(0), timeline: Timeline(0) };
}

/// How far a member's WAL goes, ordered as elections order it: lineage first (E3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The line of history this position is on.
    pub lineage: Lineage,
    /// max(received, replayed).
    pub lsn: Lsn,
}

/// What one member holds about the primary of a term (D1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// Answered, with the right system identifier, and not in recovery.
    Reachable,
    /// A heartbeat failed; massages are under way.
    Suspect,
    /// Every massage failed.
    Unreachable,
    /// The daemon beside it found no process left (D3).
    ConfirmedDown,
}

impl Verdict {
    /// Returns whether this verdict lets a member vote for another primary.
    #[must_use]
    pub const fn is_down(self) -> bool {
        matches!(self, Self::Unreachable | Self::ConfirmedDown)
    }
}

/// "This member is the primary of this term": what others follow, and what is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Announcement {
    /// The term it won.
    pub term: Term,
    /// The primary.
    pub primary: MemberId,
    /// The line of history it writes.
    pub lineage: Lineage,
    /// The line it forked off, and where; `None` when the timeline went on unchanged.
    pub forked: Option<(Lineage, Lsn)>,
    /// The cluster's system identifier.
    pub system_id: SystemId,
}

/// The registered incarnations of all members, under a number that only grows (M1, M2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Roster {
    /// Configuration number; 0: nobody is registered yet.
    pub number: u32,
    /// One incarnation a member, in membership order; `None`: not registered.
    pub incarnations: Vec<Option<Incarnation>>,
    /// A member registered anew votes only above this term, in membership order.
    pub vote_floor: Vec<Term>,
}

/// Why a probe got no answer (D2: each counts as a failure).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProbeFailure {
    /// Nothing listens there.
    Refused,
    /// The connection was reset or closed.
    Reset,
    /// No answer within the deadline.
    TimedOut,
    /// No route, or the name does not resolve.
    Unreachable,
    /// The PostgreSQL there belongs to another cluster.
    OtherSystem(SystemId),
    /// The PostgreSQL there is in recovery: down as a primary (D1).
    InRecovery,
    /// The standby's WAL receiver lost its connection.
    ReceiverLost,
    /// The postmaster's process ended.
    PostmasterGone,
    /// An error that is no sign of life either.
    Other,
}

/// Answers that are no answer, but show that somebody lives there (D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignOfLife {
    /// "Too many clients".
    TooManyClients,
    /// Wrong password, no entry in pg_hba.conf.
    AuthenticationFailed,
    /// "The database system is starting up".
    StartingUp,
    /// "The database system is shutting down".
    ShuttingDown,
    /// TLS could not be agreed.
    TlsFailed,
    /// Another error from a server that runs; its SQLSTATE.
    ServerError([u8; 5]),
}

/// What a PostgreSQL said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// System identifier.
    pub system_id: SystemId,
    /// Whether it is in recovery.
    pub in_recovery: bool,
    /// The timeline it writes, or that its WAL receiver receives; `None`: not known.
    pub timeline: Option<Timeline>,
    /// The position it wrote (primary) or received and flushed (standby).
    pub received: Option<Lsn>,
    /// The position it replayed.
    pub replayed: Option<Lsn>,
    /// Whether its WAL receiver streams.
    pub streaming: bool,
    /// Whether a WAL receiver exists.
    pub receiver: bool,
    /// Whether replay has read all local WAL and waits for more (E4).
    pub waits_for_wal: bool,
    /// When its postmaster started, in microseconds since 1970: tells restarts apart.
    pub postmaster_started: i64,
}

impl Answer {
    /// Returns max(received, replayed).
    #[must_use]
    pub fn lsn(&self) -> Option<Lsn> {
        if planted(Plant::ReceiveAlone) && self.in_recovery {
            // Without a receiver since the start, PostgreSQL tells the segment's beginning, or nothing.
            return self.received.or(self.replayed.map(|lsn| Lsn(lsn.0 & !0xFF_FFFF)));
        }
        self.received.max(self.replayed)
    }
}

/// The outcome of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProbeReport {
    /// It answered.
    Answered(Answer),
    /// Something lives there but does not answer.
    Alive(SignOfLife),
    /// It did not answer.
    Failed(ProbeFailure),
}

/// Why a probe was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// The regular heartbeat.
    Heartbeat,
    /// The n-th heart massage, from 1, over a fresh connection.
    Massage(u8),
}

/// Why a member can't be promoted now (E5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unelectable {
    /// It has no PostgreSQL.
    Witness,
    /// Its priority is 0.
    PriorityZero,
    /// Its mode is manual.
    Manual,
    /// The cluster is paused.
    Paused,
    /// Its PostgreSQL does not answer.
    PostgresDown,
    /// Its PostgreSQL belongs to another cluster.
    OtherSystem,
    /// Its line of history is not known.
    LineageUnknown,
    /// It ordered a promotion that is not the announced one (E3).
    Diverged,
    /// Its position is not settled since its restart (E4).
    Unsettled,
    /// It is further behind than `lag_max` allows.
    Lagging {
        /// Bytes behind the last heard primary position.
        behind_bytes: u64,
    },
    /// Its log is not registered, or it may have forgotten (M1).
    NotRegistered,
    /// Its log can't be written.
    LogStalled,
    /// One of its roles is quarantined.
    Quarantined,
    /// It is the primary.
    Primary,
    /// Its last attempt to promote failed.
    PromotionFailed,
}

/// Why a vote, a freeze or a grant was refused (E6, L3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// This member does not vote in this cluster.
    NoVoter,
    /// The primary is not down for this member: visibility is a veto.
    SeesPrimary(Verdict),
    /// It voted in that term or above.
    VotedInTerm {
        /// The highest term it voted in.
        term: Term,
        /// For whom.
        candidate: MemberId,
    },
    /// A promise to another holder stands.
    PromiseStands {
        /// The holder.
        holder: MemberId,
        /// Time left.
        left: Nanos,
    },
    /// It restarted less than the longest promise ago (L4).
    SilentAfterRestart {
        /// Time left.
        left: Nanos,
    },
    /// It froze for a higher term.
    FrozenForTerm(Term),
    /// It knows another winner of a term at least as high.
    OtherWinner {
        /// The winner.
        primary: MemberId,
        /// Its term.
        term: Term,
    },
    /// That term was released by its holder (L8).
    Released(Term),
    /// The candidate's history is older than what this member knows.
    LineageOlder {
        /// The newest it knows.
        known: Lineage,
    },
    /// The candidate's position is behind this member's.
    PositionBehind {
        /// This member's frozen position.
        own: Position,
        /// Whether this member could be promoted itself.
        electable: bool,
    },
    /// This member's position is not settled (E4).
    Unsettled,
    /// The freeze was ordered but could not be observed (E2).
    FreezeNotObserved,
    /// The configuration numbers differ (M2).
    OtherConfiguration {
        /// This member's number.
        own: u32,
    },
    /// This member's log or the asker's is not registered (M1).
    NotRegistered,
    /// The cluster is paused (M3).
    Paused,
    /// This member's log can't be written.
    LogStalled,
    /// Its role is quarantined.
    Quarantined,
    /// A quorum holds the primary down: no more renewals (L3).
    QuorumHoldsDown {
        /// How many.
        holders: u8,
    },
    /// The candidate belongs to another PostgreSQL cluster.
    OtherSystem,
    /// The cluster has a history already: a first adoption is refused.
    HistoryExists,
    /// The asker's heartbeat was not heard since this process started: it may tell that this log was
    /// rolled back (M1).
    NotHeardYet,
    /// The asker is an announced primary, and this member does not know that announcement yet (L5).
    WinnerUnknown,
    /// Nobody who is heard remembers a primary, but a member that is not heard may (E10).
    MemberUnheard {
        /// The first of them.
        member: MemberId,
    },
    /// Nobody was ever announced, and the daemon beside a PostgreSQL does not know yet whether it accepts
    /// writes (E10).
    PostgresUnknown {
        /// The first of them.
        member: MemberId,
    },
}

/// What a member may say of its own ability to vote.
pub type Ability = Result<(), Refusal>;

/// Why this node's PostgreSQL is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FenceReason {
    /// The lease ran out.
    LeaseExpired,
    /// The postmaster's process ended; what is left of it is swept.
    PostmasterGone,
    /// It does not answer, and a quorum holds it down.
    HungAndQuorumAgrees,
    /// It runs as a primary without a standing lease of this boot (L9).
    NoLease,
    /// A promotion failed.
    PromotionFailed,
    /// A promotion's outcome is unknown.
    PromotionUnknown,
    /// Another member won a later term.
    Superseded {
        /// That term.
        term: Term,
    },
    /// The guard fenced by itself.
    GuardDecided,
    /// The postmaster was already gone when the daemon started.
    FoundDown,
}

/// How a fence ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FenceOutcome {
    /// Whether `standby.signal` is in place.
    pub sealed: bool,
    /// Whether repeated scans found no process left.
    pub nothing_left: bool,
    /// Processes killed.
    pub killed: u32,
    /// Time it took.
    pub took: Nanos,
    /// What went wrong, if anything.
    pub trouble: Option<String>,
}

/// What was observed of a freeze (E2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FreezeOutcome {
    /// No receiver, none to come: the position stands still.
    Frozen {
        /// max(received, replayed).
        lsn: Option<Lsn>,
        /// Whether the position counts (E4).
        settled: bool,
        /// System identifier.
        system_id: SystemId,
    },
    /// There is no PostgreSQL process: nothing can be received.
    NothingRuns,
    /// It could not be observed.
    NotObserved {
        /// Why.
        why: String,
    },
    /// As [`FreezeOutcome::Frozen`], with the timeline that the position is on: PostgreSQL may have
    /// switched to a newer one than the daemon has confirmed (E3).
    FrozenOn {
        /// max(received, replayed).
        lsn: Option<Lsn>,
        /// Whether the position counts (E4).
        settled: bool,
        /// System identifier.
        system_id: SystemId,
        /// The highest timeline that any WAL was received or replayed on.
        timeline: Timeline,
    },
    /// As [`FreezeOutcome::FrozenOn`], with whether PostgreSQL still knows how far it received: after a crash of a
    /// backend it does not, though its postmaster lives on (E4).
    FrozenAt {
        /// max(received, replayed).
        lsn: Option<Lsn>,
        /// Whether a receive position is known.
        received: bool,
        /// Whether replay has reached the end of local WAL.
        settled: bool,
        /// System identifier.
        system_id: SystemId,
        /// The highest timeline that any WAL was received or replayed on.
        timeline: Timeline,
    },
}

/// What a complete freeze tells, in whichever format it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// max(received, replayed).
    pub lsn: Option<Lsn>,
    /// Whether the position counts (E4).
    pub settled: bool,
    /// System identifier.
    pub system_id: SystemId,
    /// The timeline; `None`: recorded before timelines were.
    pub timeline: Option<Timeline>,
    /// Whether a receive position was known; `None`: recorded before that was.
    pub received: Option<bool>,
}

impl FreezeOutcome {
    /// Returns what was observed, if the freeze is complete.
    #[must_use]
    pub const fn frozen(&self) -> Option<Frozen> {
        match *self {
            Self::Frozen { lsn, settled, system_id } => {
                Some(Frozen { lsn, settled, system_id, timeline: None, received: None })
            }
            Self::FrozenOn { lsn, settled, system_id, timeline } => {
                Some(Frozen { lsn, settled, system_id, timeline: Some(timeline), received: None })
            }
            Self::FrozenAt { lsn, received, settled, system_id, timeline } => {
                Some(Frozen { lsn, settled, system_id, timeline: Some(timeline), received: Some(received) })
            }
            Self::NothingRuns | Self::NotObserved { .. } => None,
        }
    }
}

/// What was observed of a promotion (E8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PromotionOutcome {
    /// It left recovery and writes a new timeline.
    Promoted {
        /// The new timeline.
        timeline: Timeline,
        /// Where it forked off.
        switched_at: Lsn,
        /// System identifier.
        system_id: SystemId,
    },
    /// It certainly did not happen.
    Failed {
        /// Why.
        why: String,
    },
    /// It may have happened or may yet happen.
    Unknown {
        /// Why.
        why: String,
    },
    /// `validation_command` said no before anything was done.
    Vetoed {
        /// What it said.
        why: String,
    },
    /// It was refused, and nothing was done: another postmaster runs than the one that was asked for (E8).
    Refused {
        /// When the one that was asked for started, microseconds since 1970; 0: none was known.
        asked: i64,
        /// When the one that was found started.
        found: i64,
    },
}

/// What was observed of following a new primary.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FollowOutcome {
    /// The receiver streams on the announced timeline, and replay moves or has caught up.
    Streaming {
        /// The timeline.
        timeline: Timeline,
        /// Position reached.
        lsn: Option<Lsn>,
    },
    /// It can't follow without a rewind.
    Diverged {
        /// What shows it.
        why: String,
    },
    /// It failed.
    Failed {
        /// Why.
        why: String,
    },
    /// It is not known whether it follows.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A command that an operator's configuration named, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommandRun {
    /// Which one: `promote_command`, `follow_command`, `validation_command`.
    pub name: String,
    /// Exit code; `None`: killed by a signal or by the deadline.
    pub exit_code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Whether its deadline passed.
    pub timed_out: bool,
    /// Time it took.
    pub took: Nanos,
    /// The end of its output, bounded, without control characters.
    pub output: String,
}

/// The identity of one running process of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Identity of its log.
    pub incarnation: Incarnation,
    /// Boot of its host.
    pub boot_id: BootId,
    /// Drawn anew by each process.
    pub nonce: u64,
}

/// A primary's request for a lease, in the parts that a grant echoes (L1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseAsk {
    /// The term.
    pub term: Term,
    /// Number of the request, growing within a process.
    pub number: u64,
    /// How long to promise.
    pub duration: Nanos,
    /// The asker's boot-time clock at sending.
    pub sent_at: BootNanos,
    /// Boot, log and process of the asker.
    pub process: ProcessIdentity,
    /// Number of the asker's roster (M2).
    pub roster_number: u32,
}

/// How far a member's log was flushed, as peers remember it (M1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlushedMark {
    /// The log.
    pub incarnation: Incarnation,
    /// Its highest flushed number that was heard.
    pub seq: Seq,
}

/// A pause, named by the term and request of who asked for it (M3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PauseId {
    /// The term it was asked in.
    pub term: Term,
    /// A number that grows within the asker's log.
    pub number: u64,
    /// Who asked, and whose answer ends it.
    pub primary: MemberId,
}
