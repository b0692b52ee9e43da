//! Owns the command line of `pgfo replay`.

use clap::Args;
use pgfo_replay::{Seq, WallNanos};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

/// Arguments of `pgfo replay`.
///
/// Exit codes: 0 identical, 1 diverged, 2 wrong usage, 3 unreadable from some record on, 4 diverged,
/// but recorded by another core revision.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A log's directory, its events.db, an exported file or an incident; several of one cluster make one timeline.
    #[arg(required = true, value_name = "LOG")]
    pub logs: Vec<PathBuf>,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
    /// Tell the story from this record number, or this time in UTC, on; all is audited anyway.
    #[arg(long, value_name = "N|TIME")]
    pub from: Option<Bound>,
    /// Tell the story up to this record number, or this time in UTC.
    #[arg(long, value_name = "N|TIME")]
    pub to: Option<Bound>,
    /// Tell also what says nothing new: heartbeats, renewals, repetitions.
    #[arg(long, conflicts_with = "quiet")]
    pub all: bool,
    /// Print the verdict only.
    #[arg(long)]
    pub quiet: bool,
    /// What if it had been configured otherwise.
    #[command(flatten)]
    pub what_if: super::WhatIfArgs,
}

/// An end of the part of the story to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A record number, of each log.
    Record(Seq),
    /// A wall-clock time.
    Time(WallNanos),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.strip_prefix('#').unwrap_or(text).parse() {
            return Ok(Self::Record(Seq(number)));
        }
        let wrong = || format!("{text:?} is neither a record number nor a time like 2026-01-31T12:00:00Z");
        let time = humantime::parse_rfc3339_weak(text).map_err(|_| wrong())?;
        let nanos = time.duration_since(UNIX_EPOCH).map_err(|_| wrong())?.as_nanos();
        Ok(Self::Time(WallNanos(i64::try_from(nanos).map_err(|_| wrong())?)))
    }
}

impl Bound {
    /// Returns whether a record with these stamps is at or behind this bound.
    #[must_use]
    pub fn is_reached_by(self, seq: Seq, wall: WallNanos) -> bool {
        match self {
            Self::Record(bound) => bound <= seq,
            Self::Time(bound) => bound <= wall,
        }
    }

    /// Returns whether a record with these stamps is behind this bound.
    #[must_use]
    pub fn is_passed_by(self, seq: Seq, wall: WallNanos) -> bool {
        match self {
            Self::Record(bound) => bound < seq,
            Self::Time(bound) => bound < wall,
        }
    }
}

impl ReplayArgs {
    /// Returns whether a line with these stamps belongs to the part of the story to tell.
    #[must_use]
    pub fn tells(&self, seq: Seq, wall: WallNanos) -> bool {
        self.from.is_none_or(|from| from.is_reached_by(seq, wall))
            && self.to.is_none_or(|to| !to.is_passed_by(seq, wall))
    }
}
