//! Freeze, promotion and follow, observed on a real PostgreSQL.

mod support_pg;

use pgfo::core::{Nanos, Timeline};
use pgfo::postgres::{
    DivergenceHint, FollowTarget, Followed, FreezeProof, Frozen, Outcome, PostmasterStart, ProbeOutcome,
    Promoted, Promotion, Session, StartupWait,
};
use rustix::process::Signal;
use std::time::Duration;
use support_pg::{Cluster, as_postgres, bin, deadline, reap};

fn done<T: std::fmt::Debug>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Done(value) => value,
        other => panic!("{other:?}"),
    }
}

fn promoted(outcome: Outcome<Promotion>) -> Promoted {
    match done(outcome) {
        Promotion::Promoted(promoted) => promoted,
        other => panic!("{other:?}"),
    }
}

async fn frozen(session: &mut Session) -> Frozen {
    done(session.freeze(deadline(10_000)).await)
}

fn kill(cluster: &Cluster) {
    let pid = cluster.postmaster_pid();
    cluster.signal_postmaster(Signal::KILL);
    reap(pid);
}

#[tokio::test]
async fn a_freeze_holds_against_a_living_primary() {
    let primary = Cluster::primary();
    let standby = Cluster::standby_of(&primary);
    let mut session = standby.session();
    session.ensure_open(deadline(5000)).await.unwrap();
    let old = done(session.read_upstream_settings(deadline(5000)).await);
    assert!(old.primary_conninfo.value.contains("127.0.0.1") && old.primary_conninfo.set_by_alter_system);
    assert_eq!(old.received_timeline, Some(Timeline(1)));
    assert!(!format!("{old:?}").contains("127.0.0.1"));

    let first = frozen(&mut session).await;
    println!("freeze with a living primary: {} ({:?})", first.took, first.proof);
    assert_eq!(first.proof, FreezeProof::StartupWaits);
    assert_eq!(first.startup_wait, StartupWait::RetrieveRetryInterval);
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    // Its position stands still, whatever the primary writes, for as long as one looks.
    let again = frozen(&mut session).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let later = frozen(&mut session).await;
    assert_eq!((first.receive, first.replay), (again.receive, again.replay));
    assert_eq!((first.receive, first.replay), (later.receive, later.replay));
    assert_eq!(standby.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walreceiver'"), "0");

    // Following the same primary thaws it.
    let target =
        FollowTarget { primary_conninfo: old.primary_conninfo.value.clone(), timeline: Some(Timeline(1)) };
    let followed = done(session.follow(&target, Some(&old), deadline(10_000)).await);
    assert!(matches!(followed, Followed::Streaming { timeline: Timeline(1), .. }), "{followed:?}");
    standby.wait_for("SELECT 1 FROM pg_class WHERE relname = 't'");
    assert_eq!(standby.sql("SHOW wal_retrieve_retry_interval"), "5s");
}

#[tokio::test]
async fn a_freeze_holds_with_replay_paused() {
    let primary = Cluster::primary();
    let standby = Cluster::standby_of(&primary);
    standby.sql("SELECT pg_wal_replay_pause()");
    standby.wait_for("SELECT 1 WHERE pg_get_wal_replay_pause_state() = 'paused'");
    let mut session = standby.session();
    session.ensure_open(deadline(5000)).await.unwrap();
    let first = frozen(&mut session).await;
    println!(
        "freeze with replay paused: {} ({:?}, terminated: {})",
        first.took, first.proof, first.receiver_terminated
    );
    assert!(first.receiver_terminated);
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    standby.sql("SELECT pg_wal_replay_resume()");
    tokio::time::sleep(Duration::from_millis(400)).await;
    let later = frozen(&mut session).await;
    assert_eq!(first.receive, later.receive);
    assert!(!later.receiver_terminated);
}

#[tokio::test]
async fn freeze_and_promotion_right_after_the_primarys_death_are_fast() {
    for round in 0..5 {
        let primary = Cluster::primary();
        let standby = Cluster::standby_of(&primary);
        primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
        let mut session = standby.session();
        session.ensure_open(deadline(5000)).await.unwrap();
        kill(&primary);
        let frozen = frozen(&mut session).await;
        let promoted = promoted(session.promote(None, deadline(20_000)).await);
        println!("round {round}: freeze {} ({:?}), promotion {}", frozen.took, frozen.proof, promoted.took);
        assert_eq!((promoted.timeline, promoted.parent), (Timeline(2), Some(Timeline(1))));
        assert_eq!(promoted.switch_lsn, frozen.receive.max(frozen.replay));
        // Generous bounds: the machine may be busy. The printed figures are the measurement.
        assert!(frozen.took < Nanos::from_millis(1_000) && promoted.took < Nanos::from_millis(3_000));
        let again = self::promoted(session.promote(None, deadline(5000)).await);
        assert!(again.already && again.timeline == Timeline(2));
        assert!(matches!(session.freeze(deadline(1000)).await, Outcome::Failed { .. }));
    }
}

async fn started(cluster: &Cluster) -> PostmasterStart {
    let mut prober = pgfo::postgres::Prober::new(cluster.connector(), Duration::MAX);
    match prober.probe(true, deadline(5000)).await.outcome {
        ProbeOutcome::Answered(answer) => answer.postmaster_start,
        other => panic!("{other:?}"),
    }
}

/// The order was made for a postmaster that is gone when it arrives: whoever runs now was not asked for.
#[tokio::test]
async fn a_standby_that_was_started_anew_is_not_promoted_in_the_place_of_the_one_before() {
    let primary = Cluster::primary();
    let standby = Cluster::standby_of(&primary);
    let mut session = standby.session();
    session.ensure_open(deadline(5000)).await.unwrap();
    let before = started(&standby).await;
    standby.stop("fast");
    standby.start();
    let now = started(&standby).await;
    assert_ne!(before, now);

    let refused = done(session.promote(Some(before), deadline(5000)).await);
    assert_eq!(refused, Promotion::OtherPostmaster { found: now });
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
    // Nothing of it is left that could take effect later.
    assert!(!standby.data().join("promote").exists());
    let done = promoted(session.promote(Some(now), deadline(20_000)).await);
    assert_eq!((done.timeline, done.already), (Timeline(2), false));
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "f");
}

