//! What the tests of the replay share: a cluster of real roles, stepped by hand, that writes real
//! event logs. Messages arrive at once; everything else is observed when the test says so.
#![allow(dead_code, unreachable_pub)]

use pgfo::core::{
    BootId, BootNanos, CORE_REVISION, Effect, Incarnation, Lsn, MemberId, Nanos, Role, SystemId, Timeline,
    effects, role,
};
use pgfo::events::{
    Actor, Answer, Decision, Durability, Event, EventLog, FenceOutcome, FreezeOutcome, GuardReport, LogFound,
    LogOptions, Observation, ProbeFailure, ProbeKind, ProbeReport, ProcessIdentity, ProcessStart,
    PromotionOutcome, Record, Settings,
};
use pgfo_replay::{Batch, Seq, WallNanos};
use std::collections::VecDeque;
use std::path::Path;

mod command;
mod facts;

pub use command::*;
pub use facts::*;

pub const NODE1: MemberId = MemberId(0);
pub const NODE2: MemberId = MemberId(1);
pub const NODE3: MemberId = MemberId(2);
pub const SYSTEM: SystemId = SystemId(7_300_000_000_000_000_001);
/// 2026-01-31T12:00:00Z.
const EPOCH_NANOS: i64 = 1_769_860_800_000_000_000;
const MILLI: u64 = 1_000_000;

/// One member: its roles, its log so far, its PostgreSQL as the test wants it to be.
pub struct Node {
    pub settings: Settings,
    pub core_revision: u32,
    pub batches: Vec<Vec<Record>>,
    /// Added to the common time.
    pub wall_offset_nanos: i64,
    /// Whether it takes messages and runs its deadlines.
    pub up: bool,
    /// What its PostgreSQL answers; `None`: nothing.
    pub postgres: Option<Answer>,
    /// The role that fails on the next observation.
    pub fails: Option<Actor>,
    roles: Vec<(Actor, Box<Role>)>,
    last: Seq,
    /// Crashes of its daemon so far: each process has a nonce of its own.
    pub crashes: u64,
}

impl Node {
    fn new(settings: Settings) -> Self {
        let roles = Actor::ROLES.map(|actor| (actor, role(actor, &settings).unwrap())).into();
        Self {
            settings,
            core_revision: CORE_REVISION,
            batches: Vec::new(),
            wall_offset_nanos: 0,
            up: true,
            postgres: None,
            fails: None,
            roles,
            last: Seq(0),
            crashes: 0,
        }
    }

    fn process(&self) -> ProcessIdentity {
        let n = u64::from(self.settings.me.0) + 1;
        ProcessIdentity {
            incarnation: Incarnation(0xA0 + n),
            boot_id: BootId(u128::from(n)),
            nonce: 0xB0 + n + 0x1000 * self.crashes,
        }
    }

    /// Its daemon crashes, and its log loses the last batches: they were not flushed.
    pub fn crash(&mut self, batches_lost: usize) {
        self.batches.truncate(self.batches.len() - batches_lost);
        self.last = self.batches.last().unwrap().last().unwrap().seq;
        self.crashes += 1;
        self.up = false;
        self.roles = Actor::ROLES.map(|actor| (actor, role(actor, &self.settings).unwrap())).into();
        for record in self.batches.iter().flatten() {
            self.roles.iter_mut().for_each(|(_, machine)| machine.evolve(record));
        }
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.batches.iter().flatten()
    }

