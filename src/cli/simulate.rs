//! `pgfo simulate`: rehearses failures in a simulated cluster, by seed or by scenario file.

mod campaign;
mod coverage;
mod export;
mod marks;
mod pipe;
mod plant;
mod progress;
mod scenario_file;
mod tell;

use super::exit::Exit;
use crate::cluster::{Outcome, Scenario, run_told, shrink_while, swarm, swarm_lasting};
use crate::core::PLANTS_BUILT_IN;
use anyhow::{Context, bail};
use pipe::Pipe;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use campaign::{Campaign, Plan, Seeds, Twice, campaign};

/// Shrinking ends after this time with the least it has found.
const SHRINK_MAX: Duration = Duration::from_secs(30);

/// What a script may rely on, and where more is told.
const AFTER_HELP: &str = "\
Exit codes:
  0  every invariant held; with --plant: every planted bug was caught
  1  an invariant broke, two runs differed, a campaign missed a mark that it should have reached, or a planted bug
     was not caught
  2  the command line, or the scenario, is wrong

A scenario file is JSON; `pgfo simulate --seed 6 --print-scenario` prints one to begin with, and docs/scenarios.md
tells every key and every kind of fault.";

/// What `pgfo simulate` is asked.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct SimulateArgs {
    /// Run the scenario of one seed.
    #[arg(long, conflicts_with_all = ["seeds", "scenario"], allow_negative_numbers = true, value_parser = seed)]
    pub seed: Option<u64>,
    /// Run the scenarios of many seeds, such as 0..1000 (the last one is left out); with --for: from which one on,
    /// such as 1000.. .
    #[arg(long, value_name = "A..B", conflicts_with = "scenario", allow_hyphen_values = true)]
    pub seeds: Option<String>,
    /// Run one seed after the other for this long, such as 1h; one in twenty is run twice.
    #[arg(long = "for", value_name = "DURATION", conflicts_with_all = ["seed", "scenario", "plant"], value_parser = humantime::parse_duration)]
    pub length: Option<Duration>,
    /// Run a scenario file.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Tell all that the members saw and decided, and every fault; with --json: as the records have it.
    #[arg(long, conflicts_with_all = ["seeds", "length", "print_scenario", "shrink"])]
    pub story: bool,
    /// Print the scenario itself, as a file that `--scenario` takes, and run nothing.
    #[arg(long, conflicts_with_all = ["seeds", "length", "shrink", "out", "twice"])]
    pub print_scenario: bool,
    /// Leave out every fault that is not needed to break the invariant, and print what is left as a
    /// scenario file.
    #[arg(long, conflicts_with_all = ["seeds", "length", "twice"])]
    pub shrink: bool,
    /// Plant a bug in every member, or `all`: one after the other, over seeds until a check notices. With --seed or
    /// --scenario and --story, --shrink, --out or --print-scenario: rehearse that one with the bug. Needs a build
    /// with the feature `planted-bugs`.
    #[arg(long, value_name = "NAME", hide = !PLANTS_BUILT_IN, conflicts_with = "require_marks")]
    pub plant: Option<String>,
    /// Fail unless every mark is reached, however few the seeds are. Without it, a mark is asked for from so
    /// many seeds on that chance can't explain its absence.
    #[arg(long, conflicts_with_all = ["seed", "scenario"])]
    pub require_marks: bool,
    /// Let each seed's scenario last this many simulated minutes; else its length is drawn, too.
    #[arg(long, value_name = "N", conflicts_with = "scenario", value_parser = clap::value_parser!(u64).range(4..=1440))]
    pub minutes: Option<u64>,
    /// Run everything twice: both runs must give the same trace.
    #[arg(long, conflicts_with = "plant")]
    pub twice: bool,
    /// Write the members' event logs into this directory, one directory a member, as `pgfo replay` takes
    /// them; with --shrink: the scenario file.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seeds", "length"])]
    pub out: Option<PathBuf>,
    /// Threads for many seeds; by default as many as there are cores.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub threads: Option<u64>,
    /// One JSON object a run, instead of text; for many seeds in their order, and a summary at the end.
    #[arg(long)]
    pub json: bool,
}

/// Reads a seed.
fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

impl SimulateArgs {
    /// Returns how many threads run many seeds.
    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.and_then(|n| usize::try_from(n).ok()).unwrap_or_else(cores)
    }

    /// Whether one scenario is told, written or shrunk, and a planted bug not only looked for.
    fn looks_closely(&self) -> bool {
        self.scenario.is_some() || self.story || self.shrink || self.out.is_some() || self.print_scenario
    }
}

/// Runs the command: [`Exit::Ok`] if every invariant held, [`Exit::Degraded`] if one broke, or if a campaign
/// missed a mark that it should have reached.
///
/// # Errors
/// A range or a file that can't be read, a scenario that can't be rehearsed.
pub fn run(args: &SimulateArgs) -> anyhow::Result<Exit> {
    let colours = anstream::AutoStream::choice(&io::stdout());
    let raw: Box<dyn Write> = Box::new(io::stdout());
    let mut out = Pipe::new(anstream::AutoStream::new(raw, colours));
    let exit = run_to(args, &mut out)?;
    out.flush()?;
    Ok(exit)
}

