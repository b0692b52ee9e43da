//! `pgfo explain` tells one page about a failover, and about one that did not happen, in words that stay as
//! they are. `UPDATE_GOLDEN=1` writes the golden texts anew; read the difference before committing it.

mod replay_support;

use pgfo::cli::exit::Exit;
use pgfo::cli::explain::ExplainArgs;
use pgfo::cli::replay::{Moment, ReplayArgs};
use pgfo::core::{BootNanos, CORE_REVISION};
use pgfo::events::{Actor, Decision, Event, Observation, ProbeKind, Record};
use replay_support::*;
use std::path::{Path, PathBuf};

/// Logs of a real failover.
fn recorded() -> [PathBuf; 3] {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    ["node1", "node2", "node3"].map(|node| dir.join(format!("format_1_{node}.log")))
}

/// A later core may decide otherwise than the one that recorded, and then the page says so first.
fn is_sound(exit: Exit) -> bool {
    matches!(exit, Exit::Ok | Exit::OtherRevision)
}

fn told(page: &str) -> &str {
    &page[page.find("Incident ").unwrap_or_else(|| panic!("no page: {page}"))..]
}

/// node2 alone can't reach node1: the others see it, so nobody takes over.
fn one_sided(dir: &Path) -> Vec<PathBuf> {
    let mut cluster = Cluster::new();
    cluster.begin();
    let answers = cluster.node(NODE1).postgres;
    cluster.node(NODE1).postgres = None;
    cluster.probe(NODE2, NODE1, ProbeKind::Heartbeat);
    for massage in 1..=3 {
        cluster.probe(NODE2, NODE1, ProbeKind::Massage(massage));
        cluster.advance_millis(300);
    }
    cluster.node(NODE1).postgres = answers;
    cluster.heartbeat(NODE1);
    write_all(&mut cluster, dir)
}

#[test]
fn a_real_failover_on_one_page() {
    let logs = recorded();
    let (exit, page, _) = explain(&page_args(&logs));
    assert!(is_sound(exit), "{page}");
    assert_golden("explain_failover_cluster.txt", told(&page));
    let (_, page, _) = explain(&page_args(&logs[2..]));
    assert_golden("explain_failover_node3.txt", told(&page));
}

#[test]
fn the_page_as_data() {
    let (exit, json) = explain_json(&page_args(&recorded()));
    assert!(is_sound(exit) && json["exit"] == exit.code(), "{json:#}");
    let page = &json["incidents"][0];
    assert_eq!(
        (&page["kind"], &page["winner"], &page["won_term"]),
        (&"failed-over".into(), &"node2".into(), &2.into())
    );
    // node1's own log ends with its postmaster: nobody saw where its WAL ended.
    let loss = &page["loss"];
    assert_eq!((&loss["bytes_min"], &loss["bytes_max"]), (&0.into(), &serde_json::Value::Null), "{loss:#}");
    let phase = |name: &str| {
        let all = page["phases"].as_array().unwrap();
        let found = all.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no {name}: {all:?}"));
        (found["begins_ns"].as_i64().unwrap(), found["took_ns"].as_i64().unwrap())
    };
    // Each phase of the election begins where the one before ended.
    let chain = ["pre-vote", "waiting", "freeze", "vote", "arming", "promotion"].map(phase);
    for pair in chain.windows(2) {
        assert_eq!(pair[0].0 + pair[0].1, pair[1].0, "{chain:?}");
    }
    let votes = page["votes"].as_array().unwrap();
    assert_eq!(votes.len(), 3, "{votes:?}");
    let won: Vec<bool> = page["candidates"].as_array().unwrap().iter().map(|c| c["won"] == true).collect();
    assert_eq!(won, [true, false, false]);
}

