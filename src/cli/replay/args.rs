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
    /// A log's directory, its events.db, an exported file or an incident, or a folder of them; several of one cluster make
    /// one timeline.
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
    Time(Moment),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.strip_prefix('#').unwrap_or(text).parse() {
            return Ok(Self::Record(Seq(number)));
        }
        let wrong = || format!("{text:?} is neither a record number nor a time like 2026-01-31T12:00:00Z");
        text.parse().map(Self::Time).map_err(|_| wrong())
    }
}

/// A time as it was written: all of the second, the millisecond or whatever its last digit stands for, because pages cut
/// the digits that they leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its first nanosecond.
    pub first: WallNanos,
    /// Its last nanosecond.
    pub last: WallNanos,
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(first) = moment(text) else {
            return Err(format!(
                "{text:?} is no time like 2026-01-31T12:00:00Z, or 20260131T120000Z as `pgfo incident list` writes it"
            ));
        };
        let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).take(9).count();
        let rest = (digits..9).fold(1_i64, |nanos, _| nanos * 10) - 1;
        Ok(Self { first, last: WallNanos(first.0.saturating_add(rest)) })
    }
}

/// Reads RFC 3339, or `20260131T120000Z`, the form that the names of incidents have.
fn moment(text: &str) -> Option<WallNanos> {
    let time = match humantime::parse_rfc3339_weak(text) {
        Ok(time) => time,
        Err(_) => humantime::parse_rfc3339(&spread(text)?).ok()?,
    };
    let nanos = time.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    i64::try_from(nanos).ok().map(WallNanos)
}

/// `20260131T120000Z` as `2026-01-31T12:00:00Z`.
fn spread(text: &str) -> Option<String> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let is_plain =
        |part: &str, digits: usize| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
    if !is_plain(date, 8) || !is_plain(clock, 6) {
        return None;
    }
    let (day, hour) = ((&date[..4], &date[4..6], &date[6..]), (&clock[..2], &clock[2..4], &clock[4..]));
    Some(format!("{}-{}-{}T{}:{}:{}Z", day.0, day.1, day.2, hour.0, hour.1, hour.2))
}

impl Bound {
    /// Returns whether a record with these stamps is at or behind this bound.
    #[must_use]
    pub fn is_reached_by(self, seq: Seq, wall: WallNanos) -> bool {
        match self {
            Self::Record(bound) => bound <= seq,
            Self::Time(bound) => bound.first <= wall,
        }
    }

    /// Returns whether a record with these stamps is behind this bound.
    #[must_use]
    pub fn is_passed_by(self, seq: Seq, wall: WallNanos) -> bool {
        match self {
            Self::Record(bound) => bound < seq,
            Self::Time(bound) => bound.last < wall,
        }
    }
}

impl ReplayArgs {
    /// Refuses a part that ends before it begins.
    ///
    /// # Errors
    /// That it does.
    pub(super) fn is_a_part(&self) -> Result<(), String> {
        let is_turned = match (self.from, self.to) {
            (Some(Bound::Record(from)), Some(Bound::Record(to))) => to < from,
            (Some(Bound::Time(from)), Some(Bound::Time(to))) => to.last < from.first,
            _ => false,
        };
        if is_turned {
            Err("--to lies before --from: no record can lie between them".to_owned())
        } else {
            Ok(())
        }
    }

    /// Refuses a part that no record of these logs lies in.
    ///
    /// # Errors
    /// Which records and times there are.
    pub(super) fn holds_some(&self, held: &[Held]) -> Result<(), String> {
        if held.iter().all(|held| held.records.is_none()) || held.iter().any(|held| held.is_some_told) {
            return Ok(());
        }
        let there: Vec<String> = held.iter().filter_map(Held::words).collect();
        let part = match (self.from, self.to) {
            (Some(_), None) => "at --from or behind it",
            (None, Some(_)) => "at --to or before it",
            _ => "between --from and --to",
        };
        Err(format!("no record lies {part}; there are {}", there.join("; ")))
    }

    /// Returns whether a line with these stamps belongs to the part of the story to tell.
    #[must_use]
    pub fn tells(&self, seq: Seq, wall: WallNanos) -> bool {
        self.from.is_none_or(|from| from.is_reached_by(seq, wall))
            && self.to.is_none_or(|to| !to.is_passed_by(seq, wall))
    }
}

/// Which records a log holds. A clock may have been set: its times are not in the order of the records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    records: Option<(Seq, Seq)>,
    times: Option<(WallNanos, WallNanos)>,
    is_some_told: bool,
}

impl Held {
    /// Takes one more record.
    pub(super) fn see(&mut self, args: &ReplayArgs, seq: Seq, wall: WallNanos) {
        self.records = Some((self.records.map_or(seq, |(first, _)| first), seq));
        let (earliest, latest) = self.times.unwrap_or((wall, wall));
        self.times = Some((earliest.min(wall), latest.max(wall)));
        self.is_some_told |= args.tells(seq, wall);
    }

    fn words(&self) -> Option<String> {
        let ((first, last), (earliest, latest)) = self.records.zip(self.times)?;
        Some(format!("{first} to {last}, {} to {}", super::text::time(earliest), super::text::time(latest)))
    }
}
