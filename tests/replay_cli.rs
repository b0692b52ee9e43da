//! `pgfo replay` keeps its promises: exit codes, divergence, damage, order.

mod replay_support;

use pgfo::cli::exit::Exit;
use pgfo::cli::replay::{AuditOptions, Bound, ReplayArgs, Verdict, WhatIfArgs, audit_reader, audit_with};
use pgfo::core::{BootNanos, CORE_REVISION, Lsn, Role};
use pgfo::events::{
    Actor, Damage, DamageKind, Deadline, Decision, Event, EventLog, LogOptions, LogReader, Observation,
    Record,
};
use pgfo_replay::{Ensemble, Machine, Seat, Seq};
use replay_support::*;
use std::sync::Arc;

const KEEP: AuditOptions = AuditOptions { all: false, story: true, receipts: false };

/// Makes node2 have noted another position of its own than it had; returns the record.
fn alter_vote(cluster: &mut Cluster) -> Seq {
    let vote = cluster.node(NODE2).records_mut().find_map(|record| match &mut record.event {
        Event::Decided(Decision::VoteGranted { own: Some(own), .. }) => {
            own.lsn = Lsn(0x10);
            Some(record.seq)
        }
        _ => None,
    });
    vote.expect("node2 voted")
}

fn items(records: &[Record]) -> impl Iterator<Item = Result<Record, Damage>> {
    records.iter().cloned().map(Ok)
}

#[test]
fn a_whole_log_is_identical_in_each_of_its_forms() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    let log = write(&mut cluster, NODE2, dir.path());
    let flat = dir.path().join("node2.events");
    let reader = LogReader::<Event>::open(&log).unwrap();
    reader.export_to(None, None, &mut std::fs::File::create(&flat).unwrap()).unwrap();
    for path in [log.clone(), log.join("events.db"), flat] {
        let (exit, out, err) = replay(&args(&[path]));
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""), "{out}");
        assert!(out.contains("node2: identical: "), "{out}");
    }
    let (_, quiet, _) = replay(&ReplayArgs { quiet: true, ..args(&[log]) });
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
}

#[test]
fn a_log_in_use_is_read_from_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let log = write(&mut failover(), NODE2, dir.path());
    let opened = EventLog::<Event>::open(&log, LogOptions::default()).unwrap();
    let (exit, out, _) = replay(&args(std::slice::from_ref(&log)));
    assert_eq!(exit, Exit::Ok, "{out}");
    opened.log.close().unwrap();
}

#[test]
fn an_altered_decision_diverges_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    let vote = alter_vote(&mut cluster);
    let log = write(&mut cluster, NODE2, dir.path());
    let (exit, out, _) = replay(&args(std::slice::from_ref(&log)));
    assert_eq!(exit, Exit::Degraded, "{out}");
    assert!(out.contains("node2: diverged: ") && out.contains("1 differ:"), "{out}");
    assert!(out.contains(&format!("record {vote}, answering #")), "{out}");
    assert!(out.contains("recorded  voter: node2 voted for node3 in term 2: "), "{out}");
    assert!(out.contains("is at least node2's own 0/10;"), "{out}");
    assert!(out.contains("is at least node2's own 0/30001A8;"), "{out}");

    let (exit, json) = replay_json(&args(&[log]));
    assert_eq!(exit, Exit::Degraded);
    let log = &json["logs"][0];
    assert_eq!((&log["verdict"], &log["divergence_count"]), (&"diverged".into(), &1.into()));
    assert_eq!(log["divergences"][0]["seq"], vote.0);
    assert_eq!(
        (&json["exit"], &log["member"], &log["cluster"]),
        (&1.into(), &"node2".into(), &"main".into())
    );
    let voted = log["story"].as_array().unwrap().iter().find(|l| l["subject"] == "vote granted").unwrap();
    assert_eq!((&voted["kind"], &voted["term"]), (&"decision".into(), &1.into()));
    assert!(humantime::parse_rfc3339(voted["wall"].as_str().unwrap()).is_ok());
}

