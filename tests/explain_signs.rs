//! What `pgfo explain` counts from: the first sign of a failure that nobody took back, which the page shows.

mod replay_support;

use pgfo::events::{Actor, Observation, ProbeKind};
use replay_support::*;
use serde_json::Value;
use std::path::Path;

fn page(cluster: &mut Cluster, dir: &Path) -> Value {
    let logs = write_all(cluster, dir);
    let (_, json) = explain_json(&page_args(&logs));
    json["incidents"][0].clone()
}

/// A cluster in which node3 is the one to promote.
fn calm() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE2).postgres = Some(standby(0x300_01A8, 1));
    cluster.node(NODE3).postgres = Some(standby(0x300_0220, 1));
    cluster
}

fn fail_over(cluster: &mut Cluster) {
    cluster.crash_primary();
    assert_eq!(cluster.promote(promoted()), NODE3);
    cluster.advance_millis(500);
}

fn detection_ns(page: &Value) -> (i64, i64) {
    let phases = page["phases"].as_array().unwrap();
    let found = phases.iter().find(|p| p["name"] == "detection").unwrap_or_else(|| panic!("{page:#}"));
    (found["begins_ns"].as_i64().unwrap(), found["took_ns"].as_i64().unwrap())
}

fn seen(page: &Value) -> Vec<(i64, String)> {
    let lines = page["seen"].as_array().unwrap().iter();
    lines.map(|l| (l["after_ns"].as_i64().unwrap(), l["text"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn a_suspicion_that_was_cleared_starts_no_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = calm();
    let answers = cluster.node(NODE1).postgres.take();
    cluster.probe(NODE2, NODE1, ProbeKind::Heartbeat);
    cluster.advance_millis(100);
    cluster.node(NODE1).postgres = answers;
    cluster.probe(NODE2, NODE1, ProbeKind::Massage(1));
    for _ in 0..7 {
        cluster.heartbeat(NODE1);
    }
    fail_over(&mut cluster);
    let page = page(&mut cluster, dir.path());
    let seen = seen(&page);
    assert!(seen[0].0 < -7_000_000_000 && seen[0].1.starts_with("node2 suspects node1"), "{seen:#?}");
    let first = seen.iter().find(|(after, _)| *after == 0).unwrap_or_else(|| panic!("{seen:#?}"));
    assert_eq!(first.1, "the postmaster process of node1 is gone");
    assert!(page["headline"].as_str().unwrap().contains(", 512.0 ms after the first sign"), "{page:#}");
    assert!(detection_ns(&page).1 < 100_000_000, "{page:#}");
    assert!(page["phases"].as_array().unwrap().iter().all(|p| p["begins_ns"].as_i64().unwrap() >= 0));
}

#[test]
fn a_connection_that_is_back_at_once_starts_no_count() {
    for is_back in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = calm();
        let gone = Observation::PeerDisconnected { member: NODE1, refused: false };
        cluster.observe(NODE2, Actor::PeerLink, gone);
        if is_back {
            cluster.meet(NODE2);
        }
        cluster.advance_millis(900);
        fail_over(&mut cluster);
        let page = page(&mut cluster, dir.path());
        let first = seen(&page).into_iter().find(|(after, _)| *after == 0).unwrap();
        let says = if is_back {
            "the postmaster process of node1 is gone"
        } else {
            "node2 lost its connection to node1"
        };
        assert_eq!(first.1, says, "{page:#}");
    }
}

#[test]
fn the_same_words_again_have_a_line_where_the_count_begins() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = calm();
    let suspect = |cluster: &mut Cluster| {
        let answers = cluster.node(NODE1).postgres.take();
        cluster.probe(NODE2, NODE1, ProbeKind::Heartbeat);
        cluster.advance_millis(100);
        answers
    };
    let answers = suspect(&mut cluster);
    cluster.node(NODE1).postgres = answers;
    for _ in 0..3 {
        cluster.heartbeat(NODE1);
    }
    suspect(&mut cluster);
    fail_over(&mut cluster);
    let page = page(&mut cluster, dir.path());
    let seen = seen(&page);
    let said: Vec<i64> =
        seen.iter().filter(|(_, text)| text.starts_with("node2 suspects node1")).map(|(at, _)| *at).collect();
    assert!(said.len() == 2 && said[0] < 0 && said[1] == 0, "{seen:#?}");
}

#[test]
fn where_all_was_taken_back_the_first_sign_of_all_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = calm();
    let answers = cluster.node(NODE1).postgres.take();
    cluster.probe(NODE2, NODE1, ProbeKind::Heartbeat);
    cluster.advance_millis(300);
    cluster.node(NODE1).postgres = answers;
    cluster.heartbeat(NODE1);
    let page = page(&mut cluster, dir.path());
    assert_eq!(page["kind"], "primary-stayed", "{page:#}");
    let seen = seen(&page);
    assert!(seen[0].0 == 0 && seen[0].1.starts_with("node2 suspects node1"), "{seen:#?}");
}
