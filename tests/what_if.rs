//! `pgfo replay --what-if` says how far the record goes under another configuration, with the margin, and what
//! the simulator makes of the rest.

mod replay_support;

use pgfo::cli::exit::Exit;
use pgfo::cli::replay::{ReplayArgs, WhatIfArgs};
use replay_support::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Logs of a real failover.
fn recorded() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    ["node1", "node2", "node3"].map(|node| dir.join(format!("format_1_{node}.log"))).into()
}

/// A later core may decide otherwise than the one that recorded: that outranks an outcome that is worse.
fn is(exit: Exit, expected: Exit) -> bool {
    exit == expected || exit == Exit::OtherRevision
}

fn what_if(logs: &[PathBuf], changes: &[&str]) -> ReplayArgs {
    let mut args = args(logs);
    let changes = changes.iter().map(|c| (*c).to_owned()).collect();
    args.what_if = WhatIfArgs { changes, runs: Some(8), ..args.what_if };
    args
}

fn answer(logs: &[PathBuf], changes: &[&str]) -> (Exit, Value) {
    let (exit, mut json) = replay_json(&what_if(logs, changes));
    (exit, json["cases"][0].take())
}

#[track_caller]
fn part<'a>(case: &'a Value, member: &str) -> &'a Value {
    let parts = case["recorded"].as_array().unwrap();
    parts.iter().find(|p| p["member"] == member).unwrap_or_else(|| panic!("nothing of {member}: {parts:?}"))
}

#[test]
fn the_same_configuration_changes_nothing() {
    let (exit, case) = answer(&recorded(), &["lease.duration=5s", "escalation.attempts=3"]);
    for member in ["node1", "node2", "node3"] {
        assert_eq!(part(&case, member)["differs_at"], Value::Null, "{case:#}");
    }
    assert!(is(exit, Exit::Ok), "{case:#}");
    assert_eq!(case["modelled_as_recorded"], case["modelled_what_if"], "{case:#}");
    assert_eq!(case["fault"], "the postmaster of node1 ended");
}

#[test]
fn a_member_that_may_not_stand_leaves_it_to_the_other() {
    let (exit, case) = answer(&recorded(), &["node2.failover.priority=0"]);
    let node2 = part(&case, "node2");
    let would = node2["what_if"]["text"].as_str().unwrap();
    assert!(would.starts_with("node2 does not stand: priority is 0"), "{would}");
    assert_eq!(node2["recorded"], Value::Null);
    // node3 had planned to stand 200 ms after node2, and is the first now.
    let node3 = part(&case, "node3");
    assert_eq!(
        (&node3["differs_at"], &node3["earlier_by_ns"]),
        (&64.into(), &200_000_000.into()),
        "{node3:#}"
    );
    assert_eq!(part(&case, "node1")["differs_at"], Value::Null);
    assert_eq!(case["modelled_as_recorded"]["promoted"], 8, "{case:#}");
    assert_eq!(
        (&case["modelled_what_if"]["promoted"], &case["modelled_what_if"]["who"]),
        (&8.into(), &"node3".into())
    );
    assert!(is(exit, Exit::Ok), "{case:#}");
}

#[test]
fn fewer_massages_conclude_earlier_by_what_the_record_shows() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE1).postgres = None;
    cluster.probe(NODE2, NODE1, pgfo::events::ProbeKind::Heartbeat);
    for massage in 1..=3 {
        cluster.advance_millis(310);
        cluster.probe(NODE2, NODE1, pgfo::events::ProbeKind::Massage(massage));
    }
    let logs = write_all(&mut cluster, dir.path());
    let (_, case) = answer(&logs, &["attempts=2"]);
    let node2 = part(&case, "node2");
    assert_eq!(node2["earlier_by_ns"], 310_000_000, "{node2:#}");
    assert_eq!(node2["assumed"], false);
    let would = node2["what_if"]["text"].as_str().unwrap();
    assert!(would.starts_with("node2 holds node1 unreachable"), "{would}");
    // The other way round the record does not say when.
    let (_, case) = answer(&logs, &["attempts=5"]);
    let node2 = part(&case, "node2");
    assert_eq!((&node2["what_if"], &node2["earlier_by_ns"]), (&Value::Null, &Value::Null), "{node2:#}");
    assert!(node2["recorded"]["text"].as_str().unwrap().starts_with("node2 holds node1 unreachable"));
}

