//! Scenarios: a cluster, its configuration and its faults, as data. A scenario file is this, as JSON.

use super::time::SimNanos;
use crate::core::{MemberId, Nanos, Plant};
use crate::events::{Fencing, MemberSettings, Settings};
use serde::{Deserialize, Serialize};

/// A member of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScenarioMember {
    /// No PostgreSQL.
    pub witness: bool,
    /// Whether its vote counts.
    pub votes: bool,
    /// Whether it may promote by itself.
    pub automatic: bool,
    /// Preference; 0: never promoted.
    pub priority: u32,
    /// Its own `lease.duration`, where it differs from the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
}

impl Default for ScenarioMember {
    fn default() -> Self {
        Self { witness: false, votes: true, automatic: true, priority: 100, lease_ms: None }
    }
}

/// The timings that differ from seed to seed, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// `heartbeat.interval`.
    pub heartbeat_ms: u64,
    /// `escalation.attempts`.
    pub escalation_attempts: u8,
    /// `escalation.interval`.
    pub escalation_ms: u64,
    /// `escalation.sign_of_life_max`.
    pub sign_of_life_ms: u64,
    /// `election.testimony_timeout`.
    pub testimony_ms: u64,
    /// `election.rank_delay`.
    pub rank_delay_ms: u64,
    /// `election.retry_interval`.
    pub retry_ms: u64,
    /// `election.freeze_timeout`.
    pub freeze_ms: u64,
    /// `lease.duration`.
    pub lease_ms: u64,
    /// `fencing.reserve`.
    pub reserve_ms: u64,
    /// `failover.promote_timeout`.
    pub promote_ms: u64,
    /// `failover.follow_timeout`.
    pub follow_ms: u64,
    /// `failover.lag_max`, bytes.
    pub lag_bytes_max: Option<u64>,
    /// Deadline of a probe.
    pub probe_ms: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 1_000,
            escalation_attempts: 3,
            escalation_ms: 300,
            sign_of_life_ms: 60_000,
            testimony_ms: 150,
            rank_delay_ms: 200,
            retry_ms: 1_000,
            freeze_ms: 2_000,
            lease_ms: 5_000,
            reserve_ms: 500,
            promote_ms: 60_000,
            follow_ms: 60_000,
            lag_bytes_max: None,
            probe_ms: 1_000,
        }
    }
}

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

/// A scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// What it shows, for people.
    pub name: String,
    /// Seed of every draw.
    pub seed: u64,
    /// The members, in the order of their names.
    pub members: Vec<ScenarioMember>,
    /// Which of them is the primary at the beginning.
    pub primary: MemberId,
    /// The timings.
    pub timings: Timings,
    /// The longest ordinary network delay one way, microseconds.
    pub delay_us_max: u64,
    /// When systemd starts a PostgreSQL that died; none: nobody does.
    pub postgres_restart_ms: Option<u64>,
    /// When the operator rebuilds a standby that can't follow; none: never.
    pub rebuild_ms: Option<u64>,
    /// Between two writes of the clients.
    pub write_every_ms: u64,
    /// The faults, in order of time.
    pub faults: Vec<TimedFault>,
    /// When every fault has ended and everything is mended.
    pub heal_at_ms: u64,
    /// When it ends; V1 and V2 must hold before, from `heal_at_ms` plus the bound on.
    pub end_at_ms: u64,
    /// How PostgreSQL is kept from writing without a lease. With [`Fencing::Daemon`], what would guard it ends, and
    /// stands still, with the daemon (L10).
    #[serde(skip_serializing_if = "is_guard")]
    pub fencing: Fencing,
    /// Whether V1 and V2 are promised here (PROTOCOL.md, "Liveness is promised when").
    pub live: bool,
    /// The bug that is planted in every member; only in builds that know planted bugs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planted: Option<Plant>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_guard(fencing: &Fencing) -> bool {
    *fencing == Fencing::Guard
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: String::new(),
            seed: 0,
            members: vec![ScenarioMember::default(); 3],
            primary: MemberId(0),
            timings: Timings::default(),
            delay_us_max: 1_000,
            postgres_restart_ms: Some(10_000),
            rebuild_ms: Some(15_000),
            write_every_ms: 200,
            faults: Vec::new(),
            heal_at_ms: 30_000,
            end_at_ms: 60_000,
            fencing: Fencing::Guard,
            live: true,
            planted: None,
        }
    }
}

impl Scenario {
    /// Returns one member's settings.
    #[must_use]
    pub fn settings(&self, me: MemberId) -> Settings {
        let t = &self.timings;
        let ms = Nanos::from_millis;
        let own = self.members.get(usize::from(me.0)).cloned().unwrap_or_default();
        Settings {
            cluster: "simulated".to_owned(),
            members: self
                .members
                .iter()
                .enumerate()
                .map(|(i, m)| MemberSettings {
                    name: format!("{}{}", if m.witness { "witness" } else { "node" }, i + 1),
                    witness: m.witness,
                    votes: m.votes,
                })
                .collect(),
            me,
            automatic: own.automatic,
            priority: own.priority,
            lag_bytes_max: t.lag_bytes_max,
            heartbeat_interval: ms(t.heartbeat_ms),
            escalation_attempts: t.escalation_attempts,
            escalation_interval: ms(t.escalation_ms),
            sign_of_life_max: ms(t.sign_of_life_ms),
            testimony_timeout: ms(t.testimony_ms),
            rank_delay: ms(t.rank_delay_ms),
            retry_interval: ms(t.retry_ms),
            freeze_timeout: ms(t.freeze_ms),
            lease_duration: ms(own.lease_ms.unwrap_or(t.lease_ms)),
            fence_reserve: ms(t.reserve_ms),
            fencing: self.fencing,
            promote_timeout: ms(t.promote_ms),
            follow_timeout: ms(t.follow_ms),
        }
    }

    /// Returns the members' numbers.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> + use<> {
        (0..self.members.len()).filter_map(|i| u8::try_from(i).ok()).map(MemberId)
    }

    /// Returns the end of a fault that starts at `at_ms`, at the latest when everything heals.
    #[must_use]
    pub fn fault_end(&self, at_ms: u64, for_ms: u64) -> SimNanos {
        SimNanos::from_millis((at_ms + for_ms).min(self.heal_at_ms))
    }
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
