//! A role that fails in the midst of an election, on any member, is rebuilt from the log, and the
//! election still ends with one primary. One that fails again and again is quarantined: its member
//! neither votes nor is promoted, says so, and the others go on without it.

mod support;

use pgfo::demo::{Cluster, Node};
use pgfo::events::Decision;
use support::{await_followers, await_primary_above, await_said, finish, history, rebuild, within};

/// A role, and an event of every election that it is to fail on.
const FAILURES: [&str; 8] = [
    "voter:VoteRequested",
    "promoter:VoteRequested",
    "voter:FreezeCompleted",
    "promoter:FreezeCompleted",
    "promoter:VoteGranted",
    "promoter:ElectionWon",
    "escalation-tracker:VerdictChanged",
    "witness:TestimonyRequested",
];

/// One more within a minute, and a role is quarantined: then the daemons are started anew.
const FAILURES_MAX: usize = 3;

fn cluster() -> Cluster {
    let builder = support::cluster_with_daemons().data(3).toml(support::ROOMY);
    builder.daemon_environment("PGFO_PANIC", "@{dir}/panic").build().unwrap()
}

fn arm(node: &Node, wish: &str) {
    std::fs::write(node.dir().join("panic"), wish).unwrap();
}

#[test]
fn a_role_that_fails_is_rebuilt() {
    let cluster = cluster();
    for (round, wish) in FAILURES.iter().enumerate() {
        if round % FAILURES_MAX == 0 {
            for node in cluster.nodes() {
                node.kill_daemon().unwrap();
                node.start_daemon().unwrap();
                // All at once could take longer than the lease.
                cluster.wait_healthy(within(60)).unwrap();
            }
        }
        let before = cluster.wait_healthy(within(60)).unwrap();
        let old = cluster.node(before.primary.as_deref().unwrap());
        println!("{wish}, {} is primary of term {}", old.name(), before.term);
        let marks: Vec<_> = cluster.nodes().iter().map(Node::log_mark).collect();
        for node in cluster.nodes() {
            arm(node, wish);
        }
        old.kill_postmaster().unwrap();
        let after = await_primary_above(&cluster, before.term.0, false, within(60));
        assert_eq!(cluster.writable_nodes().len(), 1, "after {wish}");
        for node in cluster.nodes() {
            assert!(node.is_daemon_running(), "{wish} ended the daemon of {}", node.name());
            std::fs::remove_file(node.dir().join("panic")).unwrap();
        }
        println!("  {}", after.summary());
        rebuild(old, cluster.node(after.primary.as_deref().unwrap()));
        await_followers(&cluster, &marks, &after);
    }
    let names: Vec<String> = cluster.nodes().iter().map(|n| n.name().to_owned()).collect();
    for node in cluster.nodes() {
        node.kill_daemon().unwrap();
    }
    let failed = |name: &String| {
        let all = history::decisions(&cluster, name);
        all.into_iter().filter(|d| matches!(d, Decision::RoleFailed { quarantined: false, .. })).count()
    };
    let total: usize = names.iter().map(failed).sum();
    assert!(total >= FAILURES.len(), "only {total} roles failed");
    finish(cluster);
}

#[test]
fn a_role_that_keeps_failing_is_quarantined() {
    let cluster = cluster();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let old = cluster.node(before.primary.as_deref().unwrap());
    // The one that would be elected.
    let sick = cluster.data_nodes().find(|n| n.name() != old.name()).unwrap();
    let mark = sick.log_mark();
    arm(sick, "voter:HeartbeatDue:4");
    await_said(&cluster, sick, mark, "quarantine");
    for node in [sick, old] {
        cluster
            .wait_until("a complaint", within(20), || {
                let status = node.status().map_err(|e| e.to_string())?;
                let said = status.raw["complaints"].to_string();
                let named =
                    said.contains(&format!("{} can't vote", sick.name())) && said.contains("uarantine");
                if named && status.exit_code == 1 { Ok(()) } else { Err(said) }
            })
            .unwrap();
    }
    old.kill_postmaster().unwrap();
    let after = await_primary_above(&cluster, before.term.0, false, within(60));
    assert_ne!(after.primary.as_deref(), Some(sick.name()));
    assert_eq!(cluster.writable_nodes().len(), 1);
    // Started anew, it is as before: the fault is gone.
    sick.kill_daemon().unwrap();
    std::fs::remove_file(sick.dir().join("panic")).unwrap();
    let votes = |name: &str| {
        let all = history::decisions(&cluster, name);
        all.iter()
            .filter(|d| matches!(d, Decision::VoteGranted { ask, .. } if ask.term > before.term))
            .count()
    };
    assert_eq!(votes(sick.name()), 0, "a quarantined member voted");
    sick.start_daemon().unwrap();
    rebuild(old, cluster.node(after.primary.as_deref().unwrap()));
    let healthy = cluster.wait_healthy(within(60)).unwrap();
    assert_eq!(healthy.term, after.term);
    finish(cluster);
}
