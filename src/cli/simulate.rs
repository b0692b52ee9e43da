//! `pgfo simulate`: rehearses failures in a simulated cluster, by seed or by scenario file.

mod plant;

use super::exit::Exit;
use crate::cluster::{Outcome, Scenario, run as play, run_with_story, shrink, swarm};
use crate::core::PLANTS_BUILT_IN;
use anyhow::{Context, bail};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Decisions and faults shown before what broke an invariant.
const LAST_EVENTS: usize = 40;

/// What `pgfo simulate` is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Run the scenario of one seed.
    #[arg(long, conflicts_with_all = ["seeds", "scenario"])]
    pub seed: Option<u64>,
    /// Run the scenarios of many seeds, such as 0..1000 (the last one is left out).
    #[arg(long, value_name = "A..B", conflicts_with = "scenario")]
    pub seeds: Option<String>,
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
    #[arg(long, conflicts_with = "seeds")]
    pub shrink: bool,
    /// Plant a bug in every member, or `all`: one after the other. Needs a build with the feature
    /// `planted-bugs`.
    #[arg(long, value_name = "NAME", hide = !PLANTS_BUILT_IN)]
    pub plant: Option<String>,
    /// Threads for many seeds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub threads: u64,
    /// One JSON object a run, instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command: [`Exit::Ok`] if every invariant held, [`Exit::Degraded`] if one broke.
///
/// # Errors
/// A range or a file that can't be read.
pub fn run(args: &SimulateArgs) -> anyhow::Result<Exit> {
    if let Some(name) = &args.plant {
        return plant::run(args, name);
    }
    if let Some(text) = &args.seeds {
        return many(args, text);
    }
    let (scenario, again) = match &args.scenario {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the scenario {}", path.display()))?;
            let scenario: Scenario = serde_json::from_str(&text)
                .with_context(|| format!("{} is not a scenario", path.display()))?;
            (scenario, format!("pgfo simulate --scenario {}", path.display()))
        }
        None => {
            let Some(seed) = args.seed else { bail!("give --seed, --seeds or --scenario") };
            (swarm(seed), format!("pgfo simulate --seed {seed}"))
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
        let Some(small) = shrink(&scenario) else {
            println!("{}: all held; nothing to shrink", scenario.name);
            return Ok(Exit::Ok);
        };
        println!("{}", serde_json::to_string_pretty(&small)?);
        return Ok(Exit::Degraded);
    }
    let started = Instant::now();
    let (outcome, _) = run_with_story(&scenario);
    let wall = started.elapsed();
    if args.json {
        println!("{}", json(&scenario, &outcome));
    } else {
        if args.story {
            outcome.story.iter().for_each(|line| println!("{line}"));
        }
        tell(&scenario, &outcome, wall, !args.story);
    }
    if outcome.broken.is_some() {
        println!("{again}");
        return Ok(Exit::Degraded);
    }
    Ok(Exit::Ok)
}

fn json(scenario: &Scenario, outcome: &Outcome) -> serde_json::Value {
    serde_json::json!({
        "name": scenario.name,
        "seed": scenario.seed,
        "held": outcome.broken.is_none(),
        "invariant": outcome.broken.as_ref().map(|b| b.id),
        "says": outcome.broken.as_ref().map(|b| b.says),
        "how": outcome.broken.as_ref().map(|b| b.how.clone()),
        "at_s": outcome.end.0 as f64 / 1e9,
        "promotions": outcome.promotions,
        "trace": format!("{:016x}", outcome.trace),
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

fn range(text: &str) -> anyhow::Result<(u64, u64)> {
    let (a, b) = text.split_once("..").context("--seeds takes A..B, such as 0..1000")?;
    let (a, b) = (a.parse()?, b.parse()?);
    if a >= b {
        bail!("--seeds {text} is empty: A must be below B");
    }
    Ok((a, b))
}

/// Many seeds on all threads; what broke is told in the order of the seeds.
fn many(args: &SimulateArgs, text: &str) -> anyhow::Result<Exit> {
    let (from, to) = range(text)?;
    let next = AtomicU64::new(from);
    let (sender, receiver) = mpsc::channel();
    let started = Instant::now();
    let bar = indicatif::ProgressBar::new(to - from);
    let (mut broken, mut simulated, mut promotions, mut live) = (Vec::new(), 0_u64, 0, 0_u64);
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    let outcome = play(&swarm(seed));
                    if sender.send((seed, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, outcome) in receiver {
            bar.inc(1);
            simulated += outcome.end.0 / 1_000_000_000;
            promotions += outcome.promotions;
            live += u64::from(outcome.live);
            if args.json {
                println!("{}", json(&swarm(seed), &outcome));
            }
            if outcome.broken.is_some() {
                broken.push((seed, outcome));
            }
        }
    });
    bar.finish_and_clear();
    broken.sort_by_key(|(seed, _)| *seed);
    let wall = started.elapsed().as_secs_f64();
    if !args.json {
        for (seed, outcome) in &broken {
            if let Some(b) = &outcome.broken {
                let how = b.how.lines().next().unwrap_or_default();
                println!("seed {seed}: {} at {:.3} s: {how}", b.id, b.at.0 as f64 / 1e9);
            }
        }
        println!(
            "{} of {} seeds held, {live} with liveness promised; {simulated} simulated s and {promotions} promotions in {wall:.1} s: {:.0} simulated s a second",
            to - from - broken.len() as u64,
            to - from,
            simulated as f64 / wall
        );
    }
    match broken.first() {
        None => Ok(Exit::Ok),
        Some((seed, _)) => {
            println!("pgfo simulate --seed {seed}");
            Ok(Exit::Degraded)
        }
    }
}
