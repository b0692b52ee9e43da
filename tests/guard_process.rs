//! The guard as a process of its own, beside a real PostgreSQL: it fences at the deadline, daemon or
//! no daemon, and nothing acknowledged comes after it (L6, L7).

mod guard_support;

use guard_support::{Bed, Daemon, RESERVE, ask, expect_notice, now, status};
use pgfo::core::{Incarnation, Nanos, Term};
use pgfo::guard::protocol::{GuardState, Notice, Refusal, Reply, Request};
use pgfo::guard::{GuardClient, GuardError, GuardEvent, seal};
use pgfo_replay::BootNanos;
use rustix::process::Signal;
use std::time::Duration;

const LEASE: Nanos = Nanos::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(20);

fn lease_end() -> BootNanos {
    now().plus_nanos(LEASE.0)
}

#[tokio::test]
async fn fences_at_the_deadline_and_postgres_comes_back_read_only() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    expect_notice(&mut events, |n| matches!(n, Notice::PostmasterSeen { .. })).await;
    let deadline = lease_end();
    assert_eq!(daemon.arm(1, deadline).await, Reply::Ok);
    expect_notice(&mut events, |n| matches!(n, Notice::FenceStarted { .. })).await;
    let begun = now();
    assert!(begun.0 + RESERVE.0 >= deadline.0, "not before its time");
    let fenced = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    let Notice::Fenced { outcome } = fenced else { unreachable!() };
    println!("fenced: {outcome:?}");
    assert!(outcome.is_complete());
    assert!(outcome.started.plus_nanos(outcome.took.0) < deadline, "inside the lease");
    assert!(bed.processes().is_empty());

    bed.start_postgres();
    assert_eq!(bed.sql("select pg_is_in_recovery()"), "t");
    assert!(bed.try_sql("create table t (i int)").unwrap_err().contains("read-only"));
    // The guard sees it, and leaves a sealed one alone.
    expect_notice(&mut events, |n| matches!(n, Notice::PostmasterSeen { .. })).await;
    let again = daemon.arm(1, lease_end()).await;
    assert_eq!(again, Reply::Refused(Refusal::TermEnded { ended: Term(1) }));
    assert!(!bed.processes().is_empty());
}

#[tokio::test]
async fn a_promotion_by_hand_after_the_fence_is_fenced_again() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    assert_eq!(daemon.arm(1, lease_end()).await, Reply::Ok);
    expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    bed.start_postgres();
    bed.try_sql("select pg_promote(false)").unwrap();
    expect_notice(&mut events, |n| matches!(n, Notice::SealLost)).await;
    let fenced = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    assert!(matches!(fenced, Notice::Fenced { outcome } if outcome.is_complete()));
    assert!(bed.processes().is_empty() && seal::is_sealed(&bed.data_dir()).unwrap());
}

#[tokio::test]
async fn a_data_directory_that_was_emptied_is_left_so_until_it_holds_a_postgresql_again() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    assert_eq!(daemon.arm(1, lease_end()).await, Reply::Ok);
    expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    let aside = bed.data_dir().with_file_name("aside");
    std::fs::create_dir(&aside).unwrap();
    // What makes it a PostgreSQL goes first, its seal last.
    let mut names: Vec<_> =
        std::fs::read_dir(bed.data_dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort_by_key(|name| (name == seal::SEAL_FILE, name != "PG_VERSION"));
    for name in &names {
        std::fs::rename(bed.data_dir().join(name), aside.join(name)).unwrap();
    }
    // It has looked, and as often as it likes.
    while status(&daemon.client).await.sealed.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(std::fs::read_dir(bed.data_dir()).unwrap().count(), 0);
    let back = ["global", "PG_VERSION"];
    for name in back {
        std::fs::rename(aside.join(name), bed.data_dir().join(name)).unwrap();
    }
    expect_notice(&mut events, |n| matches!(n, Notice::SealLost)).await;
    expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    assert!(seal::is_sealed(&bed.data_dir()).unwrap());
}

