//! A primary that comes back: whenever it does, and whoever starts it, there is exactly one primary.

mod support;

use pgfo::demo::{Client, Cluster, Node};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::said::{Reason, has_said, wait_said};
use support::watch::never_two_primaries;
use support::{finish, healthy, member_status, wait_member, within, writing};

/// When the dead primary is started again: before anybody knows, while its node is being fenced,
/// during the election, during the promotion.
const RETURNS_AFTER_MS: [u64; 4] = [0, 30, 80, 160];
/// How often a service manager starts what has ended.
const SERVICE_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until all agree on one primary that takes writes, and the others are in recovery.
fn settled<'a>(cluster: &'a Cluster, client: &Client) -> &'a Node {
    let primary = cluster.wait_primary(None, within(30)).unwrap();
    client.wait_acks(50, within(20)).unwrap();
    let status = primary.status().unwrap();
    assert_eq!(status.primary.as_deref(), Some(primary.name()), "{:#}", status.raw);
    assert_eq!(cluster.writable_nodes().len(), 1);
    primary
}

fn the_primary_returns_after(delay: Duration) {
    let cluster = healthy(support::quick_cluster().data(3));
    let old = cluster.node("node1");
    let client = writing(&cluster);
    let primary = never_two_primaries(&cluster, || {
        old.kill_postmaster().unwrap();
        std::thread::sleep(delay);
        // A start may meet the fence, and then fails: the next one counts.
        cluster
            .wait_until("the old primary to start", within(30), || {
                old.start_postgres().map_err(|error| error.to_string())
            })
            .unwrap();
        settled(&cluster, &client)
    });
    println!("after {delay:?}: {} is primary", primary.name());
    if primary.name() != "node1" {
        assert!(old.is_in_recovery().unwrap(), "it was sealed");
        assert_eq!(client.split_brain(primary).unwrap(), []);
    }
    assert!(client.lost(primary).unwrap().len() < 20);
    finish(&cluster);
}

/// A DBA may rely on this: a primary that is started again while the others vote is either the
/// primary still, or sealed and read-only; never are two writable.
#[test]
fn a_primary_may_return_while_the_vote_is_under_way() {
    for delay in RETURNS_AFTER_MS {
        the_primary_returns_after(Duration::from_millis(delay));
    }
}

/// A DBA may rely on this: a service manager that starts a fenced PostgreSQL again and again only
/// gets a read-only one, and the log says what happened to it.
#[test]
fn a_service_manager_cannot_bring_a_fenced_primary_back() {
    let cluster = healthy(support::quick_cluster().data(2).witness(1));
    let old = cluster.node("node1");
    let client = writing(&cluster);
    let mark = old.log_mark();
    let over = AtomicBool::new(false);
    let primary = std::thread::scope(|scope| {
        old.kill_postmaster().unwrap();
        // Out of the way at once, so that the service manager wins no race against the fence.
        let promoted = cluster.wait_primary(Some("node1"), within(20));
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if !old.is_postgres_running() {
                    // What fails now is started again, as a service manager does.
                    let _again = old.start_postgres();
                }
                std::thread::sleep(SERVICE_INTERVAL);
            }
        });
        let came_back = promoted.and_then(|new| {
            cluster.wait_until("the old primary to be read-only", within(20), || match old.is_in_recovery() {
                Ok(true) => Ok(new),
                other => Err(format!("{other:?}")),
            })
        });
        over.store(true, Ordering::Relaxed);
        came_back.unwrap()
    });
    wait_said(&cluster, old, mark, Reason::Fenced, 5);
    for node in [old, primary, cluster.node("witness1")] {
        wait_member(&cluster, (node, "node1"), "a sealed standby", within(10), |member| {
            member["role"] == "standby" && member["sealed"] == true
        });
    }
    // By hand, too.
    old.restart_postgres().unwrap();
    assert!(old.is_in_recovery().unwrap());
    assert_eq!(client.split_brain(primary).unwrap(), []);
    assert_eq!(cluster.writable_nodes().len(), 1);

    // Either it follows, or the log and the status say why it can't.
    let told = cluster.wait_until("it to follow, or to say why not", within(20), || {
        let status = old.status().map_err(|error| error.to_string())?;
        let member = member_status(old, "node1")?;
        let says_why = status.raw["complaints"].to_string().contains("it needs a rewind");
        match (member["state"] == "streaming", has_said(old, Reason::PastTheFork) && says_why) {
            (false, false) => Err(format!("{:#}", status.raw)),
            (follows, _) => Ok(follows),
        }
    });
    println!("it follows: {}; lost: {:?}", told.unwrap(), client.lost(primary).unwrap());
    finish(&cluster);
}

/// The same when the service manager is quicker than the others' vote.
#[test]
fn a_quick_service_manager_makes_no_second_primary() {
    let cluster = healthy(support::quick_cluster().data(3));
    let old = cluster.node("node1");
    let client = writing(&cluster);
    let over = AtomicBool::new(false);
    never_two_primaries(&cluster, || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if !old.is_postgres_running() {
                        // What fails now is started again, as a service manager does.
                        let _again = old.start_postgres();
                    }
                    std::thread::sleep(SERVICE_INTERVAL);
                }
            });
            old.kill_postmaster().unwrap();
            let primary =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| settled(&cluster, &client)));
            over.store(true, Ordering::Relaxed);
            primary.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    });
    finish(&cluster);
}