#[test]
fn decisions_that_are_missing_or_too_many_diverge() {
    let mut cluster = failover();
    let records: Vec<Record> = cluster.node(NODE2).records().cloned().collect();
    let at =
        records.iter().position(|r| matches!(r.event, Event::Decided(Decision::VoteGranted { .. }))).unwrap();
    let mut missing = records.clone();
    missing.remove(at);
    let audit = audit_reader(items(&missing), KEEP);
    assert_eq!(audit.verdict(), Verdict::Diverged);
    assert!(audit.divergences.iter().any(|d| d.recorded.is_none()), "{:?}", audit.divergences);

    let mut twice = records;
    twice.insert(at, twice[at].clone());
    let audit = audit_reader(items(&twice), KEEP);
    assert_eq!((audit.verdict(), audit.divergence_count), (Verdict::Diverged, 1));
    assert_eq!(audit.divergences[0].derived, None);
}

#[test]
fn only_the_first_divergences_are_shown() {
    let mut cluster = failover();
    for _ in 0..10 {
        cluster.heartbeat(NODE3);
    }
    for record in cluster.node(NODE1).records_mut() {
        if let Event::Decided(Decision::HeartbeatSent(h)) = &mut record.event {
            Arc::make_mut(h).priority = 7;
        }
    }
    let records: Vec<Record> = cluster.node(NODE1).records().cloned().collect();
    let audit = audit_reader(items(&records), KEEP);
    assert!(audit.divergence_count > 10, "{}", audit.divergence_count);
    assert_eq!(audit.divergences.len(), 10);
    // The same words, so the exact values are shown.
    assert!(
        audit.divergences[0].recorded.as_ref().unwrap().contains("priority: 7"),
        "{:?}",
        audit.divergences[0]
    );
}

#[test]
fn another_core_revision_may_differ() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.node(NODE2).core_revision = CORE_REVISION + 6;
    cluster.begin();
    let log = write(&mut cluster, NODE2, &dir.path().join("same"));
    assert_eq!(replay(&args(&[log])).0, Exit::Ok, "recorded by another revision, but nothing differs");
    for record in cluster.node(NODE2).records_mut() {
        if let Event::Decided(Decision::VoteGranted { loss_bytes, .. }) = &mut record.event {
            *loss_bytes = 99;
        }
    }
    let log = write(&mut cluster, NODE2, &dir.path().join("other"));
    let (exit, out, _) = replay(&args(&[log]));
    assert_eq!(exit, Exit::OtherRevision, "{out}");
    assert!(out.contains(&format!("recorded by core revision {}", CORE_REVISION + 6)), "{out}");
}

#[test]
fn damage_is_named_and_what_precedes_it_is_audited() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    let log = write(&mut cluster, NODE2, dir.path());
    // A head that was lost: nothing proves that the log ends there.
    std::fs::remove_file(log.join("head")).unwrap();
    let (exit, out, _) = replay(&args(&[log]));
    assert_eq!(exit, Exit::Unreadable, "{out}");
    let last = cluster.node(NODE2).records().last().unwrap().seq;
    assert!(
        out.contains(&format!("unreadable from record {} on: the head is missing", last.next())),
        "{out}"
    );
    assert!(out.contains("decisions re-derived, none differs"), "{out}");
    assert!(out.contains("node2 voted for node3"), "the good part is told: {out}");
}

#[test]
fn damage_within_a_batch_is_no_divergence() {
    let mut cluster = failover();
    let batch = cluster.node(NODE2).batches.iter().position(|b| b.len() > 3).unwrap();
    let mut records: Vec<_> =
        cluster.node(NODE2).batches[..=batch].iter().flatten().cloned().map(Ok).collect();
    let cut: Record = records.pop().unwrap().unwrap();
    records.push(Err(Damage { seq: cut.seq, what: DamageKind::Altered }));
    let audit = audit_reader(records.into_iter(), KEEP);
    assert_eq!((audit.verdict(), audit.divergence_count), (Verdict::Unreadable, 0));
    assert_eq!(audit.last.map(|(seq, _)| seq.next()), Some(cut.seq));
}

