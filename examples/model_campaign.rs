//! Explores the larger models of the cluster, with every core, and says what they covered:
//! `model_campaign [GENERATED_MAX] [MODEL]`. It ends with 1 if an invariant broke.

#[path = "../tests/model_support/mod.rs"]
mod model_support;

use model_support::{Reach, cut_off, explore, gone, killed, leases, log_lost};
use pgfo::cluster::model::{Bounds, ClusterModel, INVARIANTS};
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// The models, the largest last.
fn models() -> Vec<Bounds> {
    vec![
        log_lost(),
        Bounds { name: "every member may crash, to the end", hasty: true, ..gone() },
        Bounds { name: "every member may crash", ..gone() },
        Bounds { name: "writes while it is cut off", writes: 1, behind: vec![0, 1, 0], ..cut_off() },
        Bounds { name: "two crashes, promotions that go wrong", crashes: 2, promotion_faults: 1, ..killed() },
        Bounds {
            name: "leases: four members, clocks 2 % apart",
            data: 3,
            blind: 0b1110,
            mortal: 0b1110,
            rates: vec![98, 100, 100, 100],
            ticks: 4,
            ..leases()
        },
        Bounds {
            name: "five members, two crashes",
            data: 4,
            candidates: 0b1110,
            beating: 0b1110,
            crashes: 2,
            ticks: 2,
            leaps: true,
            hosts: true,
            ..cut_off()
        },
    ]
}

/// The most memory this process had, in MiB, as Linux tells it.
fn memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let max = match args.next().map(|a| a.parse()) {
        None => 10_000_000,
        Some(Ok(max)) => max,
        Some(Err(_)) => {
            eprintln!("usage: model_campaign [GENERATED_MAX] [MODEL]: the number of states, part of a name");
            return ExitCode::from(2);
        }
    };
    let wanted = args.next().unwrap_or_default();
    for (id, says) in INVARIANTS {
        println!("{id}: {says}");
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (mut distinct, mut broken) = (0, false);
    for bounds in models().into_iter().filter(|b| b.name.contains(&wanted)) {
        println!("{bounds:?}");
        let reach = Reach { threads, ..Reach::all(max) };
        let found = explore(ClusterModel::new(bounds), &["a standby was promoted"], reach);
        found.tell();
        println!("  memory {} MiB at most", memory_mib().unwrap_or_default());
        distinct += found.distinct;
        broken |= found.broken.is_some();
    }
    println!(
        "{distinct} distinct states; {}",
        if broken { "an invariant broke" } else { "every invariant held" }
    );
    ExitCode::from(u8::from(broken))
}
