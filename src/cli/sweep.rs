//! Owns `pgfo sweep`: tries timings in the simulator, and sets false failovers against the time to recover.

mod grid;
mod trials;

pub use grid::{Escalation, escalations, grid, lengths};
pub use trials::{Row, Trials};

use super::exit::Exit;
use crate::cli::explain::{Gathered, gather, reservations, worst_of};
use crate::cluster::{Profile, Scenario, ScenarioMember};
use crate::config::closest;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

/// Arguments of `pgfo sweep`.
///
/// Exit codes: 0 done, 2 wrong usage; where logs are named that are damaged or diverged, those of `pgfo replay`.
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    /// Logs of one cluster, or a folder of them: its members, and its delays as measured, take the place of the profile's.
    #[arg(value_name = "LOG")]
    pub logs: Vec<PathBuf>,
    /// What passes by itself: lan, wan, cloud, cloud-noisy.
    #[arg(long, default_value = "cloud")]
    pub profile: String,
    /// `heartbeat.interval`: a list such as 500ms,1s or a range such as 500ms..2s/4.
    #[arg(long, value_name = "LIST", default_value = "500ms,1s,2s")]
    pub heartbeat: String,
    /// `escalation`: attempts, interval, time-out of a probe.
    #[arg(long, value_name = "LIST", default_value = "1x100ms/300ms,3x300ms/1s,5x500ms/1s")]
    pub escalation: String,
    /// `lease.duration`: a list or a range.
    #[arg(long, value_name = "LIST", default_value = "3s,5s,10s")]
    pub lease: String,
    /// Failures, and stretches of noise, for each row.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub seeds: u64,
    /// Minutes of each stretch of noise.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    pub noise_minutes: u64,
    /// Threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub threads: u64,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    profile: &'a Profile,
    members: usize,
    witnesses: usize,
    seeds: u64,
    rows: &'a [Row],
}

/// Runs `pgfo sweep`, writing to standard output.
///
/// # Errors
/// When the output can't be written.
pub fn run(args: &SweepArgs) -> anyhow::Result<Exit> {
    let colours = anstream::AutoStream::choice(&io::stdout());
    let buffered: Box<dyn Write> = Box::new(io::BufWriter::new(io::stdout()));
    let mut out = anstream::AutoStream::new(buffered, colours);
    run_to(args, &mut out, &mut anstream::stderr())
}

