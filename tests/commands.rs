//! An operator's own commands take part in a failover: what they say is believed only as far as
//! PostgreSQL shows it. A promotion that fails, hangs or dies is left to the next member, and one that
//! succeeds too late never makes a second primary.

mod support;

use pgfo::demo::{Client, ClientOptions, Cluster, Node};
use support::{await_primary_above, await_said, finish, within};

/// The commands are scripts in the node's directory, so that each member has its own.
const PROMOTE: &str = "[failover]\nmode = \"automatic\"\npromote_timeout = \"6s\"\n\
    promote_command = 'sh \"$PGDATA/../promote\" %n %a %d'\n";
const FOLLOW: &str = "[failover]\nmode = \"automatic\"\n\
    follow_command = 'sh \"$PGDATA/../follow\" %n %a %c'\n\
    validation_command = 'sh \"$PGDATA/../validate\" %a %v %u %t'\nvalidation_timeout = \"5s\"\n";

fn script(node: &Node, name: &str, text: &str) {
    std::fs::write(node.dir().join(name), text).unwrap();
}

fn pg_ctl_promote(cluster: &Cluster) -> String {
    format!("{}/pg_ctl promote --wait --pgdata \"$PGDATA\"", cluster.sandbox().postgres().dir().display())
}

#[test]
fn the_next_member_is_promoted_when_a_promotion_fails() {
    let cluster = support::cluster_with_daemons().data(5).toml(support::QUICK).toml(PROMOTE).build().unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    assert_eq!(before.primary.as_deref(), Some("node1"));
    // Equally placed, they are tried in the order of their names.
    script(cluster.node("node2"), "promote", "echo cannot >&2; exit 1\n");
    script(cluster.node("node3"), "promote", "sleep 600\n");
    script(cluster.node("node4"), "promote", "kill -KILL $$\n");
    let works = format!("echo \"$@\" > \"$PGDATA/../promote.arguments\"\n{}\n", pg_ctl_promote(&cluster));
    script(cluster.node("node5"), "promote", &works);
    let client = Client::start(&cluster, ClientOptions::default()).unwrap();
    client.wait_acks(50, within(20)).unwrap();
    let mark = cluster.node("node2").log_mark();

    cluster.node("node1").kill_postmaster().unwrap();
    let after = await_primary_above(&cluster, before.term.0 + 3, false, within(90));
    assert_eq!(after.primary.as_deref(), Some("node5"));
    client.wait_acks(50, within(20)).unwrap();
    for name in ["node2", "node3", "node4"] {
        let node = cluster.node(name);
        assert!(!matches!(node.is_in_recovery(), Ok(false)), "{name} is writable");
        // A promotion of unknown outcome is stopped, so that it cannot happen later.
        assert!(!node.is_postgres_running(), "{name} was not fenced");
        assert!(node.data_directory().unwrap().join("standby.signal").exists(), "{name} is not sealed");
    }
    await_said(&cluster, cluster.node("node2"), mark, "promote_command exited with 1");
    let node5 = cluster.node("node5");
    let given = std::fs::read_to_string(node5.dir().join("promote.arguments")).unwrap();
    assert_eq!(given.trim(), format!("5 node5 {}", node5.data_directory().unwrap().display()));
    assert!(client.split_brain(node5).unwrap().is_empty());
    drop(client);
    finish(cluster);
}

