//! Profiles of surroundings: how a network and its hosts behave from day to day, as faults that all pass by
//! themselves. None of them is a reason to replace a primary.

use super::draw::{Domain, Draw, Draws};
use super::fault::{Fault, TimedFault};
use super::scenario::{Scenario, Timings};
use crate::core::MemberId;
use serde::Serialize;

/// What passes by itself, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The longest ordinary network delay one way, microseconds.
    pub delay_us_max: u64,
    /// Mean time between two disturbances, milliseconds; 0: none.
    pub every_ms: u64,
    /// Share of disturbances that are bursts of delay, in parts of 1000, and the longest delay in them.
    pub delays: (u64, u64),
    /// Share of disturbances that are losses, in parts of 1000, and how much is lost in them.
    pub losses: (u64, u64),
    /// Share of disturbances in which the primary's PostgreSQL stands still, in parts of 1000, and for how long
    /// at most, milliseconds: a disk that stalls. What is left of 1000: a daemon that gets no time.
    pub stalls: (u64, u64),
}

/// When a trial's disturbances, or its one failure, begin: every simulated cluster has its primary by then.
const QUIET_MS: u64 = 15_000;
/// How long a trial waits for somebody to take over, besides leases.
const PATIENCE_MS: u64 = 40_000;

impl Profile {
    /// The names of all profiles.
    pub const NAMES: [&'static str; 4] = ["lan", "wan", "cloud", "cloud-noisy"];

    /// Returns the profile of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (delay_us_max, every_ms, delays, losses, stalls) = match name {
            "lan" => (500, 120_000, (300, 50), (300, 20), (200, 300)),
            "wan" => (40_000, 60_000, (500, 400), (400, 80), (50, 300)),
            "cloud" => (2_000, 60_000, (300, 300), (200, 50), (300, 1_000)),
            "cloud-noisy" => (3_000, 15_000, (300, 900), (200, 150), (400, 2_500)),
            _ => return None,
        };
        Some(Self { name: name.to_owned(), delay_us_max, every_ms, delays, losses, stalls })
    }

    /// Returns a scenario in which nothing is wrong but what passes by itself.
    #[must_use]
    pub fn noise(&self, base: &Scenario, seed: u64, length_ms: u64) -> Scenario {
        let end_at_ms = QUIET_MS + length_ms;
        let draws = Draws::new(seed ^ 0x5157_4545);
        let mut faults = Vec::new();
        let mut at_ms = QUIET_MS;
        let mut n = 0;
        while self.every_ms > 0 && at_ms < end_at_ms {
            n += 1;
            let draw = draws.draw(Domain::Fault, &[n]);
            at_ms += draw.between(self.every_ms / 2, self.every_ms * 3 / 2);
            faults.push(TimedFault { at_ms, fault: self.disturbance(draw.again(), base) });
        }
        faults.retain(|f| f.at_ms < end_at_ms);
        self.scenario(base, seed, faults, end_at_ms)
    }

    fn disturbance(&self, draw: Draw, base: &Scenario) -> Fault {
        let kind = draw.below(1_000);
        let (size, length) = (draw.again(), draw.again().again());
        let for_ms = length.between(500, 4_000);
        let stalls_from = self.delays.0 + self.losses.0;
        if kind < self.delays.0 {
            Fault::Delay { up_to_ms: size.between(self.delays.1 / 4, self.delays.1), for_ms }
        } else if kind < stalls_from {
            Fault::Loss { permille: size.between(self.losses.1 / 4, self.losses.1), for_ms }
        } else if kind < stalls_from + self.stalls.0 {
            let member = base.primary;
            Fault::FreezePostgres { member, for_ms: size.between(self.stalls.1 / 8, self.stalls.1) }
        } else {
            let members = base.members.len() as u64;
            let member = MemberId(u8::try_from(length.again().below(members)).unwrap_or(0));
            Fault::FreezeDaemon { member, for_ms: size.between(self.stalls.1 / 8, self.stalls.1) }
        }
    }

    /// Returns a scenario in which the primary fails for good, and the moment, in milliseconds: its host is
    /// lost, or its PostgreSQL hangs, by turns.
    #[must_use]
    pub fn failure(&self, base: &Scenario, seed: u64) -> (Scenario, u64) {
        let phase = Draws::new(seed).draw(Domain::Fault, &[0]).below(base.timings.heartbeat_ms.max(1));
        let at_ms = QUIET_MS + phase;
        let end_at_ms = at_ms + 3 * base.timings.lease_ms + PATIENCE_MS;
        let member = base.primary;
        let fault = if seed.is_multiple_of(2) {
            Fault::KillHost { member, for_ms: end_at_ms }
        } else {
            Fault::FreezePostgres { member, for_ms: end_at_ms }
        };
        (self.scenario(base, seed, vec![TimedFault { at_ms, fault }], end_at_ms), at_ms)
    }

    fn scenario(&self, base: &Scenario, seed: u64, faults: Vec<TimedFault>, end_at_ms: u64) -> Scenario {
        Scenario {
            name: format!("{}, seed {seed}", self.name),
            seed,
            delay_us_max: self.delay_us_max,
            postgres_restart_ms: None,
            rebuild_ms: Some(5_000),
            faults,
            heal_at_ms: end_at_ms,
            end_at_ms,
            live: false,
            ..base.clone()
        }
    }

    /// Returns a cluster of three with these timings.
    #[must_use]
    pub fn three(timings: Timings) -> Scenario {
        Scenario { timings, ..Scenario::default() }
    }
}
