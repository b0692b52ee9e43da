//! Speed of the simulator: the same roles and loop as in production, without PostgreSQL, disk and network.

use super::Bench;
use crate::cli::simulate::{Campaign, campaign};
use crate::cluster::{Fault, Runner, Scenario, TimedFault, swarm_lasting};
use crate::core::MemberId;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// How long each seed's scenario lasts.
const MINUTES: u64 = 10;
/// Seeds run on one core.
const SEEDS_ALONE: u64 = 100;
/// Seeds run twice on all cores; [`SEEDS_AIM`] are extrapolated.
const SEEDS_TOGETHER: u64 = 200;
/// Seeds that should be run twice in [`CAMPAIGN_MAX_S`].
const SEEDS_AIM: u64 = 10_000;
/// Seconds they may take.
const CAMPAIGN_MAX_S: f64 = 60.0;
/// Simulated seconds that a second of one core should make.
const SIMULATED_MIN: f64 = 100_000.0;
/// Failovers that a second of one core should make.
const FAILOVERS_MIN: f64 = 2_000.0;
/// Time between two kills of a PostgreSQL in the drill.
const KILL_EVERY_MS: u64 = 10_000;
/// Scenarios of the drill.
const DRILLS: u64 = 60;

/// The simulator's speed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Simulator {
    /// Simulated seconds a second of one core's time, swarm scenarios.
    pub(super) simulated_a_second: f64,
    /// What it should be.
    pub(super) simulated_min: f64,
    /// Simulated seconds a second of one core's time, three members whose primary is killed again and again.
    pub(super) drill_simulated_a_second: f64,
    /// Failovers a second of one core's time there.
    pub(super) failovers_a_second: f64,
    /// What it should be.
    pub(super) failovers_min: f64,
    /// Seeds that were run twice on all cores.
    pub(super) seeds: u64,
    /// Minutes each of them lasted.
    pub(super) minutes: u64,
    /// Threads.
    pub(super) threads: usize,
    /// Seconds they took.
    pub(super) campaign_s: f64,
    /// Seconds that [`SEEDS_AIM`] would take.
    pub(super) campaign_of_10_000_s: f64,
    /// Seconds that they may take.
    pub(super) campaign_max_s: f64,
    /// Whether every run held its invariants and repeated itself.
    pub(super) held: bool,
    /// Whether all this was reached.
    pub(super) reached: bool,
}

/// Three members; one PostgreSQL after the other is killed, the primary's among them.
fn drill(seed: u64) -> Scenario {
    let end_at_ms = MINUTES * 60_000;
    let heal_at_ms = end_at_ms - 180_000;
    let kills = (30_000..heal_at_ms).step_by(KILL_EVERY_MS as usize).zip([0, 1, 2].into_iter().cycle());
    Scenario {
        name: format!("drill {seed}"),
        seed,
        postgres_restart_ms: Some(1_000),
        rebuild_ms: Some(3_000),
        faults: kills
            .map(|(at_ms, member)| TimedFault {
                at_ms,
                fault: Fault::KillPostgres { member: MemberId(member) },
            })
            .collect(),
        heal_at_ms,
        end_at_ms,
        ..Scenario::default()
    }
}

/// Returns the time this thread has run on a core: what others take of it does not count.
fn core_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What one core made of some scenarios.
struct Alone {
    simulated_a_second: f64,
    failovers_a_second: f64,
    held: bool,
}

fn alone(scenarios: impl Iterator<Item = Scenario>) -> Alone {
    let mut runner = Runner::default();
    let (mut simulated_s, mut failovers, mut held) = (0.0, 0.0, true);
    let begun = core_s();
    for scenario in scenarios {
        let outcome = runner.run(&scenario);
        simulated_s += outcome.end.0 as f64 / 1e9;
        failovers += outcome.promotions as f64;
        held &= outcome.broken.is_none();
    }
    let took = core_s() - begun;
    Alone { simulated_a_second: simulated_s / took, failovers_a_second: failovers / took, held }
}

/// Runs the simulator.
pub(super) fn measure(bench: &Bench) -> anyhow::Result<Simulator> {
    let swarm = |seed| swarm_lasting(seed, MINUTES * 60_000);
    bench.say("simulator: on one core");
    let swarms = alone((0..SEEDS_ALONE).map(swarm));
    let drills = alone((0..DRILLS).map(drill));
    let threads = std::thread::available_parallelism()?.get();
    bench.say(&format!("simulator: {SEEDS_TOGETHER} seeds of {MINUTES} minutes, twice, on {threads} cores"));
    let made: Campaign = campaign((0, SEEDS_TOGETHER), threads, true, swarm, |_, _| {});
    let campaign_of_10_000_s = made.wall_s() * (SEEDS_AIM / SEEDS_TOGETHER) as f64;
    let held = swarms.held && drills.held && made.held();
    Ok(Simulator {
        simulated_a_second: swarms.simulated_a_second,
        simulated_min: SIMULATED_MIN,
        drill_simulated_a_second: drills.simulated_a_second,
        failovers_a_second: drills.failovers_a_second,
        failovers_min: FAILOVERS_MIN,
        seeds: SEEDS_TOGETHER,
        minutes: MINUTES,
        threads,
        campaign_s: made.wall_s(),
        campaign_of_10_000_s,
        campaign_max_s: CAMPAIGN_MAX_S,
        held,
        reached: held
            && swarms.simulated_a_second >= SIMULATED_MIN
            && drills.failovers_a_second >= FAILOVERS_MIN
            && campaign_of_10_000_s <= CAMPAIGN_MAX_S,
    })
}