fn run_to(args: &SimulateArgs, out: &mut Pipe<impl Write>) -> anyhow::Result<Exit> {
    if let Some(name) = args.plant.as_ref().filter(|_| !args.looks_closely()) {
        return plant::run(args, name, out);
    }
    if args.seeds.is_some() || args.length.is_some() {
        return campaign::many(args, out);
    }
    let planted = args.plant.as_deref().map(plant::named).transpose()?;
    let (mut scenario, mut reproduce) = match &args.scenario {
        Some(path) => {
            let (scenario, doubts) = scenario_file::read(path)?;
            for doubt in doubts {
                anstream::eprintln!("pgfo: {}: {doubt}", path.display());
            }
            (scenario, format!("pgfo simulate --scenario {}", path.display()))
        }
        None => {
            let Some(seed) = args.seed else { bail!("give --seed, --seeds, --for or --scenario") };
            (scenario_of(args, seed), again(args, seed))
        }
    };
    if let Some(plant) = planted {
        scenario.planted = Some(plant);
        reproduce = format!("{reproduce} --plant {} --story", plant.name());
    }
    if let Some(plant) = scenario.planted.filter(|_| !PLANTS_BUILT_IN) {
        bail!("the scenario plants {}: build pgfo with `--features planted-bugs`", plant.name());
    }
    if args.print_scenario {
        writeln!(out, "{}", serde_json::to_string_pretty(&scenario)?)?;
        return Ok(Exit::Ok);
    }
    if args.shrink {
        return shrunk(args, &scenario, out);
    }
    rehearse(args, &scenario, &reproduce, out)
}

/// Runs one scenario.
fn rehearse(
    args: &SimulateArgs,
    scenario: &Scenario,
    reproduce: &str,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let (outcome, world) = run_told(scenario);
    let wall = started.elapsed();
    let other = args.twice.then(|| run_told(scenario).0.trace).filter(|other| *other != outcome.trace);
    if let Some(dir) = &args.out {
        export::write_logs(&world, dir)?;
    }
    let held = outcome.broken.is_none() && other.is_none();
    if args.json {
        let mut line = json(scenario, &outcome, reproduce);
        if args.story {
            line["story"] = outcome.story.into();
        }
        writeln!(out, "{line}")?;
    } else {
        tell::run(scenario, &outcome, wall, args.story, out)?;
        if let Some(other) = other {
            writeln!(out, "two runs differ: trace {:016x}, then {other:016x}", outcome.trace)?;
        }
        if let Some(dir) = &args.out {
            writeln!(out, "logs: pgfo replay {}/*", dir.display())?;
        }
        if !held {
            writeln!(out, "{reproduce}")?;
        }
    }
    Ok(if held { Exit::Ok } else { Exit::Degraded })
}

/// Returns a seed's scenario, as long as was asked.
fn scenario_of(args: &SimulateArgs, seed: u64) -> Scenario {
    match args.minutes {
        Some(minutes) => swarm_lasting(seed, minutes * 60_000),
        None => swarm(seed),
    }
}

/// Returns the one command that runs a seed again.
fn again(args: &SimulateArgs, seed: u64) -> String {
    let minutes = args.minutes.map_or(String::new(), |minutes| format!(" --minutes {minutes}"));
    format!("pgfo simulate --seed {seed}{minutes}")
}

/// Shrinks what breaks; the last line is the command that reproduces it.
fn shrunk(args: &SimulateArgs, scenario: &Scenario, out: &mut impl Write) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let Some(small) = shrink_while(scenario, || started.elapsed() < SHRINK_MAX) else {
        writeln!(out, "{}: all held; nothing to shrink", scenario.name)?;
        return Ok(Exit::Ok);
    };
    let text = serde_json::to_string_pretty(&small)?;
    let Some(dir) = &args.out else {
        writeln!(out, "{text}")?;
        return Ok(Exit::Degraded);
    };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path: &Path = &dir.join(format!("{}.json", file_name(&small.name)));
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let (before, after) = (scenario.faults.len(), small.faults.len());
    let took_s = started.elapsed().as_secs_f64();
    writeln!(out, "{}: {after} of {before} faults are left after {took_s:.1} s", small.name)?;
    writeln!(out, "pgfo simulate --scenario {}", path.display())?;
    Ok(Exit::Degraded)
}

/// A scenario's name, as far as a file may have it.
fn file_name(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_alphanumeric() || "-,.".contains(c) { c } else { '_' }).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "scenario".to_owned() } else { name.to_owned() }
}

fn json(scenario: &Scenario, outcome: &Outcome, reproduce: &str) -> serde_json::Value {
    serde_json::json!({
        "name": scenario.name,
        "seed": scenario.seed,
        "held": outcome.broken.is_none(),
        "invariant": outcome.broken.as_ref().map(|b| b.id),
        "says": outcome.broken.as_ref().map(|b| b.says),
        "how": outcome.broken.as_ref().map(|b| b.how.clone()),
        "at_s": outcome.end.0 as f64 / 1e9,
        "promotions": outcome.promotions,
        "marks": marks::names(outcome.marks),
        "trace": format!("{:016x}", outcome.trace),
        "reproduce": reproduce,
    })
}
