//! What is wrong outside, said to people once for each change. It must never fill a journal with one sentence.

use slog::{Logger, warn};
use std::cell::RefCell;
use std::fmt::Display;

/// Says what is wrong with one thing, and again only when something else is.
pub(super) struct Complaint {
    logger: Logger,
    said: RefCell<Option<String>>,
}

impl Complaint {
    /// Returns one that has said nothing yet.
    pub(super) fn new(logger: Logger) -> Self {
        Self { logger, said: RefCell::default() }
    }

    /// Says what is wrong and why, unless that was said last.
    pub(super) fn say(&self, what: &'static str, why: &impl Display) {
        let why = why.to_string();
        let new = format!("{what}: {why}");
        if self.said.replace(Some(new.clone())) != Some(new) {
            warn!(self.logger, "{}", what; "why" => why);
        }
    }

    /// Nothing is wrong any more: what comes next is said, whatever it is.
    pub(super) fn clear(&self) {
        self.said.take();
    }
}
