//! What stands still: a host, a daemon or a PostgreSQL, maybe stopped again before it went on. It does not know what
//! waits for it.

use super::time::SimNanos;

/// Until when something stands still.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frozen {
    /// When it goes on.
    pub until: SimNanos,
    /// To when what comes is held back: it waits from one end to the next, so that it stays in order.
    next: SimNanos,
}

impl Frozen {
    /// It is stopped until then, or longer if it stands still for longer already.
    pub fn extend(&mut self, now: SimNanos, until: SimNanos) {
        if now >= self.next {
            self.next = if now < self.until { self.until } else { until };
        }
        self.until = self.until.max(until);
    }

    /// Returns until when what comes now is held back at first; an instant that is over if it runs.
    #[must_use]
    pub fn holds_until(&self, now: SimNanos) -> SimNanos {
        if now < self.next { self.next } else { self.until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_stays_in_order_however_often_it_is_stopped() {
        let mut f = Frozen::default();
        f.extend(SimNanos(1), SimNanos(10));
        assert_eq!(f.holds_until(SimNanos(2)), SimNanos(10));
        // Stopped anew: what comes goes where the others wait, and with them on to the second end.
        f.extend(SimNanos(3), SimNanos(20));
        assert_eq!((f.holds_until(SimNanos(4)), f.until), (SimNanos(10), SimNanos(20)));
        assert_eq!(f.holds_until(SimNanos(10)), SimNanos(20));
        f.extend(SimNanos(12), SimNanos(30));
        assert_eq!(f.holds_until(SimNanos(13)), SimNanos(20));
        assert_eq!(f.holds_until(SimNanos(20)), SimNanos(30));
        assert!(f.holds_until(SimNanos(30)) <= SimNanos(30));
        // A shorter stop within a longer one.
        let mut f = Frozen::default();
        f.extend(SimNanos(1), SimNanos(10));
        f.extend(SimNanos(2), SimNanos(5));
        assert_eq!((f.holds_until(SimNanos(3)), f.until), (SimNanos(10), SimNanos(10)));
    }
}
