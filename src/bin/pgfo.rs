//! The `pgfo` command: parses, and hands over to one file per subcommand.

use clap::{Parser, Subcommand};
use pgfo::cli;
use pgfo::cli::exit::Exit;
use std::process::ExitCode;

/// Automatic failover for PostgreSQL streaming replication, with an event log that proves why.
#[derive(Parser, Debug)]
#[command(name = "pgfo", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs a member of a cluster, beside its PostgreSQL or as a witness.
    Daemon(cli::daemon::DaemonArgs),
    /// Shows the members: exit 0 healthy, 1 degraded, 2 no primary.
    Status(cli::status::StatusArgs),
    /// Re-derives every decision from event logs, and tells their story.
    Replay(cli::replay::ReplayArgs),
    /// Lists, shows and cuts out incidents: failovers, and attempts that came to nothing.
    Incident(cli::incident::IncidentArgs),
    /// One page about a failover, or about one that did not happen: who saw what, who voted how, and why.
    Explain(cli::explain::ExplainArgs),
    /// Makes a member the primary of the next term.
    ///
    /// The first primary is named only while every member is heard and none remembers one: a log that was lost looks
    /// like a new one. Bring back whoever remembers instead.
    Adopt(cli::adopt::AdoptArgs),
    /// Decides, before PostgreSQL starts, whether it may start as a primary.
    Guard(cli::guard::GuardArgs),
    /// Starts, stops or reloads the PostgreSQL beside the daemon.
    Postgres(cli::postgres::PostgresArgs),
    /// Rehearses failures: a simulated cluster over the very code that decides.
    Simulate(cli::simulate::SimulateArgs),
    /// Tries timings in a simulated cluster: false failovers against the time to recover.
    Sweep(cli::sweep::SweepArgs),
    /// Makes and shows the cluster's certificates.
    Cert(cli::cert::CertArgs),
    /// Kills throw-away clusters on this machine, and shows what happens.
    Demo(cli::demo::DemoArgs),
    /// Measures failovers, an idle cluster and the log on this machine.
    Bench(cli::bench::BenchArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Daemon(args) => cli::daemon::run(args),
        Command::Status(args) => cli::status::run(args),
        Command::Replay(args) => cli::replay::run(args),
        Command::Incident(args) => cli::incident::run(args),
        Command::Explain(args) => cli::explain::run(args),
        Command::Adopt(args) => cli::adopt::run(args),
        Command::Guard(args) => cli::guard::run(args),
        Command::Postgres(args) => cli::postgres::run(args),
        Command::Simulate(args) => cli::simulate::run(args),
        Command::Sweep(args) => cli::sweep::run(args),
        Command::Cert(args) => cli::cert::run(args).map(|()| Exit::Ok),
        Command::Demo(args) => cli::demo::run(args),
        Command::Bench(args) => cli::bench::run(args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            anstream::eprintln!("pgfo: {error:#}");
            Exit::Usage.into()
        }
    }
}
