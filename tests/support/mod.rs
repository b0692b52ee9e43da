//! What the tests with real PostgreSQL share. Must never hold an expectation of its own, except that
//! every log replays.
#![allow(dead_code, reason = "every test file compiles this and uses a part of it")]

pub(crate) mod said;
pub(crate) mod watch;

use pgfo::demo::{Builder, Client, ClientOptions, Cluster, Deadline, Node, SandboxOptions};
use serde_json::Value;
use std::time::Duration;

/// Clusters that run at once on one machine, over all test processes: more of them make time-outs
/// of each other.
const CLUSTERS_MAX: u16 = 2;
/// From start to the first agreed primary, on a loaded machine.
const HEALTHY_WITHIN_SECS: u64 = 40;
/// `pgfo replay --help` only prints.
const HELP_WITHIN: Duration = Duration::from_secs(10);

/// Returns a builder whose cluster waits for its turn. With `PGFO_TEST_KEEP` set, its directory stays.
pub(crate) fn cluster() -> Builder {
    let keep = std::env::var_os("PGFO_TEST_KEEP").is_some();
    Cluster::builder().slots(CLUSTERS_MAX).sandbox(SandboxOptions { keep, ..SandboxOptions::default() })
}

/// Returns a builder whose members run this build's daemon.
pub(crate) fn cluster_with_daemons() -> Builder {
    cluster().pgfo(env!("CARGO_BIN_EXE_pgfo"))
}

/// Returns a deadline `seconds` from now.
pub(crate) fn within(seconds: u64) -> Deadline {
    Deadline::secs(seconds)
}

/// Builds the cluster, and waits until every daemon says that it is healthy.
pub(crate) fn healthy(builder: Builder) -> Cluster {
    let cluster = builder.build().unwrap();
    cluster.wait_healthy(within(HEALTHY_WITHIN_SECS)).unwrap();
    cluster
}

/// Starts a client that writes to `cluster`, and waits until it does.
pub(crate) fn writing(cluster: &Cluster) -> Client {
    let client = Client::start(cluster, ClientOptions::default()).unwrap();
    client.wait_acks(50, within(20)).unwrap();
    client
}

/// Returns what the daemon of `node` says of `member` in its status.
pub(crate) fn member_status(node: &Node, member: &str) -> Result<Value, String> {
    let status = node.status().map_err(|error| error.to_string())?;
    let members = status.raw["members"].as_array().cloned().unwrap_or_default();
    let found = members.into_iter().find(|one| one["name"] == member);
    found.ok_or_else(|| format!("{} does not know {member}", node.name()))
}

/// Waits until the daemon of `node` says something of `member` that satisfies `good`.
pub(crate) fn wait_member(
    cluster: &Cluster,
    (node, member): (&Node, &str),
    what: &str,
    deadline: Deadline,
    good: impl Fn(&Value) -> bool,
) -> Value {
    let what = format!("{}'s status to say that {member} is {what}", node.name());
    let found = cluster.wait_until(&what, deadline, || match member_status(node, member)? {
        status if good(&status) => Ok(status),
        status => Err(status.to_string()),
    });
    found.unwrap()
}

/// Waits until every standby that runs streams from `primary`, on its timeline.
pub(crate) fn wait_followed(cluster: &Cluster, primary: &Node, standbys: &[&str], deadline: Deadline) {
    let timeline = primary.timeline().unwrap();
    cluster.wait_streaming(primary, standbys.len(), deadline).unwrap();
    for name in standbys {
        let follows = cluster.wait_until(&format!("{name} to be on timeline {timeline}"), deadline, || {
            let found = cluster.node(name).timeline().map_err(|error| error.to_string())?;
            if found == timeline { Ok(()) } else { Err(format!("it is on {found}")) }
        });
        follows.unwrap();
    }
}

/// Ends a test: kills every daemon, as a power cut would, and demands that each log tells the same
/// story when it is replayed.
pub(crate) fn finish(cluster: &Cluster) {
    for node in cluster.nodes() {
        if node.daemon_pid().is_some() {
            node.kill_daemon().unwrap();
        }
    }
    let help = cluster.nodes()[0].pgfo(&["replay", "--help"], HELP_WITHIN).unwrap();
    if !help.status.success() {
        return;
    }
    for outcome in cluster.replay_all().unwrap() {
        assert_eq!(outcome.exit_code, 0, "the log of {} replays:\n{}", outcome.node, outcome.output);
    }
}
