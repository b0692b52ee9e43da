//! `pgfo bench`: what a failover, an idle daemon, the log and the simulator cost on this machine, beside what
//! they should cost. It measures from outside, on throw-away clusters, and must never tune what it measures.

mod idle;
mod log;
mod machine;
mod outage;
mod phases;
mod report;
mod simulate;
mod spread;

use super::exit::Exit;
use crate::demo::{SandboxOptions, clean_up_on_interrupt};
use report::Report;
use std::path::PathBuf;
use std::time::Duration;

/// What is measured.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Write outage after the postmaster is killed, beside the floor.
    Outage,
    /// Write outage after the whole node is killed, beside the floor.
    Node,
    /// CPU, memory and log growth of a cluster that has nothing to do.
    Idle,
    /// Speed of the event log and of the audit.
    Log,
    /// Speed of the simulator; needs no PostgreSQL.
    Simulate,
    /// All of it.
    All,
}

/// Arguments of `pgfo bench`.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// What is measured.
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// Takeovers of each kind, each on a fresh cluster; the kinds take turns.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// How long the idle cluster is watched, after half a minute of settling.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    idle: u64,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Keeps the directories of the clusters, logs included.
    #[arg(long)]
    keep: bool,
    /// Another build of pgfo whose daemons are measured, to compare it with this one.
    #[arg(long, value_name = "PROGRAM")]
    pgfo: Option<PathBuf>,
    /// Another PostgreSQL's bin directory.
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
}

/// What every measurement needs.
struct Bench {
    pgfo: PathBuf,
    sandbox: SandboxOptions,
    /// Progress goes to standard error, so that the output is the table or the JSON alone.
    tell: bool,
}

impl Bench {
    fn say(&self, line: &str) {
        if self.tell {
            anstream::eprintln!("{line}");
        }
    }
}

/// Measures, and prints.
///
/// # Errors
/// When a cluster can't be made, or nobody takes over.
pub fn run(args: &BenchArgs) -> anyhow::Result<Exit> {
    clean_up_on_interrupt()?;
    let sandbox = SandboxOptions {
        keep: args.keep,
        postgres_bin: args.postgres_bin.clone(),
        ..SandboxOptions::default()
    };
    let pgfo = match &args.pgfo {
        Some(pgfo) => pgfo.clone(),
        None => std::env::current_exe()?,
    };
    let bench = Bench { pgfo, sandbox, tell: !args.json };
    let wants = |what: What| args.what == what || args.what == What::All;
    let mut report = Report::new(machine::describe(&bench, args.what != What::Simulate)?);
    if wants(What::Outage) || wants(What::Node) {
        let kinds = outage::Kinds { postmaster: wants(What::Outage), node: wants(What::Node) };
        report.takeovers = Some(outage::measure(&bench, args.runs, kinds)?);
    }
    if wants(What::Idle) {
        report.idle = Some(idle::measure(&bench, Duration::from_secs(args.idle))?);
    }
    if wants(What::Log) {
        let records_a_day = report.idle.as_ref().map(|idle| idle.log.records_a_day);
        report.log = Some(log::measure(&bench, records_a_day)?);
    }
    if wants(What::Simulate) {
        report.simulator = Some(simulate::measure(&bench)?);
    }
    report.machine.load_at_end = machine::load();
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(if report.reached() { Exit::Ok } else { Exit::Degraded })
}
