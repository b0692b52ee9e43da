//! `pgfo simulate --plant`: shows that the checks can fail. Each planted bug is run over seeds until an
//! invariant breaks that holds on the same seed without it.

use super::campaign::range;
use super::pipe::Pipe;
use super::{SimulateArgs, scenario_of};
use crate::cli::exit::Exit;
use crate::cluster::{Broken, Scenario, run as play};
use crate::core::{PLANTS_BUILT_IN, Plant};
use anyhow::bail;
use comfy_table::{Table, presets};
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Within so many seeds every planted bug must be caught.
const SEEDS: (u64, u64) = (0, 1_000);

/// So much of what an invariant says fits beside the other columns; `--json` tells all of it.
const HOW_CHARS_MAX: usize = 100;

/// How one bug was caught.
struct Caught {
    seed: u64,
    broken: Broken,
}

/// Returns one planted bug.
///
/// # Errors
/// There is none of that name, or this build has none.
pub(super) fn named(name: &str) -> anyhow::Result<Plant> {
    match of(name)?[..] {
        [plant] => Ok(plant),
        _ => bail!("one scenario is rehearsed with one planted bug: name it instead of {name}"),
    }
}

fn of(name: &str) -> anyhow::Result<Vec<Plant>> {
    if !PLANTS_BUILT_IN {
        bail!("this build knows no planted bugs: build pgfo with `--features planted-bugs`");
    }
    let plants: Vec<Plant> =
        Plant::ALL.iter().copied().filter(|p| name == "all" || p.name() == name).collect();
    if plants.is_empty() {
        let names: Vec<&str> = Plant::ALL.iter().map(|p| p.name()).collect();
        bail!("no planted bug is called {name}; there are: all, {}", names.join(", "));
    }
    Ok(plants)
}

/// Runs the command: [`Exit::Ok`] if every planted bug was caught, [`Exit::Degraded`] if one was not.
///
/// # Errors
/// An unknown name, a range that can't be read, a build without planted bugs.
pub(super) fn run(args: &SimulateArgs, name: &str, out: &mut Pipe<impl Write>) -> anyhow::Result<Exit> {
    let plants = of(name)?;
    let seeds = match (&args.seeds, args.seed) {
        (Some(text), _) => range(text)?,
        (None, Some(seed)) => (seed, seed.saturating_add(1)),
        (None, None) => SEEDS,
    };
    let bar = indicatif::ProgressBar::new(plants.len() as u64);
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Caught>>> = plants.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..args.threads() {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(plant), Some(slot)) = (plants.get(at), results.get(at)) else { return };
                    let found = catch(args, *plant, seeds);
                    if let Ok(mut slot) = slot.lock() {
                        *slot = found;
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let results: Vec<Option<Caught>> = results.into_iter().filter_map(|m| m.into_inner().ok()).collect();
    tell(args, &plants, &results, out)?;
    let escaped = results.iter().filter(|r| r.is_none()).count();
    Ok(if escaped == 0 && results.len() == plants.len() { Exit::Ok } else { Exit::Degraded })
}

/// The first seed on which the bug breaks an invariant, while without it the seed holds.
fn catch(args: &SimulateArgs, plant: Plant, (from, to): (u64, u64)) -> Option<Caught> {
    (from..to).find_map(|seed| {
        let sound = scenario_of(args, seed);
        let broken = play(&Scenario { planted: Some(plant), ..sound.clone() }).broken?;
        play(&sound).broken.is_none().then_some(Caught { seed, broken })
    })
}

fn tell(
    args: &SimulateArgs,
    plants: &[Plant],
    results: &[Option<Caught>],
    out: &mut impl Write,
) -> io::Result<()> {
    if args.json {
        for (plant, caught) in plants.iter().zip(results) {
            let line = serde_json::json!({
                "plant": plant.name(),
                "rule": plant.rule(),
                "says": plant.says(),
                "caught": caught.is_some(),
                "seed": caught.as_ref().map(|c| c.seed),
                "invariant": caught.as_ref().map(|c| c.broken.id),
                "how": caught.as_ref().map(|c| c.broken.how.clone()),
            });
            writeln!(out, "{line}")?;
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["planted bug", "rule", "seed", "caught by", "how"]);
    for (plant, caught) in plants.iter().zip(results) {
        let (seed, id, how) = match caught {
            Some(c) => (c.seed.to_string(), c.broken.id, shortened(&c.broken.how)),
            None => ("-".to_owned(), "not caught", format!("what it does: {}", plant.says())),
        };
        table.add_row([plant.name(), plant.rule(), &seed, id, &how]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    let caught = results.iter().filter(|r| r.is_some()).count();
    writeln!(out, "{caught} of {} planted bugs caught", plants.len())
}

fn shortened(how: &str) -> String {
    let line = how.lines().next().unwrap_or_default();
    if line.chars().count() <= HOW_CHARS_MAX {
        return line.to_owned();
    }
    line.chars().take(HOW_CHARS_MAX - 1).chain(['…']).collect()
}
