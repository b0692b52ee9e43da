//! Many seeds on all cores: each in turn to whichever thread is free. What broke is told in the order
//! of the seeds.

use super::coverage::Coverage;
use super::marks::{Asked, complaints};
use super::{SimulateArgs, again, json, scenario_of};
use crate::cli::exit::Exit;
use crate::cluster::{Broken, Mark, Outcome, Runner, Scenario};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// Failing seeds that are told one by one.
const TOLD_MAX: usize = 20;

/// Runs that went wrong in two ways.
enum Wrong {
    /// An invariant broke.
    Broken(Broken),
    /// Two runs differed.
    Differs(u64, u64),
}

/// What came of a campaign.
pub(crate) struct Campaign {
    /// What it covered.
    coverage: Coverage,
    /// Seeds that went wrong, in order.
    wrong: Vec<(u64, Wrong)>,
    /// Time it took.
    wall_s: f64,
    /// Seeds run.
    seeds: u64,
}

impl Campaign {
    /// Returns the simulated seconds, of runs that were made twice: both.
    pub(crate) fn simulated_s(&self) -> f64 {
        self.coverage.simulated_s()
    }

    /// Returns the promotions that took effect.
    pub(crate) const fn promotions(&self) -> u64 {
        self.coverage.promotions()
    }

    /// Returns how long it took.
    pub(crate) const fn wall_s(&self) -> f64 {
        self.wall_s
    }

    /// Returns whether everything held, and every run repeated itself.
    pub(crate) fn held(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Returns the marks that it should have reached, and did not.
    fn missed(&self, asked: Asked) -> Vec<Mark> {
        self.coverage.reached().missed(asked)
    }

    /// Returns how it ends: what never happened was not tested, so a missed mark counts like a broken invariant.
    fn exit(&self, asked: Asked) -> Exit {
        if self.held() && self.missed(asked).is_empty() { Exit::Ok } else { Exit::Degraded }
    }
}

/// Reads `A..B`.
pub(super) fn range(text: &str) -> anyhow::Result<(u64, u64)> {
    let (a, b) = text.split_once("..").context("--seeds takes A..B, such as 0..1000")?;
    let number = |text: &str| text.parse().with_context(|| format!("{text:?} in --seeds is no number"));
    let (a, b) = (number(a)?, number(b)?);
    if a >= b {
        bail!("--seeds {a}..{b} is empty: A must be below B");
    }
    Ok((a, b))
}

/// Runs seeds on some threads; `each` hears of every run.
pub(crate) fn campaign(
    (from, to): (u64, u64),
    threads: usize,
    twice: bool,
    scenario_of: impl Fn(u64) -> Scenario + Sync,
    mut each: impl FnMut(&Scenario, &Outcome),
) -> Campaign {
    let next = AtomicU64::new(from);
    let (sender, receiver) = mpsc::channel();
    let started = Instant::now();
    let mut campaign =
        Campaign { coverage: Coverage::default(), wrong: vec![], wall_s: 0.0, seeds: to - from };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, scenario_of) = (sender.clone(), &next, &scenario_of);
            scope.spawn(move || {
                let mut runner = Runner::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    let scenario = scenario_of(seed);
                    let outcome = runner.run(&scenario);
                    let other = twice.then(|| runner.run(&scenario).trace);
                    if sender.send((seed, scenario, outcome, other)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, scenario, outcome, other) in receiver {
            each(&scenario, &outcome);
            campaign.coverage.add(&scenario, &outcome);
            if let Some(other) = other.filter(|other| *other != outcome.trace) {
                campaign.wrong.push((seed, Wrong::Differs(outcome.trace, other)));
            } else if let Some(broken) = outcome.broken {
                campaign.wrong.push((seed, Wrong::Broken(broken)));
            }
        }
    });
    campaign.wrong.sort_by_key(|(seed, _)| *seed);
    campaign.wall_s = started.elapsed().as_secs_f64();
    campaign
}

