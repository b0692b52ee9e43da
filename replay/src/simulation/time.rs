//! Simulated time, and each host's boot-time clock, which runs a little fast or slow.

use crate::stamp::{BootNanos, Nanos};
use serde::{Deserialize, Serialize};

/// True time since the simulation began, in nanoseconds. No member ever sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SimNanos(pub u64);

impl SimNanos {
    /// Returns the instant `millis` milliseconds after the beginning.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Returns this instant moved forward.
    #[must_use]
    pub const fn plus(self, length: Nanos) -> Self {
        Self(self.0.saturating_add(length.0))
    }

    /// Returns the time from `earlier` to this instant, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What a host's boot-time clock shows at its boot: not zero, so that "long ago" exists.
const BOOT_OFFSET: u64 = 20_000_000_000;

/// `CLOCK_BOOTTIME` of one boot of one host.
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    booted_at: SimNanos,
    /// Parts per million this clock runs fast; within ±10 000, so that two differ by 2 % at most.
    ppm: i64,
}

impl HostClock {
    /// Makes the clock of a boot.
    #[must_use]
    pub const fn new(booted_at: SimNanos, ppm: i64) -> Self {
        Self { booted_at, ppm }
    }

    /// Returns what the clock shows.
    #[must_use]
    pub fn boot(&self, now: SimNanos) -> BootNanos {
        let elapsed = now.0.saturating_sub(self.booted_at.0);
        // Five hours fit into the fast arithmetic; wide division is many times as slow.
        let local = match elapsed.checked_mul(self.rate()) {
            Some(product) => product / MILLION,
            None => narrow(u128::from(elapsed) * u128::from(self.rate()) / u128::from(MILLION)),
        };
        BootNanos(BOOT_OFFSET.saturating_add(local))
    }

    /// Returns the first instant at which the clock shows `boot` or more.
    #[must_use]
    pub fn instant(&self, boot: BootNanos) -> SimNanos {
        let local = boot.0.saturating_sub(BOOT_OFFSET);
        let elapsed = match local.checked_mul(MILLION) {
            Some(product) => product.div_ceil(self.rate()),
            None => narrow((u128::from(local) * u128::from(MILLION)).div_ceil(u128::from(self.rate()))),
        };
        SimNanos(self.booted_at.0.saturating_add(elapsed))
    }

    /// Nanoseconds this clock shows for a million true ones.
    const fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(self.ppm)
    }
}

const MILLION: u64 = 1_000_000;

fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_never_early() {
        for ppm in [-10_000, -1, 0, 3, 9_999] {
            let clock = HostClock::new(SimNanos(12_345), ppm);
            // The last one lies beyond the fast arithmetic.
            for local in [0, 1, 4_900_000_001, 90_000_000_000_123] {
                let boot = BOOT_OFFSET + local;
                let at = clock.instant(BootNanos(boot));
                assert!(clock.boot(at) >= BootNanos(boot));
                assert!(at.0 == 12_345 || clock.boot(SimNanos(at.0 - 2)) < BootNanos(boot));
            }
        }
    }
}
