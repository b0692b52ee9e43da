//! What an operator types: `pgfo daemon` with a bad file, `pgfo adopt` where the members cannot agree by
//! themselves, `pgfo status` for people, scripts and machines, `pgfo guard` before PostgreSQL starts.

mod support;

use pgfo::demo::Node;
use support::{await_primary_above, finish, pgfo, within};

const BAD: &str = "[escalation]\natempts = 3\n";

fn run(node: &Node, arguments: &[&str]) -> (i32, String) {
    let config = node.config_file().to_string_lossy().into_owned();
    pgfo(node, &[arguments, &["--config", &config]].concat())
}

fn is_sealed(node: &Node) -> bool {
    node.data_directory().unwrap().join("standby.signal").exists()
}

#[test]
fn from_the_first_adoption_to_a_guarded_start() {
    let builder = support::cluster_with_daemons().data(3).toml(support::QUICK).node_toml("node3", BAD);
    let cluster = builder.daemon_environment("NO_COLOR", "1").build().unwrap();
    let (node1, node2, node3) = (cluster.node("node1"), cluster.node("node2"), cluster.node("node3"));

    // A bad file is refused, with the place and what was meant.
    let (code, text) = run(node3, &["daemon"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("atempts") && text.contains("attempts"), "{text}");
    let ended = || match node3.daemon_pid() {
        None => Ok(()),
        Some(pid) => Err(format!("{pid} runs")),
    };
    cluster.wait_until("the daemon with the bad file to end", within(10), ended).unwrap();
    let (code, text) = run(node3, &["status"]);
    assert!(code != 0 && text.contains("atempts"), "{code}: {text}");

    // Not all members answer, so that nobody adopts a primary by itself.
    cluster
        .wait_until("two members without a primary", within(30), || {
            for node in [node1, node2] {
                let status = node.status().map_err(|e| e.to_string())?;
                let heard =
                    status.members.iter().filter(|m| m.role == "standby" || m.role.contains("primary"));
                if status.exit_code != 2 || heard.count() != 2 {
                    return Err(format!("{}: {}", node.name(), status.raw));
                }
            }
            Ok(())
        })
        .unwrap();
    let (code, text) = run(node1, &["status"]);
    assert_eq!(code, 2);
    assert!(text.contains("no primary was ever adopted"), "{text}");
    // The silent third one may know of a primary: a start would be read-only.
    let (code, text) = run(node1, &["guard", "--dry-run"]);
    assert!(
        code == 0 && text.contains("would be sealed") && text.contains("not all others"),
        "{code}: {text}"
    );
    assert!(!is_sealed(node1));

    let (code, text) = run(node1, &["adopt", "nod1"]);
    assert!(code != 0 && text.contains("did you mean node1?"), "{code}: {text}");
    // Nor is the operator believed: the logs at hand can't tell whether they are new or were lost.
    let (code, text) = run(node2, &["adopt", "node1"]);
    assert!(code != 0 && text.contains("node3 is not heard"), "{code}: {text}");
    assert!(text.contains("start the daemon of node3"), "{text}");

    // The third one's file is mended, but its PostgreSQL does not run: nobody adopts a primary by itself, and the
    // operator may.
    node3.stop_postgres(pgfo::demo::StopMode::Fast).unwrap();
    let mended = std::fs::read_to_string(node3.config_file()).unwrap().replace("atempts", "attempts");
    std::fs::write(node3.config_file(), mended).unwrap();
    node3.start_daemon().unwrap();
    cluster
        .wait_until("all members to hear each other", within(30), || {
            let statuses = [node1, node2, node3].map(|node| run(node, &["status"]).1);
            match statuses.iter().find(|text| text.contains("not heard")) {
                Some(text) => Err(text.clone()),
                None => Ok(()),
            }
        })
        .unwrap();
    let (code, text) = run(node2, &["adopt", "node1"]);
    assert_eq!(code, 0, "{text}");
    let adopted = await_primary_above(&cluster, 0, false, within(30));
    assert_eq!((adopted.primary.as_deref(), adopted.term.0), (Some("node1"), 1));

    // Degraded: a member is missing. The table has no colours for who wants none.
    node3.kill_daemon().unwrap();
    cluster
        .wait_until("node3 to be missed", within(30), || match run(node2, &["status"]) {
            (1, text) if text.contains("not heard") => Ok(()),
            (code, text) => Err(format!("{code}: {text}")),
        })
        .unwrap();
    let (code, text) = run(node2, &["status"]);
    assert_eq!(code, 1, "{text}");
    for words in ["degraded", "term 1", "primary node1", "node3", "not heard"] {
        assert!(text.contains(words), "{words:?} is missing:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours in {text:?}");
    let (code, text) = run(node2, &["status", "--json"]);
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["primary"], &json["health"]), (&"node1".into(), &"degraded".into()));
    assert_eq!(json["members"].as_array().unwrap().len(), 3);

    // It is back with its PostgreSQL, and all is well.
    node3.start_postgres().unwrap();
    node3.start_daemon().unwrap();
    cluster.wait_healthy(within(60)).unwrap();
    assert_eq!(run(node3, &["status"]).0, 0);

    // The guard's question before a start.
    let (code, text) = run(node1, &["guard"]);
    assert!(code == 0 && text.contains("standing lease") && !is_sealed(node1), "{code}: {text}");
    let (code, text) = run(node2, &["guard"]);
    assert!(code == 0 && text.contains("standby.signal is there"), "{code}: {text}");

    node1.kill_node().unwrap();
    let after = await_primary_above(&cluster, 1, false, within(60));
    assert_ne!(after.primary.as_deref(), Some("node1"));
    assert!(!is_sealed(node1), "nobody was left to seal it");
    let (code, text) = run(node1, &["status"]);
    assert!(code == 7 && text.contains("can't be asked"), "{code}: {text}");
    let (code, text) = run(node1, &["guard", "--dry-run"]);
    assert!(code == 0 && text.contains("would be sealed") && !is_sealed(node1), "{code}: {text}");
    // The daemon is down and can't say that a lease stands: PostgreSQL comes up read-only.
    let (code, text) = run(node1, &["guard"]);
    assert!(code == 0 && text.contains("read-only") && is_sealed(node1), "{code}: {text}");
    node1.start_postgres().unwrap();
    assert!(node1.is_in_recovery().unwrap());
    assert_eq!(cluster.writable_nodes().len(), 1);
    // With its daemon, which knows by now that another is the primary, no other answer comes.
    node1.stop_postgres(pgfo::demo::StopMode::Fast).unwrap();
    node1.start_daemon().unwrap();
    cluster
        .wait_until("the old primary's daemon to know", within(30), || {
            let status = node1.status().map_err(|e| e.to_string())?;
            if status.term == after.term { Ok(()) } else { Err(status.summary()) }
        })
        .unwrap();
    std::fs::remove_file(node1.data_directory().unwrap().join("standby.signal")).unwrap();
    let (code, text) = run(node1, &["guard"]);
    assert!(code == 0 && is_sealed(node1), "{code}: {text}");
    assert!(text.contains("holds no lease") || text.contains("is there"), "{text}");
    finish(cluster);
}
