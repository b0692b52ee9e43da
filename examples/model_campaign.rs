//! Explores the larger models, and says what they covered.

#[path = "../tests/model_support/mod.rs"]
mod model_support;

use model_support::{bounds, explore};
use pgfo::cluster::model::{Bounds, ClusterModel};
use std::num::NonZeroUsize;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let max: usize = args.first().and_then(|a| a.parse().ok()).unwrap_or(1_000_000);
    let n = |i: usize, d: u64| -> u64 { args.get(i).and_then(|a| a.parse().ok()).unwrap_or(d) };
    let b = Bounds {
        terms: n(1, 2), crashes: n(2, 0) as u8, deaths: n(3, 1) as u8, ticks: n(4, 0) as u8,
        candidates: n(5, 6) as u8, blind: n(6, 0) as u8, mortal: n(7, 255) as u8, writes: n(8,0) as u8,
        promotion_faults: n(9,0) as u8, log_losses: n(10,0) as u8,
        ..bounds("try")
    };
    explore(ClusterModel::new(b), &["a standby was elected", "two elections were won", "a standby was promoted", "two members stood in one term", "a vote was refused", "a voter restarted after its vote", "a member came back without what it had not flushed", "the guard fenced at the lease's end", "a tenure was released", "a standby followed the winner"], NonZeroUsize::new(max)).tell();
}
