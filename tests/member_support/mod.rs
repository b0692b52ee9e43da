//! One member, stepped record by record: what the tests of its rules share. Its peers are written by hand.
#![allow(dead_code, unreachable_pub)]

use pgfo::cluster::Scenario;
use pgfo::core::{
    BootId, BootNanos, CORE_REVISION, Incarnation, Lsn, MemberId, Nanos, Role, SystemId, Term, Timeline,
    roles,
};
use pgfo::events::{
    Actor, Announcement, Answer, CandidacyKind, Deadline, Decision, Event, FlushedMark, FreezeOutcome,
    Heartbeat, LeaseAsk, Lineage, LogFound, Message, Observation, Position, PostgresState, ProbeKind,
    ProbeReport, ProcessIdentity, ProcessStart, Roster, Settings, Testimony, Unelectable, Verdict, VoteAsk,
};
use pgfo_replay::{Batch, Ensemble, Seq, WallNanos};
use std::sync::Arc;

pub const A: MemberId = MemberId(0);
pub const B: MemberId = MemberId(1);
pub const C: MemberId = MemberId(2);
pub const SYSTEM: SystemId = SystemId(7);
pub const SECOND: u64 = 1_000_000_000;

pub fn process(member: MemberId) -> ProcessIdentity {
    let own = u64::from(member.0) + 1;
    ProcessIdentity { incarnation: Incarnation(own), boot_id: BootId(u128::from(own)), nonce: 100 + own }
}

pub fn lineage(opened: u64, timeline: u32) -> Lineage {
    Lineage { opened: Term(opened), timeline: Timeline(timeline) }
}

pub fn announcement(term: u64, primary: MemberId, line: Lineage) -> Announcement {
    let forked = (line.timeline.0 > 1).then(|| (lineage(1, line.timeline.0 - 1), Lsn(0x100)));
    Announcement { term: Term(term), primary, lineage: line, forked, system_id: SYSTEM }
}

pub fn roster(number: u32) -> Roster {
    let incarnations = [A, B, C].map(|m| Some(process(m).incarnation)).to_vec();
    Roster { number, incarnations, vote_floor: vec![Term(0); 3] }
}

pub fn answer(in_recovery: bool, started: i64) -> Answer {
    Answer {
        system_id: SYSTEM,
        in_recovery,
        timeline: Some(Timeline(1)),
        received: Some(Lsn(0x200)),
        replayed: Some(Lsn(0x200)),
        streaming: false,
        receiver: false,
        waits_for_wal: true,
        postmaster_started: started,
    }
}

/// One member, and every record of its log.
pub struct Member {
    pub me: MemberId,
    pub settings: Settings,
    roles: Ensemble<Role>,
    next: Seq,
    pub now: BootNanos,
    /// How far its peers' heartbeats say to have heard its log flushed; nobody heard anything: the first number.
    pub heard: Seq,
}

impl Member {
    /// Of three; `C` is a witness if asked for.
    pub fn new(me: MemberId, witness: bool) -> Self {
        let mut scenario = Scenario::default();
        scenario.members[2].witness = witness;
        let settings = scenario.settings(me);
        let now = BootNanos(1_000 * SECOND);
        let mut member = Self { me, roles: roles(&settings), settings, next: Seq(1), now, heard: Seq(0) };
        member.start(LogFound::Fresh);
        member
    }

    /// A primary that nobody ever announced, heard by all, as it asks for the votes of the first term.
    pub fn that_stands_first() -> (Self, LeaseAsk) {
        let mut first = Self::new(A, false);
        first.see(Observation::PostmasterSeen { pid: 1, sealed: false });
        first.probe_own(answer(false, 5));
        for peer in [B, C] {
            first.hear_heartbeat(peer, None, 0);
        }
        let asked = first.flushed().into_iter().find_map(|d| match d {
            Decision::VoteRequested(ask) => Some(ask.ask),
            _ => None,
        });
        (first, asked.expect("the first adoption"))
    }

    pub fn peers(&self) -> Vec<MemberId> {
        self.settings.others().collect()
    }

    pub fn start(&mut self, log: LogFound) {
        let start = ProcessStart {
            version: "0".to_owned(),
            core_revision: CORE_REVISION,
            settings: self.settings.clone(),
            configuration_digest: String::new(),
            process: process(self.me),
            log,
        };
        self.see(Observation::ProcessStarted(Box::new(start)));
        for peer in self.peers() {
            self.see(Observation::PeerConnected { member: peer, process: process(peer) });
        }
    }

