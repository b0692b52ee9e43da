//! A member whose event log is lost does not vote until the primary has registered its new one: it may
//! have forgotten a vote. A log that can't be written costs a healthy primary nothing.

mod support;

use pgfo::demo::{Client, ClientOptions, Node, Sandbox};
use pgfo::events::Decision;
use std::path::Path;
use std::process::Command;
use support::{await_primary_above, await_said, finish, finish_but, history, within};

/// Empties the directory of a member's event log.
fn lose_log(node: &Node) {
    for entry in std::fs::read_dir(node.dir().join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.unwrap();
    }
}

/// L9: once every log is lost no daemon remembers who was the primary; its data does.
#[test]
fn after_every_log_is_lost_a_former_primary_starts_read_only() {
    let cluster = support::cluster_with_daemons().data(2).witness(1).toml(support::QUICK).build().unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let primary = cluster.node(before.primary.as_deref().unwrap());
    let data = primary.data_directory().unwrap();
    assert!(data.join("pgfo.guarded").exists(), "the guard was armed, and left no mark");
    for node in cluster.nodes() {
        node.kill_node().unwrap();
        lose_log(node);
    }
    for node in cluster.nodes() {
        node.start_daemon().unwrap();
    }
    let config = primary.config_file().to_string_lossy().into_owned();
    cluster
        .wait_until("all members to say that they know of no primary", within(30), || {
            match support::pgfo(primary, &["guard", "--dry-run", "--config", &config]) {
                (0, text) if text.contains("would be sealed") && text.contains("pgfo.guarded is in it") => {
                    Ok(())
                }
                (code, text) => Err(format!("{code}: {text}")),
            }
        })
        .unwrap();
    let (code, text) = support::pgfo(primary, &["guard", "--config", &config]);
    assert!(code == 0 && text.contains("read-only"), "{code}: {text}");
    for node in cluster.data_nodes() {
        node.start_postgres().unwrap();
        assert!(node.is_in_recovery().unwrap(), "{} may be written", node.name());
    }
    // The operator decides. Before the daemons know their PostgreSQL, his word is refused, or comes to nothing.
    cluster
        .wait_until("the operator's choice to be the primary", within(60), || {
            let status = primary.status().map_err(|e| e.to_string())?;
            if status.primary.as_deref() == Some(primary.name()) {
                return Ok(());
            }
            let (code, text) = support::pgfo(primary, &["adopt", primary.name(), "--config", &config]);
            Err(format!("{code}: {text}"))
        })
        .unwrap();
    assert_eq!(cluster.writable_nodes().len(), 1);
    finish(cluster);
}

#[test]
fn a_lost_log_votes_once_it_is_registered() {
    let cluster = support::cluster_with_daemons().data(3).toml(support::ROOMY).build().unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    assert_eq!(before.primary.as_deref(), Some("node1"));
    let lost = cluster.node("node3");
    assert_eq!(lost.stop_daemon().unwrap().code(), Some(0));
    lose_log(lost);
    let mark = lost.log_mark();
    lost.start_daemon().unwrap();
    await_said(&cluster, lost, mark, "roster 2 is in force on node3");
    // Healthy means that everybody can vote again, after the longest promise.
    let healthy = cluster.wait_healthy(within(60)).unwrap();
    assert_eq!(healthy.term, before.term);
    // Its vote is needed now, and comes.
    cluster.node("node1").kill_node().unwrap();
    let after = await_primary_above(&cluster, before.term.0, false, within(60));
    assert_ne!(after.primary, before.primary);
    for node in cluster.nodes().iter().filter(|n| n.daemon_pid().is_some()) {
        node.kill_daemon().unwrap();
    }
    let all = history::decisions(&cluster, "node3");
    let registered = all.iter().position(|d| matches!(d, Decision::RosterAdopted(r) if r.number > 1));
    let registered = registered.expect("its new log was registered");
    let binds = |d: &Decision| matches!(d, Decision::VoteGranted { .. } | Decision::LeaseGranted { .. });
    assert!(!all[..registered].iter().any(binds), "it granted before it was registered");
    let refuses = |d: &Decision| matches!(d, Decision::LeaseRefused { .. });
    assert!(all[..registered].iter().any(refuses), "it was not asked before it was registered");
    let votes = |d: &Decision| matches!(d, Decision::VoteGranted { ask, .. } if ask.term > before.term);
    assert!(all[registered..].iter().any(votes), "it did not vote afterwards");
    finish_but(cluster, Some("node3"));
}

/// A file system of its own for a directory, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(sandbox: &Sandbox, path: &'a Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs"]).arg(path);
        assert!(mount.status().unwrap().success(), "this test mounts a tmpfs: run it as root");
        sandbox.user().own(path).unwrap();
        Self(path)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|s| s.success()));
    }
}

#[test]
fn a_full_disk_under_the_log_leaves_the_primary_alone() {
    // Many heartbeats: the room that the log's file still has is used first.
    let chatty = "[heartbeat]\ninterval = \"100ms\"\ntimeout = \"400ms\"\n[lease]\nduration = \"2500ms\"\n";
    let cluster = support::cluster_with_daemons().data(2).witness(1).toml(chatty).build().unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let primary = cluster.node(before.primary.as_deref().unwrap());
    assert_eq!(primary.stop_daemon().unwrap().code(), Some(0));
    let log = primary.dir().join("log");
    let kept = primary.dir().join("log.kept");
    std::fs::rename(&log, &kept).unwrap();
    cluster.sandbox().directory(&format!("{}/log", primary.name())).unwrap();
    let disk = SmallDisk::mount(cluster.sandbox(), &log);
    let copied = Command::new("cp").arg("-a").arg(kept.join(".")).arg(&log).status().unwrap();
    assert!(copied.success());
    primary.start_daemon().unwrap();
    cluster.wait_healthy(within(60)).unwrap();
    let client = Client::start(&cluster, ClientOptions::default()).unwrap();
    client.wait_acks(50, within(20)).unwrap();

    let mark = primary.log_mark();
    let filler = log.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let full = std::io::copy(&mut std::io::repeat(7), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(file);
    let stalled = |line: &serde_json::Value| line.to_string().contains("the event log can't be written");
    cluster.wait_log(primary, mark, "the alarm", within(90), stalled).unwrap();
    cluster
        .wait_until("a complaint", within(20), || {
            let status = primary.status().map_err(|e| e.to_string())?;
            let said = status.raw["complaints"].to_string();
            let named = said.contains(primary.name()) && said.contains("can't vote");
            if named && status.exit_code == 1 { Ok(()) } else { Err(said) }
        })
        .unwrap();
    // Several leases long it goes on.
    client.wait_acks(2000, within(60)).unwrap();
    let mark = primary.log_mark();
    std::fs::remove_file(&filler).unwrap();
    await_said(&cluster, primary, mark, "can be written again");
    let after = cluster.wait_healthy(within(30)).unwrap();
    assert_eq!((&after.primary, after.term), (&before.primary, before.term));
    client.wait_acks(50, within(20)).unwrap();
    drop(client);
    for node in cluster.nodes() {
        node.kill_daemon().unwrap();
    }
    // The audit reads what was on the small disk.
    let copied = Command::new("cp").arg("-a").arg(&log).arg(primary.dir().join("log.copy")).status().unwrap();
    assert!(copied.success());
    drop(disk);
    std::fs::remove_dir(&log).unwrap();
    std::fs::rename(primary.dir().join("log.copy"), &log).unwrap();
    finish(cluster);
}
