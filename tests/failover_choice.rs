//! Lag decides, priority prefers: which standby is promoted.

mod support;

use pgfo::demo::{Builder, Cluster, Node};
use std::process::Command;
use support::said::{Reason, wait_said};
use support::{finish, healthy, member_status, wait_followed, wait_member, within};

/// Three data members; `node3` is preferred to `node2`, against the order of their names.
fn node3_preferred() -> Builder {
    let builder = support::cluster_with_daemons().data(3);
    let builder = builder.node_toml("node2", "[failover]\npriority = 50");
    builder.node_toml("node3", "[failover]\npriority = 100")
}

fn receive_lsn(node: &Node) -> u64 {
    let sql = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')";
    node.query_one(sql).unwrap().parse().unwrap()
}

/// Waits until the standby has received what the primary has written so far.
fn wait_received(cluster: &Cluster, primary: &Node, standby: &Node) {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')";
    let written: u64 = primary.query_one(sql).unwrap().parse().unwrap();
    let caught_up = cluster.wait_until("the standby to receive all", within(10), || {
        let received = receive_lsn(standby);
        if received >= written { Ok(()) } else { Err(format!("{received} of {written}")) }
    });
    caught_up.unwrap();
}

/// A DBA may rely on this: the standby with the most WAL is promoted, whatever the priorities say,
/// and the other one catches up from it.
#[test]
fn the_most_advanced_standby_is_promoted_despite_its_priority() {
    let cluster = healthy(node3_preferred());
    let (primary, ahead, behind) = (cluster.node("node1"), cluster.node("node2"), cluster.node("node3"));
    primary.query("CREATE TABLE kept (id int)").unwrap();
    wait_received(&cluster, primary, behind);
    // The preferred one receives nothing any more.
    behind.query("ALTER SYSTEM SET primary_conninfo = ''").unwrap();
    behind.query("SELECT pg_reload_conf()").unwrap();
    cluster.wait_streaming(primary, 1, within(10)).unwrap();
    primary.query("INSERT INTO kept SELECT generate_series(1, 1000)").unwrap();
    wait_received(&cluster, primary, ahead);
    assert!(receive_lsn(ahead) > receive_lsn(behind));

    primary.kill_node().unwrap();
    let new = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    assert_eq!(new.name(), "node2");
    wait_followed(&cluster, new, &["node3"], within(20));
    cluster
        .wait_until("the other one to catch up", within(10), || {
            match behind.query_one("SELECT count(*) FROM kept").unwrap().as_str() {
                "1000" => Ok(()),
                other => Err(format!("{other} rows")),
            }
        })
        .unwrap();
    finish(&cluster);
}

/// A DBA may rely on this: of standbys with the same WAL, the one with the higher priority is
/// promoted.
#[test]
fn of_equals_the_higher_priority_is_promoted() {
    let cluster = healthy(node3_preferred());
    let primary = cluster.node("node1");
    for standby in ["node2", "node3"] {
        wait_received(&cluster, primary, cluster.node(standby));
    }
    primary.kill_postmaster().unwrap();
    let new = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    assert_eq!(new.name(), "node3");
    wait_followed(&cluster, new, &["node2"], within(20));
    finish(&cluster);
}

/// A DBA may rely on this: a standby that must never be promoted (priority 0) is not, although it
/// has the most WAL; what it has more is not lost, since the one that is promoted streams it first.
#[test]
fn what_a_priority_zero_standby_has_more_is_fetched_first() {
    let builder = support::cluster_with_daemons().data(3);
    let cluster = healthy(builder.node_toml("node3", "[failover]\npriority = 0"));
    let (primary, behind, ahead) = (cluster.node("node1"), cluster.node("node2"), cluster.node("node3"));
    primary.query("CREATE TABLE kept (id int)").unwrap();
    wait_received(&cluster, primary, behind);
    behind.query("ALTER SYSTEM SET primary_conninfo = ''").unwrap();
    behind.query("SELECT pg_reload_conf()").unwrap();
    cluster.wait_streaming(primary, 1, within(10)).unwrap();
    primary.query("INSERT INTO kept SELECT generate_series(1, 1000)").unwrap();
    wait_received(&cluster, primary, ahead);

    primary.kill_node().unwrap();
    let new = cluster.wait_primary(Some("node1"), within(30)).unwrap();
    assert_eq!(new.name(), "node2");
    assert_eq!(new.query_one("SELECT count(*) FROM kept").unwrap(), "1000");
    wait_followed(&cluster, new, &["node3"], within(20));
    finish(&cluster);
}

/// A DBA may rely on this: a PostgreSQL that got into the cluster by mistake (another `initdb`) is
/// never promoted, says so, and stops nobody else from being promoted.
#[test]
fn a_standby_of_another_cluster_is_never_promoted() {
    let builder = support::cluster_with_daemons().data(3);
    let cluster = healthy(builder.node_toml("node3", "[failover]\npriority = 1000"));
    let stranger = cluster.node("node3");
    {
        let other = support::cluster().data(1).own_system_id().build().unwrap();
        other.node("node1").stop_postgres(pgfo::demo::StopMode::Fast).unwrap();
        stranger.stop_postgres(pgfo::demo::StopMode::Fast).unwrap();
        let (from, to) = (other.node("node1").data_directory().unwrap(), stranger.data_directory().unwrap());
        std::fs::remove_dir_all(to).unwrap();
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
        std::fs::write(to.join("standby.signal"), "").unwrap();
    }
    stranger.start_postgres().unwrap();
    assert!(stranger.is_in_recovery().unwrap());
    let primary = cluster.node("node1");
    let mark = stranger.log_mark();
    wait_member(&cluster, (primary, "node3"), "another cluster's", within(15), |member| {
        member["unelectable_because"].to_string().contains("OtherSystem")
    });

    primary.kill_node().unwrap();
    let new = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    assert_eq!(new.name(), "node2");
    wait_said(&cluster, stranger, mark, Reason::OtherSystem, 10);
    assert!(stranger.is_in_recovery().unwrap());
    assert_eq!(member_status(new, "node3").unwrap()["electable"], false);
    finish(&cluster);
}
