//! After each failover, and each attempt that came to nothing, there is one file that replays by itself:
//! the same decisions derived from a checkpoint on, and any damage found and named.

mod replay_support;

use pgfo::cli::exit::Exit;
use pgfo::cli::explain::{ExplainArgs, run_to};
use pgfo::cluster::{run_with_story, swarm};
use pgfo::core::{Lsn, Nanos, Term, Timeline};
use pgfo::events::{Actor, Durability, Event, EventLog, FollowOutcome, LogOptions, Observation, Record};
use pgfo::keep::{
    INCIDENTS_DIR, IncidentLimits, IncidentName, IncidentWatcher, Keeper, KeeperConfig, Limits, Outcome,
    Span, Window, cut, list, windows,
};
use pgfo_replay::Seq;
use replay_support::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A minute and a half of peace, a failover, half a minute of peace.
fn long_failover() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.begin();
    for _ in 0..90 {
        cluster.heartbeat(NODE1);
    }
    cluster.node(NODE2).postgres = Some(standby(0x300_01A8, 1));
    cluster.node(NODE3).postgres = Some(standby(0x300_0220, 1));
    cluster.node(NODE1).postgres = Some(primary(0x300_0220, 1));
    cluster.heartbeat(NODE1);
    cluster.crash_primary();
    assert_eq!(cluster.promote(promoted()), NODE3);
    let followed = Observation::FollowCompleted {
        term: Term(2),
        outcome: FollowOutcome::Streaming { timeline: Timeline(2), lsn: Some(Lsn(0x300_02A0)) },
        commands: vec![],
    };
    cluster.observe(NODE2, Actor::PostgresOperator, followed);
    cluster.node(NODE2).postgres = Some(standby(0x300_02A0, 2));
    for _ in 0..30 {
        cluster.heartbeat(NODE3);
    }
    cluster
}

fn see_all(records: &[Record]) -> Vec<Window> {
    let mut watcher = IncidentWatcher::new(None);
    let mut found = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let end = rest.iter().skip(1).position(|r| r.cause.is_none()).map_or(rest.len(), |at| at + 1);
        found.extend(watcher.see(&rest[..end]));
        rest = &rest[end..];
    }
    found.extend(watcher.finish());
    found
}

fn cut_to(log: &Path, window: &Window, dir: &Path) -> PathBuf {
    let path = dir.join(IncidentName::of(window).file_name());
    let span = Span { first: window.first, last: window.last };
    cut(log, span, &mut std::fs::File::create(&path).unwrap()).unwrap();
    path
}

#[test]
fn each_member_of_a_failover_has_one_incident_that_replays_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = long_failover();
    for member in [NODE1, NODE2, NODE3] {
        let log = write(&mut cluster, member, dir.path());
        let found = windows(&log).unwrap();
        let [window] = found.as_slice() else { panic!("{member:?}: {found:?}") };
        assert_eq!((window.outcome, window.term.0), (Outcome::Failover, 2), "{member:?}");
        let records: Vec<Record> = cluster.node(member).records().cloned().collect();
        let at = |seq: Seq| &records[usize::try_from(seq.0 - 1).unwrap()];
        // Half a minute of lead, and the followers' settling.
        let lead = at(window.began).boot.nanos_since(at(window.first).boot);
        assert!((29_000_000_000..=30_000_000_000).contains(&lead), "{lead}");
        assert!(window.last.0 < records.len() as u64, "the peace after it is left out");

        let path = cut_to(&log, window, dir.path());
        let (exit, out, err) = replay(&args(std::slice::from_ref(&path)));
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""), "{out}");
        assert!(out.contains("identical"), "{out}");
        assert!(out.contains(&format!("behind record {}", Seq(window.first.0 - 1))), "{out}");
        assert!(out.contains("cluster   "), "the configuration is in it: {out}");
        // It is an incident of its own, the same one.
        let again = windows(&path).unwrap();
        assert_eq!(again, [*window]);
        // And can be cut once more.
        let inner = Window { first: Seq(window.began.0), ..*window };
        let inside = tempfile::tempdir().unwrap();
        let (exit, out, _) = replay(&args(&[cut_to(&path, &inner, inside.path())]));
        assert_eq!(exit, Exit::Ok, "{out}");
    }
    // Together they make one timeline, as whole logs do.
    let files: Vec<PathBuf> = [NODE1, NODE2, NODE3]
        .map(|member| {
            let log = dir.path().join(format!("node{}", member.0 + 1));
            let own = dir.path().join(format!("own{}", member.0));
            std::fs::create_dir(&own).unwrap();
            cut_to(&log, &windows(&log).unwrap()[0], &own)
        })
        .into();
    let (exit, out, _) = replay(&args(&files));
    assert_eq!(exit, Exit::Ok, "{out}");
    assert!(!out.contains("contradict"), "{out}");
}