#[tokio::test]
async fn a_winner_of_a_higher_term_is_armed_and_promoted_in_peace() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    assert_eq!(daemon.arm(1, lease_end()).await, Reply::Ok);
    expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    bed.start_postgres();
    assert_eq!(daemon.arm(2, now().plus_nanos(60_000_000_000)).await, Reply::Ok);
    assert_eq!(bed.sql("select pg_promote(true)"), "t");
    assert_eq!(bed.sql("select pg_is_in_recovery()"), "f");
    let state = status(&daemon.client).await.state;
    assert!(matches!(state, GuardState::Armed { term: Term(2), .. }));
    daemon.stand_down().await;
}

#[tokio::test]
async fn fences_when_the_daemon_has_hung_up() {
    let bed = Bed::with_postgres();
    let (daemon, events) = Daemon::start(&bed, 1).await;
    let deadline = lease_end();
    assert_eq!(daemon.arm(1, deadline).await, Reply::Ok);
    drop((daemon, events));
    let (_watcher, mut events) = bed.watch().await;
    expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    assert!(now() < deadline.plus_nanos(RESERVE.0));
    assert!(bed.processes().is_empty() && seal::is_sealed(&bed.data_dir()).unwrap());
}

#[tokio::test]
async fn extensions_keep_it_alive_and_a_successor_takes_over() {
    let bed = Bed::with_postgres();
    let (daemon, _events) = Daemon::start(&bed, 1).await;
    let mut round = tokio::time::interval(Duration::from_millis(100));
    // Ten leases long.
    for _ in 0..30 {
        round.tick().await;
        assert_eq!(daemon.arm(1, now().plus_nanos(900_000_000)).await, Reply::Ok);
    }
    let (successor, _successor_events) = GuardClient::connect(&bed.run_dir()).await.unwrap();
    let successor = Daemon { client: successor, incarnation: Incarnation(2) };
    successor.hello().await;
    for _ in 0..15 {
        round.tick().await;
        assert_eq!(successor.arm(1, now().plus_nanos(900_000_000)).await, Reply::Ok);
        assert_eq!(daemon.arm(1, lease_end()).await, Reply::Refused(Refusal::NotCurrentDaemon));
    }
    assert_eq!(bed.sql("select pg_is_in_recovery()"), "f");
    successor.stand_down().await;
}

#[tokio::test]
async fn a_killed_postmaster_is_told_of_within_milliseconds() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    let seen = expect_notice(&mut events, |n| matches!(n, Notice::PostmasterSeen { .. })).await;
    let Notice::PostmasterSeen { postmaster } = seen else { unreachable!() };
    assert_eq!(status(&daemon.client).await.postmaster, Some(postmaster));
    let killed = now();
    bed.kill(postmaster.pid, Signal::KILL);
    let gone = expect_notice(&mut events, |n| matches!(n, Notice::PostmasterGone { .. })).await;
    let Notice::PostmasterGone { at, .. } = gone else { unreachable!() };
    println!(
        "postmaster killed: guard knew after {}, client told after {}",
        Nanos(at.nanos_since(killed)),
        Nanos(now().nanos_since(killed))
    );
    assert!(now().nanos_since(killed) < 100_000_000);
    // Restarted, it is found and watched again.
    bed.wait_until_gone(postmaster.pid);
    bed.start_postgres();
    let seen = expect_notice(&mut events, |n| matches!(n, Notice::PostmasterSeen { .. })).await;
    assert!(matches!(seen, Notice::PostmasterSeen { postmaster: p } if p != postmaster));
}

#[tokio::test]
async fn a_guard_frozen_past_the_deadline_fences_at_once_on_thaw() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    let deadline = now().plus_nanos(1_000_000_000);
    assert_eq!(daemon.arm(1, deadline).await, Reply::Ok);
    bed.kill(bed.guard_pid(), Signal::STOP);
    // An extension that waits in the socket must not be read before the fence.
    let frozen = daemon
        .client
        .request(daemon.arm_request(1, now().plus_nanos(30_000_000_000)), Duration::from_millis(1_300))
        .await;
    assert!(matches!(frozen, Err(GuardError::Unknown { .. })));
    assert!(now() > deadline);
    let thawed = now();
    bed.kill(bed.guard_pid(), Signal::CONT);
    let started = expect_notice(&mut events, |n| matches!(n, Notice::FenceStarted { .. })).await;
    println!("thawed guard: {started:?} after {}", Nanos(now().nanos_since(thawed)));
    let fenced = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    assert!(matches!(fenced, Notice::Fenced { outcome } if outcome.is_complete()));
    assert!(bed.processes().is_empty());
    let state = status(&daemon.client).await.state;
    assert!(matches!(state, GuardState::Fenced { term: Term(1), .. }), "{state:?}");
}