#[test]
fn a_failover_that_did_not_happen() {
    let dir = tempfile::tempdir().unwrap();
    let logs = one_sided(dir.path());
    let (exit, page, _) = explain(&page_args(&logs));
    assert_eq!(exit, Exit::Ok, "{page}");
    assert!(
        page.contains("no failover: node1 stayed the primary of term 1; it was held down, and seen again"),
        "{page}"
    );
    let why = "node2 did not stand: only 1 of 3 voters holds node1 down (node2); node1 and node3 still see it; 2 are needed; \
               node1 had its last answer from node1 ";
    assert!(page.contains(why), "{page}");
    assert!(page.contains("; node3 had its last answer from node1 "), "{page}");
    assert!(!page.contains("\nLost\n"), "{page}");
}

#[test]
fn several_incidents_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    for _ in 0..30 {
        cluster.heartbeat(NODE3);
    }
    cluster.node(NODE3).postgres = None;
    cluster.probe(NODE2, NODE3, ProbeKind::Heartbeat);
    for massage in 1..=3 {
        cluster.probe(NODE2, NODE3, ProbeKind::Massage(massage));
        cluster.advance_millis(300);
    }
    let logs = write_all(&mut cluster, dir.path());
    let args = page_args(&logs);
    let (_, list, _) = explain(&ExplainArgs { list: true, ..args.clone() });
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].contains("node3 took over from node1, primary of term 1, by winning term 2"), "{list}");
    assert!(
        lines[1].contains(
            "nobody took over from node3, primary of term 2: at the end of these logs node2 held it down"
        ),
        "{list}"
    );
    let (_, latest, _) = explain(&args);
    assert!(latest.starts_with("Incident 2 of cluster main, "), "{latest}");
    for choice in [
        ExplainArgs { term: Some(2), ..args.clone() },
        ExplainArgs { at: Some("2026-01-31T12:00:10Z".parse().unwrap()), ..args.clone() },
    ] {
        let (_, page, _) = explain(&choice);
        assert!(page.starts_with("Incident 1 of cluster main, "), "{page}");
    }
    let (_, all) = explain_json(&ExplainArgs { all: true, ..args.clone() });
    assert_eq!(all["incidents"].as_array().unwrap().len(), 2);
    let (exit, out, err) = explain(&ExplainArgs { term: Some(9), ..args });
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("no such incident"), "{err}");
}

#[test]
fn a_crash_that_took_the_end_of_a_log_changes_nothing_of_what_came_before() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut cluster = crashed_host();
    let before = write_all(&mut cluster, dirs[0].path());
    come_back(&mut cluster);
    let after = write_all(&mut cluster, dirs[1].path());
    let told = |logs: &[PathBuf]| {
        let (exit, json) = explain_json(&ExplainArgs { term: Some(2), ..page_args(logs) });
        assert_eq!(exit, Exit::Ok, "{json:#}");
        let ahead: Vec<i64> =
            json["logs"].as_array().unwrap().iter().map(|l| l["clock_ahead_ns"].as_i64().unwrap()).collect();
        assert_eq!(ahead, [0, 0, 0], "all clocks are right");
        let page = &json["incidents"][0];
        // What is told of afterwards is another matter.
        ["began", "headline", "seen", "stood", "candidates", "votes", "write_outage", "loss"]
            .map(|part| page[part].clone())
    };
    assert_eq!(told(&before), told(&after));
    let turned: Vec<PathBuf> = after.iter().rev().cloned().collect();
    assert_eq!(told(&after), told(&turned), "whatever the order of the logs");

    let (_, json) = replay_json(&ReplayArgs { all: true, ..args(&after) });
    assert_eq!(json["contradictions"], 0, "a record that was lost contradicts nobody");
    assert!(json["lost_in_crash"].as_u64().unwrap() > 0);
    assert_eq!(json["of_unknown_processes"], 0);
    // The lines of all members are in order of their clocks, which are right.
    let walls: Vec<&str> =
        json["timeline"].as_array().unwrap().iter().map(|l| l["wall"].as_str().unwrap()).collect();
    assert!(walls.is_sorted(), "{walls:#?}");
}

