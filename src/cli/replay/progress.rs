//! Owns the progress bar of a long audit: on a terminal, and only if there is something to wait for.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;

/// Fewer records than this are read before anybody could look at a bar.
const RECORDS_MIN: u64 = 200_000;
/// Records between two movements of the bar: drawing it must cost nothing.
const STEP_RECORDS: u64 = 8_192;

/// A bar, or nothing.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Makes the bar for a log of about `records` records.
    pub(super) fn of(path: &Path, records: u64) -> Self {
        if records < RECORDS_MIN || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(records);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len} records, {eta}")
        {
            bar.set_style(style);
        }
        bar.set_message(path.display().to_string());
        Self(Some(bar))
    }

    /// Passes the items on, moving the bar; it is gone at the end.
    pub(super) fn watch<I: Iterator>(self, items: I) -> impl Iterator<Item = I::Item> {
        let mut seen = 0;
        items.inspect(move |_| {
            seen += 1;
            if let Some(bar) = self.0.as_ref().filter(|_| seen % STEP_RECORDS == 0) {
                bar.set_position(seen);
            }
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
