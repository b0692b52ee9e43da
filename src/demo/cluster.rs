//! A running cluster: its nodes, and waiting for what they agree on. It judges nothing of its own:
//! `pgfo status` and PostgreSQL say what is so.

use super::builder::Builder;
use super::daemon::{LogFollower, LogMark};
use super::error::{DemoError, Result};
use super::networks::Networks;
use super::node::Node;
use super::sandbox::Sandbox;
use super::status::Status;
use super::wait::{Deadline, Look, poll};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often `pgfo status` is run while waiting: each look starts a process a member.
const STATUS_PAUSE: Duration = Duration::from_millis(100);
/// An audit of a demo's log takes well under a second; one of a long benchmark some more.
const REPLAY_WITHIN: Duration = Duration::from_secs(120);

/// A throw-away cluster on loopback. Dropping it kills its processes and removes its directory.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    networks: Option<Networks>,
    sandbox: Arc<Sandbox>,
    _slot: Option<File>,
}

/// What `pgfo replay` said of one member's log.
#[derive(Clone, Debug)]
pub struct ReplayOutcome {
    /// The member's name.
    pub node: String,
    /// 0 identical, 1 diverged, 2 usage, 3 unreadable, 4 diverged under another core revision.
    pub exit_code: i32,
    /// Standard output, then standard error.
    pub output: String,
}

