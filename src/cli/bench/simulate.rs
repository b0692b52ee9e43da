//! Speed of the simulator: the same roles and loop as in production, without PostgreSQL, disk and network.

use super::Bench;
use crate::cli::simulate::{Campaign, Plan, Seeds, Twice, campaign};
use crate::cluster::{Fault, Runner, Scenario, TimedFault, run, shrink_while, swarm, swarm_lasting};
use crate::core::{PLANTS_BUILT_IN, Plant};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::Instant;

/// How long each seed's scenario lasts.
const MINUTES: u64 = 10;
/// Swarm scenarios run on one core.
const SWARMS: u64 = 300;
/// Calm scenarios run on one core.
const CALMS: u64 = 100;
/// Seeds that should be run twice, on all cores, in [`CAMPAIGN_MAX_S`].
const SEEDS_AIM: u64 = 10_000;
/// Seconds they may take.
const CAMPAIGN_MAX_S: f64 = 60.0;
/// If they would take longer than this, fewer are run, and the rest is extrapolated.
const PATIENCE_S: f64 = 300.0;
/// So many then.
const SEEDS_FEW: u64 = 1_000;
/// Simulated seconds that a second of one core should make.
const SIMULATED_MIN: f64 = 100_000.0;
/// Failovers that a second of one core should make.
const FAILOVERS_MIN: f64 = 2_000.0;
/// Time between two kills of the primary in the drill.
const KILL_EVERY_MS: u64 = 5_000;
/// Before the end, drilled clusters are left alone for so long.
const DRILL_CALM_MS: u64 = 60_000;
/// Scenarios of the drill.
const DRILLS: u64 = 100;
/// Faults that a shrunk scenario may have.
const SHRUNK_MAX: usize = 12;
/// Seconds that shrinking may take.
const SHRINK_MAX_S: f64 = 30.0;

/// What one core made of some scenarios.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Alone {
    /// Scenarios.
    pub(super) runs: u64,
    /// Simulated seconds.
    pub(super) simulated_s: f64,
    /// Promotions that took effect.
    pub(super) failovers: u64,
    /// Observations that members stepped.
    pub(super) observations: u64,
    /// Time of that thread on its core.
    pub(super) core_s: f64,
    /// Scenarios in which an invariant broke.
    pub(super) broken: Vec<String>,
}

impl Alone {
    /// Returns the simulated seconds a second.
    pub(super) fn simulated_a_second(&self) -> f64 {
        self.simulated_s / self.core_s
    }

    /// Returns the failovers a second.
    pub(super) fn failovers_a_second(&self) -> f64 {
        self.failovers as f64 / self.core_s
    }

    /// Returns its figures in one line, for who waits for the others.
    fn line(&self) -> String {
        let (simulated, failovers) = (self.simulated_a_second(), self.failovers_a_second());
        let broke = self.broken.len();
        format!(
            "{simulated:.0} simulated s and {failovers:.0} failovers a second of one core; {broke} of {} runs broke",
            self.runs
        )
    }
}

/// A scenario that broke an invariant, and what was left of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shrinking {
    /// Which scenario.
    pub(super) name: String,
    /// The bug that was planted in it, if any.
    pub(super) planted: Option<&'static str>,
    /// Faults before.
    pub(super) faults_before: usize,
    /// Faults after.
    pub(super) faults_after: usize,
    /// Seconds it took.
    pub(super) took_s: f64,
    /// Whether it is small enough, and was quick enough.
    pub(super) reached: bool,
}

/// The simulator's speed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Simulator {
    /// Swarm scenarios: clusters of 2 to 7 members with every kind of fault.
    pub(super) swarm: Alone,
    /// Three members at default settings, without a fault.
    pub(super) calm: Alone,
    /// Three members at default settings whose primary is killed again and again.
    pub(super) drill: Alone,
    /// Simulated seconds a second of one core that there should be.
    pub(super) simulated_min: f64,
    /// Failovers a second of one core that there should be.
    pub(super) failovers_min: f64,
    /// Seeds that were run twice on all cores.
    pub(super) seeds: u64,
    /// Minutes each of them lasted.
    pub(super) minutes: u64,
    /// Threads.
    pub(super) threads: usize,
    /// Seconds they took.
    pub(super) campaign_s: f64,
    /// CPU time they took, a thread: what [`Simulator::campaign_s`] would be if nobody else were busy.
    pub(super) campaign_core_s: f64,
    /// Seconds that [`SEEDS_AIM`] take: extrapolated, if fewer were run.
    pub(super) campaign_of_10_000_s: f64,
    /// Seconds that they may take.
    pub(super) campaign_max_s: f64,
    /// Seeds that broke an invariant, or did not repeat themselves.
    pub(super) wrong: Vec<u64>,
    /// A failing scenario, shrunk; `None` if none failed, and this build can plant no bug.
    pub(super) shrinking: Option<Shrinking>,
    /// Whether all this was reached.
    pub(super) reached: bool,
}

/// Three members; whoever leads is killed, and all but its data comes back.
fn drill(seed: u64) -> Scenario {
    let end_at_ms = MINUTES * 60_000;
    let heal_at_ms = end_at_ms - DRILL_CALM_MS;
    let kills = (30_000..heal_at_ms).step_by(KILL_EVERY_MS as usize);
    Scenario {
        name: format!("drill {seed}"),
        seed,
        postgres_restart_ms: Some(1_000),
        rebuild_ms: Some(3_000),
        faults: kills.map(|at_ms| TimedFault { at_ms, fault: Fault::KillPrimary }).collect(),
        heal_at_ms,
        end_at_ms,
        ..Scenario::default()
    }
}

