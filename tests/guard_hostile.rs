//! The guard among hostile circumstances: write load, a killed daemon, garbage, rivals, little memory.

mod guard_support;

use guard_support::{Bed, Daemon, RESERVE, expect_notice, now, status};
use pgfo::core::Nanos;
use pgfo::guard::log;
use pgfo::guard::protocol::{GuardState, Notice, Reply, Request};
use pgfo::guard::{GuardClient, GuardError, inline, seal, spawn};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const GUARD_RSS_KIB_MAX: u64 = 12 * 1024;

#[tokio::test]
async fn under_write_load_no_write_is_acknowledged_after_the_deadline() {
    let bed = Bed::with_postgres();
    bed.sql("create table load (i bigint)");
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    let writers = bed.start_writers(6).await;
    let deadline = now().plus_nanos(2_000_000_000);
    assert_eq!(daemon.arm(1, deadline).await, Reply::Ok);
    let fenced = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    let Notice::Fenced { outcome } = fenced else { unreachable!() };
    assert!(bed.processes().is_empty());
    let (mut acknowledged, mut last) = (0, None);
    for writer in writers {
        let (count, at) = tokio::time::timeout(PATIENCE, writer).await.unwrap().unwrap();
        acknowledged += count;
        last = last.max(at);
    }
    let last = last.expect("the load wrote something");
    println!(
        "{acknowledged} writes acknowledged, the last {} before the deadline; fence took {}, killed {}",
        Nanos(deadline.nanos_since(last)),
        outcome.took,
        outcome.killed
    );
    assert!(outcome.is_complete());
    assert!(last < deadline);
    assert!(last <= outcome.started.plus_nanos(outcome.took.0), "nothing after the fence's end");
    assert!(acknowledged > 0);
}

#[tokio::test]
async fn the_guard_outlives_a_daemon_that_is_killed() {
    let bed = Bed::with_postgres();
    // A process that starts the guard as the daemon does, and arms it, then waits to be killed.
    let mut daemon = bed.start_daemon_process(1_500);
    let (watcher, mut events) = bed.watch().await;
    assert!(matches!(status(&watcher).await.state, GuardState::Armed { .. }));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let fenced = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    assert!(matches!(fenced, Notice::Fenced { outcome } if outcome.is_complete()));
    assert!(bed.processes().is_empty() && seal::is_sealed(&bed.data_dir()).unwrap());
}

#[tokio::test]
async fn a_second_guard_is_refused_whatever_its_run_directory() {
    let bed = Bed::without_postgres();
    let (_daemon, _events) = Daemon::start(&bed, 1).await;
    for run_dir in [bed.run_dir(), bed.other_run_dir()] {
        let second = spawn(&Bed::exe(), bed.guard_args(&run_dir), &run_dir, PATIENCE).await;
        let Err(GuardError::NotStarted { why }) = second else { panic!("{second:?}") };
        println!("second guard: {why}");
        assert!(why.contains("another guard already serves"));
    }
}