    pub fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.batches.iter_mut().flatten()
    }

    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.records().filter_map(|r| match &r.event {
            Event::Decided(d) => Some(d),
            Event::Observed(_) => None,
        })
    }

    fn step(&mut self, now_nanos: u64, actor: Actor, observation: Observation) -> Vec<Record> {
        let boot = BootNanos(1_000_000_000_000 * (u64::from(self.settings.me.0) + 1) + now_nanos);
        let wall = WallNanos(EPOCH_NANOS + i64::try_from(now_nanos).unwrap() + self.wall_offset_nanos);
        let event = Event::Observed(observation);
        let mut batch = Batch::begin(self.last.next(), boot, wall, actor.number(), event);
        let mut fails = self.fails.take();
        let mut decisions = Vec::new();
        while let Some(record) = batch.current().cloned() {
            for (actor, machine) in &mut self.roles {
                if fails == Some(*actor) {
                    let why = "index out of bounds".to_owned();
                    let failed = Decision::RoleFailed { role: actor.number(), why, quarantined: false };
                    batch.answer(actor.number(), [Event::Decided(failed)]);
                    fails = None;
                    continue;
                }
                machine.evolve(&record);
                machine.decide(&record, &mut decisions);
                batch.answer(actor.number(), decisions.drain(..));
            }
            batch.advance();
        }
        let records = batch.finish();
        self.last = records.last().unwrap().seq;
        self.batches.push(records.clone());
        records
    }

    /// Writes the log as the daemon would.
    pub fn write(&self, dir: &Path) {
        let opened = EventLog::<Event>::open(dir, LogOptions::default()).unwrap();
        for (index, batch) in self.batches.iter().enumerate() {
            let last = index + 1 == self.batches.len();
            let durability = if last { Durability::Flushed } else { Durability::Buffered };
            let mut batch = batch.clone();
            let receipt = loop {
                match opened.log.append(batch, durability) {
                    Ok(receipt) => break receipt,
                    Err(pgfo::events::AppendRefused::Full(back)) => batch = back,
                    Err(closed) => panic!("{closed}"),
                }
                std::thread::yield_now();
            };
            if last {
                receipt.wait().unwrap();
            }
        }
        opened.log.close().unwrap();
    }
}

/// Three data members.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub now_nanos: u64,
    /// Effects that the test is to answer, oldest first.
    pub todo: VecDeque<(MemberId, Effect)>,
    mail: VecDeque<(MemberId, MemberId, Seq, pgfo::events::Message)>,
}

impl Cluster {
    pub fn new() -> Self {
        let nodes = [NODE1, NODE2, NODE3].map(|me| Node::new(settings(me))).into();
        Self { nodes, now_nanos: 0, todo: VecDeque::new(), mail: VecDeque::new() }
    }

    pub fn node(&mut self, member: MemberId) -> &mut Node {
        &mut self.nodes[usize::from(member.0)]
    }

    /// Lets a member observe something, delivers all messages, and answers guards and freezes.
    pub fn observe(&mut self, member: MemberId, actor: Actor, observation: Observation) {
        self.observe_one(member, actor, observation);
        while let Some((to, from, sent_by, message)) = self.mail.pop_front() {
            if self.node(to).up && self.node(from).up {
                let received = Observation::MessageReceived { from, sent_by, message };
                self.observe_one(to, Actor::PeerLink, received);
            }
        }
    }

    fn observe_one(&mut self, member: MemberId, actor: Actor, observation: Observation) {
        let now = self.now_nanos;
        let node = self.node(member);
        let records = node.step(now, actor, observation);
        let (settings, nonce) = (node.settings.clone(), node.process().nonce);
        let mut found = Vec::new();
        for record in &records {
            effects(record, &settings, nonce, &mut found);
            for effect in found.drain(..) {
                match effect {
                    Effect::Send { to, message } => self.mail.push_back((to, member, record.seq, message)),
                    other => self.todo.push_back((member, other)),
                }
            }
        }
        self.answer();
    }

    fn answer(&mut self) {
        let todo = std::mem::take(&mut self.todo);
        for (member, effect) in todo {
            let postgres = self.node(member).postgres;
            match effect {
                Effect::ArmGuard { term, until } => {
                    let armed = Observation::GuardReported(GuardReport::Armed { term, until });
                    self.observe_one(member, Actor::PostgresOperator, armed);
                }
                Effect::Freeze { term } => {
                    let outcome = postgres.map_or(FreezeOutcome::NothingRuns, |a| FreezeOutcome::Frozen {
                        lsn: a.lsn(),
                        settled: true,
                        system_id: a.system_id,
                    });
                    let frozen = Observation::FreezeCompleted { term, outcome };
                    self.observe_one(member, Actor::PostgresOperator, frozen);
                }
                other => self.todo.push_back((member, other)),
            }
        }
    }