#[test]
fn a_message_whose_record_was_lost_is_told_by_who_heard_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.crash_primary();
    // The confirmation was sent, and then the host lost power with all that node1 had not flushed.
    let confirmed =
        |b: &Vec<Record>| b.iter().any(|r| matches!(r.event, Event::Decided(Decision::DownConfirmed { .. })));
    let batches = &cluster.node(NODE1).batches;
    let lost = batches.len() - batches.iter().position(confirmed).unwrap();
    cluster.node(NODE1).crash(lost);
    come_back(&mut cluster);
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&ExplainArgs { all: true, ..page_args(&logs) });
    assert!(json.to_string().contains("is down: no process is left"), "{json:#}");
}

#[test]
fn logs_that_do_not_belong_together_are_refused() {
    let dirs: [tempfile::TempDir; 2] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut cluster = failover();
    let logs = write_all(&mut cluster, dirs[0].path());
    // Another cluster of the same name.
    let mut other = failover();
    for node in &mut other.nodes {
        for record in node.records_mut() {
            if let Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a)) =
                &mut record.event
            {
                a.system_id.0 += 1;
            }
        }
    }
    let others = write_all(&mut other, dirs[1].path());
    let mixed = [logs[1].clone(), logs[2].clone(), others[0].clone()];
    // Another past of the very same PostgreSQL.
    let past = tempfile::tempdir().unwrap();
    let mut before = Cluster::new();
    before.nodes.iter_mut().for_each(|node| node.crashes = 7);
    before.begin();
    before.crash_primary();
    before.promote(promoted());
    let before = write(&mut before, NODE1, past.path());
    let past = [logs[1].clone(), logs[2].clone(), before];
    let twice = [logs[0].clone(), logs[1].clone(), dirs[1].path().join("copy")];
    cluster.node(NODE1).write(&twice[2]);
    for (logs, says) in [
        (&past, "is of another past than the others: all "),
        (&mixed, "two clusters of one name, or of different times; name the logs of one of them together"),
        (&twice, "are both the log of node1, and hold records of the same time; name only one of them"),
    ] {
        let (exit, out, err) = explain(&page_args(logs));
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{err}");
        assert!(err.contains(says), "{err}");
        let (exit, out, err) = replay(&args(logs));
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{err}");
        assert!(err.contains(says), "{err}");
    }
}

#[test]
fn what_may_be_lost_is_bounded_only_by_who_saw_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    let loss = &json["incidents"][0]["loss"];
    assert_eq!((&loss["bytes_min"], &loss["bytes_max"]), (&0.into(), &serde_json::Value::Null), "{loss:#}");
    assert_eq!(
        (&loss["heard_at"], &loss["forked_at"]),
        (&"0/3000220".into(), &"0/3000220".into()),
        "{loss:#}"
    );
    // The last heartbeat was a second and a quarter before the postmaster was gone.
    assert_eq!(loss["heard_before_end_ns"], 1_237_000_000_i64, "{loss:#}");
    let (_, page, _) = explain(&page_args(&logs));
    for says in [
        "\nLost\n  nothing that node1 was last heard to have written\n",
        "  node1 was last heard at 0/3000220 by node3, 1.237 s before it stopped; the new timeline begins at 0/3000220\n",
        "  what node1 wrote after that is not known until it comes back, unless replication was synchronous: no upper \
         bound follows from these logs\n",
    ] {
        assert!(page.contains(says), "{says}\n{page}");
    }

    // It comes back, read-only, and its WAL goes past the fork by what nobody had heard of.
    let other = tempfile::tempdir().unwrap();
    let seen = Observation::PostmasterSeen { pid: 4_700, sealed: true };
    cluster.observe(NODE1, Actor::PostgresOperator, seen);
    cluster.node(NODE1).postgres = Some(pgfo::events::Answer {
        streaming: false,
        receiver: false,
        waits_for_wal: true,
        ..standby(0x300_0220 + 184, 1)
    });
    for _ in 0..6 {
        cluster.heartbeat(NODE3);
    }
    let logs = write_all(&mut cluster, other.path());
    let (_, json) = explain_json(&ExplainArgs { term: Some(2), ..page_args(&logs) });
    let page = &json["incidents"][0];
    let loss = &page["loss"];
    assert_eq!((&loss["bytes_min"], &loss["bytes_max"]), (&184.into(), &184.into()), "{page:#}");
    let became = page["old_primary"].as_str().unwrap();
    assert!(
        became.starts_with("PostgreSQL on node1, the old primary, stays read-only: its WAL went past"),
        "{became}"
    );
    assert!(became.ends_with("its daemon was there until these logs end"), "{became}");
}