#[tokio::test]
async fn garbage_on_the_socket_is_harmless() {
    let bed = Bed::without_postgres();
    let (daemon, _events) = Daemon::start(&bed, 1).await;
    let deadline = now().plus_nanos(60_000_000_000);
    assert_eq!(daemon.arm(1, deadline).await, Reply::Ok);
    let socket = std::fs::metadata(bed.run_dir().join("guard.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let before = bed.guard_rss_kib();
    let shapes: [&[u8]; 5] =
        [&[0xff; 4096], &[0; 64], &[5, 0, 0, 0, 1, 2, 3, 4, 5], b"GET / HTTP/1.1\r\n\r\n", &[9, 0, 0, 0]];
    for round in 0..100 {
        let mut stream = UnixStream::connect(bed.run_dir().join("guard.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The guard may have hung up on the first bytes already.
        stream.write_all(shapes[round % shapes.len()]).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
        assert!(rest.is_empty());
    }
    // More silent connections than it keeps: the daemon's is not the one that goes.
    let idle: Vec<_> =
        (0..20).map(|_| UnixStream::connect(bed.run_dir().join("guard.sock")).unwrap()).collect();
    let state = status(&daemon.client).await;
    assert_eq!(state.deadline(), Some(deadline));
    drop(idle);
    let after = bed.guard_rss_kib();
    println!("guard RSS: {before} KiB before garbage, {after} KiB after");
    assert!(after < GUARD_RSS_KIB_MAX && after <= before + 256);
    daemon.stand_down().await;
}

#[tokio::test]
async fn memory_stays_small_and_steady() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    expect_notice(&mut events, |n| matches!(n, Notice::PostmasterSeen { .. })).await;
    let extend = async |rounds| {
        for _ in 0..rounds {
            assert_eq!(daemon.arm(1, now().plus_nanos(30_000_000_000)).await, Reply::Ok);
            status(&daemon.client).await;
        }
    };
    extend(100).await;
    let before = bed.guard_rss_kib();
    extend(5_000).await;
    let after = bed.guard_rss_kib();
    println!("guard RSS: {before} KiB, after 10 000 more requests {after} KiB");
    assert!(after < GUARD_RSS_KIB_MAX);
    assert!(after <= before + 64, "no growth in the steady state");
    let fence = Request::Fence { why: "measure".into() };
    assert!(
        matches!(guard_support::ask(&daemon.client, fence).await, Ok(Reply::Fenced(o)) if o.is_complete())
    );
    let fenced = bed.guard_rss_kib();
    println!("guard RSS after a fence: {fenced} KiB");
    assert!(fenced < GUARD_RSS_KIB_MAX);
}

#[tokio::test]
async fn a_seal_that_cannot_be_written_does_not_hold_the_kill() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    // Stands for a full or read-only disk: a directory in the seal's place cannot be opened to write.
    let obstacle = bed.data_dir().join(seal::SEAL_FILE);
    std::fs::create_dir(&obstacle).unwrap();
    assert_eq!(daemon.arm(1, now().plus_nanos(1_000_000_000)).await, Reply::Ok);
    let Notice::Fenced { outcome } = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await
    else {
        unreachable!()
    };
    assert!(!outcome.sealed && outcome.left == 0 && outcome.seal_error.is_some());
    assert!(bed.processes().is_empty());
    std::fs::remove_dir(&obstacle).unwrap();
    let sealed = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    assert!(matches!(sealed, Notice::Fenced { outcome } if outcome.is_complete()));
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_the_kill() {
    let bed = Bed::with_postgres();
    let (daemon, mut events) = Daemon::start(&bed, 1).await;
    // Opening a pipe for writing waits for a reader, for ever, as a hung disk does.
    let pipe = bed.data_dir().join(seal::SEAL_FILE);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let deadline = now().plus_nanos(1_000_000_000);
    assert_eq!(daemon.arm(1, deadline).await, Reply::Ok);
    expect_notice(&mut events, |n| matches!(n, Notice::PostmasterGone { .. })).await;
    let state = status(&daemon.client).await.state;
    let GuardState::Fenced { outcome: Some(outcome), .. } = state else { panic!("{state:?}") };
    println!("hung disk: {outcome:?}");
    assert!(!outcome.sealed && outcome.left == 0);
    assert!(bed.processes().is_empty());
    // The disk comes back: a reader lets the call go, and it fails; the next one seals.
    let reader = std::fs::OpenOptions::new().read(true).open(&pipe).unwrap();
    std::fs::remove_file(&pipe).unwrap();
    drop(reader);
    expect_notice(&mut events, |n| matches!(n, Notice::Fenced { outcome } if outcome.is_complete())).await;
    assert!(std::fs::metadata(&pipe).unwrap().is_file());
}

#[tokio::test]
async fn it_guards_as_the_servers_own_user_too() {
    let bed = Bed::with_postgres();
    // A copy, since that user need not reach where this was built.
    let program = bed.other_run_dir().join("guard_serve");
    bed.give(&bed.other_run_dir());
    bed.give(&bed.run_dir());
    std::fs::copy(Bed::exe(), &program).unwrap();
    let mut args: Vec<_> = Bed::as_server_user().map(Into::into).to_vec();
    args.push(program);
    args.extend(bed.guard_args(&bed.run_dir()));
    let (client, mut events) =
        spawn("setpriv".as_ref(), args, &bed.run_dir(), PATIENCE).await.expect("a guard without privileges");
    let daemon = Daemon::over(client, 1).await;
    expect_notice(&mut events, |n| matches!(n, Notice::PostmasterSeen { .. })).await;
    assert_eq!(daemon.arm(1, now().plus_nanos(1_000_000_000)).await, Reply::Ok);
    let fenced = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    assert!(matches!(fenced, Notice::Fenced { outcome } if outcome.is_complete()));
    assert!(bed.processes().is_empty() && bed.guard_rss_kib() < GUARD_RSS_KIB_MAX);
}

#[tokio::test]
async fn the_guard_inside_the_daemon_fences_too() {
    let bed = Bed::with_postgres();
    let (client, mut events) = inline::start(&bed.data_dir(), RESERVE, log::silent()).unwrap();
    let daemon = Daemon::over(client, 7).await;
    let deadline = now().plus_nanos(1_200_000_000);
    assert_eq!(daemon.arm(1, deadline).await, Reply::Ok);
    let fenced = expect_notice(&mut events, |n| matches!(n, Notice::Fenced { .. })).await;
    assert!(matches!(fenced, Notice::Fenced { outcome } if outcome.is_complete()));
    assert!(now() < deadline && bed.processes().is_empty());
    // It would seal for as long as this process lives; stood down, it ends with its client.
    daemon.stand_down().await;
    drop(daemon);
    let end = async { while events.recv().await.is_some() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the guard's thread ends");
}

#[tokio::test]
async fn a_dead_guards_socket_is_taken_over() {
    let bed = Bed::without_postgres();
    let (daemon, _events) = Daemon::start(&bed, 1).await;
    bed.kill(bed.guard_pid(), Signal::KILL);
    drop(daemon);
    bed.wait_for_guard_end();
    assert!(GuardClient::connect(&bed.run_dir()).await.is_err());
    let (again, _events) = Daemon::start(&bed, 2).await;
    assert_eq!(status(&again.client).await.state, GuardState::Idle);
}

/// No test: the daemon process of `the_guard_outlives_a_daemon_that_is_killed`.
#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn daemon_process() {
    let Ok(root) = std::env::var("GUARD_TEST_ROOT") else { return };
    let lease_ms: u64 = std::env::var("GUARD_TEST_LEASE_MS").unwrap().parse().unwrap();
    let root = std::path::Path::new(&root);
    let (run_dir, data_dir) = (root.join("run"), root.join("data"));
    let args = [run_dir.clone(), data_dir, RESERVE.as_millis().to_string().into()];
    let (client, _events) = spawn(&Bed::exe(), args, &run_dir, PATIENCE).await.unwrap();
    let daemon = Daemon::over(client, 1).await;
    assert_eq!(daemon.arm(1, now().plus_nanos(lease_ms * 1_000_000)).await, Reply::Ok);
    println!("armed");
    std::future::pending::<()>().await;
}
