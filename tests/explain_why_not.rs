//! `pgfo explain` where nobody took over: what each member said last of itself, and what can be done.

mod replay_support;

use pgfo::core::MemberId;
use pgfo::events::{Actor, Decision, Message, Observation};
use pgfo_replay::Seq;
use replay_support::*;

#[test]
fn each_member_has_its_last_known_reason_and_there_is_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    for member in [NODE2, NODE3] {
        let stalled = Observation::LogStalled { why: "no space left".to_owned() };
        cluster.observe(member, Actor::Daemon, stalled);
    }
    cluster.heartbeat(NODE1);
    cluster.crash_primary();
    cluster.node(NODE3).up = false;
    for _ in 0..6 {
        cluster.heartbeat(NODE2);
    }
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    let page = &json["incidents"][0];
    assert_eq!(page["kind"], "nobody-took-over", "{page:#}");
    let said: Vec<&str> = page["why_not"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    let says = |text: &str| said.iter().any(|s| s.starts_with(text));
    assert!(says("node1 can vote; it can't be promoted: its PostgreSQL does not answer"), "{said:#?}");
    let stalled = "can't be promoted: its event log can't be written";
    assert!(
        says(&format!("node2 can't vote: node2's event log can't be written; it {stalled}")),
        "{said:#?}"
    );
    // Long silent: it may be otherwise by now.
    let silent = said.iter().find(|s| s.starts_with("node3 can't vote: ")).unwrap();
    assert!(silent.contains(&format!("{stalled} (last heard ")), "{silent}");
    let remedy = "only 1 of 3 voters can vote, 2 are needed: give the event logs room on their disks again";
    assert!(said.last() == Some(&remedy), "{said:#?}");
    let (_, text, _) = explain(&page_args(&logs));
    assert!(said.iter().all(|s| text.contains(&format!("\n  {s}\n"))), "{text}");
}

#[test]
fn an_old_announcement_is_no_take_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    let announced = cluster.node(NODE2).decisions().find_map(|d| match d {
        Decision::AnnouncementAdopted(a) => Some(*a),
        _ => None,
    });
    cluster.node(NODE3).up = false;
    cluster.crash_primary();
    let message = Message::PrimaryAnnounced(announced.unwrap());
    let heard = Observation::MessageReceived { from: NODE3, sent_by: Seq(9_999), message };
    cluster.observe(NODE2, Actor::PeerLink, heard);
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    let page = &json["incidents"][0];
    assert_eq!(page["kind"], "nobody-took-over", "{page:#}");
    let taken_over = page["taken_over"].as_array().unwrap();
    let told = |l: &serde_json::Value| l["text"].as_str().unwrap().contains("is the primary of term 1");
    assert!(!taken_over.is_empty() && !taken_over.iter().any(told), "{taken_over:#?}");
}

#[test]
fn what_kept_a_former_primary_from_writing_is_told() {
    let sealed = |cluster: &mut Cluster, member: MemberId| {
        let seen = Observation::PostmasterSeen { pid: 4_700, sealed: true };
        cluster.observe(member, Actor::PostgresOperator, seen);
    };
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    sealed(&mut cluster, NODE1);
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    assert_eq!(json["incidents"][0]["kind"], "former-primary-refused", "{json:#}");
    assert_eq!(
        json["incidents"][0]["headline"],
        "node1, primary of term 1 until then, was kept from writing: standby.signal, which its fence had left, lets it run \
         read-only; nobody had taken over"
    );
}