#[test]
fn what_became_of_a_primary_that_was_lost_with_its_host() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = crashed_host();
    for _ in 0..10 {
        cluster.heartbeat(NODE3);
    }
    let logs = write_all(&mut cluster, dir.path());
    let (_, page, _) = explain(&page_args(&logs));
    assert!(
        page.contains(
            "PostgreSQL on node1, the old primary, is not told of: nobody saw it end, or come back, within these \
             logs; its daemon was last heard at -"
        ),
        "{page}"
    );
}

#[test]
fn the_time_without_writes_is_told_beside_the_first_sign() {
    let dir = tempfile::tempdir().unwrap();
    let logs = write_all(&mut failover(), dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    let page = &json["incidents"][0];
    let outage = &page["write_outage"];
    // From the postmaster's end, which its daemon saw, to the end of the promotion.
    assert_eq!(outage["at_least_ns"], outage["at_most_ns"], "{outage:#}");
    assert_eq!(outage["at_least_ns"], 512_000_000, "{outage:#}");
    assert!(page["headline"].as_str().unwrap().ends_with("; nobody could write for 512.0 ms"), "{page:#}");

    // Of a host that was lost nobody saw the end.
    let other = tempfile::tempdir().unwrap();
    let logs = write_all(&mut crashed_host(), other.path());
    let (_, json) = explain_json(&page_args(&logs));
    let page = &json["incidents"][0];
    assert_eq!(page["write_outage"]["at_least_ns"], serde_json::Value::Null, "{page:#}");
    assert!(page["headline"].as_str().unwrap().ends_with(" at most"), "{page:#}");
    let phases = page["phases"].as_array().unwrap();
    let mut until = 0;
    for phase in phases {
        let begins = phase["begins_ns"].as_i64().unwrap();
        assert!(begins - until < 100_000_000, "a stretch of time is not told of: {phases:#?}");
        until = until.max(begins + phase["took_ns"].as_i64().unwrap());
    }
}

#[test]
fn what_the_winners_log_alone_could_tell_is_told_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let logs = write_all(&mut failover(), dir.path());
    let (_, json) = explain_json(&page_args(&logs[..2]));
    let page = &json["incidents"][0];
    assert_eq!((&page["winner"], &page["missing_logs"][0]), (&"node3".into(), &"node3".into()), "{page:#}");
    let phases = page["phases"].as_array().unwrap();
    let named = |name: &str| phases.iter().find(|p| p["name"] == name);
    assert!(named("undecided").is_none(), "{phases:#?}");
    let gap = named("not told").unwrap_or_else(|| panic!("{phases:#?}"));
    assert_eq!(gap["what"], "election and promotion: the log of node3 is not at hand");
    let ends =
        |phase: &serde_json::Value| phase["begins_ns"].as_i64().unwrap() + phase["took_ns"].as_i64().unwrap();
    // It ends where somebody heard first that node3 leads.
    assert_eq!(ends(gap), 512_000_000, "{phases:#?}");
}

#[test]
fn who_learns_late_of_a_failover_makes_no_second_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    // node2 hears nothing of what follows.
    cluster.node(NODE2).up = false;
    cluster.crash_primary();
    cluster.promote(promoted());
    for _ in 0..25 {
        cluster.heartbeat(NODE3);
    }
    cluster.node(NODE1).up = false;
    cluster.node(NODE3).up = false;
    cluster.node(NODE2).up = true;
    for kind in [ProbeKind::Heartbeat, ProbeKind::Massage(1), ProbeKind::Massage(2), ProbeKind::Massage(3)] {
        cluster.probe(NODE2, NODE1, kind);
        cluster.advance_millis(300);
    }
    let held =
        cluster.node(NODE2).decisions().filter(|d| matches!(d, Decision::VerdictChanged { .. })).count();
    assert!(held >= 2, "node2 holds down whom it still takes for the primary");
    let logs = write_all(&mut cluster, dir.path());
    let (_, list, _) = explain(&ExplainArgs { list: true, ..page_args(&logs) });
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(list.contains("node3 took over from node1, primary of term 1, by winning term 2"), "{list}");
}

