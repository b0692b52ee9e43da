//! Owns what `pgfo replay --json` prints: one object, whose names are a promise.

use super::audit::{Deviation, StoryLine};
use super::{Log, ReplayArgs, Timeline};
use crate::cli::exit::Exit;
use crate::core::CORE_REVISION;
use pgfo_replay::WallNanos;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

#[derive(Serialize)]
struct Report<'a> {
    exit: u8,
    core_revision: u32,
    logs: Vec<LogReport<'a>>,
    /// The lines of all logs in causal order; only of several logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<LineReport<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contradictions: Option<u64>,
    /// Messages whose sending records were lost in a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_in_crash: Option<u64>,
    /// Messages of processes that no log of their member tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_unknown_processes: Option<u64>,
}

#[derive(Serialize)]
struct LogReport<'a> {
    /// As far as it is UTF-8.
    path: Cow<'a, str>,
    member: Option<&'a str>,
    cluster: Option<&'a str>,
    records: u64,
    first: Option<u64>,
    last: Option<u64>,
    from: Option<String>,
    to: Option<String>,
    versions: &'a [String],
    core_revisions: &'a [u32],
    incarnations: Vec<String>,
    process_starts: u64,
    decisions_checked: u64,
    verdict: &'static str,
    divergence_count: u64,
    divergences: Vec<DivergenceReport<'a>>,
    /// Nothing was derived from this record on: a role panicked.
    derived_until: Option<u64>,
    beginning_missing: bool,
    /// The record of the checkpoint that the log begins behind.
    checkpoint: Option<u64>,
    damage: Option<DamageReport>,
    folded: u64,
    story: Vec<LineReport<'a>>,
}

#[derive(Serialize)]
struct DivergenceReport<'a> {
    seq: u64,
    cause: u64,
    core_revision: u32,
    recorded: Option<&'a str>,
    derived: Option<&'a str>,
}

#[derive(Serialize)]
struct DamageReport {
    seq: u64,
    what: String,
}

#[derive(Serialize)]
struct LineReport<'a> {
    seq: u64,
    /// RFC 3339, UTC, nanoseconds.
    wall: String,
    boot_ns: u64,
    member: Option<&'a str>,
    term: Option<u64>,
    /// `decision` or `observation`.
    kind: &'static str,
    level: &'static str,
    subject: &'static str,
    text: &'a str,
    cause: Option<u64>,
}

/// Prints the whole report.
pub(super) fn write(
    logs: &[Log],
    timeline: Option<&Timeline>,
    exit: Exit,
    args: &ReplayArgs,
    out: &mut impl Write,
) -> io::Result<()> {
    let report = Report {
        exit: exit.code(),
        core_revision: CORE_REVISION,
        logs: logs.iter().map(|log| log_report(log, args)).collect(),
        timeline: timeline.map(|timeline| timeline_report(logs, timeline, args)),
        contradictions: timeline.map(|t| t.contradictions),
        lost_in_crash: timeline.map(|t| t.missing.lost),
        of_unknown_processes: timeline.map(|t| t.missing.of_strangers),
    };
    serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
    writeln!(out)
}

fn timeline_report<'a>(logs: &'a [Log], timeline: &Timeline, args: &ReplayArgs) -> Vec<LineReport<'a>> {
    let lines =
        timeline.places.iter().map(|place| (&logs[place.log], &logs[place.log].audit.story[place.line]));
    lines
        .filter(|(_, line)| args.tells(line.seq, line.wall))
        .map(|(log, line)| line_report(log, line))
        .collect()
}

fn log_report<'a>(log: &'a Log, args: &ReplayArgs) -> LogReport<'a> {
    let audit = &log.audit;
    LogReport {
        path: log.path.to_string_lossy(),
        member: audit.member(),
        cluster: audit.cluster(),
        records: audit.records,
        first: audit.first.map(|(seq, _)| seq.0),
        last: audit.last.map(|(seq, _)| seq.0),
        from: audit.first.map(|(_, wall)| nanos(wall)),
        to: audit.last.map(|(_, wall)| nanos(wall)),
        versions: &audit.versions,
        core_revisions: &audit.revisions,
        incarnations: audit.incarnations.iter().map(|i| format!("{:016x}", i.0)).collect(),
        process_starts: audit.starts,
        decisions_checked: audit.decisions_checked,
        verdict: audit.verdict().word(),
        divergence_count: audit.divergence_count,
        divergences: audit.divergences.iter().map(divergence_report).collect(),
        derived_until: audit.derived_until.map(|seq| seq.0),
        beginning_missing: audit.headless,
        checkpoint: audit.checkpoint.map(|seq| seq.0),
        damage: audit.damage.as_ref().map(|d| DamageReport { seq: d.seq.0, what: d.what.to_string() }),
        folded: audit.folded.total(),
        story: audit
            .story
            .iter()
            .filter(|line| args.tells(line.seq, line.wall))
            .map(|line| line_report(log, line))
            .collect(),
    }
}

fn divergence_report(deviation: &Deviation) -> DivergenceReport<'_> {
    DivergenceReport {
        seq: deviation.seq.0,
        cause: deviation.cause.0,
        core_revision: deviation.revision,
        recorded: deviation.recorded.as_deref(),
        derived: deviation.derived.as_deref(),
    }
}

fn line_report<'a>(log: &'a Log, told: &'a StoryLine) -> LineReport<'a> {
    LineReport {
        seq: told.seq.0,
        wall: nanos(told.wall),
        boot_ns: told.boot.0,
        member: log.audit.member(),
        term: told.line.term.map(|term| term.0),
        kind: if told.line.decision { "decision" } else { "observation" },
        level: told.line.level.word(),
        subject: told.line.subject,
        text: &told.line.text,
        cause: told.cause.map(|seq| seq.0),
    }
}

fn nanos(wall: WallNanos) -> String {
    let since = Duration::from_nanos(u64::try_from(wall.0).unwrap_or(0));
    humantime::format_rfc3339_nanos(UNIX_EPOCH + since).to_string()
}
