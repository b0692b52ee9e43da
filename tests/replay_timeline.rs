//! Several logs make one timeline, ordered by cause.

mod replay_support;

use pgfo::cli::exit::Exit;
use pgfo::cli::replay::ReplayArgs;
use pgfo::events::{Event, Observation};
use replay_support::*;

#[test]
fn causes_order_the_timeline_though_clocks_contradict() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    // node2's clock is an hour ahead of node1's, node3's an hour behind.
    let hour = 3_600_000_000_000;
    cluster.node(NODE2).wall_offset_nanos = hour;
    cluster.node(NODE3).wall_offset_nanos = -hour;
    cluster.begin();
    let logs = write_all(&mut cluster, dir.path());
    let (exit, json) = replay_json(&ReplayArgs { all: true, ..args(&logs) });
    assert_eq!((exit, &json["contradictions"]), (Exit::Ok, &0.into()));
    let timeline = json["timeline"].as_array().unwrap();
    let told = cluster.nodes.iter().map(|n| n.records().count()).sum::<usize>();
    assert_eq!(timeline.len(), told, "every record, once");

    let mut seen = [0; 3];
    for line in timeline {
        let node = ["node1", "node2", "node3"].iter().position(|n| line["member"] == *n).unwrap();
        let seq = line["seq"].as_u64().unwrap();
        assert_eq!(seq, seen[node] + 1, "records of one log keep their order");
        seen[node] = seq;
        let record = cluster.nodes[node].records().nth(usize::try_from(seq).unwrap() - 1).unwrap();
        if let Event::Observed(Observation::MessageReceived { from, sent_by, .. }) = &record.event {
            assert!(
                seen[usize::from(from.0)] >= sent_by.0,
                "{seq} of node{} comes after its cause",
                node + 1
            );
        }
    }
}

#[test]
fn a_sender_whose_log_is_away_constrains_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    let logs = write_all(&mut cluster, dir.path());
    let (exit, json) = replay_json(&args(&logs[1..]));
    assert_eq!((exit, &json["contradictions"]), (Exit::Ok, &0.into()));
    let heard = |from: &str| {
        let lines = json["timeline"].as_array().unwrap().iter();
        lines
            .filter(|l| l["subject"] == "testimony heard" && l["text"].as_str().unwrap().starts_with(from))
            .count()
    };
    assert!(heard("node1") > 0, "only its listeners can tell what node1 said");
    assert_eq!(heard("node3"), 0, "node3 tells it itself");
}

#[test]
fn logs_that_contradict_each_other_still_make_a_timeline() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    // What node1 received first claims to be sent by node2's last record, and the other way round.
    for (member, other) in [(NODE1, NODE2), (NODE2, NODE1)] {
        let last = cluster.node(other).records().last().unwrap().seq;
        let heard = cluster.node(member).records_mut().find_map(|record| match &mut record.event {
            Event::Observed(Observation::MessageReceived { from, sent_by, .. }) if *from == other => {
                Some(sent_by)
            }
            _ => None,
        });
        *heard.unwrap() = last;
    }
    let logs = write_all(&mut cluster, dir.path());
    let (exit, json) = replay_json(&args(&logs));
    assert_eq!(exit, Exit::Ok);
    assert!(json["contradictions"].as_u64().unwrap() > 0);
}
