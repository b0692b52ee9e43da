//! The harness itself, on real PostgreSQL: what it builds, what its faults do, what it measures, and
//! that nothing stays behind.

mod support;

use pgfo::demo::floor::{FloorOptions, measure, spread};
use pgfo::demo::{Auth, Client, ClientOptions, Cluster, Deadline, LogMark, Node, SandboxOptions, StopMode};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Returns the processes that run below `dir`, as the process table has them.
fn processes_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok())
        .filter(|cwd| cwd.starts_with(dir))
        .collect()
}

fn promote(node: &Node) {
    node.query("SELECT pg_promote(false)").unwrap();
}

#[test]
fn a_cluster_of_three_streams_and_leaves_nothing() {
    let started = Instant::now();
    let cluster = support::cluster().data(3).witness(1).build().unwrap();
    println!("built in {:?}", started.elapsed());
    let primary = cluster.node("node1");
    let names = primary.query("SELECT application_name FROM pg_stat_replication ORDER BY 1").unwrap();
    assert_eq!(names, [[Some("node2".to_owned())], [Some("node3".to_owned())]]);
    assert_eq!(primary.query_one("SHOW fsync").unwrap(), "on");
    for node in cluster.data_nodes() {
        assert_eq!(node.is_in_recovery().unwrap(), node.name() != "node1");
        assert_eq!(node.timeline().unwrap().0, 1);
    }
    assert!(cluster.node("witness1").is_witness());
    let config = std::fs::read_to_string(cluster.node("node2").config_file()).unwrap();
    assert_eq!(config.matches("[[member]]").count(), 4);
    assert_eq!(config.matches("role = \"witness\"").count(), 1);

    let root = cluster.sandbox().root().to_path_buf();
    assert!(!processes_in(&root).is_empty());
    drop(cluster);
    assert!(processes_in(&root).is_empty(), "every process is gone");
    assert!(!root.exists(), "the directory is gone");
}

#[test]
fn the_client_measures_an_outage_and_a_split_brain() {
    let cluster = support::cluster().data(2).build().unwrap();
    let (old, new) = (cluster.node("node1"), cluster.node("node2"));
    let client = Client::start(&cluster, ClientOptions::default()).unwrap();
    client.wait_acks(100, Deadline::secs(20)).unwrap();

    let fault = Instant::now();
    old.kill_postmaster().unwrap();
    promote(new);
    client.wait_acks(100, Deadline::secs(20)).unwrap();
    let outage = client.outage(fault);
    println!("outage {outage:?}");
    assert!(outage.ended && outage.service <= outage.client, "{outage:?}");
    assert!(
        outage.client > Duration::from_millis(5) && outage.client < Duration::from_secs(10),
        "{outage:?}"
    );
    assert_eq!(new.timeline().unwrap().0, 2);
    let lost = client.lost(new).unwrap();
    assert!(lost.len() < 30, "asynchronous, but not that much: {}", lost.len());
    assert!(client.split_brain(new).unwrap().is_empty());

    // The old primary comes back unfenced: the probers must see both taking writes.
    old.start_postgres().unwrap();
    assert_eq!(cluster.writable_nodes().len(), 2);
    cluster
        .wait_until("the split brain to be seen", Deadline::secs(10), || {
            let acks = client.split_brain(new).unwrap();
            if acks.len() > 3 { Ok(()) } else { Err(format!("{} commits", acks.len())) }
        })
        .unwrap();
    assert!(client.stop().acked() >= 200);
}

