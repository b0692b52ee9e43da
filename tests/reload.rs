//! SIGHUP: what can be changed while the daemon runs is changed and named in its log; a file with one
//! key that needs a restart, or one that can't be read, changes nothing at all.

mod support;

use pgfo::demo::Signal;
use serde_json::Value;
use support::{await_said, finish, healthy, networks_possible, pgfo, signal, within};

#[test]
fn a_reload_is_all_or_nothing() {
    let cluster = support::cluster_with_daemons().data(1).witness(2).build().unwrap();
    let before = cluster.wait_healthy(within(60)).unwrap();
    let node = cluster.node("node1");
    let original = std::fs::read_to_string(node.config_file()).unwrap();
    let with = |more: &str| format!("{original}\n{more}");
    let reload = |text: &str| {
        let mark = node.log_mark();
        std::fs::write(node.config_file(), text).unwrap();
        signal(node.daemon_pid().unwrap(), Signal::HUP);
        mark
    };
    let changed = |key: &str, old: &str, new: &str| {
        let (key, old, new) = (key.to_owned(), old.to_owned(), new.to_owned());
        move |line: &Value| {
            line["key"] == key.as_str() && line["old"] == old.as_str() && line["new"] == new.as_str()
        }
    };

    let mark = reload(&with("[escalation]\nattempts = 5\n"));
    let named = changed("escalation.attempts", "3", "5");
    cluster.wait_log(node, mark, "the change", within(20), named).unwrap();

    // One key of two needs a restart: neither is taken.
    let mark = reload(&with("[escalation]\nattempts = 6\n[lease]\nduration = \"9s\"\n"));
    await_said(&cluster, node, mark, "lease.duration");
    await_said(&cluster, node, mark, "was not reloaded");

    let mark = reload("[cluster\n");
    await_said(&cluster, node, mark, "was not reloaded");
    let mark = reload(&with("[escalation]\natempts = 6\n"));
    await_said(&cluster, node, mark, "did you mean");

    // What is in force is still the first change.
    let mark = reload(&with("[escalation]\nattempts = 5\n"));
    await_said(&cluster, node, mark, "nothing changed");
    let mark = reload(&with("[escalation]\nattempts = 7\n[heartbeat]\ninterval = \"700ms\"\n"));
    let named = changed("escalation.attempts", "5", "7");
    cluster.wait_log(node, mark, "the change", within(20), named).unwrap();
    await_said(&cluster, node, mark, "heartbeat.interval");

    let after = cluster.wait_healthy(within(20)).unwrap();
    assert_eq!((after.primary, after.term), (before.primary, before.term));
    finish(cluster);
}

/// A DBA may rely on this: a renewed certificate is taken without a restart, half a renewal changes nothing, and one that
/// is about to expire is complained of.
#[test]
fn a_certificate_is_renewed_by_a_reload() {
    // Only these clusters have certificates.
    if !networks_possible() {
        return;
    }
    let cluster = healthy(support::cluster_with_daemons().data(1).witness(2).networks());
    let node = cluster.node("node1");
    let (authority, tls) = (node.dir().parent().unwrap().join("authority"), node.dir().join("tls"));
    let make = |days: &str| {
        let (ca, out) = (authority.to_str().unwrap(), tls.to_str().unwrap());
        let args = ["cert", "member", "node1", "--ca", ca, "--out", out, "--days", days, "--force"];
        let (exit, said) = pgfo(node, &args);
        assert_eq!(exit, 0, "{said}");
    };
    let reload = |words: &str| {
        let mark = node.log_mark();
        signal(node.daemon_pid().unwrap(), Signal::HUP);
        await_said(&cluster, node, mark, words);
    };
    let complaints = || node.status().unwrap().raw["complaints"].to_string();
    assert_eq!(complaints(), "[]");

    make("5");
    reload("the certificates were loaded again");
    // Days begin at midnight.
    assert!(complaints().contains("certificate expires in less than"), "{}", complaints());
    std::fs::write(tls.join("node1.crt"), "half").unwrap();
    reload("the certificates were not reloaded");
    assert!(complaints().contains("certificate expires in less than"), "{}", complaints());
    make("365");
    reload("the certificates were loaded again");
    assert_eq!(complaints(), "[]");
    finish(cluster);
}