/// A DBA may rely on this: a primary whose data went past the fork (it had accepted what nobody else
/// received) is left alone, read-only, and `pgfo status` beside it says what it needs.
#[test]
fn a_diverged_primary_says_what_it_needs() {
    let cluster = healthy(support::quick_cluster().data(3));
    let old = cluster.node("node1");
    old.query("CREATE TABLE only_here (id int)").unwrap();
    // Nobody receives the last writes.
    for standby in ["node2", "node3"] {
        cluster.node(standby).query("ALTER SYSTEM SET primary_conninfo = ''").unwrap();
        cluster.node(standby).query("SELECT pg_reload_conf()").unwrap();
    }
    cluster.wait_streaming(old, 0, within(10)).unwrap();
    old.query("INSERT INTO only_here VALUES (1)").unwrap();

    old.kill_postmaster().unwrap();
    let primary = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    old.start_postgres().unwrap();
    assert!(old.is_in_recovery().unwrap());
    let said = cluster.wait_until("its status to say what it needs", within(20), || {
        let status = old.status().map_err(|error| error.to_string())?;
        let complaints = status.raw["complaints"].to_string();
        if complaints.contains("past the fork; it needs a rewind") { Ok(()) } else { Err(complaints) }
    });
    said.unwrap();
    // It is refused once a freeze has looked at it: the status tells what the last probe saw.
    let refused = cluster.wait_until("it to be refused", within(20), || {
        if has_said(old, Reason::PastTheFork) { Ok(()) } else { Err("not yet".to_owned()) }
    });
    refused.unwrap();
    assert_eq!(primary.query_one("SELECT count(*) FROM only_here").unwrap(), "0");
    finish(&cluster);
}

/// A DBA may rely on this: after a power cut, the guard that PostgreSQL's unit runs first
/// (`ExecStartPre=pgfo guard`) lets a former primary start read-only only, even if no daemon runs
/// beside it, and the other members' answer is not needed.
#[test]
fn after_a_power_cut_the_guard_seals_a_former_primary() {
    let cluster = healthy(support::quick_cluster().data(2).witness(1));
    let old = cluster.node("node1");
    old.kill_node().unwrap();
    let primary = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    never_two_primaries(&cluster, || {
        let config = old.config_file();
        let (code, said) = support::pgfo(old, &["guard", "--config", &config.to_string_lossy()]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("sealed"), "{said}");
        old.start_postgres().unwrap();
        assert!(old.is_in_recovery().unwrap());
        old.start_daemon().unwrap();
        // A daemon that has not looked at PostgreSQL yet may fence even a sealed one: then the unit
        // starts it again, read-only as before.
        let settled = cluster.wait_until("all to be healthy", within(30), || {
            if !old.is_postgres_running() {
                old.start_postgres().map_err(|error| error.to_string())?;
            }
            let codes = cluster.nodes().iter().map(|node| node.status().map(|status| status.exit_code));
            let codes: Vec<i32> = codes.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
            if codes.iter().all(|code| *code == 0) { Ok(()) } else { Err(format!("exit codes {codes:?}")) }
        });
        settled.unwrap();
    });
    assert_eq!(cluster.writable_nodes()[0].name(), primary.name());
    finish(&cluster);
}

/// The same with the daemon first, and PostgreSQL started by hand, past its unit: the daemon has
/// sealed it before.
#[test]
fn after_a_power_cut_the_daemon_seals_a_former_primary() {
    let cluster = healthy(support::quick_cluster().data(2).witness(1));
    let old = cluster.node("node1");
    old.kill_node().unwrap();
    let primary = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    never_two_primaries(&cluster, || {
        old.start_daemon().unwrap();
        wait_member(&cluster, (old, "node1"), "sealed", within(15), |m| m["sealed"] == true);
        old.start_postgres().unwrap();
        assert!(old.is_in_recovery().unwrap());
        cluster.wait_healthy(within(30)).unwrap();
    });
    assert_eq!(cluster.writable_nodes()[0].name(), primary.name());
    finish(&cluster);
}

/// What no daemon can prevent, since none runs: PostgreSQL started by hand after a power cut, past
/// its unit and before the daemon, is a second primary. The daemon ends that as soon as it runs.
#[test]
fn a_former_primary_started_by_hand_is_fenced_by_its_daemon() {
    let cluster = healthy(support::quick_cluster().data(2).witness(1));
    let old = cluster.node("node1");
    old.kill_node().unwrap();
    let primary = cluster.wait_primary(Some("node1"), within(20)).unwrap();
    old.start_postgres().unwrap();
    assert!(!old.is_in_recovery().unwrap(), "nobody was there to prevent it");
    let mark = old.log_mark();
    old.start_daemon().unwrap();
    let stopped = cluster.wait_until("the second primary to be stopped", within(15), || {
        if old.is_postgres_running() { Err("it runs".to_owned()) } else { Ok(()) }
    });
    stopped.unwrap();
    wait_said(&cluster, old, mark, Reason::Fenced, 5);
    old.start_postgres().unwrap();
    assert!(old.is_in_recovery().unwrap());
    assert_eq!(cluster.writable_nodes()[0].name(), primary.name());
    assert_eq!(cluster.writable_nodes().len(), 1);
    finish(&cluster);
}
