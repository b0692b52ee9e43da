//! What the daemon and the guard say to each other, over a local socket. Holds no policy; both ends
//! decode with the bounds of [`super::frame`].

use crate::core::{Incarnation, Nanos, Term};
use pgfo_replay::BootNanos;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A process id of this host; meaningless without the process's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId(pub i32);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// When a process started, in the kernel's clock ticks (1/100 s) since boot. With the process id and
/// the boot id it names one process for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StartTicks(pub u64);

/// One run of PostgreSQL's postmaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postmaster {
    /// Its process id.
    pub pid: ProcessId,
    /// Its start, which tells it from a later process with the same id.
    pub start: StartTicks,
}

/// Pairs a reply with its request, within one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestNumber(pub u64);

/// What a client may ask of the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Registers this connection as the daemon's; the one before is a daemon no more. Changes no
    /// deadline. Subscribes to notices.
    Hello {
        /// Identity of the daemon whose grants will extend the deadline.
        incarnation: Incarnation,
    },
    /// Subscribes this connection to notices, and looks for the postmaster now. Answered by a status.
    Watch,
    /// Arms for a term, or extends the deadline of the term armed for. Only from the daemon of the
    /// last [`Request::Hello`].
    Arm {
        /// The term whose lease stands.
        term: Term,
        /// Until when the grants stand, by this host's boot-time clock.
        deadline: BootNanos,
        /// Identity of the daemon that asked for the grants.
        incarnation: Incarnation,
    },
    /// Ends the guarding in good order: nothing is fenced any more until the next arming.
    StandDown {
        /// The reason, for people.
        why: String,
    },
    /// Seals, kills and scans now. Answered when the first pass is over.
    Fence {
        /// The reason, for people.
        why: String,
    },
    /// Seals, and kills nothing.
    SealOnly,
    /// Ends the tenure of a term; refused unless sealed with no process left.
    Release {
        /// The term that ends, never to be armed again.
        term: Term,
    },
    /// Asks how things are.
    Status,
}

/// The guard's answer to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done. To [`Request::Arm`]: a deadline at least as late as the asked one is held.
    Ok,
    /// Not done, and why.
    Refused(Refusal),
    /// How things are.
    Status(Status),
    /// The fence that was asked for has ended its first pass; [`FenceOutcome::is_complete`] says how.
    Fenced(FenceOutcome),
}

/// Why the guard refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another connection said hello later, or this one never did.
    #[error("this connection is not the current daemon's: say hello first")]
    NotCurrentDaemon,
    /// The grants were asked by another daemon than the one registered.
    #[error("the grants were asked by another incarnation than the registered one")]
    OtherIncarnation,
    /// The term's tenure was fenced or released here.
    #[error("the tenure of term {} has ended; only a higher term can be armed", ended.0)]
    TermEnded {
        /// Highest term that ended here.
        ended: Term,
    },
    /// A higher term was armed already.
    #[error("term {} was armed already; a lower one cannot be", highest.0)]
    TermLower {
        /// Highest term ever armed here.
        highest: Term,
    },
    /// Too little is left of the lease to fence inside it.
    #[error("the deadline, less the reserve for fencing, has passed")]
    DeadlinePassed {
        /// The guard's clock.
        now: BootNanos,
    },
    /// The deadline is not that of any lease.
    #[error("the deadline is further ahead than any lease lasts")]
    DeadlineTooFar,
    /// An armed guard was told that there is no deadline, which counts as expired.
    #[error("no deadline counts as expired: fencing")]
    DeadlineLost,
    /// Not sealed, so the tenure cannot end.
    #[error("standby.signal is missing or could not be read: seal first")]
    NotSealed,
    /// Processes are left, so the tenure cannot end.
    #[error("{count} processes still work in the data directory: fence first")]
    ProcessesLeft {
        /// How many; `u32::MAX` if they could not be counted.
        count: u32,
    },
    /// The seal could not be written, or nobody knows yet whether it was.
    #[error("cannot seal: {why}")]
    SealFailed {
        /// The cause.
        why: String,
    },
    /// A fence is under way.
    #[error("a fence is under way and not complete")]
    FenceIncomplete,
}

/// What the guard is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardState {
    /// Not armed, or released: watches only.
    Idle,
    /// Fences at the deadline, less the reserve.
    Armed {
        /// The term of the lease.
        term: Term,
        /// When the lease ends.
        deadline: BootNanos,
        /// The daemon whose grants set the deadline.
        incarnation: Incarnation,
    },
    /// Told to guard no more.
    StoodDown {
        /// The reason given.
        why: String,
    },
    /// Fenced, and keeping it so: what comes back unsealed is fenced again.
    Fenced {
        /// The term that ended; 0 if none was ever armed.
        term: Term,
        /// Why it was fenced the first time.
        why: FenceReason,
        /// When that began.
        at: BootNanos,
        /// The last pass's outcome; none while it is under way.
        outcome: Option<FenceOutcome>,
    },
}

