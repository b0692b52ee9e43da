//! `pgfo explain` tells one page about a failover, and about one that did not happen, in words that stay as
//! they are. `UPDATE_GOLDEN=1` writes the golden texts anew; read the difference before committing it.

mod replay_support;

use pgfo::cli::exit::Exit;
use pgfo::cli::explain::{ExplainArgs, run_to};
use pgfo::core::{BootNanos, CORE_REVISION};
use pgfo::events::{Decision, Event, Observation, ProbeKind};
use replay_support::*;
use std::path::{Path, PathBuf};

fn page_args(logs: &[PathBuf]) -> ExplainArgs {
    ExplainArgs { logs: logs.to_vec(), json: false, all: false, at: None, term: None, list: false }
}

fn explain(args: &ExplainArgs) -> (Exit, String, String) {
    let mut out = anstream::StripStream::new(Vec::new());
    let mut err = Vec::new();
    let exit = run_to(args, &mut out, &mut err).unwrap();
    (exit, String::from_utf8(out.into_inner()).unwrap(), String::from_utf8(err).unwrap())
}

fn explain_json(args: &ExplainArgs) -> (Exit, serde_json::Value) {
    let (exit, out, _) = explain(&ExplainArgs { json: true, ..args.clone() });
    (exit, serde_json::from_str(&out).unwrap())
}

/// Logs of a real failover.
fn recorded() -> [PathBuf; 3] {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    ["node1", "node2", "node3"].map(|node| dir.join(format!("format_1_{node}.log")))
}

/// A later core may decide otherwise than the one that recorded, and then the page says so first.
fn is_sound(exit: Exit) -> bool {
    matches!(exit, Exit::Ok | Exit::OtherRevision)
}

fn told(page: &str) -> &str {
    &page[page.find("Incident ").unwrap_or_else(|| panic!("no page: {page}"))..]
}

/// node2 alone can't reach node1: the others see it, so nobody takes over.
fn one_sided(dir: &Path) -> Vec<PathBuf> {
    let mut cluster = Cluster::new();
    cluster.begin();
    let answers = cluster.node(NODE1).postgres;
    cluster.node(NODE1).postgres = None;
    cluster.probe(NODE2, NODE1, ProbeKind::Heartbeat);
    for massage in 1..=3 {
        cluster.probe(NODE2, NODE1, ProbeKind::Massage(massage));
        cluster.advance_millis(300);
    }
    cluster.node(NODE1).postgres = answers;
    cluster.heartbeat(NODE1);
    write_all(&mut cluster, dir)
}

#[test]
fn a_real_failover_on_one_page() {
    let logs = recorded();
    let (exit, page, _) = explain(&page_args(&logs));
    assert!(is_sound(exit), "{page}");
    assert_golden("explain_failover_cluster.txt", told(&page));
    let (_, page, _) = explain(&page_args(&logs[2..]));
    assert_golden("explain_failover_node3.txt", told(&page));
}

#[test]
fn the_page_as_data() {
    let (exit, json) = explain_json(&page_args(&recorded()));
    assert!(is_sound(exit) && json["exit"] == exit.code(), "{json:#}");
    let page = &json["incidents"][0];
    assert_eq!(
        (&page["kind"], &page["winner"], &page["won_term"]),
        (&"failed-over".into(), &"node2".into(), &2.into())
    );
    assert_eq!(page["loss"]["bytes_max"], 0);
    let phase = |name: &str| {
        let all = page["phases"].as_array().unwrap();
        let found = all.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no {name}: {all:?}"));
        (found["begins_ns"].as_i64().unwrap(), found["took_ns"].as_i64().unwrap())
    };
    // Each phase of the election begins where the one before ended.
    let chain = ["pre-vote", "waiting", "freeze", "vote", "arming", "promotion"].map(phase);
    for pair in chain.windows(2) {
        assert_eq!(pair[0].0 + pair[0].1, pair[1].0, "{chain:?}");
    }
    let votes = page["votes"].as_array().unwrap();
    assert_eq!(votes.len(), 3, "{votes:?}");
    let won: Vec<bool> = page["candidates"].as_array().unwrap().iter().map(|c| c["won"] == true).collect();
    assert_eq!(won, [true, false, false]);
}

