//! Owns the trials of a sweep and what is counted in them. It must never prefer a row: it marks those that no
//! other row beats in everything.

use crate::cluster::{Profile, Scenario, SimNanos, Timings, trial};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Of fewer samples, the 95th percentile is the longest, or less than it.
const P95_SAMPLES_MIN: usize = 20;

/// What one row of the grid came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `heartbeat.interval`, milliseconds.
    pub heartbeat_ms: u64,
    /// `escalation.attempts`.
    pub attempts: u8,
    /// `escalation.interval`, milliseconds.
    pub interval_ms: u64,
    /// Time-out of a probe, milliseconds.
    pub timeout_ms: u64,
    /// `lease.duration`, milliseconds.
    pub lease_ms: u64,
    /// Simulated time with nothing but what passes by itself, milliseconds.
    pub quiet_ms: u64,
    /// Take-overs in it: nothing was wrong for good.
    pub false_failovers: u64,
    /// Fences of a primary that accepted writes in it, by its guard at the lease's end.
    pub lease_fences: u64,
    /// Failures for good.
    pub failures: u64,
    /// Of them, those that nobody took over from in time.
    pub not_recovered: u64,
    /// From the failure until another had taken over: median, milliseconds.
    pub median_ms: Option<u64>,
    /// The 95th percentile; `None` of fewer than 20 that recovered: no such share of them can be told.
    pub p95_ms: Option<u64>,
    /// The longest.
    pub max_ms: Option<u64>,
    /// Whether no other row is at least as good in everything and better in something.
    pub pareto: bool,
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Trials {
    /// The surroundings.
    pub profile: Profile,
    /// The cluster, its timings aside.
    pub base: Scenario,
    /// The rows.
    pub grid: Vec<Timings>,
    /// Failures, and stretches of noise, a row.
    pub seeds: u64,
    /// Length of a stretch of noise, milliseconds.
    pub noise_ms: u64,
    /// Threads.
    pub threads: usize,
}

impl Trials {
    /// Runs all rows, telling `done` after each.
    #[must_use]
    pub fn run(&self, mut done: impl FnMut()) -> Vec<Row> {
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        let mut rows = Vec::with_capacity(self.grid.len());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(timings) = self.grid.get(at) else { return };
                        if sender.send((at, self.row(timings))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for row in receiver {
                rows.push(row);
                done();
            }
        });
        rows.sort_by_key(|(at, _)| *at);
        let mut rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        mark(&mut rows);
        rows
    }

    fn row(&self, timings: &Timings) -> Row {
        let base = Scenario { timings: timings.clone(), ..self.base.clone() };
        let (mut false_failovers, mut lease_fences, mut not_recovered) = (0, 0, 0);
        let mut times = Vec::new();
        for seed in 0..self.seeds {
            let quiet = trial(&self.profile.noise(&base, seed, self.noise_ms), SimNanos(0), false);
            false_failovers += quiet.promotions;
            lease_fences += quiet.guard_fences;
            let (scenario, at_ms) = self.profile.failure(&base, seed);
            match trial(&scenario, SimNanos::from_millis(at_ms), true).promoted {
                Some((_, took)) => times.push(took.as_millis()),
                None => not_recovered += 1,
            }
        }
        times.sort_unstable();
        // The nearest rank: at least so many of a hundred took no longer.
        let rank = |p: usize| (times.len() * p).div_ceil(100).max(1) - 1;
        let percentile = |p: usize| times.get(rank(p)).copied();
        Row {
            heartbeat_ms: timings.heartbeat_ms,
            attempts: timings.escalation_attempts,
            interval_ms: timings.escalation_ms,
            timeout_ms: timings.probe_ms,
            lease_ms: timings.lease_ms,
            quiet_ms: self.noise_ms * self.seeds,
            false_failovers,
            lease_fences,
            failures: self.seeds,
            not_recovered,
            median_ms: percentile(50),
            p95_ms: percentile(95).filter(|_| times.len() >= P95_SAMPLES_MIN),
            max_ms: percentile(100),
            pareto: false,
        }
    }
}

/// The smaller the better, each of them.
fn merits(row: &Row) -> [u64; 5] {
    let never = u64::MAX;
    [
        row.false_failovers,
        row.lease_fences,
        row.not_recovered,
        row.median_ms.unwrap_or(never),
        row.p95_ms.or(row.max_ms).unwrap_or(never),
    ]
}

fn mark(rows: &mut [Row]) {
    let all: Vec<[u64; 5]> = rows.iter().map(merits).collect();
    for (row, own) in rows.iter_mut().zip(&all) {
        let beats = |other: &[u64; 5]| other != own && other.iter().zip(own).all(|(a, b)| a <= b);
        row.pareto = !all.iter().any(beats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_another_beats_is_not_marked() {
        let row = |false_failovers, median_ms| Row {
            heartbeat_ms: 1_000,
            attempts: 3,
            interval_ms: 300,
            timeout_ms: 1_000,
            lease_ms: 5_000,
            quiet_ms: 0,
            false_failovers,
            lease_fences: 0,
            failures: 1,
            not_recovered: 0,
            median_ms: Some(median_ms),
            p95_ms: Some(median_ms),
            max_ms: Some(median_ms),
            pareto: false,
        };
        let mut rows = [row(0, 900), row(2, 400), row(2, 900), row(0, 900)];
        mark(&mut rows);
        assert_eq!(rows.map(|r| r.pareto), [true, true, false, true]);
    }
}
