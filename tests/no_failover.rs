//! When nothing must happen, nothing does: a primary that is alive but can't be asked, a standby or
//! a witness that dies.

mod support;

use pgfo::demo::{Auth, Client, Cluster, Node, Session, Status};
use std::time::{Duration, Instant};
use support::{finish, healthy, member_status, wait_member, within, writing};

/// So long a trouble with logging in lasts: three leases.
const LASTS: Duration = Duration::from_secs(15);
/// So long a member is missed: more than a lease, and more than its heartbeats are believed.
const MISSED: Duration = Duration::from_secs(7);
/// A status is asked so often meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A kept connection is renewed so often, so that the trouble meets it.
const RENEWAL: &str = "[heartbeat]\nreconnect_interval = \"2s\"\n";

/// Demands for so long that `node1` stays primary of its term, keeps its lease, and that its client
/// writes.
fn stays_primary(cluster: &Cluster, client: &Client, before: &Status, lasts: Duration) {
    let primary = cluster.node("node1");
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        for node in cluster.nodes().iter().filter(|node| node.is_daemon_running()) {
            let status = node.status().unwrap();
            let seen = format!("{} after {:?}: {:#}", node.name(), begun.elapsed(), status.raw);
            assert_eq!(status.primary.as_deref(), Some("node1"), "{seen}");
            assert_eq!(status.term, before.term, "{seen}");
        }
        let own = member_status(primary, "node1").unwrap();
        assert!(own["lease_left_ms"].as_u64().is_some_and(|left| left > 0), "{own}");
        client.wait_acks(10, within(5)).unwrap();
        std::thread::sleep(LOOK_INTERVAL);
    }
    assert!(client.outage(begun).client < Duration::from_secs(2), "nothing was stopped");
}

/// Opens sessions as superuser until PostgreSQL has no place left, not even a reserved one.
fn fill_with_sessions(node: &Node) -> Vec<Session> {
    let mut sessions = Vec::new();
    loop {
        match node.session() {
            Ok(session) => sessions.push(session),
            Err(error) => {
                assert!(error.to_string().contains("too many clients"), "{error}");
                return sessions;
            }
        }
    }
}

/// A DBA may rely on this: "too many clients" is a sign of life. pgfo does not fail over a primary
/// that is only busy, even when it can't log in itself.
#[test]
fn too_many_clients_are_no_failover() {
    let cluster = support::cluster_with_daemons().data(3).toml(RENEWAL).setting("max_connections = 20");
    let cluster = healthy(cluster);
    let before = cluster.node("node1").status().unwrap();
    let client = writing(&cluster);
    let mut sessions = fill_with_sessions(cluster.node("node1"));
    std::thread::scope(|scope| {
        // A renewed connection leaves a place: it is taken at once, as applications do.
        let begun = Instant::now();
        let (sessions, cluster) = (&mut sessions, &cluster);
        scope.spawn(move || {
            while begun.elapsed() < LASTS {
                sessions.extend(cluster.node("node1").session());
            }
        });
        stays_primary(cluster, &client, &before, LASTS);
    });
    drop(sessions);
    cluster.wait_healthy(within(20)).unwrap();
    finish(&cluster);
}

/// A DBA may rely on this: a password that was changed without telling pgfo is no outage, and makes
/// none.
#[test]
fn a_wrong_password_is_no_failover() {
    let cluster = healthy(support::cluster_with_daemons().data(3).auth(Auth::Scram).toml(RENEWAL));
    let before = cluster.node("node1").status().unwrap();
    let client = writing(&cluster);
    let primary = cluster.node("node1");
    primary.query("ALTER ROLE pgfo PASSWORD 'changed-by-somebody'").unwrap();
    let conninfo = primary.conninfo().unwrap();
    assert!(Session::open("as the daemons do", &conninfo, Duration::from_secs(2)).is_err());
    stays_primary(&cluster, &client, &before, LASTS);

    let (_, password) = conninfo.split_once("password=").unwrap();
    primary.query(&format!("ALTER ROLE pgfo PASSWORD '{password}'")).unwrap();
    cluster.wait_healthy(within(20)).unwrap();
    finish(&cluster);
}

fn nothing_happens_when_a_member_dies(cluster: &Cluster, dies: &str) {
    let before = cluster.node("node1").status().unwrap();
    let client = writing(cluster);
    cluster.node(dies).kill_node().unwrap();
    stays_primary(cluster, &client, &before, MISSED);
    let status = cluster.node("node1").status().unwrap();
    assert_eq!(status.exit_code, 1, "degraded: {:#}", status.raw);
    assert!(status.raw["complaints"].to_string().contains(dies), "{:#}", status.raw);
    finish(cluster);
}

/// A DBA may rely on this: a standby that dies costs nothing but itself.
#[test]
fn a_dead_standby_is_no_failover() {
    nothing_happens_when_a_member_dies(&healthy(support::cluster_with_daemons().data(3)), "node2");
}

/// A DBA may rely on this: the witness is a voter and no single point of failure.
#[test]
fn a_dead_witness_is_no_failover() {
    let cluster = healthy(support::cluster_with_daemons().data(2).witness(1));
    nothing_happens_when_a_member_dies(&cluster, "witness1");
}

/// A DBA may rely on this: when PostgreSQL alone dies on a standby, its member still votes, and
/// `pgfo status` names it.
#[test]
fn a_standby_whose_postgres_dies_is_told() {
    let cluster = healthy(support::cluster_with_daemons().data(2).witness(1));
    let before = cluster.node("node1").status().unwrap();
    cluster.node("node2").kill_postmaster().unwrap();
    let primary = cluster.node("node1");
    wait_member(&cluster, (primary, "node2"), "down", within(10), |m| m["role"] == "down");
    assert_eq!(primary.status().unwrap().exit_code, 1);
    cluster.node("node2").start_postgres().unwrap();
    let after = cluster.wait_healthy(within(20)).unwrap();
    assert_eq!((after.primary, after.term), (before.primary, before.term));
    finish(&cluster);
}
