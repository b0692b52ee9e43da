//! `pgfo sweep` shows what timings cost: a shorter escalation recovers sooner, and one that is too short
//! replaces primaries that only stood still for a moment.

use pgfo::cli::exit::Exit;
use pgfo::cli::sweep::{SweepArgs, run_to};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn args(profile: &str, escalation: &str) -> SweepArgs {
    SweepArgs {
        logs: vec![],
        profile: profile.to_owned(),
        heartbeat: "1s".to_owned(),
        escalation: escalation.to_owned(),
        lease: "5s".to_owned(),
        seeds: 6,
        noise_minutes: 3,
        threads: 2,
        json: true,
    }
}

fn sweep(args: &SweepArgs) -> (Exit, String, String) {
    let mut out = anstream::StripStream::new(Vec::new());
    let mut err = Vec::new();
    let exit = run_to(args, &mut out, &mut err).unwrap();
    (exit, String::from_utf8(out.into_inner()).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn what_is_wrong_with_logs_and_what_is_left_out_is_told() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    let dir = tempfile::tempdir().unwrap();
    for node in ["node1", "node2", "node3"] {
        let mut bytes = std::fs::read(golden.join(format!("format_1_{node}.log"))).unwrap();
        if node == "node1" {
            bytes.truncate(bytes.len() - 100);
        }
        std::fs::write(dir.path().join(format!("{node}.log")), bytes).unwrap();
    }
    let logs = vec![dir.path().to_owned()];
    let (exit, out, err) = sweep(&SweepArgs { logs, seeds: 1, noise_minutes: 1, ..args("lan", "3x300ms") });
    assert_eq!(exit, Exit::Unreadable, "{out}{err}");
    assert!(err.contains("Do not rely on ") && err.contains("node1.log"), "{err}");
    let args = SweepArgs { lease: "2s,5s".to_owned(), seeds: 1, noise_minutes: 1, ..args("lan", "3x300ms") };
    let (exit, out, err) = sweep(&SweepArgs { heartbeat: "2s".to_owned(), ..args });
    assert_eq!(exit, Exit::Ok, "{out}{err}");
    assert!(err.starts_with("note: 1 of 2 rows are left out: no lease outlives two heartbeats"), "{err}");
}

fn rows(args: &SweepArgs) -> Vec<Value> {
    let (exit, out, err) = sweep(args);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    let json: Value = serde_json::from_str(&out).unwrap();
    json["rows"].as_array().unwrap().clone()
}

#[test]
fn a_short_escalation_recovers_sooner_and_a_too_short_one_replaces_healthy_primaries() {
    let rows = rows(&args("cloud-noisy", "1x100ms/200ms,5x500ms/1s"));
    let number =
        |row: usize, key: &str| rows[row][key].as_u64().unwrap_or_else(|| panic!("no {key}: {rows:?}"));
    assert!(number(0, "median_ms") + 500 < number(1, "median_ms"), "{rows:#?}");
    assert!(number(0, "false_failovers") > number(1, "false_failovers"), "{rows:#?}");
    assert_eq!((number(0, "not_recovered"), number(1, "not_recovered")), (0, 0), "{rows:#?}");
    // Neither is better in everything: the choice is the reader's.
    assert!(rows.iter().all(|r| r["pareto"] == true), "{rows:#?}");
}

#[test]
fn on_a_calm_network_nothing_is_replaced_for_nothing() {
    let rows = rows(&args("lan", "3x300ms/1s"));
    assert_eq!((&rows[0]["false_failovers"], &rows[0]["lease_fences"]), (&0.into(), &0.into()), "{rows:#?}");
}

#[test]
fn the_same_sweep_gives_the_same_table() {
    let args = SweepArgs { seeds: 2, noise_minutes: 1, json: false, ..args("wan", "2x200ms") };
    let (_, once, _) = sweep(&args);
    let (_, again, _) = sweep(&SweepArgs { threads: 1, ..args });
    assert_eq!(once, again);
    assert!(once.lines().any(|l| l.starts_with(" *")) && once.contains("2 x 200 ms, 1000 ms"), "{once}");
}

#[test]
fn delays_are_measured_where_there_are_logs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    let logs: Vec<PathBuf> =
        ["node1", "node2", "node3"].map(|n| dir.join(format!("format_1_{n}.log"))).into();
    let args = SweepArgs { logs, seeds: 1, noise_minutes: 1, ..args("lan", "3x300ms") };
    let (_, out, _) = sweep(&args);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["profile"]["name"], "lan, delays as measured between members");
    let delay = json["profile"]["delay_us_max"].as_u64().unwrap();
    // The logs' messages took a few milliseconds on a busy machine: not the profile's half a millisecond.
    assert!((1_000..50_000).contains(&delay), "{delay}");
}

#[test]
fn wrong_words_are_errors_with_a_remedy() {
    let ok = args("lan", "3x300ms");
    for (args, says) in [
        (SweepArgs { profile: "cloud-nosy".to_owned(), ..ok.clone() }, "did you mean \"cloud-noisy\"?"),
        (SweepArgs { heartbeat: "1".to_owned(), ..ok.clone() }, "needs a unit"),
        (SweepArgs { escalation: "3".to_owned(), ..ok.clone() }, "write ATTEMPTSxINTERVAL/TIMEOUT"),
        (SweepArgs { lease: "1s".to_owned(), ..ok }, "no lease outlives two heartbeats"),
    ] {
        let (exit, out, err) = sweep(&args);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(err.starts_with("error: ") && err.contains(says), "{err}");
    }
}
