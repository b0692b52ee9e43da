//! Clusters, faults and expectations of the hand-written simulations.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

use pgfo::cluster::{Fault, Outcome, Scenario, ScenarioMember, TimedFault, World, run_with_story};
use pgfo::core::MemberId;

pub const A: MemberId = MemberId(0);
pub const B: MemberId = MemberId(1);
pub const C: MemberId = MemberId(2);

pub fn data() -> ScenarioMember {
    ScenarioMember::default()
}

pub fn witness() -> ScenarioMember {
    ScenarioMember { witness: true, ..data() }
}

pub fn priority(priority: u32) -> ScenarioMember {
    ScenarioMember { priority, ..data() }
}

pub fn scenario(members: Vec<ScenarioMember>, faults: Vec<(u64, Fault)>) -> Scenario {
    Scenario {
        name: "hand-written".to_owned(),
        members,
        faults: faults.into_iter().map(|(at_ms, fault)| TimedFault { at_ms, fault }).collect(),
        heal_at_ms: 90_000,
        end_at_ms: 180_000,
        rebuild_ms: None,
        ..Scenario::default()
    }
}

/// Nothing more happens after the failover.
pub fn short(scenario: Scenario) -> Scenario {
    Scenario { heal_at_ms: 40_000, end_at_ms: 60_000, ..scenario }
}

pub fn three() -> Vec<ScenarioMember> {
    vec![data(), data(), data()]
}

pub fn with_witness() -> Vec<ScenarioMember> {
    vec![data(), data(), witness()]
}

/// The witness `D` is away while `C` and then `A` take over; it is told of `C` last.
pub fn away_for_two_failovers() -> Scenario {
    let faults = vec![
        (10_000, Fault::KillDaemon { member: MemberId(3), for_ms: 70_000 }),
        (20_000, Fault::KillPostgres { member: A }),
        (50_000, Fault::KillPostgres { member: C }),
    ];
    let s = scenario(vec![data(), priority(50), priority(150), witness()], faults);
    let (rebuild_ms, postgres_restart_ms) = (Some(3_000), Some(12_000));
    let write_every_ms = 3_600_000;
    Scenario { rebuild_ms, postgres_restart_ms, write_every_ms, heal_at_ms: 200_000, end_at_ms: 260_000, ..s }
}

/// A scenario that once broke, or showed what it should not, without any bug planted.
pub fn kept(name: &str) -> Scenario {
    let path = format!("{}/tests/scenarios/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Plays a kept scenario as it was kept: its faults are timed by what that seed's members do.
pub fn replay(name: &str, expect: impl Fn(&Outcome)) {
    let (outcome, _) = run_with_story(&kept(name));
    assert!(outcome.broken.is_none(), "{:?}\n{}", outcome.broken, tail(&outcome));
    expect(&outcome);
}

/// Plays a scenario on several seeds; every invariant must hold, and `expect` too.
pub fn play(scenario: &Scenario, expect: impl Fn(&Outcome, &World)) {
    play_seeds(scenario, 8, expect);
}

pub fn play_seeds(scenario: &Scenario, seeds: u64, expect: impl Fn(&Outcome, &World)) {
    for seed in 0..seeds {
        let scenario = Scenario { seed, ..scenario.clone() };
        let (outcome, world) = run_with_story(&scenario);
        if let Some(b) = &outcome.broken {
            panic!("seed {seed}: {} broke at {:?}: {}\n{}", b.id, b.at, b.how, tail(&outcome));
        }
        expect(&outcome, &world);
    }
}

pub fn tail(outcome: &Outcome) -> String {
    let from = outcome.story.len().saturating_sub(60);
    outcome.story[from..].join("\n")
}

/// The instants at which lines with this text were told, in milliseconds.
pub fn when(outcome: &Outcome, text: &str) -> Vec<f64> {
    let at = |line: &String| line.split_whitespace().next().and_then(|t| t.parse::<f64>().ok());
    outcome.story.iter().filter(|l| l.contains(text)).filter_map(at).map(|s| s * 1e3).collect()
}

#[track_caller]
pub fn once_within(outcome: &Outcome, text: &str, from_ms: f64, within_ms: f64) {
    let all = when(outcome, text);
    let fits = all.len() == 1 && all[0] >= from_ms && all[0] <= from_ms + within_ms;
    assert!(fits, "{text:?} at {all:?}, wanted once within {within_ms} ms from {from_ms}\n{}", tail(outcome));
}

#[track_caller]
pub fn never(outcome: &Outcome, text: &str) {
    let all = when(outcome, text);
    assert!(all.is_empty(), "{text:?} at {all:?}\n{}", tail(outcome));
}

#[track_caller]
pub fn some(outcome: &Outcome, text: &str) {
    assert!(!when(outcome, text).is_empty(), "no {text:?}\n{}", tail(outcome));
}

pub fn writers(world: &World) -> Vec<MemberId> {
    world.writers()
}