#[tokio::test]
async fn a_stood_down_guard_ends_on_sigterm_and_leaves_postgres_alone() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    assert_eq!(daemon.arm(1, now().plus_nanos(60_000_000_000)).await, Reply::Ok);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        bed.kill(bed.guard_pid(), signal);
        status(&daemon.client).await;
    }
    daemon.stand_down().await;
    let guard = bed.guard_pid();
    bed.kill(guard, Signal::TERM);
    loop {
        match tokio::time::timeout(PATIENCE, events.recv()).await.expect("the connection ends") {
            Some(GuardEvent::Disconnected { .. }) => break,
            Some(_) => {}
            None => unreachable!("the last event tells of the end"),
        }
    }
    assert_eq!(bed.sql("select pg_is_in_recovery()"), "f");
    assert!(!seal::is_sealed(&bed.data_dir()).unwrap());
    let after = ask(&daemon.client, Request::Status).await;
    assert!(matches!(after, Err(GuardError::Disconnected { .. })), "{after:?}");
}

#[tokio::test]
async fn a_release_needs_a_sealed_and_empty_data_directory() {
    let bed = Bed::with_postgres();
    let (daemon, _events) = Daemon::start(&bed, 1).await;
    assert_eq!(daemon.arm(1, now().plus_nanos(60_000_000_000)).await, Reply::Ok);
    let release = || ask(&daemon.client, Request::Release { term: Term(1) });
    bed.stop_postgres();
    assert_eq!(release().await.unwrap(), Reply::Refused(Refusal::NotSealed));
    assert!(!seal::is_sealed(&bed.data_dir()).unwrap(), "asking for a release seals nothing");
    assert_eq!(ask(&daemon.client, Request::SealOnly).await.unwrap(), Reply::Ok);
    bed.start_postgres();
    assert!(matches!(release().await.unwrap(), Reply::Refused(Refusal::ProcessesLeft { .. })));
    bed.stop_postgres();
    assert_eq!(release().await.unwrap(), Reply::Ok);
    let over = daemon.arm(1, lease_end()).await;
    assert_eq!(over, Reply::Refused(Refusal::TermEnded { ended: Term(1) }));
}

/// PostgreSQL's unit waits for the guard's, which is of `Type=notify`.
#[test]
fn it_tells_its_service_manager_that_it_serves() {
    let place = tempfile::tempdir().unwrap();
    let (data, run) = (place.path().join("data"), place.path().join("run"));
    std::fs::create_dir(&data).unwrap();
    let quoted = |path: &std::path::Path| format!("{:?}", path.display().to_string());
    let config = include_str!("config_good.toml")
        .replace("\"/data\"", &quoted(&data))
        .replace("\"/run/pgfo/main\"", &quoted(&run))
        .replace("\"/var/lib/pgfo/main\"", &quoted(&place.path().join("log")));
    let (file, told) = (place.path().join("pgfo.toml"), place.path().join("notify"));
    std::fs::write(&file, config).unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind(&told).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut guard = std::process::Command::new(env!("CARGO_BIN_EXE_pgfo"))
        .args(["guard".as_ref(), "--config".as_ref(), file.as_os_str(), "--serve".as_ref()])
        .env("NOTIFY_SOCKET", &told)
        .spawn()
        .unwrap();
    let mut said = [0; 64];
    let heard = manager.recv(&mut said);
    let serves = std::os::unix::net::UnixStream::connect(run.join("guard.sock"));
    guard.kill().unwrap();
    guard.wait().unwrap();
    assert_eq!(&said[..heard.unwrap()], b"READY=1\n");
    serves.unwrap();
}
