//! Tells by three clocks whether the host stood still. Holds the last reading; decides nothing.

use crate::core::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// Differences below this are reading, slewing and rounding.
const NOISE: Nanos = Nanos::from_millis(100);
/// Longest time between the first and the last clock read for a reading to count.
const READING_NANOS_MAX: i128 = 10_000_000;
/// Attempts to read all clocks without being interrupted.
const READINGS_MAX: u32 = 3;

/// The clocks at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Goes on while the host is suspended.
    boot: i128,
    /// Stands still while the host is suspended.
    monotonic: i128,
    /// Is set right after a virtual machine was paused, which the others did not notice.
    wall: i128,
}

impl Reading {
    /// Reads the clocks; none if the process was interrupted at each attempt.
    pub(super) fn take() -> Option<Self> {
        (0..READINGS_MAX).find_map(|_| {
            let boot = nanos(ClockId::Boottime);
            let reading = Self { boot, monotonic: nanos(ClockId::Monotonic), wall: nanos(ClockId::Realtime) };
            (nanos(ClockId::Boottime) - boot <= READING_NANOS_MAX).then_some(reading)
        })
    }

    /// Returns for how long the host stood still since `earlier`: suspended, or paused from outside
    /// and told so by a wall clock set forward. None below the noise. A wall clock set back says
    /// nothing about time lost.
    pub(super) fn stalled_since(&self, earlier: &Self) -> Option<Nanos> {
        let boot = self.boot - earlier.boot;
        let suspended = boot - (self.monotonic - earlier.monotonic);
        let paused = (self.wall - earlier.wall) - boot;
        let stalled = Nanos(u64::try_from(suspended.max(paused)).unwrap_or(0));
        (stalled >= NOISE).then_some(stalled)
    }
}

fn nanos(clock: ClockId) -> i128 {
    let t = clock_gettime(clock);
    i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Reading = Reading { boot: 5_000, monotonic: 4_000, wall: 9_000_000 };

    fn after(boot: i128, monotonic: i128, wall: i128) -> Option<Nanos> {
        let s = 1_000_000_000;
        let later = Reading {
            boot: START.boot + boot * s,
            monotonic: START.monotonic + monotonic * s,
            wall: START.wall + wall * s,
        };
        later.stalled_since(&START)
    }

    #[test]
    fn suspension_and_pause_are_seen_and_waiting_is_not() {
        assert_eq!(after(30, 30, 30), None);
        assert_eq!(after(30, 10, 30), Some(Nanos(20_000_000_000)));
        assert_eq!(after(1, 1, 31), Some(Nanos(30_000_000_000)));
    }

    #[test]
    fn a_wall_clock_set_back_is_no_standstill() {
        assert_eq!(after(1, 1, -3600), None);
    }

    #[test]
    fn the_real_clocks_agree() {
        let first = Reading::take().unwrap();
        assert_eq!(Reading::take().unwrap().stalled_since(&first), None);
    }
}
