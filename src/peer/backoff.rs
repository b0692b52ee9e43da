//! Pauses between attempts to connect: short at first, bounded, never in step with others.

use std::time::Duration;

/// Longest first pause: a restarted peer is found again within it.
pub(crate) const PAUSE_FIRST_MAX: Duration = Duration::from_millis(100);

/// Longest pause: a healed network is noticed within it.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The next pause's upper bound; each pause is drawn from its upper half.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { ceiling: PAUSE_FIRST_MAX }
    }

    pub(crate) const fn reset(&mut self) {
        self.ceiling = PAUSE_FIRST_MAX;
    }

    /// Returns a pause and lengthens the next one.
    pub(crate) fn pause(&mut self) -> Duration {
        let ceiling_us = u64::try_from(self.ceiling.as_micros()).unwrap_or(u64::MAX);
        self.ceiling = (self.ceiling * 2).min(PAUSE_MAX);
        Duration::from_micros(rand::random_range(ceiling_us / 2..=ceiling_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_start_short_and_stay_bounded() {
        let mut backoff = Backoff::new();
        let first = backoff.pause();
        assert!(first >= PAUSE_FIRST_MAX / 2 && first <= PAUSE_FIRST_MAX);
        for _ in 0..20 {
            assert!(backoff.pause() <= PAUSE_MAX);
        }
        assert!(backoff.pause() >= PAUSE_MAX / 2);
        backoff.reset();
        assert!(backoff.pause() <= PAUSE_FIRST_MAX);
    }
}