#[test]
fn a_log_without_its_beginning_is_not_called_identical() {
    let mut cluster = failover();
    let records: Vec<Record> = cluster.node(NODE2).batches[1..].iter().flatten().cloned().collect();
    let audit = audit_reader(items(&records), KEEP);
    assert_eq!((audit.verdict(), audit.decisions_checked), (Verdict::Unreadable, 0));
}

#[test]
fn wrong_usage_is_told_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let (exit, out, err) = replay(&args(&[dir.path().join("nothing")]));
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.starts_with("error: ") && err.contains("nothing"), "{err}");
    let text = dir.path().join("a.txt");
    std::fs::write(&text, "not a log").unwrap();
    assert_eq!(replay(&args(&[text])).0, Exit::Usage);

    let mut other = Cluster::new();
    other.node(NODE2).settings.cluster = "other".to_owned();
    other.begin();
    let two = write(&mut other, NODE2, dir.path());
    let one = write(&mut failover(), NODE1, dir.path());
    let (exit, _, err) = replay(&args(&[one, two]));
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("is of cluster main") && err.contains("of cluster other"), "{err}");
}

#[test]
fn the_worst_of_several_logs_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    alter_vote(&mut cluster);
    let logs = write_all(&mut cluster, dir.path());
    assert_eq!(replay(&args(&logs)).0, Exit::Degraded);
    std::fs::remove_file(logs[0].join("head")).unwrap();
    assert_eq!(replay(&args(&logs)).0, Exit::Unreadable);
}

#[test]
fn a_part_of_the_story_is_told_but_all_is_audited() {
    let dir = tempfile::tempdir().unwrap();
    let log = write(&mut failover(), NODE2, dir.path());
    let (exit, whole) = replay_json(&args(std::slice::from_ref(&log)));
    assert_eq!(exit, Exit::Ok);
    let part = ReplayArgs {
        from: Some("#20".parse().unwrap()),
        to: Some("2026-01-31T12:00:04.3Z".parse().unwrap()),
        ..args(&[log])
    };
    let (_, some) = replay_json(&part);
    assert_eq!(whole["logs"][0]["decisions_checked"], some["logs"][0]["decisions_checked"]);
    let lines = some["logs"][0]["story"].as_array().unwrap();
    assert!(lines.len() < whole["logs"][0]["story"].as_array().unwrap().len());
    assert!(lines.iter().all(|l| l["seq"].as_u64().unwrap() >= 20));
    assert!(lines.iter().all(|l| l["wall"].as_str().unwrap() <= "2026-01-31T12:00:04.300000000Z"));
    assert!("soon".parse::<Bound>().is_err());
    assert!("1969-01-31 00:00:00".parse::<Bound>().is_err());
}

#[test]
fn a_part_behind_a_clock_that_was_set_back_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE1).wall_offset_nanos = -2_046_000_000_000;
    cluster.heartbeat(NODE1);
    cluster.crash_primary();
    let log = write(&mut cluster, NODE1, dir.path());
    let part = |from: &str, to: &str| ReplayArgs {
        from: Some(from.parse().unwrap()),
        to: Some(to.parse().unwrap()),
        ..args(std::slice::from_ref(&log))
    };
    // These times are the last ones, and earlier than the first.
    let (exit, out, err) = replay(&part("2026-01-31T11:25:00Z", "2026-01-31T11:26:30Z"));
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""), "{out}");
    assert!(out.contains("the postmaster process of node1 is gone"), "{out}");
    let (exit, _, err) = replay(&part("2026-01-31T11:30:00Z", "2026-01-31T11:59:00Z"));
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains(", 2026-01-31T11:25:57.000Z to 2026-01-31T12:00:02.000Z"), "{err}");
}

#[test]
fn a_role_that_failed_is_left_out_where_it_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE2).fails = Some(Actor::Voter);
    cluster.heartbeat(NODE1);
    cluster.heartbeat(NODE1);
    let log = write(&mut cluster, NODE2, dir.path());
    let (exit, out, _) = replay(&args(&[log]));
    assert_eq!(exit, Exit::Ok, "{out}");
    assert!(out.contains("the voter of node2 failed (index out of bounds); it was rebuilt"), "{out}");
}

/// A voter that panics on the second heartbeat.
struct Panics(u32);