    /// Moves time on, firing every deadline on its way.
    pub fn advance_millis(&mut self, millis: u64) {
        let end = self.now_nanos + millis * MILLI;
        loop {
            let mut due: Option<(u64, MemberId, pgfo::events::Deadline)> = None;
            for node in self.nodes.iter().filter(|n| n.up) {
                let mut deadlines = Vec::new();
                for (_, machine) in &node.roles {
                    machine.deadlines(&mut deadlines);
                }
                let origin = 1_000_000_000_000 * (u64::from(node.settings.me.0) + 1);
                for (deadline, at) in deadlines {
                    let at = at.0.saturating_sub(origin).max(self.now_nanos);
                    if at <= end && due.is_none_or(|d| (at, node.settings.me) < (d.0, d.1)) {
                        due = Some((at, node.settings.me, deadline));
                    }
                }
            }
            let Some((at, member, deadline)) = due else { break };
            self.now_nanos = at;
            self.observe(member, Actor::Clock, Observation::DeadlinePassed(deadline));
        }
        self.now_nanos = end;
    }

    pub fn start(&mut self, member: MemberId) {
        let node = self.node(member);
        let log = if node.last == Seq(0) { LogFound::Fresh } else { LogFound::Intact };
        let start = ProcessStart {
            version: "0.1.0".to_owned(),
            core_revision: node.core_revision,
            settings: node.settings.clone(),
            configuration_digest: "00ff".to_owned(),
            process: node.process(),
            log,
        };
        self.observe(member, Actor::Daemon, Observation::ProcessStarted(Box::new(start)));
    }

    /// Everybody meets a member that started anew.
    pub fn meet(&mut self, member: MemberId) {
        for peer in [NODE1, NODE2, NODE3].into_iter().filter(|p| *p != member) {
            for (one, other) in [(member, peer), (peer, member)] {
                let process = self.node(other).process();
                self.observe(one, Actor::PeerLink, Observation::PeerConnected { member: other, process });
            }
        }
    }

    pub fn probe(&mut self, member: MemberId, target: MemberId, kind: ProbeKind) {
        let report = match self.node(target).postgres {
            Some(answer) => ProbeReport::Answered(answer),
            None => ProbeReport::Failed(ProbeFailure::Refused),
        };
        let took = Nanos(400_000 + u64::from(member.0) * 50_000);
        let probed = Observation::ProbeCompleted { target, kind, report, took, stalled: Nanos(0) };
        self.observe(member, Actor::HeartbeatProber, probed);
    }

    /// A second in the life of the cluster: everybody probes and sends a heartbeat.
    pub fn heartbeat(&mut self, primary: MemberId) {
        for member in [NODE1, NODE2, NODE3] {
            if !self.node(member).up {
                continue;
            }
            self.probe(member, member, ProbeKind::Heartbeat);
            if member != primary {
                self.probe(member, primary, ProbeKind::Heartbeat);
            }
            let flushed = self.node(member).last;
            self.observe(member, Actor::Clock, Observation::HeartbeatDue { flushed });
        }
        self.advance_millis(1_000);
    }

    /// Everybody starts, meets, and finds node1 to be the primary.
    pub fn begin(&mut self) {
        for member in [NODE1, NODE2, NODE3] {
            self.start(member);
            let answer = if member == NODE1 { primary(0x300_0148, 1) } else { standby(0x300_0148, 1) };
            self.node(member).postgres = Some(answer);
            let pid = 4_000 + u32::from(member.0);
            let seen = Observation::PostmasterSeen { pid, sealed: false };
            self.observe(member, Actor::PostgresOperator, seen);
            let present = Observation::GuardReported(GuardReport::Present { armed: None });
            self.observe(member, Actor::PostgresOperator, present);
            self.probe(member, member, ProbeKind::Heartbeat);
        }
        for member in [NODE1, NODE2, NODE3] {
            for peer in [NODE1, NODE2, NODE3].into_iter().filter(|p| *p != member) {
                let process = self.node(peer).process();
                self.observe(member, Actor::PeerLink, Observation::PeerConnected { member: peer, process });
            }
        }
        for _ in 0..3 {
            self.heartbeat(NODE1);
        }
    }