#[test]
fn faults_take_effect_and_end() {
    let cluster = support::cluster().data(2).build().unwrap();
    let (primary, standby) = (cluster.node("node1"), cluster.node("node2"));

    let mut old_session = primary.session().unwrap();
    primary.freeze_postmaster().unwrap();
    assert!(primary.session().is_err(), "a new session hangs");
    assert_eq!(
        old_session.query("SELECT 1", Duration::from_secs(1)).unwrap().len(),
        1,
        "an old one does not"
    );
    primary.thaw_postmaster().unwrap();
    assert!(!primary.is_in_recovery().unwrap());

    standby.freeze_node().unwrap();
    assert!(standby.is_frozen() && !primary.is_frozen());
    assert!(old_session.query("SELECT 1", Duration::from_secs(1)).is_ok());
    standby.thaw_node().unwrap();
    assert!(standby.is_in_recovery().unwrap());

    for _ in 0..3 {
        primary.kill_postmaster().unwrap();
        assert!(!primary.is_postgres_running());
        primary.start_postgres().unwrap();
    }
    cluster.wait_streaming(primary, 1, Deadline::secs(20)).unwrap();

    primary.restart_postgres().unwrap();
    primary.stop_postgres(StopMode::Immediate).unwrap();
    assert!(!primary.is_postgres_running());
    primary.start_postgres().unwrap();

    let settings = primary.dir().join("node.conf");
    std::fs::write(&settings, std::fs::read_to_string(&settings).unwrap() + "max_connections = nonsense\n")
        .unwrap();
    primary.stop_postgres(StopMode::Fast).unwrap();
    let failed = primary.start_postgres().unwrap_err().to_string();
    assert!(failed.contains("nonsense"), "the log is quoted: {failed}");
    assert!(primary.kill_postmaster().is_err());
    primary.kill_node().unwrap();
    assert!(primary.processes().is_empty());
    assert!(processes_in(primary.dir()).is_empty());
    assert!(standby.is_in_recovery().unwrap(), "the other node is untouched");
}

#[test]
fn scram_asks_for_the_password_and_no_output_has_it() {
    let setup = "ALTER ROLE pgfo NOSUPERUSER";
    let cluster = support::cluster().data(2).auth(Auth::Scram).setup_sql(setup).build().unwrap();
    let node = cluster.node("node2");
    assert!(node.is_in_recovery().unwrap());
    assert_eq!(node.query_one("SELECT rolsuper FROM pg_roles WHERE rolname = 'pgfo'").unwrap(), "f");
    let conninfo = node.conninfo().unwrap();
    let (_, password) = conninfo.split_once("password=").unwrap();
    let open = |text: &str| pgfo::demo::Session::open("node2", text, Duration::from_secs(2));
    assert!(open(&conninfo).is_ok());
    let refused = open(&conninfo.replace(password, "wrong")).unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
    assert!(!format!("{cluster:?}{}", cluster.evidence()).contains(password));
}

/// Stands for the daemon: writes a log line, ends on SIGTERM, and has a guard in a session of its own.
const FAKE_PGFO: &str = r#"#!/bin/sh
case "$1" in
daemon)
  (cd / && exec setsid sh -c 'while :; do sleep 1; done' guard) &
  trap 'echo "{\"msg\":\"bye\"}" >&2; exit 0' TERM
  echo "{\"msg\":\"hello\",\"member\":\"$(basename "$(pwd)")\"}" >&2
  while :; do sleep 0.05; done ;;
status) echo '{"members":[{"name":"node1","role":"primary"}],"primary":"node1","term":1}' ;;
replay) echo "identical: $2" ;;
esac
"#;