#[test]
fn logs_that_end_too_early_tell_no_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE1).postgres = None;
    cluster.probe(NODE2, NODE1, ProbeKind::Heartbeat);
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    let page = &json["incidents"][0];
    assert_eq!(page["kind"], "logs-end", "{page:#}");
    assert_eq!(
        page["headline"],
        "not known: these logs end while node1, primary of term 1, was suspected by node2"
    );
    // Alone, a log tells only that it holds no take-over.
    for massage in 1..=3 {
        cluster.probe(NODE2, NODE1, ProbeKind::Massage(massage));
        cluster.advance_millis(300);
    }
    let other = tempfile::tempdir().unwrap();
    let log = write(&mut cluster, NODE2, other.path());
    let (_, json) = explain_json(&page_args(&[log]));
    let headline = json["incidents"][0]["headline"].as_str().unwrap();
    assert!(
        headline.starts_with("nobody took over from node1, primary of term 1, as far as these logs tell"),
        "{headline}"
    );
}

#[test]
fn a_folder_stands_for_the_logs_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let logs = write_all(&mut failover(), dir.path());
    let folder = [dir.path().to_owned()];
    assert_eq!(explain(&page_args(&logs)), explain(&page_args(&folder)));
    assert_eq!(replay(&args(&logs)), replay(&args(&folder)));
}

#[test]
fn what_is_no_log_is_left_out_of_a_folder_and_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let logs = write_all(&mut failover(), dir.path());
    let stray = [".DS_Store", "README.txt", "empty"].map(|name| dir.path().join(name));
    std::fs::write(&stray[0], "").unwrap();
    std::fs::write(&stray[1], "collected after the failover").unwrap();
    std::fs::write(&stray[2], "").unwrap();
    assert_eq!(explain(&page_args(&logs)), explain(&page_args(&[dir.path().to_owned()])));
    let (exit, _, err) = explain(&page_args(&stray[1..2]));
    assert!(exit == Exit::Usage && err.contains("is not an event log"), "{err}");
    // One that is called a log is evidence, whatever is left of it.
    std::fs::write(dir.path().join("node9.pgfo"), "").unwrap();
    let (exit, page, _) = explain(&page_args(&[dir.path().to_owned()]));
    assert_eq!(exit, Exit::Unreadable, "{page}");
}

#[test]
fn a_path_that_is_no_text_is_told_as_far_as_it_is_one() {
    use std::os::unix::ffi::OsStringExt as _;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join(std::ffi::OsString::from_vec(b"n\xff".to_vec()));
    failover().node(NODE2).write(&log);
    let (exit, json) = explain_json(&page_args(std::slice::from_ref(&log)));
    assert_eq!((exit, json["logs"][0]["path"].as_str().unwrap().ends_with("/n\u{fffd}")), (Exit::Ok, true));
    let (exit, json) = replay_json(&args(&[log]));
    assert_eq!((exit, json["logs"][0]["path"].as_str().unwrap().ends_with("/n\u{fffd}")), (Exit::Ok, true));
}

