//! A healthy cluster does not notice its daemons: stopped, crashed and started again, on any member,
//! nothing changes: no term, no primary, and PostgreSQL is not stopped. Only a crashed daemon of the
//! primary that stays away costs the primary its office, since nobody else could know that it lives.

mod support;

use pgfo::demo::{Client, ClientOptions, Cluster, Node, Signal};
use support::{await_primary_above, await_said, finish, postmaster_pid, signal, within};

/// At 200 a second: longer than the lease used here.
const COMMITS_OF_A_LEASE: usize = 1200;

fn postmasters(cluster: &Cluster) -> Vec<u32> {
    cluster.data_nodes().map(postmaster_pid).collect()
}

fn guard_pid(node: &Node) -> u32 {
    let guards = node.guard_pids();
    assert_eq!(guards.len(), 1, "{}: guards {guards:?}", node.name());
    guards[0]
}

#[test]
fn restarts_change_nothing() {
    let cluster = support::cluster_with_daemons().data(2).witness(1).toml(support::ROOMY).build().unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let primary = cluster.node(before.primary.as_deref().unwrap());
    let client = Client::start(&cluster, ClientOptions::default()).unwrap();
    let pids = postmasters(&cluster);
    let unchanged = |what: &str| {
        let status = cluster.wait_healthy(within(30)).unwrap();
        assert_eq!((&status.primary, status.term), (&before.primary, before.term), "{what}");
        assert_eq!(postmasters(&cluster), pids, "{what}: a PostgreSQL was stopped");
        assert!(status.raw["paused"].is_null(), "{what}: still paused");
    };

    // In order: the daemon is away for longer than a lease, and the primary goes on writing.
    for node in cluster.nodes() {
        let status = node.stop_daemon().unwrap();
        assert_eq!(status.code(), Some(0), "{}: {}", node.name(), node.daemon_log_tail());
        client.wait_acks(COMMITS_OF_A_LEASE, within(30)).unwrap();
        node.start_daemon().unwrap();
        unchanged(&format!("after an orderly restart of {}", node.name()));
    }
    // Crashed, and back within the lease.
    for node in cluster.nodes() {
        node.kill_daemon().unwrap();
        node.start_daemon().unwrap();
        unchanged(&format!("after a crash of the daemon of {}", node.name()));
        client.wait_acks(COMMITS_OF_A_LEASE, within(30)).unwrap();
        unchanged(&format!("a lease after the crash of {}", node.name()));
    }
    // The guard alone: the daemon starts another one, and arms it.
    let old_guard = guard_pid(primary);
    let mark = primary.log_mark();
    signal(old_guard, Signal::KILL);
    let another = |pids: &[u32]| pids.len() == 1 && pids[0] != old_guard;
    cluster
        .wait_until("another guard", within(20), || {
            let pids = primary.guard_pids();
            if another(&pids) { Ok(()) } else { Err(format!("{pids:?}")) }
        })
        .unwrap();
    await_said(&cluster, primary, mark, "guard armed");
    unchanged("after the guard was killed");

    // Crashed, and not back: the new guard fences at the deadline, and the other standby takes over.
    let fault = std::time::Instant::now();
    primary.kill_daemon().unwrap();
    let after = await_primary_above(&cluster, before.term.0, false, within(30));
    assert_ne!(after.primary, before.primary);
    assert!(fault.elapsed() > std::time::Duration::from_secs(1), "a lease is waited for");
    assert!(!primary.is_postgres_running(), "the guard stopped the old primary");
    let new = cluster.node(after.primary.as_deref().unwrap());
    client.wait_acks(50, within(20)).unwrap();
    assert!(client.split_brain(new).unwrap().is_empty());
    drop(client);
    finish(cluster);
}

#[test]
fn an_orderly_stop_without_a_quorum_is_refused_once() {
    // The lease outlives the wait for a quorum, so that the refusal is not the fence's doing.
    let cluster =
        support::cluster_with_daemons().data(3).toml("[lease]\nduration = \"10s\"\n").build().unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let primary = cluster.node(before.primary.as_deref().unwrap());
    let others: Vec<&Node> = cluster.nodes().iter().filter(|n| n.name() != primary.name()).collect();
    // Killed, not stopped: what is asked of them meanwhile must not be heard later, when nobody waits any more.
    for node in &others {
        node.kill_daemon().unwrap();
    }
    let mark = primary.log_mark();
    let pid = primary.daemon_pid().unwrap();
    signal(pid, Signal::TERM);
    await_said(&cluster, primary, mark, "staying: no quorum agreed to pause");
    assert_eq!(primary.daemon_pid(), Some(pid), "it stays");
    assert_eq!(cluster.writable_nodes().len(), 1, "and the primary goes on");
    let ended = primary.stop_daemon().unwrap();
    assert_eq!(ended.code(), Some(130));
    // Now nobody extends the deadline that the guard holds.
    cluster
        .wait_until("the guard to fence", within(30), || {
            if primary.is_postgres_running() { Err("PostgreSQL runs".into()) } else { Ok(()) }
        })
        .unwrap();
    assert!(primary.data_directory().unwrap().join("standby.signal").exists());
    for node in &others {
        node.start_daemon().unwrap();
    }
    let after = await_primary_above(&cluster, before.term.0, false, within(60));
    assert_ne!(after.primary, before.primary);
    finish(cluster);
}
