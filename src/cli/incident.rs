//! Owns `pgfo incident`: lists the incidents a daemon wrote, shows one, cuts one out of a log. It must
//! never change a log, nor write over a file.

use crate::cli::exit::Exit;
use crate::cli::replay::{self, Bound, ReplayArgs, live};
use crate::config::closest;
use crate::events::{Damage, Event, LogReader, Observation};
use crate::keep::{
    INCIDENTS_DIR, IncidentFile, IncidentName, Span, Window, cut, list, open_state, windows_before_damage,
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets::NOTHING};
use pgfo_replay::{Seq, WallNanos};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Arguments of `pgfo incident`.
#[derive(Args, Debug)]
pub struct IncidentArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Lists the incidents that a member's daemon wrote.
    List(ListArgs),
    /// Tells the story of one incident, and audits it.
    Show(ShowArgs),
    /// Cuts an incident out of a log, a live one too, as a file that replays by itself.
    Export(ExportArgs),
}

#[derive(Args, Debug)]
struct Place {
    /// Configuration file of the member whose incidents are meant.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/pgfo/pgfo.toml")]
    config: PathBuf,
    /// The log's directory, instead of that in the configuration.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    place: Place,
    /// Print JSON, for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// An incident's file, or the name of one that the daemon wrote.
    incident: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Print JSON, for machines.
    #[arg(long)]
    json: bool,
    /// Tell also what says nothing new.
    #[arg(long)]
    all: bool,
}

#[derive(Args, Debug)]
struct ExportArgs {
    /// A log's directory, its events.db, an exported file or an incident.
    log: PathBuf,
    /// The incident of this term; without any choice, the newest one.
    #[arg(long, value_name = "TERM", conflicts_with_all = ["from", "to"])]
    term: Option<u64>,
    /// From this record number, or this time in UTC, on.
    #[arg(long, value_name = "N|TIME")]
    from: Option<Bound>,
    /// Up to this record number, or this time in UTC.
    #[arg(long, value_name = "N|TIME")]
    to: Option<Bound>,
    /// The file to write, or a directory for it; it must not exist yet.
    #[arg(long, short, value_name = "FILE", default_value = ".")]
    out: PathBuf,
    /// Print JSON, for machines.
    #[arg(long)]
    json: bool,
}

/// Runs `pgfo incident`.
///
/// # Errors
/// When the system refuses, or what is named is no log.
pub fn run(args: &IncidentArgs) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List(args) => list_all(args, &mut anstream::stdout()),
        Command::Show(args) => show(args),
        Command::Export(args) => export(args, &mut anstream::stdout(), &mut anstream::stderr()),
    }
}

fn directory(place: &Place) -> anyhow::Result<PathBuf> {
    let log = match &place.log {
        Some(log) => log.clone(),
        None => crate::cli::load(&place.config)?.log.directory,
    };
    Ok(log.join(INCIDENTS_DIR))
}

fn list_all(args: &ListArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let dir = directory(&args.place)?;
    if let Some(log) = dir.parent().filter(|log| !log.is_dir()) {
        anyhow::bail!(
            "{} is no directory of a log; name one with --log, or a configuration with --config",
            log.display()
        );
    }
    let found = list(&dir).with_context(|| format!("reading {}", dir.display()))?;
    if args.json {
        let items: Vec<_> = found.iter().map(describe).collect();
        writeln!(out, "{:#}", json!({ "directory": dir, "incidents": items }))?;
    } else if found.is_empty() {
        writeln!(
            out,
            "no incidents in {}; a daemon writes one when it is over, `pgfo incident export` cuts one out before",
            dir.display()
        )?;
    } else {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header(["time", "term", "outcome", "bytes", "file"]);
        for file in &found {
            let IncidentName { time, term, outcome } = &file.name;
            let name = file.name.file_name();
            table.add_row([
                time.clone(),
                term.to_string(),
                outcome.word().into(),
                file.bytes.to_string(),
                name,
            ]);
        }
        writeln!(out, "{table}")?;
        writeln!(out, "in {}", dir.display())?;
    }
    Ok(Exit::Ok)
}

fn describe(file: &IncidentFile) -> serde_json::Value {
    json!({
        "time": file.name.time, "term": file.name.term.0, "outcome": file.name.outcome.word(),
        "bytes": file.bytes, "path": file.path,
    })
}

fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let path = find(args)?;
    let replay = ReplayArgs {
        logs: vec![path.clone()],
        json: args.json,
        from: None,
        to: None,
        all: args.all,
        quiet: false,
        what_if: Default::default(),
    };
    if !args.json {
        // Damage is told by the replay below, with its place.
        for window in windows_before_damage(&path).map(|(found, _)| found).unwrap_or_default() {
            let name = IncidentName::of(&window);
            println!(
                "{} in term {}, from record {} at {} on",
                window.outcome.word(),
                window.term,
                window.began,
                name.time
            );
        }
    }
    replay::run(&replay)
}

/// Returns the file that is meant: itself, or one that the daemon wrote, with or without its ending.
fn find(args: &ShowArgs) -> anyhow::Result<PathBuf> {
    if args.incident.exists() {
        return Ok(args.incident.clone());
    }
    // A path says where to look: nothing else is meant by it.
    if args.incident.components().count() > 1 {
        anyhow::bail!("there is no file {}", args.incident.display());
    }
    let dir = directory(&args.place)?;
    let found = list(&dir).with_context(|| format!("reading {}", dir.display()))?;
    let asked = args.incident.to_string_lossy();
    let is_meant = |file: &&IncidentFile| {
        let name = file.name.file_name();
        name == asked || name.strip_suffix(".pgfo") == Some(&asked)
    };
    if let Some(file) = found.iter().find(is_meant) {
        return Ok(file.path.clone());
    }
    let names: Vec<String> = found.iter().map(|file| file.name.file_name()).collect();
    let remedy = match closest(&asked, names.iter().map(String::as_str)) {
        _ if names.is_empty() => "there is none".to_owned(),
        Some(name) => format!("did you mean {name}? There are {}", names.join(", ")),
        None => format!("there are {}", names.join(", ")),
    };
    anyhow::bail!("no incident {asked} in {}; {remedy}", dir.display())
}

