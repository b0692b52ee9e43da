//! Owns `pgfo explain`: one page about a failover, or about one that did not happen, from one member's log or
//! from all. It audits first, and must never tell a damaged or diverged log's story without saying so.

mod became;
mod candidates;
mod clocks;
mod deeds;
mod gather;
mod incident;
mod loss;
mod outage;
mod page;
mod phases;
mod signs;
mod stretches;
mod text;
mod why_not;

pub use candidates::Candidate;
pub use clocks::{Delays, align};
pub use deeds::{Deed, What};
pub use gather::{Gathered, Glance, Kept, Told};
pub use incident::{Incident, Mark, incidents, kept};
pub use loss::Loss;
pub use outage::Outage;
pub use page::{Kind, Line, Page, span};
pub use phases::Phase;
pub use stretches::Stretch;
pub(crate) use text::reservations;

use crate::cli::exit::Exit;
use crate::cli::replay::{Log, Moment, key, same_past, sets, worst};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of `pgfo explain`.
///
/// Exit codes as of `pgfo replay`: 0 the logs are whole and their decisions derived again, 1 diverged, 2 wrong
/// usage or no such incident, 3 unreadable from some record on, 4 diverged, but recorded by another core revision.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// A log's directory, its events.db, an exported file, or a folder of them; of one member or of several of one cluster.
    #[arg(required = true, value_name = "LOG")]
    pub logs: Vec<PathBuf>,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
    /// One page for every incident, not for the latest only.
    #[arg(long, conflicts_with_all = ["at", "term", "list"])]
    pub all: bool,
    /// The incident at this time in UTC, or the last one before it.
    #[arg(long, value_name = "TIME", conflicts_with = "term")]
    pub at: Option<Moment>,
    /// The incident that this term was won, or stood for, in.
    #[arg(long, value_name = "N")]
    pub term: Option<u64>,
    /// One line for each incident.
    #[arg(long)]
    pub list: bool,
}

/// Which incident is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// At this time, or the last before.
    pub at: Option<Moment>,
    /// In which this term was won or stood for.
    pub term: Option<u64>,
}

impl Choice {
    /// Returns the place of the incident that is meant; the latest grave one by default.
    #[must_use]
    pub fn pick(self, incidents: &[Incident]) -> Option<usize> {
        if let Some(term) = self.term {
            let won = |i: &Incident| i.winner.is_some_and(|(_, t)| t.0 == term);
            let stood = |i: &Incident| i.stood.is_some_and(|t| t.0 >= term) && i.about.1.0 < term;
            return incidents.iter().rposition(won).or_else(|| incidents.iter().rposition(stood));
        }
        match self.at {
            Some(at) => incidents.iter().rposition(|i| i.began <= at.last.0),
            None => incidents.iter().rposition(|i| i.grave).or_else(|| incidents.len().checked_sub(1)),
        }
    }
}

/// Reads and audits logs of one cluster, and brings their clocks together.
///
/// # Errors
/// What is wrong with the command line: no such log, or logs that do not belong together.
pub fn gather(paths: &[PathBuf]) -> Result<(Vec<Gathered>, Delays), String> {
    let mut logs = Vec::new();
    for path in sets::paths(paths)? {
        logs.push(Gathered::read(&path).map_err(|error| error.to_string())?);
    }
    logs.sort_by(|a, b| key(&a.log).cmp(&key(&b.log)));
    let plain: Vec<&Log> = logs.iter().map(|log| &log.log).collect();
    same_past(&plain).map_err(|error| error.to_string())?;
    let delays = align(&mut logs);
    Ok((logs, delays))
}

/// Returns the exit code of the worst log.
#[must_use]
pub fn worst_of(logs: &[Gathered]) -> Exit {
    worst(logs.iter().map(|log| &log.log))
}

#[derive(Serialize)]
struct Report<'a> {
    exit: u8,
    logs: Vec<LogReport<'a>>,
    incidents: &'a [Page],
}

#[derive(Serialize)]
struct LogReport<'a> {
    /// As far as it is UTF-8.
    path: std::borrow::Cow<'a, str>,
    member: Option<&'a str>,
    records: u64,
    verdict: &'static str,
    /// How far this member's clock was found to be ahead of that of most at the end, nanoseconds.
    clock_ahead_ns: i64,
    /// Where it was set.
    clock_set: Vec<ClockSet>,
}

#[derive(Serialize)]
struct ClockSet {
    record: u64,
    /// Forward, nanoseconds; below 0: back.
    by_ns: i64,
}

fn clock_set(stretch: &Stretch) -> Option<ClockSet> {
    Some(ClockSet { record: stretch.from.0, by_ns: stretch.set_by_nanos? })
}

/// Runs `pgfo explain`, writing to standard output.
///
/// # Errors
/// When the output can't be written.
pub fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let colours = anstream::AutoStream::choice(&io::stdout());
    let buffered: Box<dyn Write> = Box::new(io::BufWriter::new(io::stdout()));
    let mut out = anstream::AutoStream::new(buffered, colours);
    run_to(args, &mut out, &mut anstream::stderr())
}

/// Runs `pgfo explain`, writing to `out`, and what is wrong with the command line to `err`.
///
/// # Errors
/// When `out` can't be written. A closed pipe is none: whoever reads has seen enough.
pub fn run_to(args: &ExplainArgs, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Exit> {
    let (logs, _) = match gather(&args.logs) {
        Ok(gathered) => gathered,
        Err(error) => {
            writeln!(err, "error: {error}")?;
            return Ok(Exit::Usage);
        }
    };
    let found = incidents(&logs);
    let choice = Choice { at: args.at, term: args.term };
    let wanted: Vec<usize> = if args.all || args.list {
        (0..found.len()).collect()
    } else {
        choice.pick(&found).into_iter().collect()
    };
    if wanted.is_empty() && choice != Choice::default() {
        writeln!(err, "error: no such incident in these logs; --list tells all {}", found.len())?;
        return Ok(Exit::Usage);
    }
    let pages: Vec<Page> = wanted.iter().map(|at| Page::of(&logs, &found[*at], at + 1)).collect();
    let exit = worst_of(&logs);
    let written = if args.json { json(&logs, &pages, exit, out) } else { print(args, &logs, &pages, out) };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(exit),
    }
}

fn print(args: &ExplainArgs, logs: &[Gathered], pages: &[Page], out: &mut impl Write) -> io::Result<()> {
    text::reservations(logs, out)?;
    if args.list || pages.is_empty() {
        return text::list(logs, pages, out);
    }
    for (at, page) in pages.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        text::page(page, out)?;
    }
    Ok(())
}

fn json(logs: &[Gathered], pages: &[Page], exit: Exit, out: &mut impl Write) -> io::Result<()> {
    let logs = logs
        .iter()
        .map(|log| LogReport {
            path: log.log.path.to_string_lossy(),
            member: log.audit().member(),
            records: log.audit().records,
            verdict: log.audit().verdict().word(),
            clock_ahead_ns: log.ahead_nanos(),
            clock_set: log.stretches.iter().filter_map(clock_set).collect(),
        })
        .collect();
    let report = Report { exit: exit.code(), logs, incidents: pages };
    serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
    writeln!(out)
}
