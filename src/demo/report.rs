//! What came of the demo: for people, and as JSON. Also the one place that says what counts as good.

use super::acts::Act;
use super::cluster::ReplayOutcome;
use super::narrator::{BAD, BOLD, DIM, GOOD};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Asynchronous replication loses what was acknowledged in the last moment; a takeover that lost
/// more than a tenth of a second's writes of the main client and the probers did something wrong.
const LOST_MAX: usize = 40;

/// What `pgfo replay` said of one log.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayReport {
    /// The member.
    pub member: String,
    /// 0 is identical.
    pub exit_code: i32,
    /// True if every decision was derived again.
    pub identical: bool,
}

impl From<ReplayOutcome> for ReplayReport {
    fn from(outcome: ReplayOutcome) -> Self {
        Self { member: outcome.node, exit_code: outcome.exit_code, identical: outcome.exit_code == 0 }
    }
}

/// What came of one act.
#[derive(Clone, Debug, Serialize)]
pub struct ActReport {
    /// How many data members.
    pub data: u8,
    /// How many witnesses.
    pub witness: u8,
    /// `postmaster_killed` or `node_killed`.
    pub fault: &'static str,
    /// The primary that it was done to.
    pub failed: String,
    /// The longest time without an acknowledged commit, as the client saw it, in milliseconds.
    pub outage_ms: Option<u128>,
    /// The same without the client's dialling, in milliseconds.
    pub service_outage_ms: Option<u128>,
    /// The new primary.
    pub promoted: Option<String>,
    /// Its term.
    pub term: Option<u64>,
    /// Commits acknowledged to the client.
    pub acked: usize,
    /// Acknowledged commits that the new primary does not have.
    pub lost: Option<usize>,
    /// Commits that the old primary acknowledged after the new one had begun to.
    pub split_brain: usize,
    /// How many PostgreSQL took writes at the end.
    pub primaries: usize,
    /// True if commits were acknowledged again.
    pub ended: bool,
    /// Each member's event log, if kept.
    pub logs: BTreeMap<String, PathBuf>,
    /// The audit of each member's log.
    pub replay: Vec<ReplayReport>,
    /// What went wrong, if the act could not be played to its end.
    pub error: Option<String>,
}

impl ActReport {
    pub(super) fn new(act: Act) -> Self {
        Self {
            data: act.data,
            witness: act.witness,
            fault: act.fault.name(),
            failed: String::new(),
            outage_ms: None,
            service_outage_ms: None,
            promoted: None,
            term: None,
            acked: 0,
            lost: None,
            split_brain: 0,
            primaries: 0,
            ended: false,
            logs: BTreeMap::new(),
            replay: Vec::new(),
            error: None,
        }
    }

    /// Returns what is wrong with it, nothing if it ended well.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.error.iter().cloned().collect();
        let mut demand = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        demand(self.ended, "commits were not acknowledged again".into());
        demand(self.primaries == 1, format!("{} nodes take writes", self.primaries));
        demand(self.split_brain == 0, format!("{} commits of a split brain", self.split_brain));
        let lost = self.lost.unwrap_or(0);
        demand(lost <= LOST_MAX, format!("{lost} acknowledged commits are lost"));
        let members = usize::from(self.data) + usize::from(self.witness);
        demand(self.replay.len() == members, format!("{} of {members} logs were audited", self.replay.len()));
        for replay in self.replay.iter().filter(|replay| !replay.identical) {
            demand(false, format!("the log of {} is not identical on replay", replay.member));
        }
        faults
    }

    pub(super) fn tell(&self) {
        let faults = self.faults();
        if let (Some(promoted), Some(outage)) = (&self.promoted, self.outage_ms) {
            let (service, term) = (self.service_outage_ms.unwrap_or(outage), self.term.unwrap_or(0));
            anstream::println!(
                "  {BOLD}{promoted} took over from {} in term {term}; write outage {outage} ms{BOLD:#} \
                 {DIM}(for a client that dials anew; {service} ms for one that held a connection to each node){DIM:#}",
                self.failed,
            );
        }
        if let Some(lost) = self.lost {
            let why = if lost > 0 { " (replication is asynchronous)" } else { "" };
            anstream::println!("  {} commits acknowledged, {lost} lost{why}", self.acked);
        }
        for (member, log) in &self.logs {
            anstream::println!("  {DIM}log of {member}: {}{DIM:#}", log.display());
        }
        if faults.is_empty() {
            anstream::println!("  {GOOD}one primary, every log identical on replay{GOOD:#}\n");
        } else {
            let short: Vec<&str> = faults.iter().filter_map(|fault| fault.lines().next()).collect();
            anstream::println!("  {BAD}not good: {}{BAD:#}\n", short.join("; "));
        }
    }
}

/// What came of the whole demo.
#[derive(Clone, Debug, Serialize)]
pub struct DemoReport {
    /// True if every act ended with one primary, nothing lost that should not be, no split brain, and
    /// every log identical on replay.
    pub good: bool,
    /// Act by act.
    pub acts: Vec<ActReport>,
}

impl DemoReport {
    pub(super) fn new(acts: Vec<ActReport>) -> Self {
        Self { good: !acts.is_empty() && acts.iter().all(|act| act.faults().is_empty()), acts }
    }

    pub(super) fn tell(&self) {
        let good = self.acts.iter().filter(|act| act.faults().is_empty()).count();
        let style = if self.good { GOOD } else { BAD };
        anstream::println!("{style}{good} of {} acts ended well{style:#}", self.acts.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::acts::ACTS;

    fn good_act() -> ActReport {
        let mut act = ActReport::new(ACTS[0]);
        (act.primaries, act.ended, act.lost) = (1, true, Some(0));
        let replay = |n| ReplayReport { member: format!("node{n}"), exit_code: 0, identical: true };
        act.replay = (1..=3).map(replay).collect();
        act
    }

    #[test]
    fn an_act_is_good_only_if_all_holds() {
        assert!(DemoReport::new(vec![good_act()]).good);
        let spoil: [fn(&mut ActReport); 6] = [
            |act| act.primaries = 2,
            |act| act.ended = false,
            |act| act.split_brain = 1,
            |act| act.lost = Some(LOST_MAX + 1),
            |act| act.replay[1].identical = false,
            |act| act.replay.truncate(2),
        ];
        for change in spoil {
            let mut act = good_act();
            change(&mut act);
            assert_eq!(act.faults().len(), 1, "{act:?}");
            assert!(!DemoReport::new(vec![good_act(), act]).good);
        }
        assert!(!DemoReport::new(Vec::new()).good);
    }
}