impl Machine for Panics {
    type Event = Event;
    type Deadline = Deadline;

    fn evolve(&mut self, record: &Record) {
        self.0 += u32::from(matches!(&record.event, Event::Decided(Decision::HeartbeatSent(_))));
        assert!(self.0 < 2, "the second heartbeat");
    }

    fn decide(&self, _: &Record, _: &mut Vec<Event>) {}

    fn deadlines(&self, _: &mut Vec<(Deadline, BootNanos)>) {}
}

#[test]
fn a_role_that_panics_now_is_a_divergence() {
    let mut cluster = failover();
    let records: Vec<Record> = cluster.node(NODE2).records().cloned().collect();
    let audit = audit_with(items(&records), KEEP, |settings| {
        let seats = pgfo::events::Actor::ROLES.map(|actor| {
            let machine: Box<Role> = match actor {
                Actor::Voter => Box::new(Panics(0)),
                other => pgfo::core::role(other, settings).unwrap(),
            };
            Seat { actor: actor.number(), machine }
        });
        Ensemble::new(seats.into())
    });
    assert_eq!(audit.verdict(), Verdict::Diverged);
    assert_eq!(audit.records, records.len() as u64, "it is read to the end");
    let panicked = audit.divergences.last().unwrap();
    assert_eq!(panicked.derived.as_deref(), Some("a role panicked: the second heartbeat"));
    assert_eq!(audit.derived_until, Some(panicked.seq));
}

#[test]
fn restarts_and_reloads_bring_their_settings() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE2).settings.escalation_attempts = 5;
    cluster.start(NODE2);
    cluster.heartbeat(NODE1);
    cluster.node(NODE2).settings.priority = 7;
    let settings = Box::new(cluster.node(NODE2).settings.clone());
    let changed = Observation::SettingsChanged { settings, configuration_digest: "01".to_owned() };
    cluster.observe(NODE2, Actor::Daemon, changed);
    cluster.heartbeat(NODE1);
    let log = write(&mut cluster, NODE2, dir.path());
    let (exit, out, _) = replay(&args(&[log]));
    assert_eq!(exit, Exit::Ok, "{out}");
    assert!(out.contains("changed settings: escalation.attempts 3 -> 5"), "{out}");
    assert!(out.contains("in 2 process starts"), "{out}");
    assert!(
        out.contains("read its configuration again; changed settings: failover.priority 100 -> 7"),
        "{out}"
    );
}

#[test]
fn what_would_have_no_effect_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    let log = write(&mut failover(), NODE2, dir.path());
    let plain = args(std::slice::from_ref(&log));
    let what_if = |what_if: WhatIfArgs| ReplayArgs { what_if, ..plain.clone() };
    let part = |from: &str, to: Option<&str>| ReplayArgs {
        from: Some(from.parse().unwrap()),
        to: to.map(|to| to.parse().unwrap()),
        ..plain.clone()
    };
    for (args, says) in [
        (what_if(WhatIfArgs { term: Some(2), ..WhatIfArgs::default() }), "--term chooses what --what-if"),
        (what_if(WhatIfArgs { every_incident: true, ..WhatIfArgs::default() }), "--every-incident chooses"),
        (what_if(WhatIfArgs { runs: Some(9), ..WhatIfArgs::default() }), "--runs chooses"),
        (part("70", Some("60")), "--to lies before --from"),
        (part("99999", None), "no record lies at --from or behind it; there are #1 to #"),
        (part("2030-01-01T00:00:00Z", None), "no record lies at --from or behind it"),
    ] {
        let (exit, out, err) = replay(&args);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{says}");
        assert!(err.starts_with("error: ") && err.contains(says), "{err}");
    }
}

#[test]
fn a_log_whose_store_is_missing_is_damaged_and_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let log = write(&mut failover(), NODE2, dir.path());
    std::fs::remove_dir_all(log.join("events.db")).unwrap();
    let (exit, out, err) = replay(&args(&[log]));
    assert_eq!((exit, err.as_str()), (Exit::Unreadable, ""), "{out}");
    assert!(out.contains("events.db is missing"), "{out}");
}