fn export(args: &ExportArgs, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Exit> {
    // A live log is held by its daemon, which hands out a consistent copy.
    let live = live::copy(&args.log);
    let log = live.as_ref().map_or(args.log.as_path(), live::Copy::path);
    let (chosen, damage) = choose(args, log)?;
    let name = match &chosen {
        Choice::Incident(window) => IncidentName::of(window).file_name(),
        Choice::Span(span) => format!("records-{}-{}.pgfo", span.first.0, span.last.0),
    };
    let span = match &chosen {
        Choice::Incident(window) => Span { first: window.first, last: window.last },
        Choice::Span(span) => *span,
    };
    // Those of several members may be put into one directory.
    let name = member(log)?.map_or(name.clone(), |member| format!("{member}-{name}"));
    let path = if args.out.is_dir() { args.out.join(name) } else { args.out.clone() };
    let mut file = BufWriter::new(
        File::create_new(&path)
            .with_context(|| format!("writing {}; choose another --out", path.display()))?,
    );
    let done = cut(log, span, &mut file).map_err(anyhow::Error::from).and_then(|exported| {
        file.flush()?;
        file.get_ref().sync_all()?;
        Ok(exported)
    });
    let exported = match done {
        Ok(exported) => exported,
        Err(error) => {
            // What was begun is of no use; that it stays behind hurts nobody.
            let _ = std::fs::remove_file(&path);
            return Err(error.context(format!("cutting {}", args.log.display())));
        }
    };
    let (first, last) = (exported.first, exported.last);
    if args.json {
        let damage = damage.as_ref().map(|d| json!({ "seq": d.seq.0, "what": d.what.to_string() }));
        writeln!(out, "{:#}", json!({ "file": path, "first": first.0, "last": last.0, "damage": damage }))?;
    } else {
        writeln!(out, "{}: records {first} to {last}", path.display())?;
    }
    let Some(damage) = damage else { return Ok(Exit::Ok) };
    writeln!(err, "warning: {}: {damage}; only what lies before can be cut out", args.log.display())?;
    Ok(Exit::Unreadable)
}

/// Returns the name of the member whose log it is, if the log tells.
fn member(log: &Path) -> anyhow::Result<Option<String>> {
    let reader = LogReader::<Event>::open(log)?;
    let states = reader.checkpoint().and_then(|checkpoint| open_state(checkpoint).ok());
    if let Some(states) = states {
        let settings = &states.ledger.settings;
        return Ok(Some(settings.name(settings.me).to_owned()));
    }
    for record in reader {
        if let Event::Observed(Observation::ProcessStarted(start)) = record?.event {
            return Ok(Some(start.settings.name(start.settings.me).to_owned()));
        }
    }
    Ok(None)
}

enum Choice {
    Incident(Window),
    Span(Span),
}

fn choose(args: &ExportArgs, log: &Path) -> anyhow::Result<(Choice, Option<Damage>)> {
    if args.from.is_some() || args.to.is_some() {
        let (span, damage) = span(args, log)?;
        return Ok((Choice::Span(span), damage));
    }
    let (found, damage) = windows_before_damage(log)?;
    let wanted = |window: &&Window| args.term.is_none_or(|term| window.term.0 == term);
    if let Some(window) = found.iter().rev().find(wanted) {
        return Ok((Choice::Incident(*window), damage));
    }
    let terms: Vec<String> = found.iter().map(|window| window.term.to_string()).collect();
    let remedy = if terms.is_empty() {
        "cut out a stretch with --from and --to".to_owned()
    } else {
        format!("there are incidents of the terms {}", terms.join(", "))
    };
    let readable = damage.map_or(String::new(), |damage| format!(" as far as it can be read ({damage})"));
    anyhow::bail!("no such incident in {}{readable}; {remedy}", args.log.display())
}

/// Returns the stretch that is wanted, as far as the log is whole, and how it is damaged.
fn span(args: &ExportArgs, log: &Path) -> anyhow::Result<(Span, Option<Damage>)> {
    let mut found: Option<Span> = None;
    // What was found before the batch that is read: damage may cut that one.
    let mut before: Option<Span> = None;
    for record in LogReader::<Event>::open(log)? {
        let record = match record {
            Ok(record) => record,
            Err(damage) => return Ok((before.with_context(|| nothing(args, Some(&damage)))?, Some(damage))),
        };
        let (seq, wall): (Seq, WallNanos) = (record.seq, record.wall);
        if record.cause.is_none() {
            before = found;
        }
        let wanted = args.from.is_none_or(|from| from.is_reached_by(seq, wall))
            && args.to.is_none_or(|to| !to.is_passed_by(seq, wall));
        // Decisions go with what they answer.
        let of_the_last = record.cause.is_some() && found.is_some_and(|span| span.last.next() == seq);
        if wanted || of_the_last {
            found = Some(Span { first: found.map_or(seq, |span| span.first), last: seq });
        }
    }
    Ok((found.with_context(|| nothing(args, None))?, None))
}

fn nothing(args: &ExportArgs, damage: Option<&Damage>) -> String {
    let readable = damage.map_or(String::new(), |damage| format!(", as far as it can be read ({damage}),"));
    format!("no record of {}{readable} lies between --from and --to", args.log.display())
}
