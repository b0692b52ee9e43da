//! The demo: act by act, a fresh cluster, a fault, the takeover, the audit. It judges by what the
//! client, PostgreSQL and `pgfo` itself say, and never by the daemons' own words alone.

use super::client::{Client, ClientOptions};
use super::cluster::{Cluster, ReplayOutcome};
use super::error::{DemoError, Result};
use super::narrator::{BAD, BOLD, DIM, GOOD, Narrator};
use super::node::Node;
use super::postgres_bin::PostgresBin;
use super::report::{ActReport, DemoReport, ReplayReport};
use super::sandbox::SandboxOptions;
use super::wait::Deadline;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

/// From start to the first agreed primary: start-up grace, the first election.
const HEALTHY_WITHIN_SECS: u64 = 60;
/// The slowest takeover that is still one: a lease, the escalation, an election, a promotion.
const TAKEOVER_WITHIN_SECS: u64 = 60;
/// At 200 a second: so long the service must run undisturbed before the fault, and after it.
const UNDISTURBED_COMMITS: usize = 200;
/// For those commits.
const COMMITS_WITHIN_SECS: u64 = 30;

/// How the demo is run.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// Print one JSON object at the end, and nothing else.
    pub json: bool,
    /// Keep the folders with data and logs.
    pub keep: bool,
    /// The directory of PostgreSQL's programs; found if not given.
    pub postgres_bin: Option<PathBuf>,
    /// The program to run as daemon; this one if not given.
    pub pgfo: Option<PathBuf>,
}

/// What is done to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the postmaster alone; the daemon lives.
    PostmasterKilled,
    /// SIGKILL to PostgreSQL, daemon and guard at once.
    NodeKilled,
}

impl Fault {
    /// Returns its name in the JSON output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PostmasterKilled => "postmaster_killed",
            Self::NodeKilled => "node_killed",
        }
    }

    fn told(self, node: &str) -> String {
        match self {
            Self::PostmasterKilled => format!("kill -9 of the postmaster of {node}"),
            Self::NodeKilled => format!("kill -9 of everything on {node}: PostgreSQL, daemon, guard"),
        }
    }

    fn inject(self, node: &Node) -> Result<()> {
        match self {
            Self::PostmasterKilled => node.signal_postmaster_kill().map(drop),
            Self::NodeKilled => node.kill_node(),
        }
    }
}

/// One act: a cluster and what happens to its primary.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// How many data members.
    pub data: u8,
    /// How many witnesses.
    pub witness: u8,
    /// What happens.
    pub fault: Fault,
}

/// The demo's acts, in order.
pub const ACTS: [Act; 4] = [
    Act { data: 3, witness: 0, fault: Fault::PostmasterKilled },
    Act { data: 3, witness: 0, fault: Fault::NodeKilled },
    Act { data: 2, witness: 1, fault: Fault::PostmasterKilled },
    Act { data: 2, witness: 1, fault: Fault::NodeKilled },
];

/// Plays every act and returns what came of them; the demo succeeded if [`DemoReport::good`]. With
/// `json`, the caller prints the report; else it has been told line by line.
///
/// # Errors
/// When PostgreSQL or the daemon's program can't be found. What fails within an act is in its report.
pub fn run(options: &DemoOptions) -> Result<DemoReport> {
    super::interrupt::clean_up_on_interrupt()?;
    run_acts(options, &ACTS)
}

/// Plays some acts; as [`run`], but leaves signals to the caller.
///
/// # Errors
/// As [`run`].
pub fn run_acts(options: &DemoOptions, acts: &[Act]) -> Result<DemoReport> {
    let postgres = PostgresBin::find(options.postgres_bin.as_deref())?;
    let own = std::env::current_exe().map_err(|e| DemoError::State(format!("cannot find this program: {e}")));
    let pgfo = options.pgfo.clone().map_or_else(|| own, Ok)?;
    let stage = Stage { options, postgres, pgfo, acts: acts.len() };
    let reports = acts.iter().enumerate().map(|(index, act)| stage.play(index + 1, *act)).collect();
    let report = DemoReport::new(reports);
    stage.say(|| report.tell());
    Ok(report)
}

struct Stage<'a> {
    options: &'a DemoOptions,
    postgres: PostgresBin,
    pgfo: PathBuf,
    acts: usize,
}

