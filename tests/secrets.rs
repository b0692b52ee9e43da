//! A password in a connection string stays where the operator wrote it, and in the file of what a
//! freeze unties, which only its owner can read: through a whole failover it shows in no log, event,
//! process list, status or replay.

mod support;

use pgfo::demo::{Auth, Cluster, Node};
use pgfo::events::{Event, LogReader};
use pgfo::keep::{INCIDENTS_DIR, list};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{await_follower, await_primary_above, await_said, finish, history, pgfo, within};

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// Returns the command lines of all processes.
fn command_lines() -> Vec<u8> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.flat_map(|process| std::fs::read(process.path().join("cmdline")).unwrap_or_default()).collect()
}

fn files(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() { files(&entry.path(), out) } else { out.push(entry.path()) }
    }
}

fn check_files(cluster: &Cluster, secret: &str) {
    for node in cluster.nodes() {
        let mut found = vec![node.daemon_log()];
        files(&node.dir().join("log"), &mut found);
        for path in found {
            let Ok(bytes) = std::fs::read(&path) else { continue };
            if path.ends_with("upstream.saved") {
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            } else {
                assert!(!holds(&bytes, secret), "the password is in {}", path.display());
            }
        }
    }
}

/// An incident holds the settings in force and the whole state, but no password; and it replays.
fn check_incidents(node: &Node, secret: &str) {
    let (_, listed) = pgfo(node, &["incident", "list", "--config", &node.config_file().to_string_lossy()]);
    assert!(listed.contains("failover"), "{listed}");
    let found = list(&node.dir().join("log").join(INCIDENTS_DIR)).unwrap();
    assert!(!found.is_empty(), "{} has no incident", node.name());
    for file in found {
        let path = file.path.to_string_lossy().into_owned();
        let (exit, text) = pgfo(node, &["incident", "show", "--all", &path]);
        assert!(exit == 0 && text.contains("identical"), "{text}");
        assert!(!text.contains(secret), "the password is in the story of {path}");
        let reader = LogReader::<Event>::open(&file.path).unwrap();
        let state = reader.checkpoint().map(|checkpoint| checkpoint.state.clone()).unwrap_or_default();
        assert!(!holds(&state, secret), "the password is in the checkpoint of {path}");
        let records: Vec<_> = reader.map(|record| record.unwrap()).collect();
        assert!(!format!("{records:?}").contains(secret), "the password is in a record of {path}");
        assert_eq!(std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_password_shows_nowhere() {
    let cluster =
        support::cluster_with_daemons().data(3).auth(Auth::Scram).toml(support::QUICK).build().unwrap();
    let conninfo = cluster.node("node1").conninfo().unwrap();
    let secret = conninfo.rsplit_once("password=").unwrap().1.to_owned();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let old = cluster.node(before.primary.as_deref().unwrap());
    let marks: Vec<_> = cluster.nodes().iter().map(|n| n.log_mark()).collect();
    let done = AtomicBool::new(false);
    let after = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = false;
            while !done.load(Ordering::Relaxed) {
                seen |= holds(&command_lines(), &secret);
                std::thread::yield_now();
            }
            seen
        });
        old.kill_postmaster().unwrap();
        let after = await_primary_above(&cluster, before.term.0, false, within(60));
        done.store(true, Ordering::Relaxed);
        assert!(!watcher.join().unwrap(), "the password is in a command line");
        after
    });
    let standby =
        |n: &&pgfo::demo::Node| n.name() != old.name() && Some(n.name()) != after.primary.as_deref();
    let at = cluster.nodes().iter().position(|n| standby(&n)).unwrap();
    await_follower(&cluster, &cluster.nodes()[at], marks[at], after.term.0);
    // It follows with the password, which only PostgreSQL's own settings hold.
    let conninfo = cluster.nodes()[at].query_one("SHOW primary_conninfo").unwrap();
    assert!(conninfo.contains(&secret));

    for node in cluster.nodes() {
        let config = node.config_file().to_string_lossy().into_owned();
        for arguments in [
            vec!["status", "--config", &config],
            vec!["status", "--json", "--config", &config],
            vec!["daemon", "--check", "--config", &config],
        ] {
            let (_, text) = pgfo(node, &arguments);
            assert!(!text.contains(&secret), "the password is in the output of pgfo {}", arguments.join(" "));
        }
    }
    // Each member's daemon cuts the incident out once all has settled.
    for (node, mark) in cluster.nodes().iter().zip(&marks) {
        await_said(&cluster, node, *mark, "incident written");
        check_incidents(node, &secret);
    }
    check_files(&cluster, &secret);
    for node in cluster.nodes() {
        node.kill_daemon().unwrap();
        // Old records are compressed: their bytes alone prove nothing.
        let records = format!("{:?}", history::records(&cluster, node.name()));
        assert!(!records.contains(&secret), "the password is in a record of {}", node.name());
        assert!(records.contains("UpstreamRecorded") || node.name() == old.name());
    }
    for outcome in cluster.replay_all().unwrap() {
        assert!(!outcome.output.contains(&secret), "the password is in the replay");
    }
    finish(cluster);
}
