//! Owns `pgfo replay`: reads logs, re-derives every decision, tells the story and the verdict. It
//! must never change a log, nor call one identical that was not wholly read and derived anew.

mod args;
mod audit;
mod differing;
mod json;
pub(crate) mod live;
mod merge;
mod past;
mod progress;
mod senders;
pub(crate) mod sets;
pub(crate) mod text;
mod what_if;

pub use args::{Bound, Moment, ReplayArgs};
pub use audit::{
    Audit, AuditOptions, DIVERGENCES_KEPT_MAX, Deviation, Receipt, StoryLine, Verdict, audit_from,
    audit_reader, audit_with,
};
pub use merge::{Place, Timeline, merge};
pub use past::Mixed;
pub(crate) use past::{in_order, key, same_past};
pub use senders::{Missing, Senders, Sent, missing};
pub use what_if::{Asked, Change, Changes, Happened, Outcomes, Recorded, Side, Value, WhatIfArgs, Worse};

use crate::cli::exit::Exit;
use crate::core::States;
use crate::events::{Event, LogReader, ReadError, Record};
use crate::keep::open_state;
use std::io::{self, Write};
use std::path::PathBuf;

/// A log that was audited, and where it lies.
#[derive(Debug)]
pub struct Log {
    /// As it was named.
    pub path: PathBuf,
    /// What the audit found.
    pub audit: Audit,
}

/// Runs `pgfo replay`, writing to standard output.
///
/// # Errors
/// When the output can't be written; what is wrong with a log is told and returned as [`Exit`].
pub fn run(args: &ReplayArgs) -> anyhow::Result<Exit> {
    let colours = anstream::AutoStream::choice(&io::stdout());
    let buffered: Box<dyn Write> = Box::new(io::BufWriter::new(io::stdout()));
    let mut out = anstream::AutoStream::new(buffered, colours);
    run_to(args, &mut out, &mut anstream::stderr())
}

/// Runs `pgfo replay`, writing to `out`, and what is wrong with the command line to `err`.
///
/// # Errors
/// When `out` can't be written. A closed pipe is none: whoever reads has seen enough.
pub fn run_to(args: &ReplayArgs, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Exit> {
    if args.what_if.is_asked() {
        return what_if::run_to(args, out, err);
    }
    let logs = match open_all(args) {
        Ok(logs) => logs,
        Err(error) => {
            writeln!(err, "error: {error}")?;
            return Ok(Exit::Usage);
        }
    };
    let timeline = (logs.len() > 1).then(|| {
        let audits: Vec<&Audit> = logs.iter().map(|log| &log.audit).collect();
        merge(&audits, args.all)
    });
    let exit = worst(&logs);
    let written = if args.json {
        json::write(&logs, timeline.as_ref(), exit, args, out)
    } else {
        text::write(&logs, timeline.as_ref(), args, out)
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(exit),
    }
}

fn open_all(args: &ReplayArgs) -> Result<Vec<Log>, String> {
    args.what_if.is_left_out()?;
    args.is_a_part()?;
    let paths = sets::paths(&args.logs)?;
    let options = AuditOptions { all: args.all, story: !args.quiet, receipts: paths.len() > 1 };
    let (mut logs, mut held) = (Vec::new(), Vec::new());
    for path in paths {
        let mut holds = args::Held::default();
        let see = |seen: Seen<'_>| {
            if let Seen::Record(record) = seen {
                holds.see(args, record.seq, record.wall);
            }
        };
        let audit = audit_path(&path, options, see).map_err(|error| error.to_string())?;
        logs.push(Log { path, audit });
        held.push(holds);
    }
    in_order(&mut logs);
    same_past(&logs.iter().collect::<Vec<_>>()).map_err(|error| error.to_string())?;
    args.holds_some(&held)?;
    Ok(logs)
}

/// What is read of a log.
pub(crate) enum Seen<'a> {
    /// The state of the checkpoint that it begins behind; nothing else comes before it.
    Beginning(&'a States),
    /// A record.
    Record(&'a Record),
}

/// Audits the log at `path`, and lets `see` have all that is read.
///
/// # Errors
/// When there is no log, or it can't be read at all.
pub(crate) fn audit_path(
    path: &std::path::Path,
    options: AuditOptions,
    mut see: impl FnMut(Seen<'_>),
) -> Result<Audit, ReadError> {
    // A live log is held by its daemon, which hands out a consistent copy.
    let live = live::copy(path);
    let reader = LogReader::<Event>::open(live.as_ref().map_or(path, live::Copy::path))?;
    let progress = progress::Progress::of(path, reader.count_hint());
    let checkpoint = reader.checkpoint().cloned();
    // One that this release can't read is told by the audit.
    if let Some(states) = checkpoint.as_ref().and_then(|checkpoint| open_state(checkpoint).ok()) {
        see(Seen::Beginning(&states));
    }
    let records = progress.watch(reader).inspect(|item| {
        if let Ok(record) = item {
            see(Seen::Record(record));
        }
    });
    Ok(audit_from(checkpoint.as_ref(), records, options))
}

/// Returns the worst verdict's code: unreadable, then diverged, then diverged from another revision.
#[must_use]
pub fn worst<'a>(logs: impl IntoIterator<Item = &'a Log>) -> Exit {
    let found: Vec<Exit> = logs.into_iter().map(|log| log.audit.verdict().exit()).collect();
    [Exit::Unreadable, Exit::Degraded, Exit::OtherRevision]
        .into_iter()
        .find(|exit| found.contains(exit))
        .unwrap_or(Exit::Ok)
}