    /// The postmaster of node1 dies; its daemon lives, fences and says so.
    pub fn crash_primary(&mut self) {
        self.node(NODE1).postgres = None;
        self.advance_millis(237);
        let gone = Observation::PostmasterGone { sealed: false };
        self.observe(NODE1, Actor::PostgresOperator, gone);
        self.advance_millis(12);
        let outcome = FenceOutcome {
            sealed: true,
            nothing_left: true,
            killed: 3,
            took: Nanos(11_800_000),
            trouble: None,
        };
        self.observe(NODE1, Actor::PostgresOperator, Observation::FenceCompleted(outcome));
        self.advance_millis(500);
    }

    /// Answers the promotion that was ordered.
    pub fn promote(&mut self, outcome: PromotionOutcome) -> MemberId {
        let ordered = self.todo.iter().rev().find_map(|(member, effect)| match effect {
            Effect::Promote { term, .. } => Some((*member, *term)),
            _ => None,
        });
        let (member, term) = ordered.expect("a promotion was ordered");
        if matches!(outcome, PromotionOutcome::Promoted { .. }) {
            self.node(member).postgres = Some(primary(0x300_02A0, 2));
        }
        let done = Observation::PromotionCompleted { term, outcome, commands: vec![] };
        self.observe(member, Actor::PostgresOperator, done);
        member
    }
}

/// A whole failover, from the first start to the follower on the new timeline.
pub fn failover() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.begin();
    // node3 is a little ahead: it is the one to promote.
    cluster.node(NODE2).postgres = Some(standby(0x300_01A8, 1));
    cluster.node(NODE3).postgres = Some(standby(0x300_0220, 1));
    cluster.node(NODE1).postgres = Some(primary(0x300_0220, 1));
    cluster.heartbeat(NODE1);
    cluster.crash_primary();
    let winner = cluster.promote(promoted());
    assert_eq!(winner, NODE3);
    cluster.advance_millis(40);
    let followed = Observation::FollowCompleted {
        term: pgfo::core::Term(2),
        outcome: pgfo::events::FollowOutcome::Streaming { timeline: Timeline(2), lsn: Some(Lsn(0x300_02A0)) },
        commands: vec![],
    };
    cluster.observe(NODE2, Actor::PostgresOperator, followed);
    cluster.node(NODE2).postgres = Some(standby(0x300_02A0, 2));
    cluster.heartbeat(NODE3);
    cluster
}

/// The host of node1 crashes right after its daemon spoke, and with it the end of its log; node3 takes over.
pub fn crashed_host() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE2).postgres = Some(standby(0x300_01A8, 1));
    cluster.node(NODE3).postgres = Some(standby(0x300_0220, 1));
    cluster.node(NODE1).postgres = Some(primary(0x300_0220, 1));
    for _ in 0..3 {
        cluster.heartbeat(NODE1);
    }
    let lost = cluster.node(NODE1).batches.len() / 3;
    cluster.node(NODE1).crash(lost);
    cluster.node(NODE1).postgres = None;
    for member in [NODE2, NODE3] {
        let gone = Observation::PeerDisconnected { member: NODE1, refused: false };
        cluster.observe(member, Actor::PeerLink, gone);
        cluster.probe(member, NODE1, ProbeKind::Heartbeat);
        for massage in 1..=3 {
            cluster.probe(member, NODE1, ProbeKind::Massage(massage));
            cluster.advance_millis(300);
        }
    }
    cluster.advance_millis(6_000);
    cluster.promote(promoted());
    cluster.advance_millis(500);
    cluster
}

/// Its daemon starts again, many minutes later, and gives out anew the numbers of the records that were lost.
pub fn come_back(cluster: &mut Cluster) {
    cluster.advance_millis(700_000);
    cluster.node(NODE1).up = true;
    cluster.start(NODE1);
    cluster.meet(NODE1);
    for _ in 0..5 {
        cluster.heartbeat(NODE3);
    }
}

/// Compares a text with the golden one of that name; `UPDATE_GOLDEN=1` writes it anew.
#[track_caller]
pub fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (old, new)) in golden.lines().zip(text.lines()).enumerate() {
        assert_eq!(old, new, "{name}, line {}; UPDATE_GOLDEN=1 writes it anew", number + 1);
    }
    assert_eq!(golden.lines().count(), text.lines().count(), "{name}; UPDATE_GOLDEN=1 writes it anew");
}
