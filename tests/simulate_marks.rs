//! Rare states: pinned runs reach every mark, and a campaign that misses one that it has to reach fails and
//! names it.

mod simulate_support;

use pgfo::cluster::{Fault, Mark, Marks, Scenario, Timings, run, swarm};
use simulate_support::*;
use std::process::{Command, Output};

/// Seeds of the swarm that reach every mark that the swarm reaches, most of them twice. Where a change moves one, the table of
/// `pgfo simulate --seeds 0..10000` tells the first seed of each mark.
const SEEDS: &[u64] = &[
    20, 44, 62, 141, 163, 475, 519, 708, 760, 1717, 3203, 1739, 1801, 3886, 3915, 3979, 4722, 5167, 5493,
    5652, 6171, 6608, 7088, 7685, 8833, 9684,
];

/// Scenarios for what no seed of the swarm was seen to reach.
fn made_for_it() -> Vec<(Mark, Scenario)> {
    let dead = |fault| (20_000, fault);
    let crowded = Fault::TooManyClients { member: A, for_ms: 20_000 };
    let alone = Fault::KillDaemon { member: A, for_ms: 30_000 };
    let timings = Timings { sign_of_life_ms: 1_000, ..Timings::default() };
    let lags = (17_000, Fault::LagStandby { member: C, for_ms: 60_000 });
    let dark = Fault::KillHost { member: A, for_ms: 40_000 };
    // Its requests are held up on the way to both others, so that one of them stands in vain and is heard of later;
    // then it is cut off while it stands above that term.
    let clog = |to, for_ms| Fault::Clog { from: vec![A], to: vec![to], for_ms };
    let cut = Fault::Split { one: vec![A], other: vec![B, C], for_ms: 10_000 };
    vec![
        (Mark::SignOfLifeRanOut, Scenario { timings, ..scenario(three(), vec![dead(crowded), dead(alone)]) }),
        (Mark::CatchUpFailed, scenario(vec![data(), priority(0), priority(150)], vec![lags, dead(dark)])),
        (
            Mark::IncumbentExpired,
            Scenario {
                rebuild_ms: Some(15_000),
                ..scenario(three(), vec![(19_300, clog(C, 6_700)), (19_600, clog(B, 4_000)), (25_500, cut)])
            },
        ),
    ]
}

fn pgfo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgfo")).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a campaign says to machines at its end.
fn summary(output: &Output) -> serde_json::Value {
    serde_json::from_str(out(output).lines().last().unwrap()).unwrap()
}

#[test]
fn pinned_runs_reach_every_mark() {
    let mut reached = Marks::default();
    std::thread::scope(|scope| {
        let halves = SEEDS.chunks(SEEDS.len().div_ceil(2));
        let threads: Vec<_> = halves
            .map(|seeds| {
                scope.spawn(|| seeds.iter().map(|seed| run(&swarm(*seed)).marks).collect::<Vec<_>>())
            })
            .collect();
        for thread in threads {
            thread.join().unwrap().into_iter().for_each(|marks| reached.add_all(marks));
        }
    });
    let drawn = |m: &&Mark| m.one_in().is_some();
    let missed: Vec<_> =
        Mark::ALL.iter().filter(drawn).filter(|m| !reached.has(**m)).map(|m| m.name()).collect();
    assert!(missed.is_empty(), "no pinned seed reaches {missed:?}");
}

#[test]
fn what_the_swarm_does_not_reach_has_a_scenario() {
    let made = made_for_it();
    let not_drawn: Vec<Mark> = Mark::ALL.iter().copied().filter(|m| m.one_in().is_none()).collect();
    assert_eq!(made.iter().map(|(mark, _)| *mark).collect::<Vec<_>>(), not_drawn);
    for (mark, scenario) in made {
        let reaches = |seed| run(&Scenario { seed, ..scenario.clone() }).marks.has(mark);
        assert!((0..20).any(reaches), "{}", mark.name());
    }
}

#[test]
fn a_campaign_that_misses_a_mark_fails_and_names_it() {
    let seeds = ["simulate", "--seeds", "0..4"];
    let made = pgfo(&[&seeds[..], &["--require-marks"]].concat());
    let text = out(&made);
    assert_eq!(made.status.code(), Some(1), "{text}");
    assert!(text.contains("4 of 4 seeds held"), "nothing else is wrong: {text}");
    let complaint =
        text.lines().find(|l| l.starts_with("mark VoteSplit (E6) was not reached in 4 seeds")).unwrap();
    assert!(complaint.ends_with(Mark::VoteSplit.says()), "{complaint}");
    assert!(!text.contains("mark VetoedInPreVote"), "seed 0 reaches it: {text}");

    let made = pgfo(&[&seeds[..], &["--require-marks", "--json"]].concat());
    assert_eq!(made.status.code(), Some(1));
    let missed = summary(&made)["missed"].as_array().unwrap().clone();
    assert!(
        missed.contains(&"VoteSplit".into()) && !missed.contains(&"VetoedInPreVote".into()),
        "{missed:?}"
    );
}

#[test]
fn few_seeds_are_not_asked_for_what_is_rare() {
    let made = pgfo(&["simulate", "--seeds", "0..4"]);
    let text = out(&made);
    assert_eq!(made.status.code(), Some(0), "{text}");
    // Told all the same: how many seeds, and the first.
    let row = text.lines().find(|l| l.trim_start().starts_with("VetoedInPreVote")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    let reaches = |seed: &u64| run(&swarm(*seed)).marks.has(Mark::VetoedInPreVote);
    let seeds: Vec<u64> = (0..4).filter(reaches).collect();
    assert_eq!(cells[1..4], ["E1", &seeds.len().to_string(), &seeds[0].to_string()], "{row}");
    assert!(
        text.lines().filter(|l| Mark::ALL.iter().any(|m| l.trim_start().starts_with(m.name()))).count() >= 25
    );
}
