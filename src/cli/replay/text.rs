//! Owns what `pgfo replay` prints for people. It must never say more than the audit found.

use super::audit::{Audit, Deviation, StoryLine, Verdict};
use super::differing::differing;
use super::senders::Missing;
use super::{Log, ReplayArgs, Timeline};
use crate::core::CORE_REVISION;
use crate::events::story::{self, Level, grouped};
use anstyle::{AnsiColor, Style};
use pgfo_replay::WallNanos;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

/// Fewer folded records than this between two lines are not worth a line of their own.
const FOLDED_TOLD_MIN: u64 = 20;

pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Prints headers, story and verdicts.
pub(super) fn write(
    logs: &[Log],
    timeline: Option<&Timeline>,
    args: &ReplayArgs,
    out: &mut impl Write,
) -> io::Result<()> {
    if !args.quiet {
        for log in logs {
            header(log, out)?;
        }
        let mut story = Story { args, date: String::new(), width: width(logs) };
        match timeline {
            Some(timeline) => {
                for place in &timeline.places {
                    let audit = &logs[place.log].audit;
                    story.line(audit, &audit.story[place.line], out)?;
                }
                contradictions(timeline, out)?;
            }
            None => {
                for audit in logs.iter().map(|log| &log.audit) {
                    for line in &audit.story {
                        story.line(audit, line, out)?;
                    }
                }
            }
        }
        for log in logs.iter().filter(|log| !args.all && log.audit.folded.total() > 0) {
            writeln!(out, "{DIM}{}: {}; --all tells them{DIM:#}", name(log), log.audit.folded)?;
        }
        writeln!(out)?;
    }
    for log in logs {
        verdict(log, out)?;
    }
    Ok(())
}

/// Wide enough for every `member#number`.
fn width(logs: &[Log]) -> usize {
    let width = |log: &Log| {
        let digits = log.audit.last.map_or(1, |(last, _)| last.0.to_string().len());
        log.audit.member().map_or(0, |name| name.chars().count()) + 1 + digits
    };
    logs.iter().map(width).max().unwrap_or(0)
}

fn name(log: &Log) -> String {
    log.audit.member().map_or_else(|| log.path.display().to_string(), printable)
}

fn header(log: &Log, out: &mut impl Write) -> io::Result<()> {
    let audit = &log.audit;
    writeln!(out, "{BOLD}{}{BOLD:#}: {}", name(log), log.path.display())?;
    if let Some(settings) = &audit.settings {
        let members: Vec<&str> = settings.members.iter().map(|m| m.name.as_str()).collect();
        let line = format!("  cluster   {}: {}", settings.cluster, members.join(", "));
        writeln!(out, "{}", printable(&line))?;
    }
    match (audit.first, audit.last) {
        (Some((first, from)), Some((last, to))) => {
            let count = grouped(audit.records);
            writeln!(out, "  records   {count}, {first} to {last}, {} to {}", time(from), time(to))?;
        }
        _ => writeln!(out, "  records   none")?,
    }
    if let Some(seq) = audit.checkpoint {
        writeln!(
            out,
            "  begins    behind record {seq}, in the state of the checkpoint there; what came before is gone"
        )?;
    }
    if audit.starts > 0 {
        let revisions: Vec<String> = audit.revisions.iter().map(u32::to_string).collect();
        let logs: Vec<String> = audit.incarnations.iter().map(|i| format!("{:016x}", i.0)).collect();
        let line = format!(
            "  recorded  by pgfo {}, core revision {}, in {} process start{}, as log {}",
            audit.versions.join(", "),
            revisions.join(", "),
            audit.starts,
            if audit.starts == 1 { "" } else { "s" },
            logs.join(", ")
        );
        writeln!(out, "{}", printable(&line))?;
    }
    writeln!(out)
}

struct Story<'a> {
    args: &'a ReplayArgs,
    date: String,
    width: usize,
}

impl Story<'_> {
    /// `12:00:01.123  ! node2#17  t4  node2 suspects node1: ...`
    fn line(&mut self, audit: &Audit, told: &StoryLine, out: &mut impl Write) -> io::Result<()> {
        if !self.args.tells(told.seq, told.wall) {
            return Ok(());
        }
        let stamp = time(told.wall);
        let (date, clock) = stamp.split_once('T').unwrap_or(("", &stamp));
        if self.date != date {
            self.date = date.to_owned();
            writeln!(out, "{DIM}{date}, times in UTC{DIM:#}")?;
        }
        if told.folded.total() >= FOLDED_TOLD_MIN {
            writeln!(out, "{DIM}                 {}{DIM:#}", told.folded)?;
        }
        let (mark, style) = match (told.line.level, told.line.decision) {
            (Level::Critical, _) => ("!!", BAD),
            (Level::Warning, _) => ("! ", WARNING),
            (Level::Info, true) => ("  ", Style::new()),
            (Level::Info, false) => ("  ", DIM),
            (Level::Debug, _) => (". ", DIM),
        };
        let term = told.line.term.map_or("-".to_owned(), |term| format!("t{term}"));
        let clock = clock.trim_end_matches('Z');
        let place = format!("{}{}", printable(audit.member().unwrap_or("?")), told.seq);
        let width = self.width;
        writeln!(out, "{clock} {mark} {place:<width$}  {term:<3} {style}{}{style:#}", told.line.text)
    }
}

