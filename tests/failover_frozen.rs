//! A PostgreSQL that accepts and never answers, and a host that stands still, are down as much as
//! dead ones: the old one is fenced, another is promoted.

mod support;

use pgfo::demo::{Cluster, Deadline};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{finish, healthy, wait_followed, wait_member, within, writing};

/// So many clients have a commit under way when the host stands still.
const WRITERS: usize = 8;
/// Those clients wait for an answer as patiently as any without a time-out does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Commits of one of them between the thaw and the fence: 3 were seen on a quiet machine.
const LATE_EACH_MAX: usize = 20;
/// From the thaw to the last write of the old primary: its guard's first instant on a loaded machine.
const GUARD_INSTANT: Duration = Duration::from_secs(1);

/// A DBA may rely on this: a postmaster that hangs is found out although old sessions still work,
/// its node is fenced, and another is promoted.
#[test]
fn a_frozen_postmaster_is_fenced_and_replaced() {
    // A kept connection is served for ever: it is its renewal that finds a hung postmaster.
    let renewal = "[heartbeat]\nreconnect_interval = \"3s\"\n";
    let cluster = healthy(support::cluster_with_daemons().data(3).toml(renewal));
    let old = cluster.node("node1");
    let client = writing(&cluster);

    let fault = Instant::now();
    old.freeze_postmaster().unwrap();
    let new = cluster.wait_primary(Some("node1"), within(30)).unwrap();
    client.wait_acks(50, within(10)).unwrap();
    println!("replaced after {:?}, outage {:?}", fault.elapsed(), client.outage(fault));
    assert_eq!(client.split_brain(new).unwrap(), [], "fenced before another was promoted");
    cluster
        .wait_until("the frozen postmaster to be gone", within(10), || {
            if old.is_postgres_running() { Err("it is there".to_owned()) } else { Ok(()) }
        })
        .unwrap();
    wait_member(&cluster, (new, "node1"), "sealed", within(10), |m| m["sealed"] == true);
    let third = cluster.data_nodes().find(|n| ![new.name(), "node1"].contains(&n.name())).unwrap();
    wait_followed(&cluster, new, &[third.name()], within(20));
    finish(&cluster);
}

/// An acknowledgement by the frozen host, seen from its thaw on.
type Late = Duration;

/// Writes to the old primary alone, over `WRITERS` patient sessions, while `story` goes on; returns
/// what was acknowledged after the instant that `story` returns.
fn patient_writers(cluster: &Cluster, story: impl FnOnce(&dyn Fn(Deadline)) -> Instant) -> Vec<Late> {
    let old = cluster.node("node1");
    old.query("CREATE TABLE patient (writer int, id int)").unwrap();
    let over = AtomicBool::new(false);
    let acked = std::sync::Mutex::new(Vec::<Instant>::new());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (over, acked) = (&over, &acked);
            scope.spawn(move || {
                let mut session = old.session().unwrap();
                for id in 0.. {
                    let sql = format!("INSERT INTO patient VALUES ({writer}, {id})");
                    if over.load(Ordering::Relaxed) || session.query(&sql, PATIENCE).is_err() {
                        return;
                    }
                    acked.lock().unwrap().push(Instant::now());
                }
            });
        }
        let under_way = |deadline: Deadline| {
            let what = "the patient writers to write";
            let wait = cluster.wait_until(what, deadline, || match acked.lock().unwrap().len() {
                many if many > 20 * WRITERS => Ok(()),
                few => Err(format!("{few} commits")),
            });
            wait.unwrap();
        };
        let thawed = story(&under_way);
        over.store(true, Ordering::Relaxed);
        let acked = acked.lock().unwrap();
        acked.iter().filter(|at| **at > thawed).map(|at| at.duration_since(thawed)).collect()
    })
}

/// A DBA may rely on this: a host that stood still (a paused virtual machine) is fenced in the first
/// instant after it goes on. What its backends do within that instant is the one exception that
/// pgfo states: at most what was under way, and nothing after it.
#[test]
fn a_thawed_node_is_fenced_at_once() {
    let cluster = healthy(support::cluster_with_daemons().data(3));
    let old = cluster.node("node1");
    let client = writing(&cluster);
    let mut promoted = None;

    let late = patient_writers(&cluster, |under_way| {
        under_way(within(20));
        old.freeze_node().unwrap();
        let new = cluster.wait_primary(Some("node1"), within(20)).unwrap();
        client.wait_acks(50, within(15)).unwrap();
        promoted = Some(new);

        let thawed = Instant::now();
        old.thaw_node().unwrap();
        cluster
            .wait_until("the thawed primary to be stopped", within(15), || {
                if old.is_postgres_running() { Err("it runs".to_owned()) } else { Ok(()) }
            })
            .unwrap();
        println!("stopped {:?} after the thaw", thawed.elapsed());
        thawed
    });

    let new = promoted.unwrap();
    println!("acknowledged after the thaw: {late:?}; of the client: {:?}", client.split_brain(new).unwrap());
    assert!(late.len() <= LATE_EACH_MAX * WRITERS, "a handful at most: {late:?}");
    assert!(late.iter().all(|after| *after < GUARD_INSTANT), "nothing after the guard's instant: {late:?}");
    assert!(client.split_brain(new).unwrap().len() <= 4);
    for node in ["node2", "node3"] {
        let teller = cluster.node(node);
        wait_member(&cluster, (teller, "node1"), "sealed", within(15), |m| m["sealed"] == true);
    }
    old.start_postgres().unwrap();
    assert!(old.is_in_recovery().unwrap());
    assert_eq!(cluster.writable_nodes().len(), 1);
    finish(&cluster);
}