impl Stage<'_> {
    fn say(&self, tell: impl FnOnce()) {
        if !self.options.json {
            tell();
        }
    }

    fn play(&self, number: usize, act: Act) -> ActReport {
        let mut report = ActReport::new(act);
        self.say(|| {
            let members = describe(act);
            anstream::println!("{BOLD}Act {number} of {}: {members}{BOLD:#}", self.acts);
        });
        if let Err(error) = self.perform(act, &mut report) {
            report.error = Some(error.to_string());
            self.say(|| anstream::println!("  {BAD}failed:{BAD:#} {error}"));
        }
        self.say(|| report.tell());
        report
    }

    fn perform(&self, act: Act, report: &mut ActReport) -> Result<()> {
        let started = Instant::now();
        let cluster = self.build(act)?;
        if self.options.keep {
            report.logs =
                cluster.nodes().iter().map(|node| (node.name().to_owned(), node.event_log())).collect();
        }
        let before = cluster.wait_healthy(Deadline::secs(HEALTHY_WITHIN_SECS))?;
        let old_name = before.primary.unwrap_or_default();
        let old = cluster.node(&old_name);
        report.failed.clone_from(&old_name);
        let seconds = started.elapsed().as_secs_f64();
        self.say(|| {
            anstream::println!("  {DIM}built and healthy after {seconds:.1} s; {old_name} is primary{DIM:#}")
        });

        let client = Client::start(&cluster, ClientOptions::default())?;
        client.wait_acks(UNDISTURBED_COMMITS, Deadline::secs(COMMITS_WITHIN_SECS))?;
        let narrator = (!self.options.json).then(|| Narrator::start(&cluster, SystemTime::now()));
        let fault = Instant::now();
        self.say(|| {
            anstream::println!("  {DIM}+  0.000 s{DIM:#}  {BAD}{}{BAD:#}", act.fault.told(&old_name))
        });
        act.fault.inject(old)?;

        let taken_over = cluster.wait_primary(Some(&old_name), Deadline::secs(TAKEOVER_WITHIN_SECS));
        let settled = taken_over.and_then(|new| {
            client.wait_acks(UNDISTURBED_COMMITS, Deadline::secs(COMMITS_WITHIN_SECS))?;
            Ok(new)
        });
        let outage = client.outage(fault);
        drop(narrator);
        report.outage_ms = Some(outage.client.as_millis());
        report.service_outage_ms = Some(outage.service.as_millis());
        report.acked = client.acked();
        let new = settled?;

        report.promoted = Some(new.name().to_owned());
        report.term = Some(new.status()?.term.0);
        report.lost = Some(client.lost(new)?.len());
        report.split_brain = client.split_brain(new)?.len();
        report.primaries = cluster.writable_nodes().len();
        report.ended = outage.ended;
        drop(client);
        self.audit(&cluster, new, report)
    }

    fn build(&self, act: Act) -> Result<Cluster> {
        let sandbox = SandboxOptions {
            keep: self.options.keep,
            postgres_bin: Some(self.postgres.dir().to_path_buf()),
            user: None,
        };
        Cluster::builder().data(act.data).witness(act.witness).sandbox(sandbox).pgfo(&self.pgfo).build()
    }

    fn audit(&self, cluster: &Cluster, primary: &Node, report: &mut ActReport) -> Result<()> {
        // The primary's daemon first: it has the others agree to pause, so that nobody fails over.
        let others = cluster.nodes().iter().filter(|node| node.name() != primary.name());
        for node in std::iter::once(primary).chain(others).filter(|node| node.daemon_pid().is_some()) {
            if let Err(error) = node.stop_daemon() {
                self.say(|| anstream::println!("  {DIM}{error}; killed{DIM:#}"));
                node.kill_daemon()?;
            }
        }
        let outcomes = cluster.replay_all()?;
        if let Some(story) = outcomes.iter().find(|outcome| outcome.node == primary.name()) {
            self.say(|| tell_story(story));
        }
        report.replay = outcomes.into_iter().map(ReplayReport::from).collect();
        Ok(())
    }
}

fn tell_story(story: &ReplayOutcome) {
    anstream::println!("  {BOLD}pgfo replay{BOLD:#} {DIM}(the log of {}){DIM:#}", story.node);
    let style = if story.exit_code == 0 { GOOD } else { BAD };
    for line in story.output.lines() {
        anstream::println!("  {style}│{style:#} {line}");
    }
}

fn describe(act: Act) -> String {
    let witnesses = match act.witness {
        0 => String::new(),
        1 => " and a witness".to_owned(),
        count => format!(" and {count} witnesses"),
    };
    format!("{} data members{witnesses}", act.data)
}
