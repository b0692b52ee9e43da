//! The beginning: the members start, find their primary and adopt it, by their own rules and without any
//! fault; then the model lets go of them.

use super::super::guard::Guard;
use super::actions::Action;
use super::bounds::Start;
use super::state::{Ghosts, Host, Line, Network, Postgres, Spent, State, Task};
use super::steps::ClusterModel;
use crate::core::{MemberId, Term};
use crate::events::Observation;
use pgfo_replay::Seq;
use std::collections::BTreeSet;

/// More rounds than an adoption takes.
const ROUNDS_MAX: usize = 20;

/// Returns the state at which the exploration begins.
///
/// # Panics
/// When the members do not come to agree, or a lease is not granted: then there is nothing to explore.
pub(super) fn begin(model: &ClusterModel) -> State {
    let mut s = adopted(model);
    let primary = MemberId(0);
    match model.bounds().start {
        Start::Adopted => return s,
        Start::Killed => {
            model.act(&mut s, &Action::PostmasterDies(primary));
            model.work(&mut s, primary, Task::TellItIsGone);
            model.work(&mut s, primary, Task::Fence);
            deliver(model, &mut s);
        }
        Start::CutOff => {
            let stands = |s: &State, id: MemberId| {
                let promise = s.hosts[usize::from(id.0)].mind.ledger().promise;
                promise.is_some_and(|p| p.until > model.boot(s, id))
            };
            while model.bounds().ids().any(|id| stands(&s, id)) {
                model.pass_time(&mut s);
            }
            for id in model.bounds().ids().filter(|id| *id != primary) {
                model.act(&mut s, &Action::LosesSight(id));
            }
        }
    }
    s.network = Network::default();
    s.spent = Spent::default();
    for host in &mut s.hosts {
        host.durable = None;
        host.beats = (0, 0);
    }
    assert!(!s.hosts[0].postgres.is_some_and(|p| p.up), "nobody writes any more");
    s
}

fn deliver(model: &ClusterModel, s: &mut State) {
    let mut arrived = s.network.take();
    while !arrived.is_empty() {
        for e in arrived {
            model.receive(s, e.to, e.from, e.message.clone());
        }
        arrived = s.network.take();
    }
}

/// Returns the state just after the adoption.
fn adopted(model: &ClusterModel) -> State {
    let bounds = model.bounds();
    let hosts = bounds.ids().map(|id| {
        let data = id.0 < bounds.data;
        let behind = bounds.behind.get(usize::from(id.0)).copied().unwrap_or(0);
        let first = id == MemberId(0);
        Host {
            mind: model.blank(id),
            durable: None,
            guard: Guard::new(0),
            postgres: data.then_some(Postgres {
                up: true,
                in_recovery: !first,
                sealed: false,
                line: 0,
                lsn: 10 - behind,
                receiver: (!first).then_some(MemberId(0)),
                started: 1,
            }),
            tasks: BTreeSet::new(),
            asking: None,
            beats: (0, 0),
            rate: bounds.rate(id),
            ahead: 0,
            runs: 0,
            logs: 0,
        }
    });
    let mut s = State {
        now: 0,
        hosts: hosts.collect(),
        network: Network::default(),
        lines: vec![Line { parent: None, timeline: 1 }],
        spent: Spent::default(),
        ghosts: Ghosts::default(),
        id: 0,
        touched: false,
        beyond: false,
    };
    for id in bounds.ids() {
        model.restart(&mut s, id, true, false, None);
    }
    for _ in 0..ROUNDS_MAX {
        round(model, &mut s);
    }
    // What is left of it in the network tells nothing new; what was written is on the disk.
    s.network = Network::default();
    s.ghosts.votes.clear();
    for host in &mut s.hosts {
        host.asking = None;
        host.beats = (0, 0);
        host.durable = None;
        let l = host.mind.ledger();
        assert_eq!(l.announced_term(), Term(1), "the cluster is adopted in term 1");
        assert!(l.verdict == crate::events::Verdict::Reachable, "everybody sees the primary");
        assert!(host.postgres.is_none() || l.lineage.is_some(), "everybody knows its line of history");
        assert!(l.standing_promise().is_some() && l.roster.number == 1, "everybody granted the lease");
        assert!(host.tasks.is_empty(), "nothing is left to do");
    }
    assert!(s.hosts[0].guard.armed().is_some(), "the guard is armed");
    assert!(s.ghosts.broken.is_none(), "{:?}", s.ghosts);
    s
}

fn round(model: &ClusterModel, s: &mut State) {
    let bounds = model.bounds();
    for id in bounds.ids() {
        model.observe(s, id, &Observation::HeartbeatDue { flushed: Seq(0) });
        for other in bounds.ids().filter(|o| *o != id) {
            model.act(s, &Action::Hears(other, id));
        }
        if id.0 < bounds.data {
            model.look_at_own(s, id);
        }
        if id != MemberId(0) {
            model.act(s, &Action::Sees(id));
        }
        deliver(model, s);
        let tasks: Vec<_> = s.hosts[usize::from(id.0)].tasks.iter().copied().collect();
        for task in tasks {
            model.work(s, id, task);
        }
    }
}
