//! Death notices, orphans and the sweep, on a real PostgreSQL.

mod support_pg;

use pgfo::guard::seal;
use pgfo::postgres::{
    DeathWatch, EMPTY_SCANS_MIN, PgCtl, PgCtlCommands, Postmaster, PostmasterError, StopMode, Sweep,
    confirm_gone, scan, sweep,
};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use support_pg::{Cluster, bin, deadline, reap};

fn soon(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

#[tokio::test]
async fn the_death_of_a_postmaster_is_noticed_at_once() {
    for round in 0..3 {
        let cluster = Cluster::primary();
        let postmaster = Postmaster::open(&cluster.data()).unwrap();
        let pid = postmaster.pid();
        assert_eq!(pid, cluster.postmaster_pid());
        assert!(postmaster.start_ticks() > 0);
        let watch = DeathWatch::new(postmaster).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), watch.died()).await.is_err());
        let killed = Instant::now();
        cluster.signal_postmaster(Signal::KILL);
        tokio::time::timeout(Duration::from_secs(10), watch.died()).await.unwrap().unwrap();
        println!("round {round}: death notice after {:?}", killed.elapsed());
        watch.died().await.unwrap();
        reap(pid);
        assert!(matches!(Postmaster::open(&cluster.data()), Err(PostmasterError::NotRunning { .. })));
    }
}

#[test]
fn a_living_postgres_is_not_gone_and_a_stale_pid_file_is_no_postmaster() {
    let cluster = Cluster::primary();
    assert!(scan(&cluster.data()).unwrap().len() >= 5);
    match confirm_gone(&cluster.data(), soon(50)) {
        Sweep::Remains { killed: 0, left } => assert!(left.iter().any(|p| p.pid == cluster.postmaster_pid())),
        other => panic!("{other:?}"),
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(scan(dir.path()).unwrap().is_empty());
    // This very process lives, but not there: its number was used again.
    std::fs::write(dir.path().join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    assert!(matches!(Postmaster::open(dir.path()), Err(PostmasterError::NotRunning { .. })));
    std::fs::write(dir.path().join("postmaster.pid"), "\n").unwrap();
    assert!(matches!(Postmaster::open(dir.path()), Err(PostmasterError::Malformed { .. })));
    assert!(matches!(confirm_gone(&dir.path().join("gone"), soon(50)), Sweep::Unknown(_)));
}

#[test]
fn orphans_of_a_killed_postmaster_are_swept_under_load() {
    let cluster = Cluster::primary();
    cluster.sql("CREATE TABLE t (i int)");
    // Backends in the middle of much work look up late.
    let port = cluster.port.to_string();
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let port = port.clone();
            let sql = "INSERT INTO t SELECT generate_series(1, 20000000)";
            std::thread::spawn(move || {
                let psql = bin("psql");
                support_pg::as_postgres(&[
                    &psql,
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port,
                    "-U",
                    "postgres",
                    "-Xqc",
                    sql,
                ])
            })
        })
        .collect();
    cluster.wait_for(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'INSERT%' AND state = 'active' HAVING count(*) = 3",
    );
    let pid = cluster.postmaster_pid();
    cluster.signal_postmaster(Signal::KILL);
    let killed_at = Instant::now();
    reap(pid);
    match sweep(&cluster.data(), soon(10_000)) {
        Sweep::Gone { killed, scans } => {
            println!("swept {killed} in {scans} scans, {:?}", killed_at.elapsed());
            assert!(killed >= 3 && scans >= EMPTY_SCANS_MIN);
        }
        other => panic!("{other:?}"),
    }
    assert!(scan(&cluster.data()).unwrap().is_empty());
    for writer in writers {
        assert!(!writer.join().unwrap().status.success());
    }
}

#[tokio::test]
async fn a_sealed_primary_comes_back_read_only() {
    let cluster = Cluster::primary();
    cluster.stop("immediate");
    seal::seal(&cluster.data()).unwrap();
    assert!(seal::is_sealed(&cluster.data()).unwrap());
    assert_eq!(std::fs::metadata(cluster.data().join("standby.signal")).unwrap().len(), 0);
    cluster.start();
    assert_eq!(cluster.sql("SELECT pg_is_in_recovery()"), "t");
    cluster.stop("fast");
    seal::unseal(&cluster.data()).unwrap();
    cluster.start();
    assert_eq!(cluster.sql("SELECT pg_is_in_recovery()"), "f");
}

#[tokio::test]
async fn pg_ctl_stops_starts_and_reloads() {
    let cluster = Cluster::primary();
    let user = if rustix::process::geteuid().is_root() {
        "setpriv --reuid=postgres --regid=postgres --init-groups "
    } else {
        ""
    };
    let own = PgCtlCommands::default();
    let commands = PgCtlCommands {
        start: format!("{user}{}", own.start),
        stop: format!("{user}{}", own.stop),
        reload: format!("{user}{}", own.reload),
    };
    let bin = bin("");
    let ctl = PgCtl::new(bin.as_ref(), &cluster.data(), commands).unwrap();
    let pid = cluster.postmaster_pid();
    let stopped = ctl.stop(StopMode::Fast, deadline(30_000)).await.unwrap();
    assert_eq!(stopped.end, pgfo::postgres::CommandEnd::Exited(0), "{}", stopped.output_tail);
    reap(pid);
    assert!(matches!(confirm_gone(&cluster.data(), soon(5000)), Sweep::Gone { killed: 0, .. }));
    let started = ctl.start(deadline(30_000)).await.unwrap();
    assert_eq!(started.end, pgfo::postgres::CommandEnd::Exited(0), "{}", started.output_tail);
    assert_eq!(ctl.reload(deadline(10_000)).await.unwrap().end, pgfo::postgres::CommandEnd::Exited(0));
    assert_eq!(cluster.sql("SELECT 1"), "1");
}
