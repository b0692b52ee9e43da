//! Owns `pgfo replay --what-if`: what would have happened under another configuration. It must always say
//! which part is recorded and which is modelled, and never mix the two.

mod changes;
mod modelled;
mod outcome;
mod recorded;
mod sound;
mod text;

pub use changes::{Change, Changes, Value};
pub use modelled::Outcomes;
pub use outcome::{Asked, Happened, Worse};
pub use recorded::{Recorded, Side};

use super::args::Moment;
use super::{ReplayArgs, sets};
use crate::cli::exit::Exit;
use crate::cli::explain::{Choice, Gathered, Page, gather, incidents, worst_of};
use crate::config::Config;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;

/// What is to be different, and which incident it is about.
#[derive(Clone, Debug, Default, Args)]
pub struct WhatIfArgs {
    /// Tell what would have happened: a configuration key with another value, `node2.failover.priority=0` for one
    /// member's, `drop=NAME` (nobody gets its messages), `delay=NAME:300ms` (they take longer), `remove=NAME`.
    ///
    /// Exit code 1 also if an outcome would have been worse, or is not known: nothing could be modelled, or the model does not come
    /// out as the record.
    #[arg(long = "what-if", value_name = "KEY=VALUE")]
    pub changes: Vec<String>,
    /// Tell what would have happened under this configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What if in the incident at this time in UTC, or the last one before it.
    #[arg(long, value_name = "TIME", conflicts_with = "term")]
    pub at: Option<Moment>,
    /// What if in the incident that this term was won, or stood for, in.
    #[arg(long, value_name = "N")]
    pub term: Option<u64>,
    /// What if in every incident.
    #[arg(long, conflicts_with_all = ["at", "term"])]
    pub every_incident: bool,
    /// Simulations of the modelled part; 40 by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=100_000))]
    pub runs: Option<u64>,
}

/// Simulations of the modelled part, if nobody asked for more or fewer.
const RUNS: u64 = 40;

/// Why nothing can be asked of logs that are whole.
const NO_INCIDENT: &str = "no incident: nobody held a primary down within these logs";

impl WhatIfArgs {
    /// Returns whether anything is to be different.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !self.changes.is_empty() || self.config.is_some()
    }

    /// Refuses what would have no effect without a question.
    ///
    /// # Errors
    /// Which option was given without `--what-if` and `--config`.
    pub(super) fn is_left_out(&self) -> Result<(), String> {
        let given = [
            (self.at.is_some(), "--at"),
            (self.term.is_some(), "--term"),
            (self.every_incident, "--every-incident"),
            (self.runs.is_some(), "--runs"),
        ];
        match given.iter().find(|(is_given, _)| *is_given && !self.is_asked()) {
            None => Ok(()),
            Some((_, option)) => Err(format!(
                "{option} chooses what --what-if or --config is asked of, and neither was given; `pgfo explain` tells one \
                 incident, --from and --to a part of the story"
            )),
        }
    }
}

/// One incident of one set of logs.
#[derive(Debug, Serialize)]
pub(super) struct Case {
    set: String,
    #[serde(flatten)]
    asked: Asked,
}

/// A set of logs that the question is not asked of.
#[derive(Debug, Serialize)]
pub(super) struct LeftOut {
    set: String,
    why: String,
}

/// The answers to one question.
struct Answers {
    cases: Vec<Case>,
    left_out: Vec<LeftOut>,
    exit: Exit,
    asked: Vec<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    exit: u8,
    what_if: &'a [String],
    cases: &'a [Case],
    left_out: &'a [LeftOut],
}

/// Runs it, writing to `out`, and what is wrong with the command line to `err`.
pub(super) fn run_to(args: &ReplayArgs, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Exit> {
    let found = match ask_all(args) {
        Ok(found) => found,
        Err(error) => {
            writeln!(err, "error: {error}")?;
            return Ok(Exit::Usage);
        }
    };
    let Answers { cases, left_out, exit, asked } = found;
    let written = if args.json {
        let report = Report { exit: exit.code(), what_if: &asked, cases: &cases, left_out: &left_out };
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        text::write(&cases, &left_out, &asked, out)
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(exit),
    }
}

fn ask_all(args: &ReplayArgs) -> Result<Answers, String> {
    let (mut cases, mut left_out) = (Vec::new(), Vec::new());
    let mut exits = Vec::new();
    let mut asked = args.what_if.changes.clone();
    asked.extend(args.what_if.config.iter().map(|path| format!("--config {}", path.display())));
    for set in sets::sets(&args.logs)? {
        let (logs, delays) = gather(&set.logs)?;
        exits.push(worst_of(&logs));
        let changes = match changes_of(&args.what_if, &logs) {
            Ok(changes) => changes,
            Err(why) => {
                left_out.push(LeftOut { set: set.name, why });
                continue;
            }
        };
        let found = incidents(&logs);
        let choice = Choice { at: args.what_if.at, term: args.what_if.term };
        let wanted: Vec<usize> = if args.what_if.every_incident {
            (0..found.len()).collect()
        } else {
            choice.pick(&found).into_iter().collect()
        };
        if wanted.is_empty() {
            let is_quiet = found.is_empty() && choice == Choice::default();
            let why =
                if is_quiet { NO_INCIDENT } else { "no such incident; `pgfo explain --list` tells all" };
            left_out.push(LeftOut { set: set.name, why: why.to_owned() });
            continue;
        }
        for at in wanted {
            let page = Page::of(&logs, &found[at], at + 1);
            let asked =
                outcome::ask(&logs, &found[at], &page, &delays, &changes, args.what_if.runs.unwrap_or(RUNS))?;
            cases.push(Case { set: set.name.clone(), asked });
        }
    }
    // A set may lack what is asked for, and may have had a quiet month; that all lack it is a mistake.
    if let Some(LeftOut { set, why }) = left_out.iter().find(|set| set.why != NO_INCIDENT)
        && cases.is_empty()
    {
        return Err(if left_out.len() == 1 { why.clone() } else { format!("{set}: {why}") });
    }
    let unsound =
        [Exit::Unreadable, Exit::Degraded, Exit::OtherRevision].into_iter().find(|e| exits.contains(e));
    let worse = cases.iter().any(|case| !case.asked.worse.is_empty() || case.asked.is_unknown());
    let exit = unsound.unwrap_or(if worse { Exit::Degraded } else { Exit::Ok });
    Ok(Answers { cases, left_out, exit, asked })
}

fn changes_of(args: &WhatIfArgs, logs: &[Gathered]) -> Result<Changes, String> {
    let settings = logs.iter().find_map(Gathered::settings).ok_or("no log names its settings")?;
    let members: Vec<&str> = settings.members.iter().map(|m| m.name.as_str()).collect();
    let mut changes = Changes::default();
    if let Some(path) = &args.config {
        let (config, _) = Config::load(path).map_err(|errors| errors.to_string())?;
        changes.take_config(&config);
    }
    let more = Changes::parse(&args.changes, &members)?;
    changes.keys.extend(more.keys);
    (changes.dropped, changes.delayed, changes.removed) = (more.dropped, more.delayed, more.removed);
    sound::would_be_taken(&changes, settings)?;
    Ok(changes)
}
