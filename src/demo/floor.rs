//! The floor: how long a takeover lasts when nothing has to be found out. The postmaster is killed,
//! and a standby promoted at once over a connection that was open already. No daemon is involved.

use super::cluster::Cluster;
use super::error::Result;
use super::sandbox::SandboxOptions;
use super::takeover::{self, Fault, Takeover};
use std::time::Duration;

/// A promotion just after the primary's death can wait for `wal_retrieve_retry_interval`, 5 s by
/// default; twice that and some.
const PROMOTED_WITHIN: Duration = Duration::from_secs(15);

/// How the floor is measured.
#[derive(Clone, Debug)]
pub struct FloorOptions {
    /// How many times; each on a fresh cluster.
    pub runs: usize,
    /// How many data members each cluster has.
    pub data: u8,
    /// The standby's `wal_retrieve_retry_interval`; PostgreSQL's default (5 s) if not given.
    pub wal_retrieve_retry_interval: Option<Duration>,
    /// Where the clusters live and as whom.
    pub sandbox: SandboxOptions,
}

/// Measures the floor; `each` is called after every run.
///
/// # Errors
/// When a cluster can't be built, or a promotion takes over 15 s.
pub fn measure(options: &FloorOptions, mut each: impl FnMut(&Takeover)) -> Result<Vec<Takeover>> {
    let mut runs = Vec::with_capacity(options.runs);
    for _ in 0..options.runs {
        let run = one_run(options)?;
        each(&run);
        runs.push(run);
    }
    Ok(runs)
}

/// Returns the smallest, the median and the largest of `values`; zeros if there is none.
#[must_use]
pub fn spread(mut values: Vec<Duration>) -> (Duration, Duration, Duration) {
    values.sort_unstable();
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

/// Measures the floor once.
///
/// # Errors
/// As [`measure`].
pub fn one_run(options: &FloorOptions) -> Result<Takeover> {
    let mut builder = Cluster::builder().data(options.data).sandbox(options.sandbox.clone());
    if let Some(interval) = options.wal_retrieve_retry_interval {
        builder = builder.setting(format!("wal_retrieve_retry_interval = '{}ms'", interval.as_millis()));
    }
    let cluster = builder.build()?;
    let (old, new) = (cluster.node("node1"), cluster.node("node2"));
    takeover::prepare(&cluster, old)?;
    let mut promoter = new.session()?;
    promoter.query("SELECT 1", PROMOTED_WITHIN)?;
    takeover::measure(&cluster, old, Fault::Postmaster, PROMOTED_WITHIN, || {
        promoter.query("SELECT pg_promote(false)", PROMOTED_WITHIN).map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_three() {
        let ms = Duration::from_millis;
        assert_eq!(spread(vec![ms(3), ms(1), ms(2)]), (ms(1), ms(2), ms(3)));
        assert_eq!(spread(Vec::new()), (ms(0), ms(0), ms(0)));
    }
}
