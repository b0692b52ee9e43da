//! `pgfo simulate`: rehearses failures in a simulated cluster, by seed or by scenario file.

mod campaign;
mod coverage;
mod export;
mod marks;
mod plant;
mod progress;

use super::exit::Exit;
use crate::cluster::{Outcome, Scenario, run_with_story, shrink_while, swarm, swarm_lasting};
use crate::core::PLANTS_BUILT_IN;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use campaign::range;
pub(crate) use campaign::{Campaign, Plan, Seeds, Twice, campaign};

/// Decisions and faults shown before what broke an invariant.
const LAST_EVENTS: usize = 40;

/// Shrinking ends after this time with the least it has found.
const SHRINK_MAX: Duration = Duration::from_secs(30);

/// What `pgfo simulate` is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Run the scenario of one seed.
    #[arg(long, conflicts_with_all = ["seeds", "scenario"])]
    pub seed: Option<u64>,
    /// Run the scenarios of many seeds, such as 0..1000 (the last one is left out); with --for: from which one on,
    /// such as 1000.. .
    #[arg(long, value_name = "A..B", conflicts_with = "scenario")]
    pub seeds: Option<String>,
    /// Run one seed after the other for this long, such as 1h; one in twenty is run twice.
    #[arg(long = "for", value_name = "DURATION", conflicts_with_all = ["seed", "scenario", "plant"], value_parser = humantime::parse_duration)]
    pub length: Option<Duration>,
    /// Run a scenario file.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Tell every decision and fault.
    #[arg(long)]
    pub story: bool,
    /// Print the scenario itself, as a file that `--scenario` takes, and run nothing.
    #[arg(long)]
    pub print_scenario: bool,
    /// Leave out every fault that is not needed to break the invariant, and print what is left as a
    /// scenario file.
    #[arg(long, conflicts_with_all = ["seeds", "length"])]
    pub shrink: bool,
    /// Plant a bug in every member, or `all`: one after the other. Needs a build with the feature
    /// `planted-bugs`.
    #[arg(long, value_name = "NAME", hide = !PLANTS_BUILT_IN)]
    pub plant: Option<String>,
    /// Fail unless every mark is reached, however few the seeds are. Without it, a mark is asked for from so
    /// many seeds on that chance can't explain its absence.
    #[arg(long, requires = "seeds")]
    pub require_marks: bool,
    /// Let each seed's scenario last this many simulated minutes; else its length is drawn, too.
    #[arg(long, value_name = "N", conflicts_with = "scenario", value_parser = clap::value_parser!(u64).range(4..=1440))]
    pub minutes: Option<u64>,
    /// Run everything twice: both runs must give the same trace.
    #[arg(long)]
    pub twice: bool,
    /// Write the members' event logs into this directory, one directory a member, as `pgfo replay` takes
    /// them; with --shrink: the scenario file.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seeds", "length"])]
    pub out: Option<PathBuf>,
    /// Threads for many seeds; by default as many as there are cores.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub threads: Option<u64>,
    /// One JSON object a run, instead of text; for many seeds, a summary at the end.
    #[arg(long)]
    pub json: bool,
}

impl SimulateArgs {
    /// Returns how many threads run many seeds.
    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.and_then(|n| usize::try_from(n).ok()).unwrap_or_else(cores)
    }
}

/// Runs the command: [`Exit::Ok`] if every invariant held, [`Exit::Degraded`] if one broke, or if a campaign
/// missed a mark that it should have reached.
///
/// # Errors
/// A range or a file that can't be read.
pub fn run(args: &SimulateArgs) -> anyhow::Result<Exit> {
    if let Some(name) = &args.plant {
        return plant::run(args, name);
    }
    if args.seeds.is_some() || args.length.is_some() {
        return campaign::many(args);
    }
    let (scenario, reproduce) = match &args.scenario {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the scenario {}", path.display()))?;
            let scenario: Scenario = serde_json::from_str(&text)
                .with_context(|| format!("{} is not a scenario", path.display()))?;
            (scenario, format!("pgfo simulate --scenario {}", path.display()))
        }
        None => {
            let Some(seed) = args.seed else { bail!("give --seed, --seeds, --for or --scenario") };
            (scenario_of(args, seed), again(args, seed))
        }
    };
    if let Some(plant) = scenario.planted.filter(|_| !PLANTS_BUILT_IN) {
        bail!("the scenario plants {}: build pgfo with `--features planted-bugs`", plant.name());
    }
    if args.print_scenario {
        println!("{}", serde_json::to_string_pretty(&scenario)?);
        return Ok(Exit::Ok);
    }
    if args.shrink {
        return shrunk(args, &scenario);
    }
    let started = Instant::now();
    let (outcome, world) = run_with_story(&scenario);
    let wall = started.elapsed();
    let other = args.twice.then(|| run_with_story(&scenario).0.trace).filter(|other| *other != outcome.trace);
    if let Some(dir) = &args.out {
        export::write_logs(&world, dir)?;
    }
    if args.json {
        println!("{}", json(&scenario, &outcome, &reproduce));
    } else {
        if args.story {
            outcome.story.iter().for_each(|line| println!("{line}"));
        }
        tell(&scenario, &outcome, wall, !args.story);
        if let Some(other) = other {
            println!("two runs differ: trace {:016x}, then {other:016x}", outcome.trace);
        }
        if let Some(dir) = &args.out {
            println!("logs: pgfo replay {}/*", dir.display());
        }
    }
    if outcome.broken.is_none() && other.is_none() {
        return Ok(Exit::Ok);
    }
    if !args.json {
        println!("{reproduce}");
    }
    Ok(Exit::Degraded)
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
fn shrunk(args: &SimulateArgs, scenario: &Scenario) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let Some(small) = shrink_while(scenario, || started.elapsed() < SHRINK_MAX) else {
        println!("{}: all held; nothing to shrink", scenario.name);
        return Ok(Exit::Ok);
    };
    let text = serde_json::to_string_pretty(&small)?;
    let Some(dir) = &args.out else {
        println!("{text}");
        return Ok(Exit::Degraded);
    };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path: &Path = &dir.join(format!("{}.json", small.name.replace(' ', "_")));
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let (before, after) = (scenario.faults.len(), small.faults.len());
    println!(
        "{}: {after} of {before} faults are left after {:.1} s",
        small.name,
        started.elapsed().as_secs_f64()
    );
    println!("pgfo simulate --scenario {}", path.display());
    Ok(Exit::Degraded)
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

fn tell(scenario: &Scenario, outcome: &Outcome, wall: Duration, with_events: bool) {
    match &outcome.broken {
        None => println!(
            "{}: all held; {} promotions in {:.0} simulated s, {:.0} simulated s a second, trace {:016x}",
            scenario.name,
            outcome.promotions,
            outcome.end.0 as f64 / 1e9,
            outcome.end.0 as f64 / 1e9 / wall.as_secs_f64(),
            outcome.trace
        ),
        Some(b) => {
            if with_events {
                let from = outcome.story.len().saturating_sub(LAST_EVENTS);
                outcome.story[from..].iter().for_each(|line| println!("{line}"));
            }
            println!("{}: {} broke at {:.3} s: {}", scenario.name, b.id, b.at.0 as f64 / 1e9, b.how);
            println!("{} says: {}", b.id, b.says);
        }
    }
}