fn contradictions(timeline: &Timeline, out: &mut impl Write) -> io::Result<()> {
    missing(timeline.missing, out)?;
    if timeline.contradictions > 0 {
        writeln!(
            out,
            "{WARNING}{} receipts contradict the order of the other logs; these logs may be of different \
             pasts{WARNING:#}",
            grouped(timeline.contradictions)
        )?;
    }
    Ok(())
}

/// Says which messages have no sender, though a log of their member is at hand.
pub(crate) fn missing(missing: Missing, out: &mut impl Write) -> io::Result<()> {
    if missing.lost > 0 {
        writeln!(
            out,
            "{DIM}{} messages were sent by records that were lost when their process crashed; they are told as \
             they were received{DIM:#}",
            grouped(missing.lost)
        )?;
    }
    if missing.of_strangers > 0 {
        writeln!(
            out,
            "{WARNING}{} messages came from processes that the log of their member does not tell of: it was put \
             aside and begun anew, or it is of another past; name the logs of one past together{WARNING:#}",
            grouped(missing.of_strangers)
        )?;
    }
    Ok(())
}

pub(crate) fn verdict(log: &Log, out: &mut impl Write) -> io::Result<()> {
    let audit = &log.audit;
    let (name, records, checked) = (name(log), grouped(audit.records), grouped(audit.decisions_checked));
    match audit.verdict() {
        Verdict::Identical => {
            let counts = format!("{records} records, {checked} decisions re-derived, none differs");
            writeln!(out, "{name}: {GOOD}identical{GOOD:#}: {counts}")?;
        }
        Verdict::Diverged | Verdict::DivergedFromOtherRevision => {
            writeln!(out, "{name}: {BAD}diverged{BAD:#}: {records} records, {checked} decisions re-derived")?;
        }
        Verdict::Unreadable => {
            if let Some(damage) = &audit.damage {
                let what = printable(&damage.what.to_string());
                writeln!(out, "{name}: {BAD}unreadable from record {} on{BAD:#}: {what}", damage.seq)?;
            }
            if audit.headless {
                let first = audit.first.map_or(0, |(first, _)| first.0);
                if let Some(why) = &audit.checkpoint_unused {
                    writeln!(out, "  its checkpoint can't be used: {}", printable(why))?;
                }
                writeln!(
                    out,
                    "{name}: {BAD}its beginning is missing{BAD:#}: record #{first} is no process start, so nothing \
                     can be derived; replay the whole log"
                )?;
            }
            let differs = if audit.divergence_count == 0 { ", none differs" } else { "" };
            writeln!(
                out,
                "  the {records} records before that are verified, {checked} decisions re-derived{differs}"
            )?;
        }
    }
    divergences(audit, out)
}

fn divergences(audit: &Audit, out: &mut impl Write) -> io::Result<()> {
    if audit.divergence_count == 0 {
        return Ok(());
    }
    let shown = audit.divergences.len();
    let first =
        if audit.divergence_count > shown as u64 { format!(", the first {shown}") } else { String::new() };
    writeln!(out, "  {} differ{first}:", grouped(audit.divergence_count))?;
    for Deviation { seq, cause, recorded, derived, revision } in &audit.divergences {
        let other = if *revision == CORE_REVISION {
            String::new()
        } else {
            format!(", recorded by core revision {revision}")
        };
        writeln!(out, "  record {seq}, answering {cause}{other}")?;
        let (recorded, derived) = (side(recorded.as_deref()), side(derived.as_deref()));
        let (recorded, derived) = differing(&recorded, &derived);
        writeln!(out, "    recorded  {recorded}")?;
        writeln!(out, "    derived   {derived}")?;
    }
    if let Some(seq) = audit.derived_until {
        writeln!(out, "  nothing was derived from record {seq} on, because a role panicked there")?;
    }
    if audit.verdict() == Verdict::DivergedFromOtherRevision {
        writeln!(
            out,
            "  this is core revision {CORE_REVISION}; replay with the release that recorded it to tell a change \
             from a fault"
        )?;
    }
    Ok(())
}

pub(crate) fn printable(text: &str) -> String {
    story::printable(text.to_owned())
}

fn side(text: Option<&str>) -> String {
    text.map_or("nothing".to_owned(), printable)
}

/// Returns a wall-clock time as RFC 3339 in UTC, with milliseconds; times before 1970 become 1970.
pub(crate) fn time(wall: WallNanos) -> String {
    let since = Duration::from_nanos(u64::try_from(wall.0).unwrap_or(0));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}
