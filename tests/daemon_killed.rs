//! Whatever step of a failover a daemon dies at, and on every member at once: once it is started
//! again, exactly one primary comes out of it. No term is won twice, no vote is changed, and no
//! promotion is repeated from memory.

mod support;

use pgfo::demo::Node;
use support::{await_followers, await_primary_above, finish, rebuild, within};

/// What is decided in a failover, in about this order.
const STEPS: [&str; 13] = [
    "SuspicionRaised",
    "VerdictChanged",
    "FenceOrdered",
    "LeaseReleased",
    "TestimonyRequested",
    "ElectionPlanned",
    "CandidacyOpened",
    "FreezePromised",
    "VoteGranted",
    "ElectionWon",
    "PromotionOrderedOf",
    "PrimaryAnnounced",
    "FollowOrdered",
];

fn every_member_dies(moments: &[&str]) {
    let cluster = support::cluster_with_daemons()
        .data(3)
        .toml(support::QUICK)
        .daemon_environment("PGFO_DIE", "@{dir}/die")
        .build()
        .unwrap();
    cluster.wait_healthy(within(60)).unwrap();
    for (at, step) in STEPS.iter().enumerate() {
        let moment = moments[at % moments.len()];
        let before = cluster.wait_healthy(within(60)).unwrap();
        let old = cluster.node(before.primary.as_deref().unwrap());
        println!("{moment}:{step}, {} is primary of term {}", old.name(), before.term);
        let marks: Vec<_> = cluster.nodes().iter().map(Node::log_mark).collect();
        let orders: Vec<_> = cluster.nodes().iter().map(|n| n.dir().join("die")).collect();
        for order in &orders {
            std::fs::write(order, format!("{moment}:{step}")).unwrap();
        }
        // The daemon beside a dead postmaster confirms it: suspicion is for when it is gone, too, and stays so.
        if *step == "SuspicionRaised" {
            old.kill_node().unwrap();
            let struck =
                || orders.iter().any(|order| !order.exists()).then_some(()).ok_or("nobody did".to_owned());
            cluster.wait_until("somebody to die of a suspicion", within(20), struck).unwrap();
        } else {
            old.kill_postmaster().unwrap();
        }
        let after = await_primary_above(&cluster, before.term.0, true, within(60));
        let struck = orders.iter().filter(|order| !order.exists()).count();
        assert!(struck > 0, "nobody came to {moment}:{step}");
        for order in orders.iter().filter(|order| order.exists()) {
            std::fs::remove_file(order).unwrap();
        }
        cluster.start_daemons().unwrap();
        assert_eq!(cluster.writable_nodes().len(), 1, "after {moment}:{step}");
        println!("  {struck} died; {}", after.summary());
        rebuild(old, cluster.node(after.primary.as_deref().unwrap()));
        await_followers(&cluster, &marks, &after);
    }
    cluster.wait_healthy(within(60)).unwrap();
    finish(cluster);
}

#[test]
fn before_a_decision_is_stored() {
    every_member_dies(&["BEFORE", "APPENDED"]);
}

#[test]
fn after_a_decision_is_stored() {
    every_member_dies(&["AFTER", "STORED"]);
}