    pub fn see(&mut self, observation: Observation) -> Vec<Decision> {
        self.now = self.now.plus_nanos(SECOND / 1_000);
        let actor = Actor::Daemon.number();
        let batch = Batch::begin(self.next, self.now, WallNanos(0), actor, Event::Observed(observation));
        let records = self.roles.step(batch);
        self.next = records.last().unwrap().seq.next();
        let decided = |r: &pgfo::events::Record| match &r.event {
            Event::Decided(d) => Some(d.clone()),
            Event::Observed(_) => None,
        };
        records.iter().filter_map(decided).collect()
    }

    pub fn hear(&mut self, from: MemberId, message: Message) -> Vec<Decision> {
        self.see(Observation::MessageReceived { from, sent_by: Seq(1), message })
    }

    pub fn hear_heartbeat(
        &mut self,
        from: MemberId,
        announced: Option<Announcement>,
        roster: u32,
    ) -> Vec<Decision> {
        let witness = self.settings.is_witness(from);
        let state = PostgresState {
            alive: true,
            in_recovery: Some(announced.is_none_or(|a| a.primary != from)),
            sealed: false,
            streaming: true,
            system_id: Some(SYSTEM),
            timeline: Some(
                announced.filter(|a| a.primary == from).map_or(Timeline(1), |a| a.lineage.timeline),
            ),
            received: Some(Lsn(0x200)),
            replayed: Some(Lsn(0x200)),
        };
        let incarnation = process(from).incarnation;
        let mut heard_flushed = vec![FlushedMark::default(); 3];
        if self.heard > Seq(0) {
            let incarnation = process(self.me).incarnation;
            heard_flushed[usize::from(self.me.0)] = FlushedMark { incarnation, seq: self.heard };
        }
        self.hear(
            from,
            Message::Heartbeat(Arc::new(Heartbeat {
                announced,
                verdict: Verdict::Unknown,
                term_seen: Term(0),
                roster_number: roster,
                incarnation,
                flushed: FlushedMark { incarnation, seq: Seq(1) },
                heard_flushed,
                postgres: (!witness).then_some(state),
                electable: Err(Unelectable::Primary),
                priority: 100,
                able: Ok(()),
                paused: None,
                resumed: None,
                lease_left: None,
            })),
        )
    }

    /// Everything appended so far is on the disk.
    pub fn flushed(&mut self) -> Vec<Decision> {
        let flushed = Seq(self.next.0 - 1);
        self.see(Observation::HeartbeatDue { flushed })
    }

    /// `A` leads in term 1, on timeline 1, and all are registered.
    pub fn led_by_a(&mut self) {
        self.hear(A, Message::RosterCommitted(roster(1)));
        let announced = Some(announcement(1, A, lineage(1, 1)));
        for peer in self.peers() {
            self.hear_heartbeat(peer, announced, 1);
        }
        self.flushed();
    }

    /// `A` is down, and says so itself.
    pub fn a_confirms_down(&mut self) -> Vec<Decision> {
        let boot_id = process(A).boot_id;
        self.hear(A, Message::ConfirmedDown { term: Term(1), boot_id, postmaster_started: 1 })
    }

    /// `A`, which led, is gone, and this member opens a candidacy: the term.
    pub fn stand(&mut self) -> Term {
        self.probe_own(Answer { streaming: true, ..answer(true, 5) });
        let asked = self.a_confirms_down();
        self.see(Observation::PeerDisconnected { member: A, refused: false });
        let number = asked.iter().find_map(|d| match d {
            Decision::TestimonyRequested { number, .. } => Some(*number),
            _ => None,
        });
        let testimony = Testimony {
            nonce: process(self.me).nonce,
            number: number.expect("it asks the others"),
            about: Term(1),
            verdict: Verdict::ConfirmedDown,
            promise: None,
            able: Ok(()),
            term_seen: Term(1),
            position: None,
            electable: Err(Unelectable::PriorityZero),
            priority: 0,
            roster_number: 1,
        };
        self.hear(C, Message::Testified(Box::new(testimony)));
        let opened = self.pass(Deadline::StandDue);
        let term = opened.iter().find_map(|d| match d {
            Decision::CandidacyOpened { term, .. } => Some(*term),
            _ => None,
        });
        term.expect("it stands")
    }

