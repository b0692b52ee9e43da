//! A primary that dies is replaced: within a second or two when its daemon can say that nothing is
//! left of it, within the lease when the whole node is gone.

mod support;

use pgfo::demo::{Builder, Cluster, Node, StopMode};
use std::time::{Duration, Instant};
use support::watch::never_two_primaries;
use support::{finish, healthy, member_status, pgfo, wait_followed, wait_member, within, writing};

/// `lease.duration`, whose default the tests run with.
const LEASE: Duration = Duration::from_secs(5);
/// Escalation, election, promotion, and a loaded machine.
const A_BIT: Duration = Duration::from_secs(10);

fn three_data() -> Builder {
    support::cluster_with_daemons().data(3)
}

fn two_data_and_a_witness() -> Builder {
    support::cluster_with_daemons().data(2).witness(1)
}

/// Returns the standbys that are left once `gone` have failed and `primary` was promoted.
fn rest<'a>(cluster: &'a Cluster, primary: &Node, gone: &[&str]) -> Vec<&'a str> {
    let names = cluster.data_nodes().map(Node::name);
    names.filter(|name| *name != primary.name() && !gone.contains(name)).collect()
}

/// A DBA may rely on this: when PostgreSQL dies and its host lives, another one takes over at once,
/// the third follows it, clients write again, and the dead one can only come back read-only.
fn a_killed_postmaster_is_replaced(shape: Builder) {
    let cluster = healthy(shape);
    let old = cluster.node("node1");
    let client = writing(&cluster);

    let fault = Instant::now();
    old.kill_postmaster().unwrap();
    let new = cluster.wait_primary(Some("node1"), within(15)).unwrap();
    println!("primary after {:?}", fault.elapsed());
    client.wait_acks(50, within(10)).unwrap();
    println!("outage {:?}", client.outage(fault));

    wait_followed(&cluster, new, &rest(&cluster, new, &["node1"]), within(20));
    for node in cluster.nodes() {
        wait_member(&cluster, (node, "node1"), "sealed", within(10), |m| m["sealed"] == true);
    }
    assert!(old.data_directory().unwrap().join("standby.signal").exists());
    assert!(client.lost(new).unwrap().len() < 20, "asynchronous replication loses what was in flight");
    assert_eq!(client.split_brain(new).unwrap(), []);
    an_incident_of_a_live_log_replays(new);
    finish(&cluster);
}

/// A DBA may rely on this: what happened can be cut out of the log of a daemon that runs, and the file proves it
/// by itself, anywhere.
fn an_incident_of_a_live_log_replays(new: &Node) {
    let file = new.dir().join("exported.incident");
    let (log, file) = (new.dir().join("log"), file.to_str().unwrap());
    let (exit, said) = pgfo(new, &["incident", "export", log.to_str().unwrap(), "--out", file]);
    assert_eq!(exit, 0, "{said}");
    assert!(new.is_daemon_running());
    let (exit, said) = pgfo(new, &["replay", file]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("identical") && said.contains(&format!("{} was promoted", new.name())), "{said}");
    let (exit, page) = pgfo(new, &["explain", file]);
    assert_eq!(exit, 0, "{page}");
    assert!(page.contains(new.name()), "{page}");
}

#[test]
fn a_killed_postmaster_of_three_is_replaced() {
    a_killed_postmaster_is_replaced(three_data());
}

#[test]
fn a_killed_postmaster_of_two_with_a_witness_is_replaced() {
    a_killed_postmaster_is_replaced(two_data_and_a_witness());
}

/// A DBA may rely on this: when a whole node is gone, another one takes over as soon as the lease of
/// the old one has run out, and not before.
fn a_killed_node_is_replaced(shape: Builder) {
    let cluster = healthy(shape);
    let client = writing(&cluster);

    let fault = Instant::now();
    cluster.node("node1").kill_node().unwrap();
    let new = cluster.wait_primary(Some("node1"), within(LEASE.as_secs() + A_BIT.as_secs())).unwrap();
    client.wait_acks(50, within(10)).unwrap();
    let outage = client.outage(fault);
    println!("outage {outage:?}");
    assert!(outage.ended && outage.service < LEASE + A_BIT, "{outage:?}");
    assert!(outage.service > LEASE / 2, "nobody could know that its lease was over: {outage:?}");

    wait_followed(&cluster, new, &rest(&cluster, new, &["node1"]), within(20));
    let gone = member_status(new, "node1").unwrap();
    assert_eq!(gone["state"], "not heard", "{gone}");
    assert_eq!(client.split_brain(new).unwrap(), []);
    finish(&cluster);
}

