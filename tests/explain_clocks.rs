//! The times on a page of `pgfo explain` are right though a clock was wrong, or was set meanwhile.

mod replay_support;

use replay_support::*;
use std::path::{Path, PathBuf};

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
fn the_time_of_most_members_is_the_one_that_pages_have() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.node(NODE1).wall_offset_nanos = 3_600_000_000_000;
    cluster.begin();
    cluster.node(NODE2).postgres = Some(standby(0x300_01A8, 1));
    cluster.node(NODE3).postgres = Some(standby(0x300_0220, 1));
    cluster.crash_primary();
    cluster.promote(promoted());
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    let ahead = |log: usize| json["logs"][log]["clock_ahead_ns"].as_i64().unwrap();
    assert_eq!([0, 1, 2].map(ahead), [3_600_000_000_000, 0, 0]);
    assert_eq!(json["incidents"][0]["began"], "2026-01-31T12:00:03.237Z");
    assert_eq!(
        json["incidents"][0]["clocks"][0],
        "the clock of node1 was 3600.000 s ahead; times on this page are corrected"
    );
}

/// A failover, while the clock of node1 is set by so much right before the first sign, and that of node2 right after.
fn with_clocks_set(dir: &Path, by_nanos: i64) -> Vec<PathBuf> {
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE2).postgres = Some(standby(0x300_01A8, 1));
    cluster.node(NODE3).postgres = Some(standby(0x300_0220, 1));
    for _ in 0..3 {
        cluster.heartbeat(NODE1);
    }
    cluster.node(NODE1).wall_offset_nanos = by_nanos;
    cluster.heartbeat(NODE1);
    cluster.crash_primary();
    cluster.promote(promoted());
    cluster.node(NODE2).wall_offset_nanos = by_nanos;
    for _ in 0..3 {
        cluster.heartbeat(NODE3);
    }
    write_all(&mut cluster, dir)
}

#[test]
fn a_clock_that_was_set_meanwhile_is_told_and_moves_nothing() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let plain = with_clocks_set(dirs[0].path(), 0);
    let (_, before) = explain_json(&page_args(&plain));
    let by = -2_046_000_000_000;
    let logs = with_clocks_set(dirs[1].path(), by);
    let (_, after) = explain_json(&page_args(&logs));
    let parts =
        ["began", "headline", "seen", "stood", "votes", "phases", "write_outage", "loss", "afterwards"];
    for part in parts {
        assert_eq!(after["incidents"][0][part], before["incidents"][0][part], "{part}");
    }
    assert_eq!(before["incidents"][0]["clocks"], serde_json::json!([]));
    let told =
        |log: usize| (&after["logs"][log]["clock_ahead_ns"], &after["logs"][log]["clock_set"][0]["by_ns"]);
    assert_eq!(told(0), (&by.into(), &by.into()));
    assert_eq!(told(1), (&by.into(), &by.into()));
    assert_eq!(told(2), (&0.into(), &serde_json::Value::Null));
    let (_, page, _) = explain(&page_args(&logs));
    for says in [
        "\nthe clock of node1 was 2046.000 s behind since node1#",
        "\nthe clock of node2 was set back by 2046.000 s at node2#",
    ] {
        assert!(page.contains(says), "{says}\n{page}");
    }
}
