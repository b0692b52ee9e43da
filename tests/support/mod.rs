//! What the tests with real PostgreSQL share. Must never hold an expectation of its own, except that
//! every log replays.
#![allow(dead_code, reason = "every test file compiles this and uses a part of it")]

pub(crate) mod history;
pub(crate) mod said;
pub(crate) mod watch;

use pgfo::demo::{
    Builder, Client, ClientOptions, Cluster, Deadline, LogMark, Node, SandboxOptions, Signal, Status,
};
use serde_json::Value;
use std::time::Duration;

/// Clusters that run at once on one machine, over all test processes: more of them make time-outs
/// of each other.
const CLUSTERS_MAX: u16 = 2;
/// From start to the first agreed primary, on a loaded machine.
const HEALTHY_WITHIN_SECS: u64 = 40;

/// Returns a builder whose cluster waits for its turn. With `PGFO_TEST_KEEP` set, its directory stays.
pub(crate) fn cluster() -> Builder {
    let keep = std::env::var_os("PGFO_TEST_KEEP").is_some();
    Cluster::builder().slots(CLUSTERS_MAX).sandbox(SandboxOptions { keep, ..SandboxOptions::default() })
}

/// Returns a builder whose members run this build's daemon.
pub(crate) fn cluster_with_daemons() -> Builder {
    cluster().pgfo(env!("CARGO_BIN_EXE_pgfo"))
}