/// Three members, and nothing happens.
fn calm(seed: u64) -> Scenario {
    let end_at_ms = MINUTES * 60_000;
    Scenario { name: format!("calm {seed}"), seed, heal_at_ms: 1_000, end_at_ms, ..Scenario::default() }
}

/// Returns the time this thread, or the whole process, has run on a core: what others take of it does not count.
fn core_s(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn alone(scenarios: impl Iterator<Item = Scenario>) -> Alone {
    let mut runner = Runner::default();
    let mut made =
        Alone { runs: 0, simulated_s: 0.0, failovers: 0, observations: 0, core_s: 0.0, broken: vec![] };
    let begun = core_s(ClockId::ThreadCPUTime);
    for scenario in scenarios {
        let outcome = runner.run(&scenario);
        made.runs += 1;
        made.simulated_s += outcome.end.0 as f64 / 1e9;
        made.failovers += outcome.promotions;
        made.observations += outcome.batches;
        if let Some(broken) = outcome.broken {
            made.broken.push(format!("{} ({})", scenario.name, broken.id));
        }
    }
    made.core_s = core_s(ClockId::ThreadCPUTime) - begun;
    made
}

/// Shrinks what breaks with a planted bug, where this build has any, or else the first seed that broke.
fn shrinking(wrong: &[u64]) -> Option<Shrinking> {
    let plant = PLANTS_BUILT_IN.then_some(Plant::VotesTwice);
    let planted = |seed| Scenario { planted: plant, ..swarm(seed) };
    let failing = match plant {
        Some(_) => (0..1_000).map(planted).find(|scenario| run(scenario).broken.is_some()),
        None => wrong.first().map(|seed| swarm_lasting(*seed, MINUTES * 60_000)),
    }?;
    let started = Instant::now();
    let small = shrink_while(&failing, || started.elapsed().as_secs_f64() < SHRINK_MAX_S)?;
    let took_s = started.elapsed().as_secs_f64();
    let faults_after = small.faults.len();
    Some(Shrinking {
        name: failing.name,
        planted: plant.map(Plant::name),
        faults_before: failing.faults.len(),
        faults_after,
        took_s,
        reached: faults_after <= SHRUNK_MAX && took_s <= SHRINK_MAX_S,
    })
}

/// Runs the simulator.
pub(super) fn measure(bench: &Bench) -> anyhow::Result<Simulator> {
    let of_ten_minutes = |seed| swarm_lasting(seed, MINUTES * 60_000);
    bench.say("simulator: on one core");
    let swarms = alone((0..SWARMS).map(of_ten_minutes));
    bench.say(&format!("simulator: swarm: {}", swarms.line()));
    let calms = alone((0..CALMS).map(calm));
    bench.say(&format!("simulator: no fault: {}", calms.line()));
    let drills = alone((0..DRILLS).map(drill));
    bench.say(&format!("simulator: primary killed: {}", drills.line()));
    let threads = std::thread::available_parallelism()?.get();
    let expected_s = (SEEDS_AIM * MINUTES * 60 * 2) as f64 / swarms.simulated_a_second() / threads as f64;
    let seeds = if expected_s <= PATIENCE_S { SEEDS_AIM } else { SEEDS_FEW };
    bench.say(&format!("simulator: {seeds} seeds of {MINUTES} minutes, twice, on {threads} cores"));
    let plan = Plan { seeds: Seeds::Range(0, seeds), threads, twice: Twice::All };
    let begun = core_s(ClockId::ProcessCPUTime);
    let made: Campaign = campaign(plan, of_ten_minutes, |_, _| ControlFlow::Continue(()));
    let campaign_core_s = (core_s(ClockId::ProcessCPUTime) - begun) / threads as f64;
    let campaign_of_10_000_s = made.wall_s() * SEEDS_AIM as f64 / seeds as f64;
    let wrong = made.wrong_seeds();
    let broke = wrong.len();
    bench.say(&format!(
        "simulator: {:.1} s by the clock, {campaign_core_s:.1} s of each core; {broke} of {seeds} seeds broke",
        made.wall_s()
    ));
    bench.say("simulator: shrinking what broke");
    let shrinking = shrinking(&wrong);
    let held = wrong.is_empty() && [&swarms, &calms, &drills].iter().all(|a| a.broken.is_empty());
    Ok(Simulator {
        reached: held
            && swarms.simulated_a_second() >= SIMULATED_MIN
            && drills.failovers_a_second() >= FAILOVERS_MIN
            && campaign_of_10_000_s <= CAMPAIGN_MAX_S
            && shrinking.as_ref().is_none_or(|s| s.reached),
        swarm: swarms,
        calm: calms,
        drill: drills,
        simulated_min: SIMULATED_MIN,
        failovers_min: FAILOVERS_MIN,
        seeds,
        minutes: MINUTES,
        threads,
        campaign_s: made.wall_s(),
        campaign_core_s,
        campaign_of_10_000_s,
        campaign_max_s: CAMPAIGN_MAX_S,
        wrong,
        shrinking,
    })
}
