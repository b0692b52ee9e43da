//! Many seeds on all cores: each in turn to whichever thread is free, up to the last one or until the time is over.
//! What broke is told in the order of the seeds.

use super::coverage::Coverage;
use super::marks::{Asked, complaints};
use super::pipe::Pipe;
use super::{SimulateArgs, again, json, scenario_of};
use crate::cli::exit::Exit;
use crate::cli::simulate::progress::Progress;
use crate::cluster::{Broken, Mark, Outcome, Runner, Scenario};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Failing seeds that are told one by one.
const TOLD_MAX: usize = 20;

/// Where time bounds a campaign, one seed in so many is run twice.
const TWICE_ONE_IN: u64 = 20;

/// Which seeds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seeds {
    /// From the first to the one before the second.
    Range(u64, u64),
    /// From the first on, until the time is over.
    For(u64, Duration),
}

/// Which seeds are run twice, to see that a run repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    /// None.
    No,
    /// One in [`TWICE_ONE_IN`].
    Some,
    /// All.
    All,
}

impl Twice {
    const fn is(self, seed: u64) -> bool {
        match self {
            Self::No => false,
            Self::Some => seed.is_multiple_of(TWICE_ONE_IN),
            Self::All => true,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Some => ", one in twenty run twice, with the same trace",
            Self::All => ", each run twice, with the same trace",
        }
    }
}

/// What a campaign is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Which seeds.
    pub(crate) seeds: Seeds,
    /// On how many threads.
    pub(crate) threads: usize,
    /// Which of them twice.
    pub(crate) twice: Twice,
}

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
    /// Of which so many twice.
    twice: u64,
}

impl Campaign {
    fn add(&mut self, seed: u64, scenario: &Scenario, outcome: Outcome, other: Option<u64>) {
        self.coverage.add(scenario, &outcome);
        self.seeds += 1;
        self.twice += u64::from(other.is_some());
        if let Some(other) = other.filter(|other| *other != outcome.trace) {
            self.wrong.push((seed, Wrong::Differs(outcome.trace, other)));
        } else if let Some(broken) = outcome.broken {
            self.wrong.push((seed, Wrong::Broken(broken)));
        }
    }

    /// Returns how long it took.
    pub(crate) const fn wall_s(&self) -> f64 {
        self.wall_s
    }

    /// Returns the seeds that broke an invariant, or did not repeat themselves.
    pub(crate) fn wrong_seeds(&self) -> Vec<u64> {
        self.wrong.iter().map(|(seed, _)| *seed).collect()
    }

    /// Returns the marks that it should have reached, and did not.
    fn missed(&self, asked: Asked) -> Vec<Mark> {
        self.coverage.reached().missed(asked)
    }

    /// Returns how it ends: what never happened was not tested, so a missed mark counts like a broken invariant.
    fn exit(&self, asked: Asked) -> Exit {
        if self.wrong.is_empty() && self.missed(asked).is_empty() { Exit::Ok } else { Exit::Degraded }
    }
}

fn number(text: &str) -> anyhow::Result<u64> {
    text.parse().with_context(|| format!("{text:?} in --seeds is no number"))
}

/// Reads `A..B`.
pub(super) fn range(text: &str) -> anyhow::Result<(u64, u64)> {
    let (a, b) = text.split_once("..").context("--seeds takes A..B, such as 0..1000")?;
    if b.is_empty() {
        let from = number(a)?;
        let to = from.saturating_add(1_000);
        bail!("--seeds {from}.. has no last seed: write {from}..{to}, or say for how long: --for 1h");
    }
    let (a, b) = (number(a)?, number(b)?);
    if a >= b {
        bail!("--seeds {a}..{b} is empty: A must be below B");
    }
    Ok((a, b))
}

/// Reads `A..`, for a campaign that time bounds; nothing is `0..`.
fn open_range(text: Option<&str>) -> anyhow::Result<u64> {
    let Some(text) = text else { return Ok(0) };
    number(
        text.strip_suffix("..")
            .context("with --for, --seeds takes A.., such as 1000..: there is no last one")?,
    )
}