#[tokio::test]
async fn a_standby_follows_after_a_promotion_and_a_diverged_one_is_noticed() {
    let primary = Cluster::primary();
    let (winner, follower) = (Cluster::standby_of(&primary), Cluster::standby_of(&primary));
    let ahead = Cluster::standby_of(&primary);
    let (mut w, mut f, mut a) = (winner.session(), follower.session(), ahead.session());
    let old = done(f.read_upstream_settings(deadline(5000)).await);
    frozen(&mut w).await;
    frozen(&mut f).await;
    // The third standby gets more than the winner ever has.
    primary.sql("CREATE TABLE lost AS SELECT generate_series(1, 1000)");
    ahead.wait_for("SELECT 1 FROM pg_class WHERE relname = 'lost'");
    frozen(&mut a).await;
    kill(&primary);
    let names = "ANY 1 (\"n2\", \"n3\")";
    assert_eq!(w.set_synchronous_standby_names(names, deadline(5000)).await, Outcome::Done(()));
    assert_eq!(winner.sql("SHOW synchronous_standby_names"), names);
    assert_eq!(w.set_synchronous_standby_names("", deadline(5000)).await, Outcome::Done(()));
    let promoted = promoted(w.promote(None, deadline(20_000)).await);
    println!("checkpoint: {}", done(w.checkpoint(deadline(30_000)).await));

    let primary_conninfo = winner.conninfo("").to_libpq_string("it's n2");
    let target = FollowTarget { primary_conninfo, timeline: Some(promoted.timeline) };
    let followed = done(f.follow(&target, Some(&old), deadline(20_000)).await);
    println!("follow: {followed:?}");
    assert!(matches!(followed, Followed::Streaming { timeline, .. } if timeline == promoted.timeline));
    winner.sql("CREATE TABLE kept AS SELECT 1");
    follower.wait_for("SELECT 1 FROM pg_class WHERE relname = 'kept'");
    assert_eq!(winner.sql("SELECT application_name FROM pg_stat_replication"), "it's n2");

    // PostgreSQL may wait for `wal_retrieve_retry_interval`, 5 s, before the receiver fails again.
    let diverged = a.follow(&target, None, deadline(20_000)).await;
    println!("follow of a diverged standby: {diverged:?}");
    let hinted = matches!(
        diverged,
        Outcome::Done(Followed::Diverged(
            DivergenceHint::OldTimeline(Timeline(1)) | DivergenceHint::ReceiverFlaps
        ))
    );
    assert!(hinted);
}

