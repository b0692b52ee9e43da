//! The kinds of faults there are, as scenario files have them. A kind is added at the end and never renamed:
//! old files stay readable.

use super::scenario::Timings;
use crate::core::MemberId;
use crate::events::Actor;
use serde::{Deserialize, Serialize};

/// How a promotion goes while a fault holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromotionFault {
    /// `validation_command` says no.
    Vetoed,
    /// It fails, and nothing happened.
    Failed,
    /// Its outcome is reported unknown, and nothing happened.
    UnknownNotDone,
    /// Its outcome is reported unknown, and it happens some seconds later, if PostgreSQL still lives.
    UnknownDoneLater,
    /// It happens, and the report of it is lost.
    ReportLost,
    /// It happens, and PostgreSQL dies at once, before anybody is told.
    DoneThenCrash,
    /// PostgreSQL dies within it: the seal is off already, the new line of history does not exist yet.
    HalfDoneThenCrash,
}

/// A role that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the roles' names")]
pub enum FailingRole {
    EscalationTracker,
    Voter,
    Promoter,
    Witness,
}

/// What a member is told by its own hands, as far as it may be lost alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// A probe of its own PostgreSQL.
    Probe,
    /// Where a freeze found it.
    Freeze,
    /// How a promotion ended.
    Promotion,
    /// How following ended.
    Follow,
    /// How catching up ended.
    CatchUp,
    /// How a fence ended.
    Fence,
    /// The postmaster's end.
    PostmasterGone,
    /// A postmaster.
    PostmasterSeen,
    /// The end of the WAL receiver.
    ReceiverEnded,
    /// Whom the WAL receiver streams from.
    ReceiverSeen,
    /// An answer of the guard.
    Guard,
}

/// How connections to a PostgreSQL are refused on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// As if nothing listened there.
    Refused,
    /// Closed at once.
    Reset,
    /// No route, or no such name.
    Unreachable,
}

/// Where a daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CrashPoint {
    /// Its batch is appended, not flushed.
    Appended,
    /// Its batch is flushed, nothing of it is done.
    Flushed,
    /// The first deed of its batch is done, the others are not.
    BetweenDeeds,
    /// Everything of its batch is done.
    Done,
}

