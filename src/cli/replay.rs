//! Owns `pgfo replay`: reads logs, re-derives every decision, tells the story and the verdict. It
//! must never change a log, nor call one identical that was not wholly read and derived anew.

mod args;
mod audit;
mod json;
pub(crate) mod live;
mod merge;
mod progress;
mod text;

pub use args::{Bound, ReplayArgs};
pub use audit::{
    Audit, AuditOptions, DIVERGENCES_KEPT_MAX, Deviation, Receipt, StoryLine, Verdict, audit_from,
    audit_reader, audit_with,
};
pub use merge::{Place, Timeline, merge};

use crate::cli::exit::Exit;
use crate::events::{Event, LogReader, ReadError};
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

/// Why several logs make no timeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is of cluster {one}, {} of cluster {other}; replay one cluster's logs together", one_path.display(), other_path.display())]
pub struct OtherCluster {
    /// The first log.
    pub one_path: PathBuf,
    /// Its cluster.
    pub one: String,
    /// The one that does not fit.
    pub other_path: PathBuf,
    /// Its cluster.
    pub other: String,
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
    let mut logs = Vec::new();
    for path in &args.logs {
        match open_and_audit(path, args) {
            Ok(audit) => logs.push(Log { path: path.clone(), audit }),
            Err(error) => {
                writeln!(err, "error: {error}")?;
                return Ok(Exit::Usage);
            }
        }
    }
    if let Err(error) = same_cluster(&logs) {
        writeln!(err, "error: {error}")?;
        return Ok(Exit::Usage);
    }
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

fn open_and_audit(path: &std::path::Path, args: &ReplayArgs) -> Result<Audit, ReadError> {
    // A live log is held by its daemon, which hands out a consistent copy.
    let live = live::copy(path);
    let reader = LogReader::<Event>::open(live.as_ref().map_or(path, live::Copy::path))?;
    let options = AuditOptions { all: args.all, story: !args.quiet, receipts: args.logs.len() > 1 };
    let progress = progress::Progress::of(path, reader.count_hint());
    let checkpoint = reader.checkpoint().cloned();
    Ok(audit_from(checkpoint.as_ref(), progress.watch(reader), options))
}

fn same_cluster(logs: &[Log]) -> Result<(), OtherCluster> {
    let named: Vec<(&Log, &str)> = logs.iter().filter_map(|l| Some((l, l.audit.cluster()?))).collect();
    let Some((first, one)) = named.first() else { return Ok(()) };
    match named.iter().find(|(_, cluster)| cluster != one) {
        None => Ok(()),
        Some((log, other)) => Err(OtherCluster {
            one_path: first.path.clone(),
            one: (*one).to_owned(),
            other_path: log.path.clone(),
            other: (*other).to_owned(),
        }),
    }
}

/// Returns the worst verdict's code: unreadable, then diverged, then diverged from another revision.
#[must_use]
pub fn worst(logs: &[Log]) -> Exit {
    let found: Vec<Exit> = logs.iter().map(|log| log.audit.verdict().exit()).collect();
    [Exit::Unreadable, Exit::Degraded, Exit::OtherRevision]
        .into_iter()
        .find(|exit| found.contains(exit))
        .unwrap_or(Exit::Ok)
}