    /// That deadline is over by a second.
    pub fn pass(&mut self, deadline: Deadline) -> Vec<Decision> {
        self.now = self.now.plus_nanos(3 * SECOND);
        self.see(Observation::DeadlinePassed(deadline))
    }

    /// The freeze for a term is observed.
    pub fn frozen(&mut self, term: Term, lsn: u64) -> Vec<Decision> {
        self.see(Observation::FreezeCompleted { term, outcome: frozen_on(lsn, 1) })
    }

    /// The report of `C`, whose PostgreSQL may not be promoted.
    pub fn c_reports(&mut self, term: Term, lsn: u64) -> Vec<Decision> {
        let report = Message::FreezeReported {
            term,
            nonce: process(self.me).nonce,
            position: Some(Position { lineage: lineage(1, 1), lsn: Lsn(lsn) }),
            electable: Err(Unelectable::PriorityZero),
            priority: 0,
        };
        self.hear(C, report)
    }

    /// New settings are in force.
    pub fn reload(&mut self, change: impl FnOnce(&mut Settings)) -> Vec<Decision> {
        change(&mut self.settings);
        let settings = Box::new(self.settings.clone());
        self.see(Observation::SettingsChanged { settings, configuration_digest: String::new() })
    }

    /// `A`, alone out of recovery, becomes the first primary, is guarded and asks to go on.
    pub fn adopt_first(&mut self) {
        self.see(Observation::PostmasterSeen { pid: 1, sealed: false });
        self.probe_own(answer(false, 5));
        for peer in self.peers() {
            self.hear_heartbeat(peer, None, 0);
        }
        let said = self.flushed();
        let asked = said.iter().find_map(|d| match d {
            Decision::VoteRequested(ask) => Some(ask.ask),
            _ => None,
        });
        self.hear(B, Message::VoteGranted(asked.expect("the first adoption")));
        let until = self.now.plus_nanos(4 * SECOND);
        let report = pgfo::events::GuardReport::Armed { term: Term(1), until };
        self.see(Observation::GuardReported(report));
        self.flushed();
    }

    /// It asks for the next grants, and `B` grants: what that comes to.
    pub fn renew(&mut self) -> Vec<Decision> {
        let said = self.flushed();
        let asked = said.iter().find_map(|d| match d {
            Decision::RenewalRequested(ask) => Some(*ask),
            _ => None,
        });
        let Some(asked) = asked else { return said };
        self.hear(B, Message::LeaseGranted(asked))
    }

    pub fn probe_own(&mut self, answer: Answer) -> Vec<Decision> {
        let report = ProbeReport::Answered(answer);
        let (kind, none) = (ProbeKind::Heartbeat, Nanos(0));
        self.see(Observation::ProbeCompleted { target: self.me, kind, report, took: none, stalled: none })
    }
}

/// A freeze that was observed, at this position of a timeline.
pub fn frozen_on(lsn: u64, timeline: u32) -> FreezeOutcome {
    FreezeOutcome::FrozenOn {
        lsn: Some(Lsn(lsn)),
        settled: true,
        system_id: SYSTEM,
        timeline: Timeline(timeline),
    }
}

pub fn ask(from: MemberId, term: u64, number: u64, roster_number: u32) -> LeaseAsk {
    LeaseAsk {
        term: Term(term),
        number,
        duration: Nanos(5 * SECOND),
        sent_at: BootNanos(1),
        process: process(from),
        roster_number,
    }
}

pub fn vote_ask(from: MemberId, term: u64) -> Message {
    Message::VoteRequested(Box::new(VoteAsk {
        kind: CandidacyKind::Failover,
        ask: ask(from, term, 1, 1),
        position: Some(Position { lineage: lineage(1, 1), lsn: Lsn(0x200) }),
        system_id: SYSTEM,
        roster: None,
        accepts_loss: false,
    }))
}

pub fn voted(decisions: &[Decision]) -> bool {
    decisions.iter().any(|d| matches!(d, Decision::VoteGranted { .. }))
}

pub fn freezes(decisions: &[Decision]) -> bool {
    decisions.iter().any(|d| matches!(d, Decision::FreezePromised { .. }))
}