/// Returns whether network namespaces can be made here.
///
/// Needs root and the right to make them, and fails without: `PGFO_WITHOUT_NETWORKS=1` leaves these tests out where
/// nobody can have them.
pub(crate) fn networks_possible() -> bool {
    let probe = format!("pgfo-probe-{}", std::process::id());
    let ip = |verb: &str| std::process::Command::new("ip").args(["netns", verb, &probe]).output();
    let possible = ip("add").is_ok_and(|made| made.status.success());
    if !possible {
        let allowed = std::env::var_os("PGFO_WITHOUT_NETWORKS").is_some();
        assert!(
            allowed,
            "network namespaces can't be made here: run as root with iproute2, or set PGFO_WITHOUT_NETWORKS=1"
        );
        return false;
    }
    assert!(ip("del").unwrap().status.success());
    true
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

/// As [`QUICK`], with time for a daemon to come back within the lease on a loaded machine.
pub(crate) const ROOMY: &str = "[heartbeat]\ninterval = \"500ms\"\ntimeout = \"400ms\"\n\
    [lease]\nduration = \"5s\"\n[election]\nretry_interval = \"500ms\"\n";

/// Halves a failover's waits. Shorter ones would measure a loaded machine.
pub(crate) const QUICK: &str = "[heartbeat]\ninterval = \"500ms\"\ntimeout = \"400ms\"\n\
    [lease]\nduration = \"2500ms\"\n[election]\nretry_interval = \"500ms\"\n";

/// Returns a builder whose members run this build's daemon with [`QUICK`] settings.
pub(crate) fn quick_cluster() -> Builder {
    cluster_with_daemons().toml(QUICK)
}

/// Waits until a daemon's log says `words`, in any line since `mark`. The one place that knows how.
pub(crate) fn await_said(cluster: &Cluster, node: &Node, since: LogMark, words: &str) {
    let found = cluster.wait_log(node, since, words, within(20), |line| line.to_string().contains(words));
    found.unwrap_or_else(|e| panic!("{e}"));
}

/// Waits until every member's daemon names the same primary in a term above `above`, and that one
/// takes writes. With `restart`, daemons that ended are started, as systemd would.
pub(crate) fn await_primary_above(
    cluster: &Cluster,
    above: u64,
    restart: bool,
    deadline: Deadline,
) -> Status {
    let what = format!("one primary in a term above {above}");
    let found = cluster.wait_until(&what, deadline, || {
        if restart {
            cluster.start_daemons().map_err(|e| e.to_string())?;
        }
        let mut first: Option<Status> = None;
        for node in cluster.nodes().iter().filter(|n| restart || n.is_daemon_running()) {
            let status = node.status().map_err(|e| e.to_string())?;
            let seen = format!("{}: {}", node.name(), status.summary());
            let agreed =
                first.as_ref().is_none_or(|f| (&f.primary, f.term) == (&status.primary, status.term));
            if !agreed || status.term.0 <= above || status.primary.is_none() {
                return Err(seen);
            }
            first.get_or_insert(status);
        }
        let status = first.ok_or("no daemon runs")?;
        let primary = cluster.node(status.primary.as_deref().unwrap_or_default());
        match primary.is_in_recovery() {
            Ok(false) => Ok(status),
            other => Err(format!("{}: in recovery: {other:?}", primary.name())),
        }
    });
    found.unwrap_or_else(|e| panic!("{e}"))
}

/// Waits until every standby's daemon has seen it on the primary's line of history.
pub(crate) fn await_followers(cluster: &Cluster, since: &[LogMark], status: &Status) {
    for (node, mark) in cluster.nodes().iter().zip(since) {
        if !node.is_witness() && Some(node.name()) != status.primary.as_deref() {
            await_follower(cluster, node, *mark, status.term.0);
        }
    }
}

/// Waits until a standby's daemon has seen it on the line of history that `term` opened.
pub(crate) fn await_follower(cluster: &Cluster, node: &Node, since: LogMark, term: u64) {
    let follows = |line: &serde_json::Value| line["kind"] == "lineage confirmed" && line["term"] == term;
    let found = cluster.wait_log(node, since, "that it follows", within(30), follows);
    found.unwrap_or_else(|e| panic!("{e}"));
}

/// Makes `node` a standby of `primary` again, from a fresh base backup.
pub(crate) fn rebuild(node: &Node, primary: &Node) {
    if node.is_postgres_running() {
        node.stop_postgres(pgfo::demo::StopMode::Immediate).unwrap();
    }
    let data = node.data_directory().unwrap();
    // A guard that fenced here puts its seal back until `PG_VERSION` is gone; from then on it waits.
    while remove_entries(data) > 0 {}
    node.base_backup_from(primary).unwrap();
}

fn remove_entries(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let remove = |path: std::path::PathBuf| {
        let is_dir = path.is_dir() && !path.is_symlink();
        if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    };
    entries.map(remove).count()
}

/// Runs `pgfo` as the member's user and returns its exit code and all it printed.
pub(crate) fn pgfo(node: &Node, arguments: &[&str]) -> (i32, String) {
    let output = node.pgfo(arguments, Duration::from_secs(20)).unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text.into_owned())
}

/// Sends a signal to a process of the cluster.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Returns the number of PostgreSQL's head process.
pub(crate) fn postmaster_pid(node: &Node) -> u32 {
    assert!(node.is_postgres_running(), "{} has no postmaster", node.name());
    let file = node.data_directory().unwrap().join("postmaster.pid");
    std::fs::read_to_string(file).unwrap().lines().next().unwrap().trim().parse().unwrap()
}

/// Ends a test: kills every daemon, as a power cut would, and has every log audited: what was decided must
/// follow from what was seen.
pub(crate) fn finish(cluster: impl std::borrow::Borrow<Cluster>) {
    finish_but(cluster, None);
}

/// As [`finish`], for a test that has deleted the log of `forgetful`.
pub(crate) fn finish_but(cluster: impl std::borrow::Borrow<Cluster>, forgetful: Option<&str>) {
    let cluster = cluster.borrow();
    for node in cluster.nodes().iter().filter(|n| n.daemon_pid().is_some()) {
        node.kill_daemon().unwrap();
    }
    history::check(cluster, forgetful);
    for outcome in cluster.replay_all().unwrap() {
        assert_eq!(outcome.exit_code, 0, "the log of {} replays:\n{}", outcome.node, outcome.output);
    }
}