#[test]
fn a_failover_that_did_not_happen() {
    let dir = tempfile::tempdir().unwrap();
    let logs = one_sided(dir.path());
    let (exit, page, _) = explain(&page_args(&logs));
    assert_eq!(exit, Exit::Ok, "{page}");
    assert!(
        page.contains("no failover: node1 stayed the primary of term 1; it was held down, and seen again"),
        "{page}"
    );
    let why = "node2 did not stand: only 1 of 3 voters holds node1 down (node2); node1 and node3 still see it; 2 are needed; \
               node1 had its last answer from node1 ";
    assert!(page.contains(why), "{page}");
    assert!(page.contains("; node3 had its last answer from node1 "), "{page}");
    assert!(!page.contains("Lost at most"), "{page}");
}

#[test]
fn several_incidents_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    for _ in 0..30 {
        cluster.heartbeat(NODE3);
    }
    cluster.node(NODE3).postgres = None;
    cluster.probe(NODE2, NODE3, ProbeKind::Heartbeat);
    for massage in 1..=3 {
        cluster.probe(NODE2, NODE3, ProbeKind::Massage(massage));
        cluster.advance_millis(300);
    }
    let logs = write_all(&mut cluster, dir.path());
    let args = page_args(&logs);
    let (_, list, _) = explain(&ExplainArgs { list: true, ..args.clone() });
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].contains("node3 took over from node1, primary of term 1, by winning term 2"), "{list}");
    assert!(
        lines[1].contains(
            "nobody took over from node3, primary of term 2: at the end of these logs node2 held it down"
        ),
        "{list}"
    );
    let (_, latest, _) = explain(&args);
    assert!(latest.starts_with("Incident 2 of cluster main, "), "{latest}");
    for choice in [
        ExplainArgs { term: Some(2), ..args.clone() },
        ExplainArgs { at: Some("2026-01-31T12:00:10Z".parse().unwrap()), ..args.clone() },
    ] {
        let (_, page, _) = explain(&choice);
        assert!(page.starts_with("Incident 1 of cluster main, "), "{page}");
    }
    let (_, all) = explain_json(&ExplainArgs { all: true, ..args.clone() });
    assert_eq!(all["incidents"].as_array().unwrap().len(), 2);
    let (exit, out, err) = explain(&ExplainArgs { term: Some(9), ..args });
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("no such incident"), "{err}");
}

#[test]
fn a_clock_that_is_wrong_is_corrected_by_what_caused_what() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.node(NODE2).wall_offset_nanos = 3_600_000_000_000;
    cluster.begin();
    cluster.node(NODE2).postgres = Some(standby(0x300_01A8, 1));
    cluster.node(NODE3).postgres = Some(standby(0x300_0220, 1));
    cluster.heartbeat(NODE1);
    cluster.crash_primary();
    cluster.promote(promoted());
    cluster.advance_millis(500);
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    assert_eq!(json["logs"][1]["clock_ahead_ns"], 3_600_000_000_000_i64);
    let page = &json["incidents"][0];
    let vote = page["votes"].as_array().unwrap().iter().find(|v| v["member"] == "node2").unwrap();
    assert!(vote["after_ns"].as_i64().unwrap() < 1_000_000_000, "{vote}");
}

#[test]
fn a_log_that_can_not_be_relied_on_is_named_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    for record in cluster.node(NODE2).records_mut() {
        if let Event::Decided(Decision::VoteGranted { loss_bytes, .. }) = &mut record.event {
            *loss_bytes = 77;
        }
    }
    let logs = write_all(&mut cluster, dir.path());
    let (exit, page, _) = explain(&page_args(&logs));
    assert_eq!(exit, Exit::Degraded, "{page}");
    assert!(page.starts_with(&format!("Do not rely on {}: ", logs[1].display())), "{page}");
    assert!(page.contains("Incident 1 of cluster main"), "{page}");

    cluster = failover();
    for record in cluster.node(NODE2).records_mut() {
        if let Event::Observed(Observation::ProcessStarted(start)) = &mut record.event {
            start.core_revision = CORE_REVISION + 1;
        }
        record.boot = BootNanos(record.boot.0);
    }
    let other = tempfile::tempdir().unwrap();
    let logs = write_all(&mut cluster, other.path());
    let (exit, page, _) = explain(&page_args(&logs));
    assert_eq!(exit, Exit::Ok, "another revision that decides the same is identical\n{page}");
    let (exit, _, err) = explain(&page_args(&[PathBuf::from("/nonexistent/events.db")]));
    assert_eq!(exit, Exit::Usage, "{err}");
}

#[test]
fn nothing_is_told_of_a_calm_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    let logs = write_all(&mut cluster, dir.path());
    let (exit, page, _) = explain(&page_args(&logs));
    assert_eq!(exit, Exit::Ok);
    assert_eq!(page, "no incident: nobody held a primary down within these logs\n");
}