/// A fault. Members are numbers in the membership; lengths are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "a field is named after what it is")]
pub enum Fault {
    /// The postmaster and all backends die.
    KillPostgres { member: MemberId },
    /// PostgreSQL is stopped and nobody starts it, for a while.
    StopPostgres { member: MemberId, for_ms: u64 },
    /// PostgreSQL's processes are stopped (SIGSTOP).
    FreezePostgres { member: MemberId, for_ms: u64 },
    /// Every connection is refused: too many clients.
    TooManyClients { member: MemberId, for_ms: u64 },
    /// The WAL receiver takes nothing in.
    LagStandby { member: MemberId, for_ms: u64 },
    /// The daemon dies, and comes back.
    KillDaemon { member: MemberId, for_ms: u64 },
    /// The daemon is asked to end in order, and comes back.
    StopDaemon { member: MemberId, for_ms: u64 },
    /// The daemon is stopped (SIGSTOP), and goes on with stale beliefs.
    FreezeDaemon { member: MemberId, for_ms: u64 },
    /// The guard dies; systemd stops PostgreSQL with it and starts both again.
    KillGuard { member: MemberId },
    /// The host loses power, and boots again.
    KillHost { member: MemberId, for_ms: u64 },
    /// The whole host stands still, and goes on.
    FreezeHost { member: MemberId, for_ms: u64 },
    /// Everything loses power at once.
    PowerCut { for_ms: u64 },
    /// Nothing gets from one to the other, one way.
    Cut { from: Vec<MemberId>, to: Vec<MemberId>, for_ms: u64 },
    /// Nothing gets from one group to the other, both ways.
    Split { one: Vec<MemberId>, other: Vec<MemberId>, for_ms: u64 },
    /// A share of all messages is lost, in parts of 1000.
    Loss { permille: u64, for_ms: u64 },
    /// A share of all messages is delivered twice, in parts of 1000.
    Duplicate { permille: u64, for_ms: u64 },
    /// Every message and probe takes up to this much longer.
    Delay { up_to_ms: u64, for_ms: u64 },
    /// A flush of the log takes this long.
    SlowDisk { member: MemberId, flush_ms: u64, for_ms: u64 },
    /// The log can't be written.
    DiskFull { member: MemberId, for_ms: u64 },
    /// The daemon dies and its log is gone.
    LoseLog { member: MemberId },
    /// The daemon dies and its log is an older copy; whether the head file knows.
    RollBackLog { member: MemberId, records: u64, noticed: bool },
    /// Promotions of this member go wrong.
    Promotion { member: MemberId, fault: PromotionFault, for_ms: u64 },
    /// Freezes of this member can't be observed.
    FreezeUnobserved { member: MemberId, for_ms: u64 },
    /// The fence leaves a process behind at its first pass.
    StubbornBackend { member: MemberId, for_ms: u64 },
    /// Everything that this member says takes this much longer.
    SlowMember { member: MemberId, by_ms: u64, for_ms: u64 },
    /// The operator names a primary.
    Adopt { at: MemberId, member: MemberId },
    /// The operator names a primary, and vouches for what he has looked at: that nothing is left of the others'.
    /// He does not where a process is left, or a host frozen.
    AdoptVouched { at: MemberId, member: MemberId },
    /// The daemon reads a configuration with another `lease.duration`.
    Reload { member: MemberId, lease_ms: u64 },
    /// Every deadline of the daemon fires early, in time, and once more.
    StrayDeadlines { member: MemberId, for_ms: u64 },
    /// What is sent from one to the other arrives only at the end, all at once.
    Clog { from: Vec<MemberId>, to: Vec<MemberId>, for_ms: u64 },
    /// A link goes and comes.
    Flap { one: MemberId, other: MemberId, every_ms: u64, for_ms: u64 },
    /// PostgreSQL takes this much longer to answer.
    SlowPostgres { member: MemberId, by_ms: u64, for_ms: u64 },
    /// PostgreSQL lets nobody log in.
    RefuseLogins { member: MemberId, for_ms: u64 },
    /// The wall clock is set, forward or back; the boot-time clock is not.
    WallStep { member: MemberId, by_s: i64 },
    /// The WAL receiver dies, and is started again.
    ReceiverDies { member: MemberId },
    /// The daemon dies the next time it binds itself, at this point of it, within a while.
    CrashAt { member: MemberId, point: CrashPoint, for_ms: u64 },
    /// The daemon dies, and its log can't be opened: it is put aside.
    LogRefuses { member: MemberId },
    /// The operator promotes a standby by hand, past pgfo.
    ManualPromotion { member: MemberId },
    /// The PostgreSQL that accepts writes dies, wherever it is.
    KillPrimary,
    /// A role panics on the next records whose text, as `--story --json` has it, holds `on`, and is rebuilt from the log;
    /// too often, and it is quarantined.
    RolePanics { member: MemberId, role: FailingRole, on: String, times: u64, for_ms: u64 },
    /// The next reports of a kind never reach the roles.
    LoseReports { member: MemberId, report: Report, times: u64, for_ms: u64 },
    /// A backend crashes: the postmaster ends all the others, recovers, and goes on.
    BackendCrashes { member: MemberId },
    /// PostgreSQL's disk is full: it dies where it writes, and does not come up where it would have to.
    PostgresDiskFull { member: MemberId, for_ms: u64 },
    /// Connections of others to a PostgreSQL are turned away at once; what streams goes on.
    Reject { member: MemberId, how: Rejection, for_ms: u64 },
    /// The daemon's timers fire late, at multiples of this.
    CoarseTimers { member: MemberId, grain_ms: u64, for_ms: u64 },
    /// The daemon is started anew with other timings than the others have, and keeps them.
    Retime { member: MemberId, timings: Box<Timings> },
    /// Everything loses power at once, and every log is gone.
    PowerCutLogsLost { for_ms: u64 },
}