#[test]
fn a_silent_a_slow_and_an_absent_member() {
    let (exit, case) = answer(&recorded(), &["drop=node3"]);
    let node2 = part(&case, "node2");
    // It would have waited for node3's testimony until the time-out of 150 ms.
    assert_eq!((&node2["differs_at"], &node2["assumed"]), (&61.into(), &true.into()), "{node2:#}");
    let later = node2["earlier_by_ns"].as_i64().unwrap();
    assert!((-150_000_000..-100_000_000).contains(&later), "{later}");
    assert_eq!(case["modelled_what_if"]["promoted"], 8, "{case:#}");
    assert_eq!(case["worse"], serde_json::json!(["later"]), "{case:#}");
    assert!(is(exit, Exit::Degraded), "{case:#}");

    let (_, case) = answer(&recorded(), &["delay=node2:300ms"]);
    let node1 = part(&case, "node1");
    assert_eq!(
        (&node1["differs_at"], &node1["earlier_by_ns"]),
        (&86.into(), &Value::from(-300_000_000)),
        "{node1:#}"
    );
    // What the others answer comes later, for node2's question came later: it does not wait so long.
    assert_ne!(part(&case, "node2")["differs_at"], Value::Null, "{case:#}");

    let (_, case) = answer(&recorded(), &["remove=node3"]);
    assert_eq!(case["recorded"].as_array().unwrap().len(), 2, "node3 is not there to decide: {case:#}");
    assert_eq!(case["modelled_what_if"]["who"], "node2", "{case:#}");
    for change in ["remove=node3", "node3.votes=false"] {
        let (_, case) = answer(&recorded(), &[change]);
        let told = case["recorded"].to_string();
        assert!(!told.contains("of 3 voters") || told.contains("of 2 voters"), "{change}: {told}");
    }
}

#[test]
fn a_primary_that_came_back_was_struck_by_the_same_fault() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut cluster = crashed_host();
    let before = write_all(&mut cluster, dirs[0].path());
    come_back(&mut cluster);
    let after = write_all(&mut cluster, dirs[1].path());
    let told = |logs: &[PathBuf]| {
        let mut args = what_if(logs, &["lease.duration=5s"]);
        args.what_if.term = Some(2);
        let (exit, json) = replay_json(&args);
        let case = &json["cases"][0];
        assert_eq!(case["fault"], "the host of node1 was lost, its daemon with it", "{case:#}");
        (
            exit,
            case["happened"].clone(),
            case["modelled_as_recorded"].clone(),
            case["modelled_what_if"].clone(),
        )
    };
    assert_eq!(told(&before), told(&after));
}

#[test]
fn what_is_not_understood_is_an_error_with_a_suggestion() {
    let logs = recorded();
    for (change, says) in [
        ("escalation.attempt=5", "did you mean \"escalation.attempts\"?"),
        ("attempt=5", "did you mean \"attempts\"?"),
        ("interval=1s", "heartbeat.interval, escalation.interval"),
        ("lease.duration=8", "needs a unit"),
        ("lease.duration=8", "lease.duration=8: "),
        ("foo=1", "\"foo\" is no key that decisions depend on; those are heartbeat.interval, "),
        ("drop=nod3", "did you mean \"node3\"?"),
        ("delay=node2", "write delay=NAME:300ms"),
        ("node2.lease.duration=8s", "the same for all members"),
        ("escalation.attempts", "write KEY=VALUE"),
        ("failover.mode=auto", "write automatic or manual"),
        ("remove=node1", "node1 was the primary"),
        (
            "node7.failover.priority=0",
            "\"node7\" is no member of this cluster, which has node1, node2, node3",
        ),
    ] {
        let (exit, out, err) = replay(&what_if(&logs, &[change]));
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{change}");
        assert!(err.starts_with("error: ") && err.contains(says), "{change}: {err}");
    }
}

