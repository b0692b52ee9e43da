//! When nobody may be promoted, nobody is, and the log says why.

mod support;

use pgfo::demo::{Builder, Cluster, Deadline};
use std::time::Duration;
use support::said::{Reason, wait_said};
use support::{finish, healthy, within};

/// Longer than a lease, an escalation, and several attempts at an election.
const LONG_ENOUGH: Duration = Duration::from_secs(11);

fn with_failover(builder: Builder, node: &str, failover: &str) -> Builder {
    builder.node_toml(node, &format!("[failover]\n{failover}"))
}

/// Demands that no PostgreSQL of `cluster` leaves recovery, and that no daemon names a primary.
fn nobody_is_promoted(cluster: &Cluster) {
    let waited = cluster.wait_until::<()>("nobody to be promoted", Deadline::after(LONG_ENOUGH), || {
        assert_eq!(cluster.writable_nodes().len(), 0, "{}", cluster.evidence());
        Err("nobody was".to_owned())
    });
    assert!(waited.is_err());
    for node in cluster.nodes().iter().filter(|node| node.is_daemon_running()) {
        let status = node.status().unwrap();
        assert_eq!((status.primary, status.exit_code), (None, 2), "{:#}", status.raw);
        assert_eq!(status.term.0, 1);
    }
}

/// A DBA may rely on this: a standby with priority 0 is never promoted, not even when it is the only
/// one left; it says so.
#[test]
fn priority_zero_is_never_promoted() {
    let builder = support::cluster_with_daemons().data(2).witness(1);
    let cluster = healthy(with_failover(builder, "node2", "priority = 0"));
    let standby = cluster.node("node2");
    let mark = standby.log_mark();
    cluster.node("node1").kill_postmaster().unwrap();
    wait_said(&cluster, standby, mark, Reason::PriorityZero, 15);
    nobody_is_promoted(&cluster);
    finish(&cluster);
}

/// A DBA may rely on this: with `mode = "manual"` pgfo watches, says what it would have done, and
/// does nothing.
#[test]
fn manual_mode_never_promotes() {
    let mut builder = support::cluster_with_daemons().data(3);
    for node in ["node1", "node2", "node3"] {
        builder = with_failover(builder, node, "mode = \"manual\"");
    }
    let cluster = healthy(builder);
    let marks = ["node2", "node3"].map(|node| (cluster.node(node), cluster.node(node).log_mark()));
    cluster.node("node1").kill_node().unwrap();
    for (node, mark) in marks {
        wait_said(&cluster, node, mark, Reason::Manual, 20);
    }
    nobody_is_promoted(&cluster);
    finish(&cluster);
}

/// A DBA may rely on this: of two voters, one can't tell a dead host from a cut cable, so it never
/// promotes; it says that a witness is missing.
#[test]
fn one_of_two_voters_never_promotes() {
    // Never healthy in full: the status says that two voters are too few.
    let cluster = support::cluster_with_daemons().data(2).build().unwrap();
    let primary = cluster.wait_primary(None, within(40)).unwrap();
    assert_eq!(primary.name(), "node1");
    let standby = cluster.node("node2");
    let mark = standby.log_mark();
    assert!(standby.status().unwrap().raw["complaints"].to_string().contains("add a witness"));
    cluster.node("node1").kill_node().unwrap();
    wait_said(&cluster, standby, mark, Reason::TooFewHoldItDown, 20);
    nobody_is_promoted(&cluster);
    finish(&cluster);
}

/// The same two fail over when the host lives, whose daemon says that its PostgreSQL is gone.
#[test]
fn two_voters_fail_over_when_the_host_lives() {
    let cluster = support::cluster_with_daemons().data(2).build().unwrap();
    cluster.wait_primary(None, within(40)).unwrap();
    cluster.node("node1").kill_postmaster().unwrap();
    let new = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    assert_eq!(new.name(), "node2");
    finish(&cluster);
}