/// A fault and its moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedFault {
    /// When, in milliseconds since the beginning.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
}

impl Fault {
    /// Returns the name of its kind, as scenario files have it.
    #[must_use]
    pub fn kind(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '(']).next().unwrap_or_default().to_owned()
    }

    /// Returns how long it lasts, in milliseconds; 0 for one that strikes once.
    #[must_use]
    pub const fn length_ms(&self) -> u64 {
        match self {
            Self::StopPostgres { for_ms, .. }
            | Self::FreezePostgres { for_ms, .. }
            | Self::TooManyClients { for_ms, .. }
            | Self::LagStandby { for_ms, .. }
            | Self::KillDaemon { for_ms, .. }
            | Self::StopDaemon { for_ms, .. }
            | Self::FreezeDaemon { for_ms, .. }
            | Self::KillHost { for_ms, .. }
            | Self::FreezeHost { for_ms, .. }
            | Self::PowerCut { for_ms }
            | Self::PowerCutLogsLost { for_ms }
            | Self::RolePanics { for_ms, .. }
            | Self::LoseReports { for_ms, .. }
            | Self::PostgresDiskFull { for_ms, .. }
            | Self::Reject { for_ms, .. }
            | Self::CoarseTimers { for_ms, .. }
            | Self::Cut { for_ms, .. }
            | Self::Split { for_ms, .. }
            | Self::Loss { for_ms, .. }
            | Self::Duplicate { for_ms, .. }
            | Self::Delay { for_ms, .. }
            | Self::SlowDisk { for_ms, .. }
            | Self::SlowMember { for_ms, .. }
            | Self::DiskFull { for_ms, .. }
            | Self::Promotion { for_ms, .. }
            | Self::FreezeUnobserved { for_ms, .. }
            | Self::StrayDeadlines { for_ms, .. }
            | Self::Clog { for_ms, .. }
            | Self::Flap { for_ms, .. }
            | Self::SlowPostgres { for_ms, .. }
            | Self::RefuseLogins { for_ms, .. }
            | Self::CrashAt { for_ms, .. }
            | Self::StubbornBackend { for_ms, .. } => *for_ms,
            Self::KillPostgres { .. }
            | Self::KillGuard { .. }
            | Self::LoseLog { .. }
            | Self::RollBackLog { .. }
            | Self::Adopt { .. }
            | Self::AdoptVouched { .. }
            | Self::Reload { .. }
            | Self::WallStep { .. }
            | Self::ReceiverDies { .. }
            | Self::LogRefuses { .. }
            | Self::ManualPromotion { .. }
            | Self::BackendCrashes { .. }
            | Self::Retime { .. }
            | Self::KillPrimary => 0,
        }
    }

    /// Returns whether it may cost a healthy primary its seat. Where only others strike, nothing may.
    #[must_use]
    pub const fn may_disturb(&self) -> bool {
        !matches!(
            self,
            Self::StrayDeadlines { .. }
                | Self::WallStep { .. }
                | Self::ReceiverDies { .. }
                | Self::Duplicate { .. }
        )
    }
}

impl FailingRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::EscalationTracker, Self::Voter, Self::Promoter, Self::Witness];

    /// Returns the role's name in records.
    #[must_use]
    pub const fn actor(self) -> Actor {
        match self {
            Self::EscalationTracker => Actor::EscalationTracker,
            Self::Voter => Actor::Voter,
            Self::Promoter => Actor::Promoter,
            Self::Witness => Actor::Witness,
        }
    }
}

impl Report {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Probe,
        Self::Freeze,
        Self::Promotion,
        Self::Follow,
        Self::CatchUp,
        Self::Fence,
        Self::PostmasterGone,
        Self::PostmasterSeen,
        Self::ReceiverEnded,
        Self::ReceiverSeen,
        Self::Guard,
    ];
}