#[test]
fn what_no_daemon_takes_is_refused_in_its_words() {
    let logs = recorded();
    for (change, says) in [
        (
            "lease.duration=100ms",
            "error: fencing.reserve: the reserve 500ms is not below half of lease.duration 100ms; lower it below 50ms, or raise \
             lease.duration\n",
        ),
        (
            "fencing.reserve=10s",
            "error: fencing.reserve: the reserve 10s is not below half of lease.duration 5s",
        ),
        ("heartbeat.interval=24h", "error: lease.duration: the primary can use "),
    ] {
        let (exit, out, err) = replay(&what_if(&logs, &[change]));
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{change}");
        assert!(err.starts_with(says), "{change}: {err}");
    }
    for (changes, says) in [
        (["lease.duration=8s", "lease.duration=9s"], "lease.duration is given two values; name one"),
        (["remove=node3", "drop=node3"], "node3 is to be removed: "),
    ] {
        let (exit, _, err) = replay(&what_if(&logs, &changes));
        assert!(exit == Exit::Usage && err.contains(says), "{changes:?}: {err}");
    }
    // Values that go together are taken together.
    let (exit, _, err) = replay(&what_if(&logs, &["lease.duration=20s", "fencing.reserve=2s"]));
    assert!(exit != Exit::Usage && err.is_empty(), "{err}");
}

#[test]
fn a_set_without_an_incident_is_a_line_and_no_error() {
    let (calm, failed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut cluster = Cluster::new();
    cluster.begin();
    write_all(&mut cluster, calm.path());
    write_all(&mut failover(), failed.path());
    let sets = [calm.path().to_owned(), failed.path().to_owned()];
    let (exit, json) = replay_json(&what_if(&sets, &["rank_delay=300ms"]));
    assert_eq!(exit, Exit::Ok, "{json:#}");
    assert_eq!(json["cases"].as_array().unwrap().len(), 1, "{json:#}");
    assert_eq!(json["left_out"][0]["set"], calm.path().to_str().unwrap(), "{json:#}");
    let (_, out, _) = replay(&what_if(&sets, &["rank_delay=300ms"]));
    let line =
        format!("\n{}: no incident: nobody held a primary down within these logs\n", calm.path().display());
    assert!(out.contains(&line), "{out}");
    // Of quiet logs alone there is nothing to answer, and nothing to fail for.
    let (exit, out, err) = replay(&what_if(&sets[..1], &["rank_delay=300ms"]));
    assert!(exit == Exit::Ok && err.is_empty() && out.contains(": no incident: "), "{out}{err}");
    // What no set has was asked for by mistake.
    let mut asked = what_if(&sets, &["rank_delay=300ms"]);
    asked.what_if.term = Some(99);
    let (exit, out, err) = replay(&asked);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{err}");
    assert!(err.contains("no such incident"), "{err}");
}

#[test]
fn one_log_alone_is_recorded_only() {
    let logs = recorded();
    let (exit, out, _) = replay(&what_if(&logs[2..], &["rank_delay=50ms"]));
    assert!(out.contains("node3: the same up to record #64"), "{out}");
    assert!(out.contains("it would have done so 150.0 ms earlier"), "{out}");
    assert!(out.contains("not modelled: the log of node2 is not at hand"), "{out}");
    assert!(out.ends_with("0 of 1 outcomes worse, 1 not known\n"), "{out}");
    assert!(is(exit, Exit::Degraded), "an outcome that is not known does not pass");
}

#[test]
fn several_sets_of_logs_against_one_configuration() {
    let dir = tempfile::tempdir().unwrap();
    write_all(&mut failover(), dir.path());
    let real = tempfile::tempdir().unwrap();
    for log in recorded() {
        std::fs::copy(&log, real.path().join(log.file_name().unwrap())).unwrap();
    }
    let sets = [real.path().to_owned(), dir.path().to_owned()];
    let (exit, json) = replay_json(&what_if(&sets, &["rank_delay=300ms"]));
    let cases = json["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2, "{json:#}");
    assert!(cases.iter().all(|c| c["modelled_what_if"]["promoted"] == 8), "{json:#}");
    assert!(is(exit, Exit::Ok) && json["exit"] == exit.code(), "{json:#}");
    let (_, table, _) = replay(&what_if(&sets, &["rank_delay=300ms"]));
    assert_eq!(table.lines().filter(|l| l.contains("modelled, what if")).count(), 2, "{table}");
    assert!(table.ends_with("no outcome is worse\n"), "{table}");
}