#[test]
fn a_killed_node_of_three_is_replaced() {
    a_killed_node_is_replaced(three_data());
}

#[test]
fn a_killed_node_of_two_with_a_witness_is_replaced() {
    a_killed_node_is_replaced(two_data_and_a_witness());
}

/// A DBA may rely on this: a PostgreSQL that was stopped, by whomever, is replaced, too; started
/// again it is read-only and follows by itself, since a clean stop leaves nothing past the fork.
#[test]
fn a_stopped_postgres_is_replaced_and_comes_back_as_a_standby() {
    let cluster = healthy(three_data());
    let old = cluster.node("node1");
    let client = writing(&cluster);

    old.stop_postgres(StopMode::Fast).unwrap();
    let new = cluster.wait_primary(Some("node1"), within(15)).unwrap();
    client.wait_acks(50, within(10)).unwrap();
    assert_eq!(client.lost(new).unwrap(), [], "a clean stop sends everything");

    old.start_postgres().unwrap();
    assert!(old.is_in_recovery().unwrap(), "it was sealed");
    wait_followed(&cluster, new, &rest(&cluster, new, &[]), within(30));
    let status = cluster.wait_healthy(within(20)).unwrap();
    assert_eq!(status.primary.as_deref(), Some(new.name()));
    assert_eq!(client.split_brain(new).unwrap(), []);
    finish(&cluster);
}

/// A DBA may rely on this: one failover does not use the protection up. Each next primary that dies
/// is replaced, as long as a quorum lives.
#[test]
fn a_second_failover_follows_the_first() {
    let cluster = healthy(three_data());
    let client = writing(&cluster);
    never_two_primaries(&cluster, || {
        // The first: its old primary comes back read-only, and follows.
        cluster.node("node1").stop_postgres(StopMode::Fast).unwrap();
        let second = cluster.wait_primary(Some("node1"), within(15)).unwrap();
        cluster.node("node1").start_postgres().unwrap();
        wait_followed(&cluster, second, &rest(&cluster, second, &[]), within(30));
        let before = cluster.wait_healthy(within(20)).unwrap();
        client.wait_acks(50, within(10)).unwrap();

        // The second, in a row.
        second.kill_postmaster().unwrap();
        let third = cluster.wait_primary(Some(second.name()), within(15)).unwrap();
        client.wait_acks(50, within(10)).unwrap();
        wait_followed(&cluster, third, &rest(&cluster, third, &[second.name()]), within(20));
        let after = third.status().unwrap();
        assert!(after.term > before.term, "{} after {}", after.term, before.term);
        assert_eq!(third.timeline().unwrap().0, 3);
        assert_eq!(cluster.writable_nodes().len(), 1);
    });
    finish(&cluster);
}

/// The same with five members, where nobody comes back in between: two of five may be lost.
#[test]
fn two_of_five_may_be_lost_in_a_row() {
    let cluster = healthy(support::cluster_with_daemons().data(3).witness(2));
    let client = writing(&cluster);
    cluster.node("node1").kill_node().unwrap();
    let second = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    client.wait_acks(50, within(10)).unwrap();
    wait_followed(&cluster, second, &rest(&cluster, second, &["node1"]), within(20));

    second.kill_node().unwrap();
    let third = cluster.wait_primary(Some(second.name()), within(20)).unwrap();
    client.wait_acks(50, within(10)).unwrap();
    assert_eq!(cluster.writable_nodes().len(), 1);
    assert_eq!(third.timeline().unwrap().0, 3);
    finish(&cluster);
}
