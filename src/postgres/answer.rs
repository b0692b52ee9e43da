//! What a probe learned, as data: small, serialisable, without text that could hold a secret. Variants
//! and fields are appended at the end only. It must never interpret what it holds (D1, D2).

use crate::core::{Lsn, SystemId, Timeline};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a PostgreSQL answered to one probe, or how it failed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeOutcome {
    /// It answered the full probe query.
    Answered(Box<Answer>),
    /// Nobody listens: the connection was refused, or the socket file is not there.
    Refused,
    /// The connection was reset.
    Reset,
    /// The deadline passed in this step.
    TimedOut {
        /// The step that was under way.
        step: Step,
    },
    /// No route, no such name, or no such network.
    Unreachable,
    /// The connection was closed without a word.
    Closed,
    /// SQLSTATE 53300: alive, but all connections are taken.
    TooManyClients,
    /// Alive, but it does not let this user in, or asks for a password that is not known here.
    AuthenticationFailed,
    /// SQLSTATE 57P03: alive, and starting up or in crash recovery.
    StartingUp,
    /// Alive, and shutting down; also said to a session that an administrator ended.
    ShuttingDown,
    /// Something answered, but TLS could not be agreed on.
    TlsFailed,
    /// Alive, and answered with another error.
    OtherServerError(SqlState),
    /// This side could not ask, as for want of a file descriptor: nothing was seen of the other (D4).
    NotAsked,
}

impl fmt::Display for ProbeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Answered(answer) if answer.in_recovery => "answered, in recovery",
            Self::Answered(_) => "answered, not in recovery",
            Self::Refused => "connection refused",
            Self::Reset => "connection reset",
            Self::TimedOut { step } => return write!(f, "timed out in step {step}"),
            Self::Unreachable => "unreachable",
            Self::Closed => "connection closed",
            Self::TooManyClients => "too many clients",
            Self::AuthenticationFailed => "authentication failed",
            Self::StartingUp => "starting up",
            Self::ShuttingDown => "shutting down",
            Self::TlsFailed => "TLS failed",
            Self::OtherServerError(state) => return write!(f, "server error {state}"),
            Self::NotAsked => "not asked",
        };
        f.write_str(text)
    }
}

/// The step of a probe or an operation that a deadline interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Resolving the host name.
    Resolve,
    /// Establishing the TCP or Unix connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Start-up packet and authentication.
    Authenticate,
    /// The query itself.
    Query,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Authenticate => "authenticate",
            Self::Query => "query",
        })
    }
}

/// A five-character SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// Returns the SQLSTATE of `code`, or `XX000` (internal error) if it does not have five ASCII characters.
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        match <[u8; 5]>::try_from(code.as_bytes()) {
            Ok(bytes) if code.is_ascii() => Self(bytes),
            _ => Self(*b"XX000"),
        }
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or("?????"))
    }
}

/// When a postmaster started, in microseconds since 1970-01-01 UTC on its own wall clock. Names one run
/// of a postmaster; it is compared for equality only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PostmasterStart(pub i64);

/// The answer to the full probe query. LSNs are byte positions in the WAL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The cluster's system identifier.
    pub system_id: SystemId,
    /// Whether it is in recovery, so no primary (D1).
    pub in_recovery: bool,
    /// On a primary the timeline that it writes (from the WAL file's name, because the control file
    /// lags a promotion); in recovery that of the WAL receiver, if there is one.
    pub timeline: Option<Timeline>,
    /// The timeline of the last checkpoint: a lower bound that lags.
    pub checkpoint_timeline: Timeline,
    /// In recovery, the timeline of the minimum recovery end point: a closer lower bound.
    pub recovery_end_timeline: Option<Timeline>,
    /// On a primary, the end of what was written.
    pub write_lsn: Option<Lsn>,
    /// In recovery, the end of what was received and flushed. After a restart it is empty or the
    /// segment's start until the receiver has run (E4).
    pub receive_lsn: Option<Lsn>,
    /// In recovery, the end of what was replayed.
    pub replay_lsn: Option<Lsn>,
    /// Whether replay is paused, or asked to pause.
    pub replay_paused: bool,
    /// The WAL receiver, if one is displayed.
    pub receiver: Option<WalReceiver>,
    /// What the startup process waits for.
    pub startup_wait: StartupWait,
    /// When the postmaster started.
    pub postmaster_start: PostmasterStart,
    /// Whether `primary_conninfo` is empty; `None`: this role may not see it.
    pub primary_conninfo_empty: Option<bool>,
    /// Whether `restore_command` is empty; `None`: this role may not see it.
    pub restore_command_empty: Option<bool>,
    /// `synchronous_standby_names` as this session sees it.
    pub synchronous_standby_names: String,
    /// The number of connected WAL senders.
    pub standbys: u32,
}

/// The WAL receiver of a standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalReceiver {
    /// Its state. `Streaming` alone proves nothing: a standby ahead of the fork says so, too.
    pub status: ReceiverStatus,
    /// The timeline that it receives.
    pub received_tli: Option<Timeline>,
    /// The host that it is connected to, as PostgreSQL displays it.
    pub sender_host: Option<String>,
    /// The port that it is connected to.
    pub sender_port: Option<u16>,
    /// The sender's end of WAL as of its last message.
    pub sender_lsn: Option<Lsn>,
    /// Its process number.
    pub pid: i32,
}

/// The state of a WAL receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiverStatus {
    /// `streaming`.
    Streaming,
    /// `waiting`: at the end of a timeline, for instructions.
    Waiting,
    /// Starting, restarting, stopping, or not visible to this role.
    Other,
}

/// What the startup process of a standby waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartupWait {
    /// There is no startup process, or this role may not see it.
    NotVisible,
    /// It waits for nothing: it replays.
    Busy,
    /// `RecoveryWalStream`: all local WAL is replayed, more is expected from the receiver.
    WalStream,
    /// `RecoveryRetrieveRetryInterval`: all local WAL is replayed, and no receiver runs or starts.
    RetrieveRetryInterval,
    /// `RecoveryPause`.
    Paused,
    /// Anything else, such as I/O or a conflict with a query.
    Other,
}

impl StartupWait {
    /// Returns the wait of a startup process that displays `event`; `None` is a process that waits for nothing.
    #[must_use]
    pub fn from_event(event: Option<&str>) -> Self {
        match event {
            None => Self::Busy,
            Some("RecoveryWalStream") => Self::WalStream,
            Some("RecoveryRetrieveRetryInterval") => Self::RetrieveRetryInterval,
            Some("RecoveryPause") => Self::Paused,
            Some(_) => Self::Other,
        }
    }

    /// Returns whether replay has reached the end of the local WAL (E4).
    #[must_use]
    pub const fn has_replayed_local_wal(self) -> bool {
        matches!(self, Self::WalStream | Self::RetrieveRetryInterval)
    }
}
