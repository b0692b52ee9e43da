//! Looks at every node all the while: two primaries at one instant are remembered.

use pgfo::demo::{Cluster, Node};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A pause between two rounds: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs `story` while every data member is polled. Panics when two were out of recovery at one
/// instant: a first was, then a second, and the first still was afterwards.
pub(crate) fn never_two_primaries<T>(cluster: &Cluster, story: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                seen.extend(two_primaries(cluster));
                std::thread::sleep(PAUSE);
            }
            seen
        });
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(story));
        over.store(true, Ordering::Relaxed);
        let seen = watching.join().unwrap();
        match told {
            Ok(value) => {
                assert!(seen.is_empty(), "two primaries at one instant: {seen:?}");
                value
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn two_primaries(cluster: &Cluster) -> Option<(String, String)> {
    let is_primary = |node: &&Node| matches!(node.is_in_recovery(), Ok(false));
    let first = cluster.data_nodes().find(is_primary)?;
    let second = cluster.data_nodes().filter(|node| node.name() != first.name()).find(is_primary)?;
    is_primary(&first).then(|| (first.name().to_owned(), second.name().to_owned()))
}
