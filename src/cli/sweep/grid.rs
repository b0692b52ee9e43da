//! Owns the grid of a sweep: which timings are tried, as named on the command line.

use crate::cluster::Timings;
use crate::config::read_duration;
use crate::core::Nanos;

/// A series of heart massages: how many, how far apart, how long each may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// How many.
    pub attempts: u8,
    /// How far apart.
    pub interval: Nanos,
    /// How long each, and each heartbeat's probe, may take.
    pub timeout: Nanos,
}

/// Reads `500ms,1s,2s` or `500ms..2s/4`: four values, evenly apart, from the first to the last.
///
/// # Errors
/// What is wrong.
pub fn lengths(text: &str) -> Result<Vec<Nanos>, String> {
    if let Some((from, rest)) = text.split_once("..") {
        let (to, steps) = rest.split_once('/').unwrap_or((rest, "4"));
        let (from, to) = (read_duration(from)?, read_duration(to)?);
        let steps: u64 = steps.parse().map_err(|_| format!("{text:?}: {steps:?} is no number of steps"))?;
        if from >= to || !(2..=100).contains(&steps) {
            return Err(format!("{text:?}: write FROM..TO/STEPS with FROM below TO and 2 to 100 steps"));
        }
        return Ok((0..steps).map(|i| Nanos(from.0 + (to.0 - from.0) * i / (steps - 1))).collect());
    }
    text.split(',').map(|part| read_duration(part.trim())).collect()
}

/// Reads `3x300ms/1s,2x100ms`: attempts, interval, and the time-out, 1 s if it is left out.
///
/// # Errors
/// What is wrong.
pub fn escalations(text: &str) -> Result<Vec<Escalation>, String> {
    let one = |part: &str| {
        let wrong =
            || format!("{part:?} is no escalation; write ATTEMPTSxINTERVAL/TIMEOUT, such as 3x300ms/1s");
        let (attempts, rest) = part.split_once('x').ok_or_else(wrong)?;
        let attempts: u8 = attempts.parse().ok().filter(|n| (1..=100).contains(n)).ok_or_else(wrong)?;
        let (interval, timeout) = rest.split_once('/').unwrap_or((rest, "1s"));
        Ok(Escalation { attempts, interval: read_duration(interval)?, timeout: read_duration(timeout)? })
    };
    text.split(',').map(|part| one(part.trim())).collect()
}

/// Returns every combination whose arithmetic works: a lease outlives two heartbeats and its fence.
#[must_use]
pub fn grid(heartbeats: &[Nanos], escalations: &[Escalation], leases: &[Nanos]) -> Vec<Timings> {
    let ms = |length: Nanos| length.as_millis().max(1);
    let mut all = Vec::new();
    for heartbeat in heartbeats {
        for escalation in escalations {
            for lease in leases {
                let default = Timings::default();
                let timings = Timings {
                    heartbeat_ms: ms(*heartbeat),
                    escalation_attempts: escalation.attempts,
                    escalation_ms: ms(escalation.interval),
                    probe_ms: ms(escalation.timeout).min(ms(*heartbeat)),
                    lease_ms: ms(*lease),
                    ..default
                };
                if timings.lease_ms * 98 / 100 > 2 * timings.heartbeat_ms + timings.reserve_ms {
                    all.push(timings);
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        assert_eq!(lengths("500ms, 2s").unwrap(), [Nanos::from_millis(500), Nanos::from_millis(2_000)]);
        let four = [1_000, 2_000, 3_000, 4_000].map(Nanos::from_millis);
        assert_eq!(lengths("1s..4s/4").unwrap(), four);
        for wrong in ["", "5", "4s..1s", "1s..2s/1", "1s..2s/x"] {
            assert!(lengths(wrong).is_err(), "{wrong}");
        }
        let (interval, timeout) = (Nanos::from_millis(300), Nanos::from_millis(1_000));
        assert_eq!(escalations("3x300ms").unwrap(), [Escalation { attempts: 3, interval, timeout }]);
        for wrong in ["3", "0x1s", "x1s", "300x1s", "2x5"] {
            assert!(escalations(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lease_that_two_heartbeats_outlast_is_left_out() {
        let one = escalations("3x300ms").unwrap();
        let s = |n: u64| Nanos::from_millis(n * 1_000);
        assert_eq!(grid(&[s(1), s(2)], &one, &[s(3), s(5)]).len(), 3);
    }
}
