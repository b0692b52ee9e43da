//! Waiting with a deadline. The only place of the harness that sleeps: what it waits for happens in
//! other processes, which send no event here.

use std::time::{Duration, Instant};

/// Short against everything that is awaited, long against what one look costs.
const POLL: Duration = Duration::from_millis(15);

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: Instant,
    within: Duration,
}

impl Deadline {
    /// Returns a deadline `secs` seconds from now.
    #[must_use]
    pub fn secs(secs: u64) -> Self {
        Self::after(Duration::from_secs(secs))
    }

    /// Returns a deadline `within` from now.
    #[must_use]
    pub fn after(within: Duration) -> Self {
        Self { start: Instant::now(), within }
    }

    /// Returns the whole length that was given.
    #[must_use]
    pub fn within(&self) -> Duration {
        self.within
    }

    /// Returns how much of it is over.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns true once it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.start.elapsed() >= self.within
    }
}

/// One look at what is awaited.
pub(crate) enum Look<T> {
    /// It happened.
    Done(T),
    /// Not yet; what was seen instead, for the error.
    NotYet(String),
}

/// Looks until done or past the deadline; always looks at least once. Returns the last sight when
/// the deadline passed.
pub(crate) fn poll<T>(deadline: Deadline, mut look: impl FnMut() -> Look<T>) -> Result<T, String> {
    loop {
        match look() {
            Look::Done(value) => return Ok(value),
            Look::NotYet(seen) if deadline.has_passed() => return Err(seen),
            Look::NotYet(_) => std::thread::sleep(POLL),
        }
    }
}