/// Why a fence began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceReason {
    /// The lease ran out.
    Deadline {
        /// Its deadline.
        deadline: BootNanos,
        /// How much later than planned the guard woke: a frozen host or process.
        late: Nanos,
    },
    /// Told that there is no deadline.
    DeadlineLost,
    /// The host stood still while armed; what ran meanwhile elsewhere is not known here.
    HostStalled {
        /// For how long, as far as the clocks tell.
        stalled: Nanos,
    },
    /// A client asked.
    Asked(String),
    /// The seal went away although the tenure had ended.
    SealLost,
    /// The pass before left something undone.
    Incomplete,
}

impl fmt::Display for FenceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { late, .. } => {
                write!(f, "the lease ran out (woke {late} after the planned time)")
            }
            Self::DeadlineLost => f.write_str("the deadline was lost, which counts as expired"),
            Self::HostStalled { stalled } => write!(f, "the host stood still for {stalled}"),
            Self::Asked(why) => write!(f, "asked: {why}"),
            Self::SealLost => f.write_str("the seal went away"),
            Self::Incomplete => f.write_str("the pass before was incomplete"),
        }
    }
}

/// What one pass of the fence did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceOutcome {
    /// Whether `standby.signal` is known to be there, flushed, or there is no PostgreSQL to seal.
    pub sealed: bool,
    /// Why the seal is not known to be there.
    pub seal_error: Option<String>,
    /// Processes sent SIGKILL.
    pub killed: u32,
    /// Scans of `/proc` made.
    pub scans: u32,
    /// Processes left at the last scan; `u32::MAX` if it could not be made, or if it found none but too few
    /// scans in a row were empty.
    pub left: u32,
    /// Those among `left` in uninterruptible sleep: not gone, and deaf to SIGKILL until they wake.
    pub uninterruptible: u32,
    /// When the pass began.
    pub started: BootNanos,
    /// How long it took.
    pub took: Nanos,
}

impl FenceOutcome {
    /// Returns whether the seal stands and no process is left.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.sealed && self.left == 0
    }

    /// Returns what is known of the processes left, in words.
    #[must_use]
    pub fn describe_left(&self) -> String {
        match self.left {
            u32::MAX => "whether processes are left is unknown".to_owned(),
            left => format!("{left} processes left"),
        }
    }
}

/// How things are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What the guard is about.
    pub state: GuardState,
    /// The postmaster it watches.
    pub postmaster: Option<Postmaster>,
    /// Whether `standby.signal` was there at the last look; none before the first, if it failed, or if there
    /// was no PostgreSQL to seal.
    pub sealed: Option<bool>,
    /// Highest term fenced or released since the guard started; 0 for none.
    pub ended: Term,
    /// The guard's clock.
    pub now: BootNanos,
}

impl Status {
    /// Returns the deadline, if armed.
    #[must_use]
    pub const fn deadline(&self) -> Option<BootNanos> {
        match self.state {
            GuardState::Armed { deadline, .. } => Some(deadline),
            _ => None,
        }
    }
}

/// What the guard tells subscribed clients unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The watched postmaster ended. Its backends may live on: this is not *confirmed down*.
    PostmasterGone {
        /// The one that ended.
        postmaster: Postmaster,
        /// When the guard learnt it.
        at: BootNanos,
    },
    /// A postmaster is there, and watched.
    PostmasterSeen {
        /// The one found.
        postmaster: Postmaster,
    },
    /// A fence begins.
    FenceStarted {
        /// Why.
        why: FenceReason,
    },
    /// A pass of the fence ended; sent for the first pass, and when the outcome changes.
    Fenced {
        /// What it did.
        outcome: FenceOutcome,
    },
    /// `standby.signal` went away after the fence; it is put back, and what runs is killed.
    SealLost,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PostmasterGone { postmaster, .. } => {
                write!(f, "the guard saw the end of the postmaster, process {}", postmaster.pid)
            }
            Self::PostmasterSeen { postmaster } => {
                write!(f, "the guard watches the postmaster, process {}", postmaster.pid)
            }
            Self::FenceStarted { why } => write!(f, "the guard fences: {why}"),
            Self::Fenced { outcome } if outcome.is_complete() => f.write_str("the guard has fenced"),
            Self::Fenced { outcome } => write!(f, "the guard goes on fencing: {}", outcome.describe_left()),
            Self::SealLost => f.write_str("the seal went away after the fence; the guard puts it back"),
        }
    }
}

/// One frame from the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardFrame {
    /// Answers one request of this connection.
    Reply {
        /// The request answered.
        number: RequestNumber,
        /// The answer.
        reply: Reply,
    },
    /// Told unasked.
    Notice(Notice),
}

/// One frame to the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFrame {
    /// Chosen by the client.
    pub number: RequestNumber,
    /// What is asked.
    pub request: Request,
}