#[test]
fn daemons_are_started_asked_and_ended() {
    let dir = std::env::temp_dir().join(format!("pgfo-fake-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let fake = dir.join("pgfo");
    std::fs::write(&fake, FAKE_PGFO).unwrap();
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let cluster = support::cluster().data(1).witness(1).pgfo(&fake).build().unwrap();
    let (node, witness) = (cluster.node("node1"), cluster.node("witness1"));

    let status = cluster.wait_healthy(Deadline::secs(20)).unwrap();
    assert_eq!((status.primary.as_deref(), status.term.0), (Some("node1"), 1));
    assert_eq!(cluster.wait_primary(None, Deadline::secs(20)).unwrap().name(), "node1");
    let line = cluster
        .wait_log(witness, LogMark::START, "a greeting", Deadline::secs(20), |line| line["msg"] == "hello")
        .unwrap();
    assert_eq!(line["member"], "witness1");
    for outcome in cluster.replay_all().unwrap() {
        assert_eq!(outcome.exit_code, 0);
        assert!(outcome.output.contains("events.db"), "{outcome:?}");
    }
    let error = cluster.wait_primary(Some("node1"), Deadline::after(Duration::from_millis(200))).unwrap_err();
    assert!(error.to_string().contains("hello"), "the logs are quoted: {error}");

    let mark = witness.log_mark();
    assert!(witness.stop_daemon().unwrap().success());
    assert!(!witness.is_daemon_running());
    cluster.wait_log(witness, mark, "a farewell", Deadline::secs(20), |line| line["msg"] == "bye").unwrap();
    witness.start_daemon().unwrap();
    assert!(witness.start_daemon().is_err(), "it runs already");

    node.kill_daemon().unwrap();
    assert!(!node.guard_pids().is_empty(), "the guard outlives its daemon");
    node.start_daemon().unwrap();
    node.kill_node().unwrap();
    assert!(node.processes().is_empty() && node.guard_pids().is_empty() && node.daemon_pid().is_none());
    assert!(witness.is_daemon_running());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_floor_is_measured() {
    let options = FloorOptions {
        runs: 3,
        data: 2,
        wal_retrieve_retry_interval: Some(Duration::from_millis(100)),
        sandbox: SandboxOptions::default(),
    };
    let runs = measure(&options, |run| println!("{run:?}")).unwrap();
    let (min, median, max) = spread(runs.iter().map(|run| run.outage).collect());
    println!("floor {min:?} / {median:?} / {max:?}");
    assert!(max < Duration::from_secs(10), "{runs:?}");
    assert!(runs.iter().all(|run| run.lost < 100), "{runs:?}");
}

/// Prints the floor as the benchmark compares with it. Judges nothing: the figures are the machine's.
#[test]
#[ignore = "a measurement of a minute or two"]
fn the_floor_over_many_runs() {
    for interval in [None, Some(Duration::from_millis(100))] {
        let options = FloorOptions {
            runs: 12,
            data: 2,
            wal_retrieve_retry_interval: interval,
            sandbox: SandboxOptions::default(),
        };
        let runs = measure(&options, |_| ()).unwrap();
        let outages = spread(runs.iter().map(|run| run.outage).collect());
        let kills = spread(runs.iter().map(|run| run.kill_to_first_ack).collect());
        let lost: usize = runs.iter().map(|run| run.lost).sum();
        println!(
            "retry {interval:?}: outage {outages:?}, kill to first ack {kills:?}, {lost} lost in {} runs",
            runs.len()
        );
    }
}

/// Builds a cluster and is then killed by one of the tests below, in a process of its own.
#[test]
#[ignore = "run by the tests that kill it"]
fn victim() {
    pgfo::demo::clean_up_on_interrupt().unwrap();
    let cluster = Cluster::builder().data(1).build().unwrap();
    println!("\nroot={}", cluster.sandbox().root().display());
    std::thread::park();
}

/// Starts the victim, waits for its cluster, and returns the cluster's directory.
fn start_victim() -> (Child, PathBuf) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let root =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("root=").map(PathBuf::from)).unwrap();
    assert!(!processes_in(&root).is_empty());
    (child, root)
}

#[test]
fn the_janitor_cleans_up_after_a_killed_process() {
    let (mut child, root) = start_victim();
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while root.exists() || !processes_in(&root).is_empty() {
        assert!(Instant::now() < deadline, "{} is still there", root.display());
        std::thread::yield_now();
    }
}

#[test]
fn an_interrupt_cleans_up_before_the_process_ends() {
    let (mut child, root) = start_victim();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!root.exists() && processes_in(&root).is_empty());
}

#[test]
fn a_panic_cleans_up() {
    let root = std::thread::spawn(|| {
        let cluster = support::cluster().data(1).build().unwrap();
        std::panic::panic_any(cluster.sandbox().root().to_path_buf());
    });
    let root = root.join().unwrap_err().downcast::<PathBuf>().unwrap();
    assert!(!root.exists() && processes_in(&root).is_empty());
}
