//! What `pgfo explain` says became of the old primary.

mod replay_support;

use pgfo::core::{Lsn, Term, Timeline};
use pgfo::events::{Actor, FollowOutcome, Observation};
use replay_support::*;

/// node1 comes back sealed and follows; then its daemon alone starts anew, and finds this postmaster.
fn came_back(pid_found: u32) -> Cluster {
    let mut cluster = failover();
    let seen = |pid| Observation::PostmasterSeen { pid, sealed: true };
    cluster.observe(NODE1, Actor::PostgresOperator, seen(4_700));
    cluster.node(NODE1).postgres = Some(standby(0x300_02A0, 2));
    let outcome = FollowOutcome::Streaming { timeline: Timeline(2), lsn: Some(Lsn(0x300_02A0)) };
    let followed = Observation::FollowCompleted { term: Term(2), outcome, commands: vec![] };
    cluster.observe(NODE1, Actor::PostgresOperator, followed);
    for _ in 0..20 {
        cluster.heartbeat(NODE3);
    }
    cluster.node(NODE1).crash(0);
    cluster.advance_millis(3_000);
    cluster.node(NODE1).up = true;
    cluster.start(NODE1);
    cluster.meet(NODE1);
    cluster.observe(NODE1, Actor::PostgresOperator, seen(pid_found));
    for _ in 0..5 {
        cluster.heartbeat(NODE3);
    }
    cluster
}

#[test]
fn a_daemon_that_starts_anew_does_not_start_the_postgresql_beside_it() {
    for (pid, says) in [
        (4_700, "PostgreSQL on node1, the old primary, follows the new primary since +"),
        (4_701, "PostgreSQL on node1, the old primary, runs again, read-only, since +"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let logs = write_all(&mut came_back(pid), dir.path());
        let (_, json) = explain_json(&page_args(&logs));
        let page = &json["incidents"][0];
        let became = page["old_primary"].as_str().unwrap();
        assert!(became.starts_with(says), "{became}");
        assert!(became.contains("; its daemon started again at +"), "{became}");
        assert!(became.ends_with(" and was there until these logs end"), "{became}");
    }
}
