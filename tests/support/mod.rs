//! What the tests with real PostgreSQL share. Must never hold an expectation of its own.
#![allow(dead_code, reason = "every test file compiles this and uses a part of it")]

use pgfo::demo::{Builder, Cluster, SandboxOptions};

/// Clusters that run at once on one machine, over all test processes: more of them make time-outs
/// of each other.
const CLUSTERS_MAX: u16 = 2;

/// Returns a builder whose cluster waits for its turn. With `PGFO_TEST_KEEP` set, its directory stays.
pub(crate) fn cluster() -> Builder {
    let keep = std::env::var_os("PGFO_TEST_KEEP").is_some();
    Cluster::builder().slots(CLUSTERS_MAX).sandbox(SandboxOptions { keep, ..SandboxOptions::default() })
}

/// Returns a builder whose members run this build's daemon.
pub(crate) fn cluster_with_daemons() -> Builder {
    cluster().pgfo(env!("CARGO_BIN_EXE_pgfo"))
}