/// Runs the command on many seeds.
pub(super) fn many(args: &SimulateArgs, text: &str) -> anyhow::Result<Exit> {
    let seeds = range(text)?;
    let threads = args.threads();
    let bar = bar(seeds.1 - seeds.0);
    let made = campaign(
        seeds,
        threads,
        args.twice,
        |seed| scenario_of(args, seed),
        |scenario, outcome| {
            bar.inc(1);
            if args.json {
                println!("{}", json(scenario, outcome, &again(args, scenario.seed)));
            }
        },
    );
    bar.finish_and_clear();
    let asked = Asked::of(args.require_marks, args.minutes);
    if args.json {
        println!("{}", summary_json(&made, threads, args.twice, asked));
    } else {
        tell(&made, threads, args.twice);
        complaints(&made.missed(asked), made.seeds).iter().for_each(|line| println!("{line}"));
    }
    if let Some((seed, _)) = made.wrong.first().filter(|_| !args.json) {
        println!("{}", again(args, *seed));
    }
    Ok(made.exit(asked))
}

fn bar(seeds: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(seeds);
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} seeds, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

fn tell(made: &Campaign, threads: usize, twice: bool) {
    for (seed, wrong) in made.wrong.iter().take(TOLD_MAX) {
        match wrong {
            Wrong::Broken(b) => {
                let how = b.how.lines().next().unwrap_or_default();
                println!("seed {seed}: {} at {:.3} s: {how}", b.id, b.at.0 as f64 / 1e9);
            }
            Wrong::Differs(one, other) => {
                println!("seed {seed}: two runs differ: trace {one:016x}, then {other:016x}");
            }
        }
    }
    let untold = made.wrong.len().saturating_sub(TOLD_MAX);
    if untold > 0 {
        println!("and {untold} more seeds");
    }
    println!("{}", made.coverage.reached().table());
    made.coverage.lines().iter().for_each(|line| println!("{line}"));
    let runs = if twice { 2.0 } else { 1.0 };
    println!(
        "{} of {} seeds held{}; {:.0} simulated s and {} promotions{} in {:.1} s on {threads} threads: {:.0} simulated s and {:.0} failovers a second",
        made.seeds - made.wrong.len() as u64,
        made.seeds,
        if twice { ", each run twice, with the same trace" } else { "" },
        made.simulated_s(),
        made.promotions(),
        if twice { ", twice," } else { "" },
        made.wall_s,
        runs * made.simulated_s() / made.wall_s,
        runs * made.promotions() as f64 / made.wall_s,
    );
}

fn summary_json(made: &Campaign, threads: usize, twice: bool, asked: Asked) -> serde_json::Value {
    let wrong: Vec<_> = made
        .wrong
        .iter()
        .map(|(seed, wrong)| match wrong {
            Wrong::Broken(b) => serde_json::json!({"seed": seed, "invariant": b.id}),
            Wrong::Differs(..) => serde_json::json!({"seed": seed, "differs": true}),
        })
        .collect();
    serde_json::json!({
        "summary": true,
        "seeds": made.seeds,
        "wrong": wrong,
        "twice": twice,
        "threads": threads,
        "wall_s": made.wall_s,
        "covered": made.coverage.json(),
        "marks": made.coverage.reached().json(asked),
        "missed": made.missed(asked).iter().map(|m| m.name()).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::swarm;

    #[test]
    fn a_campaign_whose_generator_makes_no_faults_fails_though_everything_holds() {
        let seeds = (0, 200);
        let idle = |seed| Scenario {
            faults: vec![],
            heal_at_ms: 5_000,
            end_at_ms: 6_000,
            live: false,
            ..swarm(seed)
        };
        let made = campaign(seeds, 2, false, idle, |_, _| {});
        assert!(made.held());
        let missed = made.missed(Asked::Likely);
        assert!(missed.contains(&Mark::VetoedInPreVote), "{missed:?}");
        assert!(!missed.contains(&Mark::VoteSplit), "too rare to be asked of 200 seeds: {missed:?}");
        assert_eq!(made.exit(Asked::Likely), Exit::Degraded);
        assert_eq!(made.exit(Asked::None), Exit::Ok);
        let lines = complaints(&missed, made.seeds);
        assert!(
            lines.iter().any(|l| l.contains("VetoedInPreVote (E1) was not reached in 200 seeds")),
            "{lines:?}"
        );
    }
}
