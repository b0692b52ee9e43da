//! What arrives from outside. Part of the log's format: variants are added at the end only.

use super::facts::{
    CommandRun, FenceOutcome, FollowOutcome, FreezeOutcome, ProbeKind, ProbeReport, ProcessIdentity,
    PromotionOutcome,
};
use super::message::Message;
use super::settings::Settings;
use crate::core::{MemberId, Nanos, Term};
use pgfo_replay::{BootNanos, Seq};
use serde::{Deserialize, Serialize};

/// How the log was found at a process start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LogFound {
    /// There was none.
    Fresh,
    /// Whole.
    Intact,
    /// Its end is missing: the head file knew of a later record.
    TailLost {
        /// The last record the head file knew.
        head: Seq,
    },
    /// It could not be read and was put aside.
    PutAside {
        /// Where it is now.
        path: String,
        /// What was wrong.
        why: String,
    },
}

/// A process of this member started.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessStart {
    /// Version of pgfo.
    pub version: String,
    /// Revision of the deciding code.
    pub core_revision: u32,
    /// Everything decisions depend on.
    pub settings: Settings,
    /// Digest of the effective configuration, hexadecimal.
    pub configuration_digest: String,
    /// Log, boot, process.
    pub process: ProcessIdentity,
    /// How the log was found.
    pub log: LogFound,
}

/// A deadline that a role waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Deadline {
    /// The next heart massage is due.
    MassageDue,
    /// Enough testimonies, or none more to wait for.
    TestimonyEnds,
    /// The moment to stand: promises ran out, the rank's delay passed.
    StandDue,
    /// No more waiting for freeze reports.
    FreezeEnds,
    /// The candidacy is over.
    CandidacyEnds,
    /// The lease runs out.
    LeaseEnds,
    /// The promotion takes too long.
    PromotionEnds,
    /// Try again to follow.
    FollowDue,
    /// The pause was not agreed in time.
    PauseEnds,
    /// Try again to be elected.
    ElectionDue,
}

/// What an operator asked of this daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OperatorRequest {
    /// Make this member the primary of the first, or next, term (E10).
    Adopt {
        /// The member.
        member: MemberId,
    },
    /// End this daemon in order (L6).
    Stop,
    /// As [`Self::Adopt`], within a pause too: the operator has made sure that nothing is left of the paused
    /// primary, and that it does not come back unsealed (M3).
    AdoptVouched {
        /// The member.
        member: MemberId,
    },
}

/// What the guard said (L6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GuardReport {
    /// It runs, and holds this deadline, if any.
    Present {
        /// The term it is armed for, and until when.
        armed: Option<(Term, BootNanos)>,
    },
    /// It holds the deadline of this term.
    Armed {
        /// The term.
        term: Term,
        /// Until when.
        until: BootNanos,
    },
    /// It refused to hold it.
    Refused {
        /// The term.
        term: Term,
    },
    /// It does not answer.
    Lost,
    /// It stood down.
    StoodDown,
    /// It runs, has fenced this term, and keeps it so.
    Fenced {
        /// The term that ended.
        term: Term,
    },
    /// It has begun to fence, by itself or as asked.
    FenceBegun {
        /// Whether the lease ran out; else it was asked, or found the host to have stood still.
        lease_over: bool,
    },
}

/// A fact from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Observation {
    /// The daemon started; everything volatile is gone.
    ProcessStarted(Box<ProcessStart>),
    /// Time for a heartbeat.
    HeartbeatDue {
        /// How far the log is flushed.
        flushed: Seq,
    },
    /// A deadline passed.
    DeadlinePassed(Deadline),
    /// A probe ended.
    ProbeCompleted {
        /// Whose PostgreSQL.
        target: MemberId,
        /// Why it was made.
        kind: ProbeKind,
        /// What came of it.
        report: ProbeReport,
        /// How long it took.
        took: Nanos,
        /// How late this prober itself ran (D4); zero mostly.
        stalled: Nanos,
    },
    /// The local WAL receiver's process ended.
    ReceiverEnded,
    /// The local postmaster was found.
    PostmasterSeen {
        /// Its process number.
        pid: u32,
        /// Whether `standby.signal` lies in the data directory.
        sealed: bool,
    },
    /// The local postmaster's process ended, or there is none.
    PostmasterGone {
        /// Whether `standby.signal` lies in the data directory.
        sealed: bool,
    },
    /// A peer said something.
    MessageReceived {
        /// The peer.
        from: MemberId,
        /// The number of the sender's record that sent it.
        sent_by: Seq,
        /// What it said.
        message: Message,
    },
    /// A connection to a peer stands.
    PeerConnected {
        /// The peer.
        member: MemberId,
        /// Its process.
        process: ProcessIdentity,
    },
    /// The connection to a peer is gone.
    PeerDisconnected {
        /// The peer.
        member: MemberId,
        /// Whether its host answered that nobody listens: its daemon is not running.
        refused: bool,
    },
    /// A fence ended.
    FenceCompleted(FenceOutcome),
    /// A freeze ended.
    FreezeCompleted {
        /// For which term.
        term: Term,
        /// How.
        outcome: FreezeOutcome,
    },
    /// A promotion ended.
    PromotionCompleted {
        /// For which term.
        term: Term,
        /// How.
        outcome: PromotionOutcome,
        /// The commands that were run for it.
        commands: Vec<CommandRun>,
    },
    /// Following ended.
    FollowCompleted {
        /// For which term.
        term: Term,
        /// How.
        outcome: FollowOutcome,
        /// The commands that were run for it.
        commands: Vec<CommandRun>,
    },
    /// Streaming the missing WAL from a better placed member ended (E7).
    CatchUpCompleted {
        /// In which term it was ordered.
        term: Term,
        /// How.
        outcome: FollowOutcome,
    },
    /// The guard said something.
    GuardReported(GuardReport),
    /// The operator asked for something.
    OperatorRequested(OperatorRequest),
    /// The log can't be written.
    LogStalled {
        /// Why.
        why: String,
    },
    /// The log can be written again.
    LogRecovered,
    /// The upstream settings that a freeze is about to empty (E2); passwords left out.
    UpstreamRecorded {
        /// `primary_conninfo` as it was.
        primary_conninfo: String,
    },
    /// The configuration was read again and taken over.
    SettingsChanged {
        /// Everything decisions depend on.
        settings: Box<Settings>,
        /// Digest of the effective configuration, hexadecimal.
        configuration_digest: String,
    },
    /// The local WAL receiver streams from this member's PostgreSQL; told when it changes (E3).
    ReceiverSeen {
        /// The member; `None`: from an address that is no member's.
        from: Option<MemberId>,
    },
}
