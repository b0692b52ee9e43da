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
    let cluster = healthy(support::cluster_with_daemons().data(3));
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
    let cluster = healthy(support::cluster_with_daemons().data(2).witness(1));
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

    // Either it follows, or it says why it can't.
    let data_past_the_fork = client.lost(primary).unwrap();
    let told = cluster.wait_until("it to follow, or to say why not", within(15), || {
        let member = member_status(old, "node1")?;
        let refused = has_said(old, Reason::PastTheFork);
        match member["state"] == "streaming" || refused {
            true => Ok((member, refused)),
            false => Err(member.to_string()),
        }
    });
    println!("{:?}; lost {data_past_the_fork:?}", told.unwrap());
    finish(&cluster);
}

/// The same when the service manager is quicker than the others' vote.
#[test]
fn a_quick_service_manager_makes_no_second_primary() {
    let cluster = healthy(support::cluster_with_daemons().data(3));
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
