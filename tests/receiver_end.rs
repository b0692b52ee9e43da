//! The end of a standby's WAL receiver is told by the kernel, not found by the next probe: a dead primary is suspected
//! at once.

mod support;

use pgfo::demo::{Cluster, LogMark, Node, Signal};
use pgfo::events::{Decision, Event, Observation, ProbeFailure, ProbeReport, Record};
use pgfo::os;
use std::time::Duration;
use support::history::records;
use support::{await_said, cluster_with_daemons, finish, signal, within};

/// `heartbeat.interval`, whose default the tests run with.
const INTERVAL: Duration = Duration::from_secs(1);

/// Returns a cluster whose standbys' receivers were seen.
fn streaming() -> Cluster {
    let cluster = cluster_with_daemons().data(3).build().unwrap();
    let marks: Vec<LogMark> = cluster.nodes().iter().map(Node::log_mark).collect();
    cluster.wait_healthy(within(40)).unwrap();
    for (node, mark) in cluster.nodes().iter().zip(marks).skip(1) {
        await_said(&cluster, node, mark, "receiver seen");
    }
    cluster
}

/// Returns how long after `since` the first record came that fits.
fn after(records: &[Record], since: u64, fits: impl Fn(&Event) -> bool) -> Option<Duration> {
    let found = records.iter().find(|r| r.boot.0 >= since && fits(&r.event))?;
    Some(Duration::from_nanos(found.boot.0 - since))
}

/// A DBA may rely on this: the end of a WAL receiver is known at once, it is told once, and the one that PostgreSQL starts in
/// its place is told as well.
#[test]
fn the_end_of_a_receiver_is_told_at_once_and_the_next_one_is_seen() {
    let cluster = streaming();
    let standby = cluster.node("node2");
    let pid = standby.query_one("SELECT pid FROM pg_stat_wal_receiver").unwrap().parse().unwrap();
    let mark = standby.log_mark();
    let killed = os::boot_now().0;
    signal(pid, Signal::TERM);
    await_said(&cluster, standby, mark, "receiver ended");
    await_said(&cluster, standby, mark, "receiver seen");
    assert!(standby.stop_daemon().unwrap().success(), "what it saw last is in its log");
    finish(&cluster);

    let records = records(&cluster, "node2");
    let ended = |event: &Event| matches!(event, Event::Observed(Observation::ReceiverEnded));
    let took = after(&records, killed, ended).unwrap();
    println!("its end was told after {took:?}");
    assert!(took < INTERVAL / 2, "a probe alone would be later mostly: {took:?}");
    let told = records.iter().filter_map(|r| match r.event {
        Event::Observed(Observation::ReceiverEnded) => Some("ended"),
        Event::Observed(Observation::ReceiverSeen { .. }) => Some("seen"),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["seen", "ended", "seen"]);
}

/// A DBA may rely on this: standbys suspect a primary whose node died as soon as their streams break.
#[test]
fn a_dead_primary_is_suspected_when_the_stream_breaks() {
    let cluster = streaming();
    let killed = os::boot_now().0;
    cluster.node("node1").kill_node().unwrap();
    cluster.wait_primary(Some("node1"), within(20)).unwrap();
    finish(&cluster);

    let lost = ProbeReport::Failed(ProbeFailure::ReceiverLost);
    let suspicion = |event: &Event| matches!(event, Event::Decided(Decision::SuspicionRaised { .. }));
    let by_stream = |event: &Event| matches!(event, Event::Decided(Decision::SuspicionRaised { evidence, .. }) if *evidence == lost);
    let mut at_once = 0;
    for name in ["node2", "node3"] {
        let records = records(&cluster, name);
        let took = after(&records, killed, suspicion).unwrap();
        let stream = after(&records, killed, by_stream);
        println!("{name} suspected it after {took:?}, by its stream after {stream:?}");
        assert!(took < INTERVAL, "{name}: {took:?}");
        at_once += usize::from(stream == Some(took));
    }
    assert!(at_once > 0, "a heartbeat that was under way may be first, but not on every standby");
}
