//! Limits how often refusals are told, so that a stranger cannot fill the event log.

use crate::peer::event::RefusedReason;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The same refusal of the same host is told once in this time: a misconfigured member tries
/// every second, and stays visible.
const SAME_WINDOW: Duration = Duration::from_secs(60);

/// Told refusals that are remembered; a host with more faces than that meets the bucket below.
const REMEMBERED_MAX: usize = 64;

/// Different refusals told at once; then one a second.
const BURST_MAX: u32 = 10;

const REFILL_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct RefusalLimiter {
    told: VecDeque<(IpAddr, RefusedReason, Instant)>,
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

impl RefusalLimiter {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { told: VecDeque::new(), tokens: BURST_MAX, refilled: now, suppressed: 0 }
    }

    /// Returns how many were suppressed before this one if it may be told, `None` if not.
    pub(crate) fn admit(&mut self, now: Instant, remote: IpAddr, reason: &RefusedReason) -> Option<u64> {
        self.refill(now);
        while self.told.front().is_some_and(|(_, _, at)| now.duration_since(*at) >= SAME_WINDOW) {
            self.told.pop_front();
        }
        let repeated = self.told.iter().any(|(ip, told, _)| *ip == remote && told == reason);
        if repeated || self.tokens == 0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1;
        if self.told.len() == REMEMBERED_MAX {
            self.told.pop_front();
        }
        self.told.push_back((remote, reason.clone(), now));
        Some(std::mem::take(&mut self.suppressed))
    }

    fn refill(&mut self, now: Instant) {
        let periods = now.duration_since(self.refilled).as_secs() / REFILL_EVERY.as_secs();
        if periods > 0 {
            let earned = u32::try_from(periods).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(BURST_MAX);
            self.refilled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::frame::FrameError;

    #[test]
    fn repeats_and_floods_are_counted_not_told() {
        let begin = Instant::now();
        let mut limiter = RefusalLimiter::new(begin);
        let ip = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(limiter.admit(begin, ip, &RefusedReason::Overload), Some(0));
        assert_eq!(limiter.admit(begin, ip, &RefusedReason::Overload), None);
        let garbage = |bytes: u64| {
            RefusedReason::Handshake(FrameError::Oversized { bytes: 70_000 + bytes, bytes_max: 4096 })
        };
        // The first one that is told reports the repeat.
        let told = (0..100).filter(|n| limiter.admit(begin, ip, &garbage(*n)).is_some()).count();
        assert_eq!(told, 9);
        let later = begin + SAME_WINDOW;
        assert_eq!(limiter.admit(later, ip, &RefusedReason::Overload), Some(91));
    }
}