#[test]
fn explain_and_what_if_take_incidents_as_they_take_logs() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = long_failover();
    let logs: Vec<PathBuf> =
        [NODE1, NODE2, NODE3].map(|member| write(&mut cluster, member, dir.path())).into();
    let files: Vec<PathBuf> = logs
        .iter()
        .enumerate()
        .map(|(at, log)| {
            let own = dir.path().join(format!("own{at}"));
            std::fs::create_dir(&own).unwrap();
            cut_to(log, &windows(log).unwrap()[0], &own)
        })
        .collect();
    let page = |logs: &[PathBuf]| {
        let asked =
            ExplainArgs { logs: logs.to_vec(), json: false, all: false, at: None, term: None, list: false };
        let mut out = anstream::StripStream::new(Vec::new());
        let exit = run_to(&asked, &mut out, &mut Vec::new()).unwrap();
        let text = String::from_utf8(out.into_inner()).unwrap();
        let told = |line: &&str| !line.contains("records") && !line.contains("pgfo ");
        (exit, text.lines().filter(told).map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(page(&logs), page(&files));
    let what_if = |logs: &[PathBuf]| {
        let mut asked = args(logs);
        asked.what_if.changes = vec!["node3.failover.priority=0".to_owned()];
        let (exit, mut json) = replay_json(&asked);
        (exit, json["cases"][0]["recorded"].take())
    };
    let (exit, told) = what_if(&files);
    assert_eq!((exit, &told), (what_if(&logs).0, &what_if(&logs).1));
    assert!(told.to_string().contains("node3 does not stand: priority is 0"), "{told:#}");
}

#[test]
fn peace_and_a_first_adoption_are_no_incidents() {
    let mut cluster = Cluster::new();
    cluster.begin();
    for _ in 0..100 {
        cluster.heartbeat(NODE1);
    }
    for member in [NODE1, NODE2, NODE3] {
        let records: Vec<Record> = cluster.node(member).records().cloned().collect();
        assert_eq!(see_all(&records), []);
    }
}

/// Writes a simulated member's records as its daemon would.
fn write_records(records: &[Record], dir: &Path) {
    let opened = EventLog::<Event>::open(dir, LogOptions::default()).unwrap();
    let mut rest = records;
    while !rest.is_empty() {
        let end = rest.iter().skip(1).position(|r| r.cause.is_none()).map_or(rest.len(), |at| at + 1);
        let mut batch = rest[..end].to_vec();
        rest = &rest[end..];
        let durability = if rest.is_empty() { Durability::Flushed } else { Durability::Buffered };
        let receipt = loop {
            match opened.log.append(batch, durability) {
                Ok(receipt) => break receipt,
                Err(pgfo::events::AppendRefused::Full(back)) => batch = back,
                Err(closed) => panic!("{closed}"),
            }
            std::thread::yield_now();
        };
        if rest.is_empty() {
            receipt.wait().unwrap();
        }
    }
    opened.log.close().unwrap();
}

#[test]
fn every_incident_of_simulated_members_replays_as_identical() {
    let mut outcomes = std::collections::BTreeMap::new();
    for seed in 0..10 {
        let (_, world) = run_with_story(&swarm(seed));
        for (at, node) in world.nodes.iter().enumerate() {
            let records = &node.log.records;
            let begun = records.first().map(|r| &r.event);
            if !matches!(begun, Some(Event::Observed(Observation::ProcessStarted(_)))) {
                continue;
            }
            let found = see_all(records);
            if found.is_empty() {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let log = dir.path().join("log");
            write_records(records, &log);
            for window in found {
                *outcomes.entry(window.outcome).or_insert(0) += 1;
                let path = cut_to(&log, &window, dir.path());
                let (exit, out, _) = replay(&args(&[path]));
                assert_eq!(exit, Exit::Ok, "seed {seed}, member {at}, {window:?}: {out}");
            }
        }
    }
    let seen = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    assert!(seen(Outcome::Failover) >= 10, "{outcomes:?}");
    assert!(seen(Outcome::Refused) + seen(Outcome::Unresolved) >= 5, "{outcomes:?}");
}

fn incident_bytes(dir: &Path) -> Vec<u8> {
    let log = write(&mut long_failover(), NODE2, dir);
    let window = windows(&log).unwrap()[0];
    std::fs::read(cut_to(&log, &window, dir)).unwrap()
}

#[test]
fn any_flipped_byte_and_any_cut_of_an_incident_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = incident_bytes(dir.path());
    let path = dir.path().join("damaged.pgfo");
    let step = (bytes.len() / 400).max(1);
    let beginning = 0..300.min(bytes.len());
    let end = bytes.len() - 60..bytes.len();
    for at in beginning.chain((300..bytes.len() - 60).step_by(step)).chain(end) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        let (exit, out, err) = replay(&args(std::slice::from_ref(&path)));
        assert_eq!(exit, Exit::Unreadable, "byte {at}: {out}{err}");
        assert!(out.contains("unreadable from record"), "byte {at}: {out}");
    }
    for length in (8..bytes.len()).step_by(step) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let (exit, out, err) = replay(&args(std::slice::from_ref(&path)));
        assert_eq!(exit, Exit::Unreadable, "cut at {length}: {out}{err}");
    }
    // Something behind the end is an alteration, too.
    std::fs::write(&path, [bytes.as_slice(), b"x"].concat()).unwrap();
    assert_eq!(replay(&args(std::slice::from_ref(&path))).0, Exit::Unreadable);
}

