//! Scenarios: a cluster, its configuration and its faults, as data. A scenario file is this, as JSON.

use super::fault::TimedFault;
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
        self.settings_with(me, &self.timings)
    }

    /// As [`Scenario::settings`], with other timings.
    #[must_use]
    pub fn settings_with(&self, me: MemberId, t: &Timings) -> Settings {
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
