//! Each outcome of a probe, from a real PostgreSQL.

mod support_pg;

use pgfo::core::{Nanos, Timeline};
use pgfo::postgres::{
    Answer, ConnInfo, Connector, Environment, ProbeOutcome, Prober, ReceiverStatus, StartupWait, Step,
};
use rustix::process::Signal;
use std::time::Duration;
use support_pg::{Cluster, deadline};

const RENEW_AFTER: Duration = Duration::from_secs(600);

fn prober(cluster: &Cluster) -> Prober {
    Prober::new(cluster.connector(), RENEW_AFTER)
}

async fn outcome(conninfo: ConnInfo, millis: u64) -> ProbeOutcome {
    let mut prober = Prober::new(Connector::new(conninfo).unwrap(), RENEW_AFTER);
    prober.probe(true, deadline(millis)).await.outcome
}

fn answer(outcome: ProbeOutcome) -> Answer {
    match outcome {
        ProbeOutcome::Answered(answer) => *answer,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn primary_and_standby_tell_who_they_are() {
    let primary = Cluster::primary();
    let standby = Cluster::standby_of(&primary);
    let (mut on_primary, mut on_standby) = (prober(&primary), prober(&standby));
    let p = answer(on_primary.probe(true, deadline(5000)).await.outcome);
    let s = answer(on_standby.probe(true, deadline(5000)).await.outcome);
    assert_eq!(p.system_id, s.system_id);
    assert!(!p.in_recovery && s.in_recovery);
    assert_eq!((p.timeline, s.timeline), (Some(Timeline(1)), Some(Timeline(1))));
    assert!(p.write_lsn.is_some() && p.receive_lsn.is_none() && p.receiver.is_none());
    assert_eq!(p.startup_wait, StartupWait::NotVisible);
    assert_eq!(p.standbys, 1);
    let receiver = s.receiver.unwrap();
    assert_eq!(receiver.status, ReceiverStatus::Streaming);
    assert_eq!(receiver.sender_port, Some(primary.port));
    assert_eq!(s.startup_wait, StartupWait::WalStream);
    assert!(s.receive_lsn.is_some() && s.replay_lsn.is_some());
    assert_eq!((s.primary_conninfo_empty, s.restore_command_empty), (Some(false), Some(true)));
    assert!(s.postmaster_start.0 > 1_000_000_000_000_000);

    let mut kept = Vec::new();
    for _ in 0..50 {
        let probe = on_standby.probe(false, deadline(5000)).await;
        assert!(!probe.fresh && matches!(probe.outcome, ProbeOutcome::Answered(_)));
        kept.push(probe.latency);
    }
    kept.sort();
    println!("kept probe: p50 {}, max {}", kept[25], kept[49]);
    standby.sql("SELECT pg_wal_replay_pause()");
    assert!(answer(on_standby.probe(false, deadline(5000)).await.outcome).replay_paused);
}

#[tokio::test]
async fn a_frozen_postmaster_is_seen_by_a_fresh_connection_only() {
    let cluster = Cluster::primary();
    let mut prober = prober(&cluster);
    assert!(matches!(prober.probe(false, deadline(5000)).await.outcome, ProbeOutcome::Answered(_)));
    cluster.signal_postmaster(Signal::STOP);
    let fresh = prober.probe(true, deadline(500)).await;
    let kept = prober.probe(false, deadline(5000)).await;
    let mut renewing = Prober::new(cluster.connector(), Duration::ZERO);
    let renewed = renewing.probe(false, deadline(300)).await;
    cluster.signal_postmaster(Signal::CONT);
    assert_eq!(fresh.outcome, ProbeOutcome::TimedOut { step: Step::Authenticate });
    assert!(fresh.latency >= Nanos::from_millis(490) && fresh.latency < Nanos::from_millis(5000));
    assert!(matches!(kept.outcome, ProbeOutcome::Answered(_)) && !kept.fresh);
    assert!(matches!(renewed.outcome, ProbeOutcome::TimedOut { .. }) && renewed.fresh);
}

#[tokio::test]
async fn a_dead_server_refuses_and_a_lost_one_tells() {
    let cluster = Cluster::primary();
    let mut prober = prober(&cluster);
    assert!(matches!(prober.probe(false, deadline(5000)).await.outcome, ProbeOutcome::Answered(_)));
    let pid = cluster.postmaster_pid();
    cluster.signal_postmaster(Signal::KILL);
    let lost = tokio::time::timeout(Duration::from_secs(5), prober.lost()).await.unwrap();
    assert!(matches!(lost, ProbeOutcome::Closed | ProbeOutcome::Reset), "{lost}");
    let kept = prober.probe(false, deadline(2000)).await.outcome;
    assert!(matches!(kept, ProbeOutcome::Closed | ProbeOutcome::Reset), "{kept}");
    support_pg::reap(pid);
    assert_eq!(prober.probe(false, deadline(2000)).await.outcome, ProbeOutcome::Refused);
    let socket = ConnInfo::parse("host=/nonexistent", &Environment::of("x", None, &[])).unwrap();
    assert_eq!(outcome(socket, 1000).await, ProbeOutcome::Refused);
    // A name that can't exist; a resolver without network may take its time to say so.
    let nowhere = ConnInfo::parse("host=no.such.name.invalid", &Environment::of("x", None, &[])).unwrap();
    let nowhere = outcome(nowhere, 3000).await;
    let expected = [ProbeOutcome::Unreachable, ProbeOutcome::TimedOut { step: Step::Resolve }];
    assert!(expected.contains(&nowhere), "{nowhere}");
}

#[tokio::test]
async fn a_server_that_swallows_everything_times_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for mode in ["disable", "require"] {
        let text = format!("host=127.0.0.1 port={port} sslmode={mode}");
        let info = ConnInfo::parse(&text, &Environment::of("x", None, &[])).unwrap();
        assert_eq!(outcome(info, 200).await, ProbeOutcome::TimedOut { step: Step::Authenticate });
    }
}

#[tokio::test]
async fn signs_of_life_are_told_apart() {
    let cluster = Cluster::primary();
    cluster.sql("CREATE ROLE guarded LOGIN PASSWORD 'right'");
    let hba = std::fs::read_to_string(cluster.data().join("pg_hba.conf")).unwrap();
    let hba = format!("host all guarded all scram-sha-256\nhost all nobody all reject\n{hba}");
    std::fs::write(cluster.data().join("pg_hba.conf"), hba).unwrap();
    cluster.sql("ALTER SYSTEM SET max_connections = 5");
    cluster.sql("ALTER SYSTEM SET superuser_reserved_connections = 1");
    cluster.sql("ALTER SYSTEM SET max_wal_senders = 1");
    cluster.stop("fast");
    cluster.start();

    for (more, expected) in [
        ("user=guarded password=wrong", ProbeOutcome::AuthenticationFailed),
        ("user=guarded", ProbeOutcome::AuthenticationFailed),
        ("user=nobody", ProbeOutcome::AuthenticationFailed),
        ("user=postgres sslmode=require", ProbeOutcome::TlsFailed),
    ] {
        assert_eq!(outcome(cluster.conninfo(more), 5000).await, expected, "{more}");
    }
    let missing = outcome(cluster.conninfo("dbname=missing"), 5000).await;
    assert_eq!(missing.to_string(), "server error 3D000");
    let right = outcome(cluster.conninfo("user=guarded password=right"), 5000).await;
    // A role without pg_monitor still tells the essentials.
    let right = answer(right);
    assert!(!right.in_recovery && right.primary_conninfo_empty.is_none());

    let mut held = Vec::new();
    for _ in 0..5 {
        if let Ok(link) = cluster.connector().open(None, deadline(5000)).await {
            held.push(link);
        }
    }
    assert_eq!(outcome(cluster.conninfo(""), 5000).await, ProbeOutcome::TooManyClients);
    drop(held);
}

#[tokio::test]
async fn starting_up_and_shutting_down_are_signs_of_life() {
    let primary = Cluster::primary();
    // A standby without hot standby never lets anybody in.
    let standby = Cluster::standby_of(&primary);
    standby.stop("fast");
    standby.configure("hot_standby = off\n");
    standby.start_without_waiting();
    let seen = loop {
        match outcome(standby.conninfo(""), 5000).await {
            ProbeOutcome::Refused => std::thread::yield_now(),
            other => break other,
        }
    };
    assert_eq!(seen, ProbeOutcome::StartingUp);

    // A smart shutdown waits for the session that is open.
    let mut prober = prober(&primary);
    assert!(matches!(prober.probe(false, deadline(5000)).await.outcome, ProbeOutcome::Answered(_)));
    primary.signal_postmaster(Signal::TERM);
    let seen = loop {
        match outcome(primary.conninfo(""), 5000).await {
            ProbeOutcome::Answered(_) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert_eq!(seen, ProbeOutcome::ShuttingDown);
    assert!(matches!(prober.probe(false, deadline(5000)).await.outcome, ProbeOutcome::Answered(_)));
    primary.signal_postmaster(Signal::INT);
    let lost = tokio::time::timeout(Duration::from_secs(10), prober.lost()).await.unwrap();
    assert_eq!(lost, ProbeOutcome::ShuttingDown);
}