impl Cluster {
    /// Returns a builder for a cluster of three data members without daemons.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(
        nodes: Vec<Node>,
        networks: Option<Networks>,
        sandbox: Arc<Sandbox>,
        slot: Option<File>,
    ) -> Self {
        Self { nodes, networks, sandbox, _slot: slot }
    }

    /// Returns the sandbox that the cluster lives in.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Cuts the cable between two nodes: what they send each other is lost without a word.
    ///
    /// # Errors
    /// When the cluster was built without [`Builder::networks`].
    pub fn cut(&self, one: &str, other: &str) -> Result<()> {
        self.networks()?.cut(one, other)
    }

    /// Ends [`Self::cut`].
    ///
    /// # Errors
    /// As [`Self::cut`].
    pub fn mend(&self, one: &str, other: &str) -> Result<()> {
        self.networks()?.mend(one, other)
    }

    /// Cuts every cable of `node`.
    ///
    /// # Errors
    /// As [`Self::cut`].
    pub fn isolate(&self, node: &str) -> Result<()> {
        let others = self.networks()?.nodes().iter().filter(|other| *other != node);
        others.into_iter().try_for_each(|other| self.cut(node, other))
    }

    /// Mends every cable of `node`.
    ///
    /// # Errors
    /// As [`Self::cut`].
    pub fn reconnect(&self, node: &str) -> Result<()> {
        let others = self.networks()?.nodes().iter().filter(|other| *other != node);
        others.into_iter().try_for_each(|other| self.mend(node, other))
    }

    fn networks(&self) -> Result<&Networks> {
        let none = || DemoError::State("this cluster was built without networks of its own".into());
        self.networks.as_ref().ok_or_else(none)
    }

    /// Returns every member, data members first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the members that have a PostgreSQL.
    pub fn data_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.is_witness())
    }

    /// Returns the member called `name`.
    ///
    /// # Panics
    /// When there is none: a name is written in the test itself.
    #[must_use]
    pub fn node(&self, name: &str) -> &Node {
        match self.nodes.iter().find(|node| node.name() == name) {
            Some(node) => node,
            None => panic!("no member {name:?} in this cluster"),
        }
    }

    /// Starts every daemon that doesn't run; does nothing if the cluster has none.
    ///
    /// # Errors
    /// When one can't be started.
    pub fn start_daemons(&self) -> Result<()> {
        let stopped = self.nodes.iter().filter(|node| node.pgfo.is_some() && node.daemon_pid().is_none());
        stopped.into_iter().try_for_each(Node::start_daemon)
    }

    /// Waits until `look` returns `Ok`; its `Err` says what was seen instead.
    ///
    /// # Errors
    /// When the deadline passes; the error quotes what was last seen and the ends of all logs.
    pub fn wait_until<T>(
        &self,
        what: &str,
        deadline: Deadline,
        mut look: impl FnMut() -> Result<T, String>,
    ) -> Result<T> {
        let found = poll(deadline, || match look() {
            Ok(value) => Look::Done(value),
            Err(seen) => Look::NotYet(seen),
        });
        found.map_err(|last_seen| DemoError::TimedOut {
            what: what.to_owned(),
            within_ms: deadline.within().as_millis(),
            last_seen,
            evidence: self.evidence(),
        })
    }

    /// Waits until `standbys` standbys stream from `primary`.
    ///
    /// # Errors
    /// When the deadline passes.
    pub fn wait_streaming(&self, primary: &Node, standbys: usize, deadline: Deadline) -> Result<()> {
        let what = format!("{standbys} standbys to stream from {}", primary.name());
        self.wait_until(&what, deadline, || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' \
                       AND application_name <> 'pg_basebackup'";
            let count = primary.query_one(sql).map_err(|e| e.to_string())?;
            if count == standbys.to_string() { Ok(()) } else { Err(format!("{count} stream")) }
        })
    }

    /// Waits until every running daemon's status is healthy, with the same primary and a term of at
    /// least 1; returns the first one's status.
    ///
    /// # Errors
    /// When the deadline passes.
    pub fn wait_healthy(&self, deadline: Deadline) -> Result<Status> {
        self.wait_agreed("all daemons to be healthy and agree", deadline, |status| status.exit_code == 0)
    }

    /// Waits until every running daemon names the same primary, other than `excluding`, and that
    /// one's PostgreSQL is not in recovery. Without daemons, until PostgreSQL alone says so.
    ///
    /// # Errors
    /// When the deadline passes.
    pub fn wait_primary(&self, excluding: Option<&str>, deadline: Deadline) -> Result<&Node> {
        let what = match excluding {
            Some(name) => format!("a primary other than {name}"),
            None => "a primary".to_owned(),
        };
        if self.nodes.iter().any(|node| node.pgfo.is_some()) {
            self.wait_agreed(&what, deadline, |s| s.primary.is_some() && s.primary.as_deref() != excluding)?;
        }
        self.wait_until(&what, deadline, || {
            let others = self.data_nodes().filter(|node| Some(node.name()) != excluding);
            let mut seen = Vec::new();
            for node in others {
                match node.is_in_recovery() {
                    Ok(false) => return Ok(node),
                    Ok(true) => seen.push(format!("{} is in recovery", node.name())),
                    Err(error) => seen.push(error.to_string()),
                }
            }
            Err(seen.join("; "))
        })
    }

    /// Returns the data members whose PostgreSQL answers and is not in recovery: more than one is a
    /// split brain.
    #[must_use]
    pub fn writable_nodes(&self) -> Vec<&Node> {
        self.data_nodes().filter(|node| matches!(node.is_in_recovery(), Ok(false))).collect()
    }

    /// Waits until a line of `node`'s daemon log, written after `since`, satisfies `predicate`. Lines
    /// that are no JSON are skipped.
    ///
    /// # Errors
    /// When the deadline passes.
    pub fn wait_log(
        &self,
        node: &Node,
        since: LogMark,
        what: &str,
        deadline: Deadline,
        mut predicate: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let mut follower = LogFollower::since(node.daemon_log(), since);
        self.wait_until(&format!("{what} in the log of {}", node.name()), deadline, || {
            let lines = follower.new_lines();
            let mut values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            values.find(|value| predicate(value)).ok_or_else(|| "no such line".to_owned())
        })
    }

    /// Runs `pgfo replay` on every member's log, one by one.
    ///
    /// # Errors
    /// When it can't be run, or doesn't end within two minutes.
    pub fn replay_all(&self) -> Result<Vec<ReplayOutcome>> {
        self.nodes.iter().map(|node| self.replay(node, &[&node.event_log()])).collect()
    }

    /// Runs `pgfo replay` on `logs` with the program and user of `node`.
    ///
    /// # Errors
    /// When it can't be run, or doesn't end within two minutes.
    pub fn replay(&self, node: &Node, logs: &[&Path]) -> Result<ReplayOutcome> {
        let logs: Vec<String> = logs.iter().map(|log| log.to_string_lossy().into_owned()).collect();
        let mut arguments = vec!["replay"];
        arguments.extend(logs.iter().map(String::as_str));
        let output = node.pgfo(&arguments, REPLAY_WITHIN)?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let exit_code = output.status.code().unwrap_or(-1);
        Ok(ReplayOutcome { node: node.name().to_owned(), exit_code, output: text.into_owned() })
    }

    /// Returns the ends of every node's logs, for an error.
    #[must_use]
    pub fn evidence(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            for (log, end) in [("daemon", node.daemon_log_tail()), ("PostgreSQL", node.postgres_log_tail())] {
                if !end.is_empty() {
                    text.push_str(&format!("--- {} {log} ---\n{end}\n", node.name()));
                }
            }
        }
        text
    }

    fn wait_agreed(&self, what: &str, deadline: Deadline, good: impl Fn(&Status) -> bool) -> Result<Status> {
        let mut looked_at = None::<Instant>;
        let mut seen = String::new();
        self.wait_until(what, deadline, || {
            if looked_at.is_some_and(|at| at.elapsed() < STATUS_PAUSE) {
                return Err(seen.clone());
            }
            let answer = self.agreed(&good);
            looked_at = Some(Instant::now());
            answer.inspect_err(|what_was_seen| seen.clone_from(what_was_seen))
        })
    }

    fn agreed(&self, good: impl Fn(&Status) -> bool) -> Result<Status, String> {
        let mut first: Option<Status> = None;
        for node in self.nodes.iter().filter(|node| node.is_daemon_running()) {
            let status = node.status().map_err(|error| error.to_string())?;
            let seen = format!("{}: {}", node.name(), status.summary());
            if status.primary.is_none() || status.term.0 == 0 || !good(&status) {
                return Err(seen);
            }
            match &first {
                Some(other) if (&other.primary, other.term) != (&status.primary, status.term) => {
                    return Err(format!("{seen}, but another says {}", other.summary()));
                }
                Some(_) => {}
                None => first = Some(status),
            }
        }
        first.ok_or_else(|| "no daemon runs".to_owned())
    }
}
