//! Real networks whose cables are cut. The clients are beside the nodes: a cut keeps none of them
//! from writing to an isolated primary, so that only its own daemon can stop it.

mod support;

use pgfo::demo::{Cluster, Deadline, Node};
use std::time::{Duration, Instant};
use support::said::{Reason, wait_said};
use support::watch::never_two_primaries;
use support::{finish, healthy, member_status, wait_followed, wait_member, within, writing};

/// More than two leases.
const LONG_ENOUGH: Duration = Duration::from_secs(6);

/// Returns the cluster, healthy; `None` where these tests were left out on purpose.
fn networked(data: u8, witness: u8) -> Option<Cluster> {
    let build = || healthy(support::quick_cluster().data(data).witness(witness).networks());
    support::networks_possible().then(build)
}

/// Waits until every one of `judges` names the same other primary than `old`, and that one's
/// PostgreSQL takes writes.
fn replaced<'a>(cluster: &'a Cluster, judges: &[&str], old: &str, deadline: Deadline) -> &'a Node {
    let what = format!("{} to be replaced", old);
    let found = cluster.wait_until(&what, deadline, || {
        let mut named = Vec::new();
        for judge in judges {
            let status = cluster.node(judge).status().map_err(|error| error.to_string())?;
            named.push(status.primary.ok_or_else(|| format!("{judge} knows no primary"))?);
        }
        named.dedup();
        let [one] = named.as_slice() else { return Err(format!("they name {named:?}")) };
        let node = cluster.node(one);
        match node.is_in_recovery() {
            Ok(false) if one != old => Ok(node),
            seen => Err(format!("{one}: in recovery: {seen:?}")),
        }
    });
    found.unwrap()
}

/// A DBA may rely on this: a primary that is cut off from the others stops accepting writes before
/// another one is promoted, also for clients that still reach it; mended, it is a standby.
fn an_isolated_primary_is_fenced(cluster: &Cluster, others: [&str; 2]) {
    let old = cluster.node("node1");
    let client = writing(cluster);
    let mark = old.log_mark();
    never_two_primaries(cluster, || {
        let fault = Instant::now();
        cluster.isolate("node1").unwrap();
        let new = replaced(cluster, &others, "node1", within(15));
        client.wait_acks(50, within(15)).unwrap();
        println!("outage {:?}", client.outage(fault));
        assert_eq!(client.split_brain(new).unwrap(), [], "fenced before another was promoted");
        assert!(!old.is_postgres_running());
        wait_said(cluster, old, mark, Reason::LeaseExpired, 5);

        cluster.reconnect("node1").unwrap();
        wait_member(cluster, (new, "node1"), "sealed", within(20), |m| m["sealed"] == true);
        old.start_postgres().unwrap();
        assert!(old.is_in_recovery().unwrap());
        for node in cluster.nodes() {
            let agreed = cluster.wait_until("all to agree", within(20), || match node.status() {
                Ok(status) if status.primary.as_deref() == Some(new.name()) => Ok(()),
                other => Err(format!("{other:?}")),
            });
            agreed.unwrap();
        }
        assert_eq!(cluster.writable_nodes().len(), 1);
    });
    finish(cluster);
}

#[test]
fn an_isolated_primary_of_three_is_fenced_and_replaced() {
    if let Some(cluster) = networked(3, 0) {
        an_isolated_primary_is_fenced(&cluster, ["node2", "node3"]);
    }
}

#[test]
fn an_isolated_primary_of_two_with_a_witness_is_fenced_and_replaced() {
    if let Some(cluster) = networked(2, 1) {
        an_isolated_primary_is_fenced(&cluster, ["node2", "witness1"]);
    }
}

/// Demands for so long that `node1` stays primary, with a lease, and its client writes.
fn stays_primary(cluster: &Cluster) {
    let client = writing(cluster);
    let begun = Instant::now();
    while begun.elapsed() < LONG_ENOUGH {
        let own = member_status(cluster.node("node1"), "node1").unwrap();
        assert!(own["role"] == "primary" && own["lease_left_ms"].as_u64() > Some(0), "{own}");
        client.wait_acks(20, within(3)).unwrap();
        assert_eq!(cluster.writable_nodes().len(), 1);
    }
    assert!(client.outage(begun).client < Duration::from_secs(2), "nothing was stopped");
}

/// A DBA may rely on this: a standby that alone loses sight of the primary starts no failover, as
/// long as the witness sees it. The primary keeps its lease by the witness.
#[test]
fn a_cut_that_the_witness_does_not_see_is_no_failover() {
    let Some(cluster) = networked(2, 1) else { return };
    let before = cluster.node("node1").status().unwrap();
    cluster.cut("node1", "node2").unwrap();
    stays_primary(&cluster);
    let seen = member_status(cluster.node("node2"), "node2").unwrap();
    assert_eq!(seen["verdict"], "unreachable", "it was cut indeed: {seen}");

    cluster.mend("node1", "node2").unwrap();
    let after = cluster.wait_healthy(within(40)).unwrap();
    assert_eq!((after.primary, after.term), (before.primary, before.term));
    finish(&cluster);
}

/// A DBA may rely on this: an isolated standby disturbs nobody, neither while it is alone nor when
/// it is back.
#[test]
fn an_isolated_standby_disturbs_nobody() {
    let Some(cluster) = networked(3, 0) else { return };
    let before = cluster.node("node1").status().unwrap();
    cluster.isolate("node3").unwrap();
    stays_primary(&cluster);
    cluster.reconnect("node3").unwrap();
    let after = cluster.wait_healthy(within(40)).unwrap();
    assert_eq!((after.primary, after.term), (before.primary, before.term));
    finish(&cluster);
}

/// A DBA may rely on this: when every node is alone, nobody writes, since nobody could know of the
/// others; when the network is back, one of those with everything is promoted by itself.
#[test]
fn a_network_that_falls_apart_and_heals_leaves_one_primary() {
    let Some(cluster) = networked(3, 0) else { return };
    let client = writing(&cluster);
    never_two_primaries(&cluster, || {
        for node in ["node1", "node2", "node3"] {
            cluster.isolate(node).unwrap();
        }
        let stopped = cluster.wait_until("the lonely primary to be stopped", within(15), || {
            if cluster.node("node1").is_postgres_running() { Err("it runs".to_owned()) } else { Ok(()) }
        });
        stopped.unwrap();
        assert_eq!(cluster.writable_nodes().len(), 0);
        // The standbys first: either may have got the last bytes, and whoever did is promoted only if it is heard. Without it
        // the others may elect the other one, and what it has beyond that one's fork, it can't follow with (E3).
        for node in ["node2", "node3"] {
            cluster.reconnect(node).unwrap();
        }
        let new = replaced(&cluster, &["node2", "node3"], "node1", within(30));
        cluster.reconnect("node1").unwrap();
        client.wait_acks(50, within(10)).unwrap();
        let third = if new.name() == "node2" { "node3" } else { "node2" };
        wait_followed(&cluster, new, &[third], within(20));
        assert_eq!(client.split_brain(new).unwrap(), []);
    });
    finish(&cluster);
}