/// Runs seeds on some threads; `each` hears of every run, in the order of the seeds, and says whether to go on.
pub(crate) fn campaign(
    plan: Plan,
    scenario_of: impl Fn(u64) -> Scenario + Sync,
    mut each: impl FnMut(&Scenario, &Outcome) -> ControlFlow<()>,
) -> Campaign {
    let started = Instant::now();
    let (from, to, until) = match plan.seeds {
        Seeds::Range(from, to) => (from, to, None),
        Seeds::For(from, length) => (from, u64::MAX, Some(started + length)),
    };
    let next = AtomicU64::new(from);
    let (sender, receiver) = mpsc::channel();
    let mut campaign =
        Campaign { coverage: Coverage::default(), wrong: vec![], wall_s: 0.0, seeds: 0, twice: 0 };
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            let (sender, next, scenario_of) = (sender.clone(), &next, &scenario_of);
            scope.spawn(move || {
                let mut runner = Runner::default();
                while until.is_none_or(|until| Instant::now() < until) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    let scenario = scenario_of(seed);
                    let outcome = runner.run(&scenario);
                    let other = plan.twice.is(seed).then(|| runner.again(&scenario, &outcome));
                    if sender.send((seed, scenario, outcome, other)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // Runs that ended before one of a lower seed did: not many, since each thread takes the next seed.
        let mut early = BTreeMap::new();
        let mut due = from;
        for (seed, scenario, outcome, other) in receiver {
            early.insert(seed, (scenario, outcome, other));
            while let Some((scenario, outcome, other)) = early.remove(&due) {
                let goes_on = each(&scenario, &outcome);
                campaign.add(due, &scenario, outcome, other);
                due += 1;
                if goes_on.is_break() {
                    return;
                }
            }
        }
    });
    campaign.wall_s = started.elapsed().as_secs_f64();
    campaign
}

/// Runs the command on many seeds.
pub(super) fn many(args: &SimulateArgs, out: &mut Pipe<impl Write>) -> anyhow::Result<Exit> {
    let (seeds, sampled) = match args.length {
        Some(length) => (Seeds::For(open_range(args.seeds.as_deref())?, length), Twice::Some),
        None => {
            let (from, to) = range(args.seeds.as_deref().unwrap_or_default())?;
            (Seeds::Range(from, to), Twice::No)
        }
    };
    let plan = Plan { seeds, threads: args.threads(), twice: if args.twice { Twice::All } else { sampled } };
    let progress = Progress::of(seeds);
    let mut told = Ok(());
    let made = campaign(
        plan,
        |seed| scenario_of(args, seed),
        |scenario, outcome| {
            progress.one_more();
            if args.json {
                told = writeln!(out, "{}", json(scenario, outcome, &again(args, scenario.seed)));
            }
            // Nobody reads any more, or nothing can be written: no need to go on.
            if told.is_err() || out.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    progress.clear();
    told?;
    let asked = Asked::of(args.require_marks, args.minutes);
    if args.json {
        writeln!(out, "{}", summary_json(&made, plan, asked))?;
    } else {
        tell(&made, plan, out)?;
        for line in complaints(&made.missed(asked), made.seeds) {
            writeln!(out, "{line}")?;
        }
        if let Some((seed, _)) = made.wrong.first() {
            writeln!(out, "{}", again(args, *seed))?;
        }
    }
    Ok(made.exit(asked))
}

fn tell(made: &Campaign, plan: Plan, out: &mut impl Write) -> io::Result<()> {
    for (seed, wrong) in made.wrong.iter().take(TOLD_MAX) {
        match wrong {
            Wrong::Broken(b) => {
                let how = b.how.lines().next().unwrap_or_default();
                writeln!(out, "seed {seed}: {} at {:.3} s: {how}", b.id, b.at.0 as f64 / 1e9)?;
            }
            Wrong::Differs(one, other) => {
                writeln!(out, "seed {seed}: two runs differ: trace {one:016x}, then {other:016x}")?;
            }
        }
    }
    let untold = made.wrong.len().saturating_sub(TOLD_MAX);
    if untold > 0 {
        writeln!(out, "and {untold} more seeds")?;
    }
    writeln!(out, "{}", made.coverage.reached().table())?;
    for line in made.coverage.lines() {
        writeln!(out, "{line}")?;
    }
    let runs = 1.0 + made.twice as f64 / made.seeds.max(1) as f64;
    writeln!(
        out,
        "{} of {} seeds held{}; {:.0} simulated s and {} promotions{} in {:.1} s on {} threads: {:.0} simulated s and {:.0} failovers a second",
        made.seeds - made.wrong.len() as u64,
        made.seeds,
        plan.twice.words(),
        made.coverage.simulated_s(),
        made.coverage.promotions(),
        if plan.twice == Twice::All { ", twice," } else { "" },
        made.wall_s,
        plan.threads,
        runs * made.coverage.simulated_s() / made.wall_s,
        runs * made.coverage.promotions() as f64 / made.wall_s,
    )
}

fn summary_json(made: &Campaign, plan: Plan, asked: Asked) -> serde_json::Value {
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
        "twice": plan.twice == Twice::All,
        "run_twice": made.twice,
        "threads": plan.threads,
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
        let plan = Plan { seeds: Seeds::Range(0, 200), threads: 2, twice: Twice::No };
        let idle = |seed| Scenario {
            faults: vec![],
            heal_at_ms: 5_000,
            end_at_ms: 6_000,
            live: false,
            ..swarm(seed)
        };
        let made = campaign(plan, idle, |_, _| ControlFlow::Continue(()));
        assert!(made.wrong_seeds().is_empty());
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
