//! How far a campaign has come, on a terminal only.

use super::campaign::Seeds;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Instant;

/// The bar: of seeds, or of seconds where time bounds the campaign.
pub(super) struct Progress {
    bar: ProgressBar,
    since: Option<Instant>,
}

impl Progress {
    /// Makes the bar of some seeds.
    pub(super) fn of(seeds: Seeds) -> Self {
        let (length, since, template) = match seeds {
            Seeds::Range(from, to) => {
                (to - from, None, "{wide_bar} {human_pos} of {human_len} seeds, {per_sec}, {eta} left")
            }
            Seeds::For(_, length) => {
                (length.as_secs(), Some(Instant::now()), "{wide_bar} {human_pos} of {human_len} s")
            }
        };
        if !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), since };
        }
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, since }
    }

    /// One more seed was run.
    pub(super) fn one_more(&self) {
        match self.since {
            None => self.bar.inc(1),
            Some(since) => self.bar.set_position(since.elapsed().as_secs()),
        }
    }

    /// The campaign is over.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