#[test]
fn an_incident_with_the_checkpoint_of_another_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = long_failover();
    let log = write(&mut cluster, NODE2, dir.path());
    let window = windows(&log).unwrap()[0];
    let own = std::fs::read(cut_to(&log, &window, dir.path())).unwrap();
    let other = Window { first: Seq(window.began.0), ..window };
    let sub = dir.path().join("other");
    std::fs::create_dir(&sub).unwrap();
    let foreign = std::fs::read(cut_to(&log, &other, &sub)).unwrap();
    // The header's 74 bytes, then a length and a checkpoint of that length.
    let base = |bytes: &[u8]| 78 + u32::from_le_bytes(bytes[74..78].try_into().unwrap()) as usize;
    let mixed = [&own[..74], &foreign[74..base(&foreign)], &own[base(&own)..]].concat();
    let path = dir.path().join("mixed.pgfo");
    std::fs::write(&path, mixed).unwrap();
    let (exit, out, _) = replay(&args(&[path]));
    assert_eq!(exit, Exit::Unreadable, "{out}");
    assert!(out.contains("checkpoint that the log begins with"), "{out}");
}

fn limits() -> Limits {
    Limits {
        age_max: Nanos(u64::MAX / 4),
        size_bytes_max: 1 << 30,
        incidents: IncidentLimits { count_max: 10, size_bytes_max: 1 << 30 },
    }
}

/// Lets a keeper see the whole log, and ends it.
fn keep(dir: &Path, cluster: &mut Cluster) {
    let log = Arc::new(EventLog::<Event>::open(dir, LogOptions::default()).unwrap().log);
    let keeper = Keeper::start(KeeperConfig {
        log: log.clone(),
        settings: cluster.node(NODE2).settings.clone(),
        incidents: dir.join(INCIDENTS_DIR),
        limits: limits(),
        logger: slog::Logger::root(slog::Discard, slog::o!()),
    })
    .unwrap();
    keeper.stop();
    Arc::into_inner(log).unwrap().close().unwrap();
}

#[test]
fn the_keeper_writes_each_incident_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = long_failover();
    let log = write(&mut cluster, NODE2, dir.path());
    keep(&log, &mut cluster);
    let found = list(&log.join(INCIDENTS_DIR)).unwrap();
    let [file] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((file.name.outcome, file.name.term.0), (Outcome::Failover, 2));
    let (exit, out, _) = replay(&args(std::slice::from_ref(&file.path)));
    assert_eq!(exit, Exit::Ok, "{out}");
    // After a restart the same stretch is seen again.
    let before = std::fs::metadata(&file.path).unwrap().modified().unwrap();
    keep(&log, &mut cluster);
    assert_eq!(list(&log.join(INCIDENTS_DIR)).unwrap(), found);
    assert_eq!(std::fs::metadata(&file.path).unwrap().modified().unwrap(), before);
}

#[test]
fn what_the_commands_do_not_find_they_say_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let log = write(&mut long_failover(), NODE2, dir.path());
    let pgfo = |args: &[&str]| {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_pgfo")).args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.success(), text(done.stdout), text(done.stderr))
    };
    let log = log.to_str().unwrap();
    let (fine, _, err) = pgfo(&["incident", "list", "--log", "/nonexistent/log"]);
    assert!(!fine && err.contains("/nonexistent/log is no directory of a log"), "{err}");
    let (fine, out, _) = pgfo(&["incident", "list", "--log", log]);
    assert!(fine && out.contains("`pgfo incident export` cuts one out before"), "{out}");
    // Cut out, it bears the name of its member.
    let (fine, out, err) = pgfo(&["incident", "export", log, "--out", dir.path().to_str().unwrap()]);
    assert!(fine, "{err}");
    let (path, _) = out.split_once(": records").unwrap();
    let name = Path::new(path).file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("node2-incident-") && name.ends_with("-t2-failover.pgfo"), "{name}");
    // Written by the daemon, it is found without its ending, too, and if misspelled, named.
    let kept = Path::new(log).join(INCIDENTS_DIR);
    std::fs::create_dir_all(&kept).unwrap();
    let own = name.strip_prefix("node2-").unwrap();
    std::fs::copy(path, kept.join(own)).unwrap();
    let (fine, out, err) = pgfo(&["incident", "show", own.strip_suffix(".pgfo").unwrap(), "--log", log]);
    assert!(fine && out.contains("identical"), "{out}{err}");
    let (fine, _, err) = pgfo(&["incident", "show", "incident-of-last-night", "--log", log]);
    assert!(!fine && err.contains("no incident incident-of-last-night in ") && err.contains(own), "{err}");
    let (fine, _, err) = pgfo(&["incident", "show", "/nonexistent/file.pgfo"]);
    assert!(!fine && err.contains("there is no file /nonexistent/file.pgfo"), "{err}");
}