#[test]
fn an_incident_is_found_by_the_second_that_its_page_shows() {
    let dir = tempfile::tempdir().unwrap();
    let logs = write_all(&mut failover(), dir.path());
    let (_, json) = explain_json(&page_args(&logs));
    let began = json["incidents"][0]["began"].as_str().unwrap().to_owned();
    let second = format!("{}Z", &began[..19]);
    let compact: String = second.chars().filter(|c| !"-:".contains(*c)).collect();
    for at in [&began, &second, &compact] {
        let (exit, page, err) = explain(&ExplainArgs { at: Some(at.parse().unwrap()), ..page_args(&logs) });
        assert_eq!(exit, Exit::Ok, "{at}: {err}");
        assert!(page.starts_with("Incident 1 of cluster main"), "{page}");
    }
    for (text, first, length) in [
        ("2026-01-31T12:00:05.237Z", 237_000_000, 1_000_000),
        ("2026-01-31T12:00:05.2Z", 200_000_000, 100_000_000),
        ("2026-01-31T12:00:05Z", 0, 1_000_000_000),
        ("2026-01-31T12:00:05.237000001Z", 237_000_001, 1),
    ] {
        let at = text.parse::<Moment>().unwrap();
        assert_eq!((at.first.0 % 1_000_000_000, at.last.0 - at.first.0), (first, length - 1), "{text}");
    }
    let wrong = "37".parse::<Moment>().unwrap_err();
    assert!(wrong.starts_with("\"37\" is no time like 2026-01-31T12:00:00Z"), "{wrong}");
}

#[test]
fn an_incident_is_found_by_the_very_time_that_its_page_shows() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    // The first sign lies within the millisecond that is printed, not at its beginning.
    cluster.nodes.iter_mut().for_each(|node| node.wall_offset_nanos = 234_567);
    cluster.begin();
    for _ in 0..2 {
        let answers = cluster.node(NODE1).postgres.take();
        cluster.probe(NODE2, NODE1, ProbeKind::Heartbeat);
        cluster.advance_millis(300);
        cluster.node(NODE1).postgres = answers;
        for _ in 0..20 {
            cluster.heartbeat(NODE1);
        }
    }
    let logs = write_all(&mut cluster, dir.path());
    let (_, json) = explain_json(&ExplainArgs { all: true, ..page_args(&logs) });
    let pages = json["incidents"].as_array().unwrap();
    assert_eq!(pages.len(), 2, "{json:#}");
    for page in pages {
        let at: Option<Moment> = Some(page["began"].as_str().unwrap().parse().unwrap());
        let (exit, one) = explain_json(&ExplainArgs { at, ..page_args(&logs) });
        assert_eq!((exit, &one["incidents"][0]), (Exit::Ok, page));
        let mut asked = args(&logs);
        asked.what_if.changes = vec!["lease.duration=8s".to_owned()];
        (asked.what_if.at, asked.what_if.runs) = (at, Some(2));
        let (_, answer) = replay_json(&asked);
        assert_eq!(answer["cases"][0]["number"], page["number"], "{answer:#}");
    }
}

#[test]
fn a_log_that_can_not_be_relied_on_is_named_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = failover();
    for record in cluster.node(NODE2).records_mut() {
        if let Event::Decided(Decision::VoteGranted { loss_bytes, .. }) = &mut record.event {
            *loss_bytes = 77;
        }
    }
    let logs = write_all(&mut cluster, dir.path());
    let (exit, page, _) = explain(&page_args(&logs));
    assert_eq!(exit, Exit::Degraded, "{page}");
    assert!(page.starts_with(&format!("Do not rely on {}: ", logs[1].display())), "{page}");
    assert!(page.contains("Incident 1 of cluster main"), "{page}");

    cluster = failover();
    for record in cluster.node(NODE2).records_mut() {
        if let Event::Observed(Observation::ProcessStarted(start)) = &mut record.event {
            start.core_revision = CORE_REVISION + 1;
        }
        record.boot = BootNanos(record.boot.0);
    }
    let other = tempfile::tempdir().unwrap();
    let logs = write_all(&mut cluster, other.path());
    let (exit, page, _) = explain(&page_args(&logs));
    assert_eq!(exit, Exit::Ok, "another revision that decides the same is identical\n{page}");
    let (exit, _, err) = explain(&page_args(&[PathBuf::from("/nonexistent/events.db")]));
    assert_eq!(exit, Exit::Usage, "{err}");
}

#[test]
fn nothing_is_told_of_a_calm_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    let logs = write_all(&mut cluster, dir.path());
    let (exit, page, _) = explain(&page_args(&logs));
    assert_eq!(exit, Exit::Ok);
    assert_eq!(page, "no incident: nobody held a primary down within these logs\n");
}
