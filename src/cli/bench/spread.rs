//! Smallest, median and largest of a few figures. Nothing is left out of it.

use serde::Serialize;
use std::time::Duration;

/// The spread of durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Spread {
    /// Smallest.
    pub(super) min_ms: f64,
    /// Median; of an even number, the upper one of the two in the middle.
    pub(super) median_ms: f64,
    /// Largest.
    pub(super) max_ms: f64,
}

impl Spread {
    /// Returns the spread; zeros if there is nothing.
    pub(super) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let (min, median, max) = crate::demo::floor::spread(durations.into_iter().collect());
        let ms = |d: Duration| (d.as_secs_f64() * 1e5).round() / 100.0;
        Self { min_ms: ms(min), median_ms: ms(median), max_ms: ms(max) }
    }
}
