//! Write outages: after the postmaster is killed, after the whole node is killed, and the floor
//! beside them, in turns, by the same clients on the same kind of cluster.

use super::Bench;
use super::phases::{Phase, Timeline, breakdown};
use super::spread::Spread;
use crate::core::Nanos;
use crate::demo::floor::{self, FloorOptions};
use crate::demo::takeover::{self, Fault, Takeover};
use crate::demo::{Cluster, Deadline};
use serde::Serialize;
use std::time::Duration;

/// Members of every cluster here.
const MEMBERS: u8 = 3;
/// Over the floor, after the postmaster is killed: what a client would not notice.
const OVER_FLOOR_MAX: Duration = Duration::from_millis(100);
/// Over lease and floor, after the node is killed.
const OVER_LEASE_MAX: Duration = Duration::from_millis(300);
/// A promotion by hand that takes longer met PostgreSQL's wait of `wal_retrieve_retry_interval`, 5 s by
/// default. pgfo shortens that interval and must not look good beside it: such floors do not count.
const STALLED: Duration = Duration::from_secs(1);
/// A takeover that takes longer has failed.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);
/// Until three daemons agree on the first primary.
const HEALTHY_WITHIN_SECS: u64 = 60;
/// The lease's default duration, as the configuration documents it.
const LEASE_DURATION: Nanos = Nanos::from_millis(5_000);

/// Which takeovers are measured beside the floor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kinds {
    pub(super) postmaster: bool,
    pub(super) node: bool,
}

/// One kind of takeover.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// From the last commit before the kill to the first of the new primary.
    pub(super) outage: Spread,
    /// Median over the floor's median, in milliseconds.
    pub(super) over_floor_ms: f64,
    /// The most that this should be, in milliseconds.
    pub(super) over_floor_max_ms: f64,
    /// Whether it is.
    pub(super) reached: bool,
    /// Commits lost in each run; replication is asynchronous.
    pub(super) lost: Vec<usize>,
    /// Every run's outage, in milliseconds.
    pub(super) outages_ms: Vec<f64>,
    /// Where the time went.
    pub(super) phases: Vec<Phase>,
}

/// All takeovers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Takeovers {
    /// Runs of each kind.
    pub(super) runs: u32,
    /// `pg_promote()` by hand at the instant of the kill, where it did not stall.
    pub(super) floor: Spread,
    /// How many of them stalled for PostgreSQL's `wal_retrieve_retry_interval`.
    pub(super) floors_stalled: usize,
    /// Every run's floor, in milliseconds.
    pub(super) floors_ms: Vec<f64>,
    /// The postmaster was killed.
    pub(super) postmaster: Option<Measured>,
    /// The node was killed.
    pub(super) node: Option<Measured>,
}

type Runs = Vec<(Takeover, Timeline)>;

/// Measures all kinds in turns.
pub(super) fn measure(bench: &Bench, runs: u32, kinds: Kinds) -> anyhow::Result<Takeovers> {
    let options = FloorOptions {
        runs: 1,
        data: MEMBERS,
        wal_retrieve_retry_interval: None,
        sandbox: bench.sandbox.clone(),
    };
    let (mut floors, mut postmasters, mut nodes) = (Vec::new(), Runs::new(), Runs::new());
    for run in 1..=runs {
        let floor = floor::one_run(&options)?;
        let mut line = format!("run {run} of {runs}: floor {}", ms(floor.outage));
        floors.push(floor);
        if kinds.postmaster {
            let run = one_run(bench, Fault::Postmaster)?;
            line += &format!(", postmaster killed {}", ms(run.0.outage));
            postmasters.push(run);
        }
        if kinds.node {
            let run = one_run(bench, Fault::Node)?;
            line += &format!(", node killed {}", ms(run.0.outage));
            nodes.push(run);
        }
        bench.say(&line);
    }
    let prompt: Vec<Duration> = floors.iter().map(|f| f.outage).filter(|o| *o < STALLED).collect();
    let floors_stalled = floors.len() - prompt.len();
    let floor = Spread::of(prompt);
    let lease = Duration::from_nanos(LEASE_DURATION.0);
    Ok(Takeovers {
        runs,
        floor,
        floors_stalled,
        floors_ms: floors.iter().map(|f| f.outage.as_secs_f64() * 1e3).collect(),
        postmaster: summary(&postmasters, floor, OVER_FLOOR_MAX),
        node: summary(&nodes, floor, lease + OVER_LEASE_MAX),
    })
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn summary(runs: &Runs, floor: Spread, over_max: Duration) -> Option<Measured> {
    if runs.is_empty() {
        return None;
    }
    let outage = Spread::of(runs.iter().map(|(t, _)| t.outage));
    let over_floor_ms = outage.median_ms - floor.median_ms;
    let over_floor_max_ms = over_max.as_secs_f64() * 1e3;
    let timelines: Vec<Timeline> = runs.iter().map(|(_, timeline)| timeline.clone()).collect();
    Some(Measured {
        outage,
        over_floor_ms,
        over_floor_max_ms,
        reached: floor.median_ms > 0.0 && over_floor_ms <= over_floor_max_ms,
        lost: runs.iter().map(|(t, _)| t.lost).collect(),
        outages_ms: runs.iter().map(|(t, _)| t.outage.as_secs_f64() * 1e3).collect(),
        phases: breakdown(&timelines),
    })
}

fn one_run(bench: &Bench, fault: Fault) -> anyhow::Result<(Takeover, Timeline)> {
    let cluster =
        Cluster::builder().data(MEMBERS).pgfo(&bench.pgfo).sandbox(bench.sandbox.clone()).build()?;
    let status = cluster.wait_healthy(Deadline::secs(HEALTHY_WITHIN_SECS))?;
    let primary = status.primary.unwrap_or_default();
    let old = cluster.node(&primary);
    takeover::prepare(&cluster, old)?;
    let takeover = takeover::measure(&cluster, old, fault, TAKEN_OVER_WITHIN, || Ok(()))?;
    // The announcement, the last milestone, is flushed: then the daemons may be killed.
    cluster.wait_primary(Some(old.name()), Deadline::after(TAKEN_OVER_WITHIN))?;
    let new = cluster.node(&takeover.new_primary);
    for node in cluster.nodes() {
        if node.daemon_pid().is_some() {
            node.kill_daemon()?;
        }
    }
    let timeline = Timeline::read(old, new, takeover.killed, takeover.kill_to_first_ack)?;
    Ok((takeover, timeline))
}