#[tokio::test]
async fn a_hung_server_never_blocks() {
    let primary = Cluster::primary();
    let standby = Cluster::standby_of(&primary);
    let mut session = standby.session();
    session.ensure_open(deadline(5000)).await.unwrap();
    // Every process of it, this session's backend, too.
    let all: Vec<_> = pgfo::postgres::scan(&standby.data()).unwrap().iter().map(|p| p.pid).collect();
    let signal = |signal| {
        for pid in &all {
            rustix::process::kill_process(rustix::process::Pid::from_raw(*pid).unwrap(), signal).unwrap();
        }
    };
    signal(Signal::STOP);
    let outcome = session.freeze(deadline(300)).await;
    let unopened = session.promote(None, deadline(300)).await;
    signal(Signal::CONT);
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert!(matches!(unopened, Outcome::Failed { .. }), "{unopened:?}");
}

/// The grants of `docs/privileges.md`, word for word.
fn grants() -> String {
    let text = include_str!("../docs/privileges.md");
    text.split("```sql").skip(1).filter_map(|part| part.split("```").next()).collect()
}

#[tokio::test]
async fn the_documented_grants_are_enough_and_no_superuser_is_needed() {
    let primary = Cluster::primary();
    let out = primary.try_sql(&grants());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let standby = Cluster::standby_of(&primary);
    assert_eq!(standby.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'pgfo'"), "f");
    let connector = pgfo::postgres::Connector::new(standby.conninfo("user=pgfo")).unwrap();
    let mut prober = pgfo::postgres::Prober::new(connector.clone(), Duration::from_secs(600));
    let pgfo::postgres::ProbeOutcome::Answered(answer) = prober.probe(true, deadline(5000)).await.outcome
    else {
        panic!("no answer");
    };
    assert_eq!(answer.primary_conninfo_empty, Some(false));
    assert!(answer.receiver.is_some_and(|r| r.received_tli.is_some() && r.sender_port.is_some()));
    assert_ne!(answer.startup_wait, StartupWait::NotVisible);

    let mut session = Session::new(connector, &standby.data());
    let old = done(session.read_upstream_settings(deadline(5000)).await);
    assert!(old.primary_conninfo.set_by_alter_system);
    standby.sql("SELECT pg_wal_replay_pause()");
    frozen(&mut session).await;
    standby.sql("SELECT pg_wal_replay_resume()");
    let target =
        FollowTarget { primary_conninfo: old.primary_conninfo.value.clone(), timeline: Some(Timeline(1)) };
    done(session.follow(&target, Some(&old), deadline(20_000)).await);
    frozen(&mut session).await;
    done(session.set_synchronous_standby_names("", deadline(5000)).await);
    promoted(session.promote(None, deadline(20_000)).await);
    done(session.restore_recovery_settings(&old, deadline(5000)).await);
    done(session.checkpoint(deadline(30_000)).await);
    let port = standby.port.to_string();
    let psql = [&bin("psql"), "-h", "127.0.0.1", "-p", &port, "-U", "pgfo", "-d", "postgres", "-c"];
    let denied = as_postgres(&[&psql[..], &["ALTER SYSTEM SET archive_command = 'true'"]].concat());
    assert!(!denied.status.success());
}