/// Runs `pgfo sweep`, writing to `out`, and what is wrong with the command line to `err`.
///
/// # Errors
/// When `out` can't be written.
pub fn run_to(args: &SweepArgs, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Exit> {
    let (trials, exit) = match plan(args, err) {
        Ok(planned) => planned,
        Err(error) => {
            writeln!(err, "error: {error}")?;
            return Ok(Exit::Usage);
        }
    };
    let bar = bar(trials.grid.len() as u64);
    let rows = trials.run(|| bar.inc(1));
    bar.finish_and_clear();
    let written = if args.json {
        let members = &trials.base.members;
        let report = Report {
            profile: &trials.profile,
            members: members.len(),
            witnesses: members.iter().filter(|m| m.witness).count(),
            seeds: args.seeds,
            rows: &rows,
        };
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        print(&trials, &rows, out)
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(exit),
    }
}

fn plan(args: &SweepArgs, err: &mut impl Write) -> Result<(Trials, Exit), String> {
    let mut exit = Exit::Ok;
    let mut profile = Profile::named(&args.profile).ok_or_else(|| {
        let meant = closest(&args.profile, Profile::NAMES)
            .map_or(String::new(), |m| format!("; did you mean {m:?}?"));
        format!("{:?} is no profile; there are {}{meant}", args.profile, Profile::NAMES.join(", "))
    })?;
    let mut base = Scenario::default();
    if !args.logs.is_empty() {
        let (logs, delays) = gather(&args.logs)?;
        reservations(&logs, err).map_err(|error| error.to_string())?;
        exit = worst_of(&logs);
        let settings = logs.iter().find_map(Gathered::settings).ok_or("no log names its settings")?;
        base.members = settings
            .members
            .iter()
            .map(|m| ScenarioMember { witness: m.witness, votes: m.votes, ..ScenarioMember::default() })
            .collect();
        let data = base.members.iter().position(|m| !m.witness).ok_or("no data member in these logs")?;
        base.primary = crate::core::MemberId(u8::try_from(data).unwrap_or(0));
        // Probes go there and back: half of what they took is one way, where no messages can be matched.
        let mut probes: Vec<u64> =
            logs.iter().flat_map(|l| &l.glances).filter(|g| g.answered).map(|g| g.took.0 / 2).collect();
        probes.sort_unstable();
        let probe = probes.len().checked_sub(1).map(|last| probes[last * 95 / 100]);
        let (measured, how) = match (delays.percentile(95), probe) {
            (Some(delay), _) => (delay.0, "delays as measured between members"),
            (None, Some(probe)) => (
                probe,
                "delays taken as half of what probes took: no messages between these logs can be matched",
            ),
            (None, None) => return Err("no delay can be measured in these logs".to_owned()),
        };
        profile.delay_us_max = (measured / 1_000).clamp(50, 1_000_000);
        profile.name = format!("{}, {how}", profile.name);
    }
    let (heartbeats, leases) = (lengths(&args.heartbeat)?, lengths(&args.lease)?);
    let escalations = escalations(&args.escalation)?;
    let grid = grid(&heartbeats, &escalations, &leases);
    if grid.is_empty() {
        return Err(
            "no lease outlives two heartbeats and the reserve of its fence; try longer leases".to_owned()
        );
    }
    let asked = heartbeats.len() * escalations.len() * leases.len();
    if grid.len() < asked {
        let left_out = asked - grid.len();
        writeln!(
            err,
            "note: {left_out} of {asked} rows are left out: no lease outlives two heartbeats and the reserve of its fence \
             there"
        )
        .map_err(|error| error.to_string())?;
    }
    let trials = Trials {
        profile,
        base,
        grid,
        seeds: args.seeds,
        noise_ms: args.noise_minutes * 60_000,
        threads: usize::try_from(args.threads).unwrap_or(1),
    };
    Ok((trials, exit))
}

fn bar(rows: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(rows);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos} of {len} rows, {eta}") {
        bar.set_style(style);
    }
    bar
}

fn print(trials: &Trials, rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    let quiet_h = rows.first().map_or(0.0, |row| row.quiet_ms as f64 / 3_600_000.0);
    let witnesses = trials.base.members.iter().filter(|m| m.witness).count();
    writeln!(
        out,
        "{} members ({witnesses} without PostgreSQL), {}: {} failures and {quiet_h:.1} h of passing noise a row, simulated",
        trials.base.members.len(),
        trials.profile.name,
        trials.seeds
    )?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "",
        "heartbeat",
        "escalation",
        "lease",
        "false failovers/h",
        "lease fences/h",
        "recovers: median",
        "p95",
        "max",
        "not in time",
    ]);
    let seconds = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
    for row in rows {
        let hourly = |count: u64| format!("{:.2}", count as f64 * 3_600_000.0 / row.quiet_ms as f64);
        table.add_row([
            if row.pareto { "*" } else { "" }.to_owned(),
            format!("{} ms", row.heartbeat_ms),
            format!("{} x {} ms, {} ms", row.attempts, row.interval_ms, row.timeout_ms),
            format!("{} ms", row.lease_ms),
            hourly(row.false_failovers),
            hourly(row.lease_fences),
            seconds(row.median_ms),
            seconds(row.p95_ms),
            seconds(row.max_ms),
            row.not_recovered.to_string(),
        ]);
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "* no other row is at least as good in everything")?;
    if rows.iter().any(|row| row.max_ms.is_some() && row.p95_ms.is_none()) {
        writeln!(out, "p95: of 20 recoveries or more only; --seeds asks for more failures a row")?;
    }
    Ok(())
}