#[test]
fn a_promotion_after_its_deadline_makes_no_second_primary() {
    let cluster = support::cluster_with_daemons().data(3).toml(support::QUICK).toml(PROMOTE).build().unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let promote = pg_ctl_promote(&cluster);
    let (late, next) = (cluster.node("node2"), cluster.node("node3"));
    // It says that it has succeeded, and promotes a second after the deadline, whatever is killed.
    let slow =
        format!("setsid sh -c 'sleep 7; {promote}; touch \"$PGDATA/../promoted\"' >/dev/null 2>&1 &\n");
    script(late, "promote", &slow);
    script(next, "promote", &promote);
    cluster.node("node1").kill_postmaster().unwrap();
    let after = await_primary_above(&cluster, before.term.0 + 1, false, within(60));
    assert_eq!(after.primary.as_deref(), Some("node3"));
    cluster
        .wait_until("the late promotion", within(30), || {
            if late.dir().join("promoted").exists() { Ok(()) } else { Err("not yet".into()) }
        })
        .unwrap();
    assert_eq!(cluster.writable_nodes().len(), 1);

    // Started again it is read-only; whoever promotes it by hand has no lease, and it is fenced.
    late.start_postgres().unwrap();
    assert!(late.is_in_recovery().unwrap(), "it was not sealed");
    cluster
        .sandbox()
        .run("pg_ctl", |c| {
            c.args(["promote", "--no-wait", "--pgdata"]).arg(late.data_directory().unwrap());
        })
        .unwrap();
    cluster
        .wait_until("the promotion by hand to be fenced", within(30), || {
            if late.is_postgres_running() { Err("it runs".into()) } else { Ok(()) }
        })
        .unwrap();
    let writable: Vec<&str> = cluster.writable_nodes().iter().map(|n| n.name()).collect();
    assert_eq!(writable, ["node3"]);
    finish(cluster);
}

#[test]
fn a_vetoed_member_follows_the_next_one_by_command() {
    let cluster = support::cluster_with_daemons()
        .data(3)
        .setting("restore_command = 'false'")
        .toml(support::QUICK)
        .toml(FOLLOW)
        .build()
        .unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let bin = cluster.sandbox().postgres().dir().display().to_string();
    for node in cluster.data_nodes() {
        script(node, "validate", "echo \"$@\" > \"$PGDATA/../validate.arguments\"\n");
        let follow = format!(
            "echo \"$@\" >> \"$PGDATA/../follow.arguments\"\n\
             {bin}/psql -X -q -h \"$PGDATA/../run\" -p {} -U postgres -d postgres \
             -c \"ALTER SYSTEM SET primary_conninfo = '$3 application_name=$PGFO_MEMBER'\" \
             -c 'SELECT pg_reload_conf()'\n",
            node.postgres_port().unwrap()
        );
        script(node, "follow", &follow);
    }
    let vetoed = cluster.node("node2");
    script(vetoed, "validate", "exit 1\n");
    let mark = vetoed.log_mark();
    let marks: Vec<_> = cluster.nodes().iter().map(Node::log_mark).collect();
    cluster.node("node1").kill_postmaster().unwrap();
    let after = await_primary_above(&cluster, before.term.0 + 1, false, within(60));
    assert_eq!(after.primary.as_deref(), Some("node3"));
    await_said(&cluster, vetoed, mark, "validation_command exited with 1");
    assert!(vetoed.is_postgres_running(), "a veto stops nothing");
    // The old primary stays down: only the vetoed one follows.
    support::await_follower(&cluster, vetoed, marks[1], after.term.0);
    cluster.wait_streaming(cluster.node("node3"), 1, within(30)).unwrap();
    let asked = std::fs::read_to_string(cluster.node("node3").dir().join("validate.arguments")).unwrap();
    assert_eq!(asked.trim(), "node3 3 2 3", "its name, who can be heard, the standbys, all members");
    let given = std::fs::read_to_string(vetoed.dir().join("follow.arguments")).unwrap();
    assert!(given.starts_with("3 node3 "), "{given}");
    let port = cluster.node("node3").postgres_port().unwrap();
    assert!(given.contains(&format!("port={port}")), "{given}");
    // What the freeze changed is as before.
    for node in [vetoed, cluster.node("node3")] {
        cluster
            .wait_until("the settings to be put back", within(20), || {
                let restore = node.query_one("SHOW restore_command").map_err(|e| e.to_string())?;
                let retry = node.query_one("SHOW wal_retrieve_retry_interval").map_err(|e| e.to_string())?;
                if (restore.as_str(), retry.as_str()) == ("false", "5s") {
                    Ok(())
                } else {
                    Err(format!("{restore} {retry}"))
                }
            })
            .unwrap();
        assert!(!node.dir().join("log/upstream.saved").exists());
    }
    finish(cluster);
}
