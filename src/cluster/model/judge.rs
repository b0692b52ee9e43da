//! What must hold in every state, by DESIGN's names, and what must be reached for a model to be worth
//! anything. The predicates are those of the simulator's invariants, over a state instead of a run.

use super::state::{Cast, State};
use super::steps::ClusterModel;
use crate::core::{Effect, MemberId, Quorum};
use crate::events::{CandidacyKind, Decision, Message};
use std::sync::atomic::Ordering;

/// The invariants: name and what it says.
pub const INVARIANTS: [(&str, &str); 7] = [
    ("S1", "at most one member wins an election in a term"),
    ("S2", "never two PostgreSQL accept writes at one instant"),
    ("S3", "the terms a member voted in never fall, across crashes too"),
    ("S4", "one vote per term and member, across crashes, and lost logs too"),
    ("S6", "the promoted position is at least that of every voter that elected it"),
    ("S7", "no promotion without the votes of a quorum of registered voters"),
    ("S8", "a member that may have forgotten neither votes nor grants until it is registered anew"),
];

impl State {
    /// Returns how an invariant, by its place in [`INVARIANTS`], was broken on the way here.
    #[must_use]
    pub fn broken(&self, invariant: usize) -> Option<&str> {
        self.ghosts.broken.as_ref().filter(|b| usize::from(b.0) == invariant).map(|b| b.1.as_str())
    }

    fn break_it(&mut self, name: &str, how: String) {
        let at = INVARIANTS.iter().position(|i| i.0 == name).unwrap_or_default();
        if self.ghosts.broken.is_none() && self.ghosts.unjudged >> at & 1 == 0 {
            self.ghosts.broken = Some((u8::try_from(at).unwrap_or_default(), how));
        }
    }

    /// S2, once everything of an action is done.
    pub(super) fn judge_writers(&mut self) {
        let writes = |s: &Self, i: usize| s.hosts[i].postgres.is_some_and(|p| p.writes());
        let writers: Vec<usize> = (0..self.hosts.len()).filter(|i| writes(self, *i)).collect();
        if writers.len() > 1 {
            self.break_it("S2", format!("members {writers:?} accept writes"));
        }
    }

    /// S3: what a process that starts remembers.
    pub(super) fn judge_memory(&mut self, id: MemberId) {
        let host = &self.hosts[usize::from(id.0)];
        let voted = self.ghosts.votes.iter().filter(|v| v.voter == id).map(|v| v.term).max();
        let seen = host.mind.ledger().term_seen();
        if let Some(voted) = voted.filter(|v| seen < *v) {
            self.break_it(
                "S3",
                format!("member {} came back with term {seen}, having voted in {voted}", id.0),
            );
        }
    }
}

impl ClusterModel {
    pub(super) fn judge_decision(&self, s: &mut State, id: MemberId, decision: &Decision) {
        match decision {
            Decision::VoteGranted { candidate, ask, own, loss_bytes, .. } => {
                let counts = own.is_some() && *loss_bytes == 0;
                let nonce = ask.process.nonce;
                let cast = Cast { voter: id, term: ask.term, candidate: *candidate, nonce, counts };
                let before = s.ghosts.votes.iter().find(|v| v.voter == id && v.term == ask.term).copied();
                match before {
                    Some(v) if (v.candidate, v.nonce) != (*candidate, nonce) => {
                        s.break_it("S4", format!("member {} voted twice in term {}", id.0, ask.term));
                    }
                    Some(_) => {}
                    None => {
                        let highest = s.ghosts.votes.iter().filter(|v| v.voter == id).map(|v| v.term).max();
                        if let Some(h) = highest.filter(|h| ask.term < *h) {
                            s.break_it("S3", format!("member {} voted in {} after {h}", id.0, ask.term));
                        }
                        s.ghosts.votes.push(cast);
                        s.ghosts.votes.sort_by_key(|v| (v.voter, v.term));
                    }
                }
            }
            Decision::ElectionWon { term, voters, kind, .. } => {
                self.judge_winner(s, id, *term);
                if *kind == CandidacyKind::Failover {
                    Self::judge_position(s, id, *term, voters);
                }
            }
            Decision::PrimaryAnnounced(a) => self.judge_winner(s, id, a.term),
            Decision::RosterCommitted(roster) => {
                for member in self.bounds.ids() {
                    let told = roster.incarnations.get(usize::from(member.0)).copied().flatten();
                    let is = s.hosts[usize::from(member.0)].mind.ledger().process.incarnation;
                    if told == Some(is) {
                        s.ghosts.forgot &= !(1 << member.0);
                    }
                }
            }
            _ => {}
        }
    }

    fn judge_winner(&self, s: &mut State, id: MemberId, term: crate::core::Term) {
        match s.ghosts.winners.iter().find(|w| w.0 == term) {
            Some((_, first)) if *first == id => {}
            Some((_, first)) => {
                let how = format!("term {term} was won by member {} and by member {}", first.0, id.0);
                s.break_it("S1", how);
            }
            None => {
                s.ghosts.winners.push((term, id));
                s.ghosts.winners.sort_unstable();
            }
        }
    }

    /// S6: who had no position to compare, or recorded a loss (E7), is left out.
    fn judge_position(s: &mut State, id: MemberId, term: crate::core::Term, voters: &[MemberId]) {
        let Some(winner) = s.hosts[usize::from(id.0)].postgres else { return };
        for voter in voters.iter().filter(|v| **v != id) {
            let counts = s.ghosts.votes.iter().any(|v| v.voter == *voter && v.term == term && v.counts);
            let Some(p) = s.hosts[usize::from(voter.0)].postgres.filter(|_| counts) else { continue };
            if p.line == winner.line && p.lsn > winner.lsn {
                let how =
                    format!("member {} won at {}, its voter {} is at {}", id.0, winner.lsn, voter.0, p.lsn);
                return s.break_it("S6", how);
            }
        }
    }

    pub(super) fn judge_effect(&self, s: &mut State, id: MemberId, effect: &Effect) {
        match effect {
            Effect::Promote { term, .. } => {
                let votes = s.ghosts.votes.iter().filter(|v| v.term == *term && v.candidate == id).count();
                let needed = Quorum::of(self.settings(id)).needed();
                if votes < needed {
                    s.break_it("S7", format!("member {} promotes in term {term} with {votes} votes", id.0));
                }
            }
            Effect::Send { message: Message::VoteGranted(_) | Message::LeaseGranted(_), .. }
                if s.ghosts.forgot >> id.0 & 1 == 1 =>
            {
                s.break_it("S8", format!("member {} lost its log, and binds itself", id.0));
            }
            _ => {}
        }
    }
}

/// A mark that no state shows, because what it is about changes nothing that counts later.
pub const REFUSED: &str = "a vote, a freeze or a lease was refused";
/// The same, for want of registration.
pub const UNREGISTERED: &str = "a forgetful member was refused or refused";
/// A voter's process ended after it had voted.
pub const RESTARTED: &str = "a voter restarted after its vote";
/// A crash took back what was not flushed, and that made a difference.
pub const LOST: &str = "a member came back without what it had not flushed";

/// The marks that no state shows.
pub const PASSING: [&str; 4] = [REFUSED, UNREGISTERED, RESTARTED, LOST];

impl ClusterModel {
    /// Returns whether a mark that no state shows was seen so far.
    #[must_use]
    pub fn passed(&self, mark: &str) -> bool {
        let at = PASSING.iter().position(|m| *m == mark);
        at.is_some_and(|at| self.passing[at].load(Ordering::Relaxed))
    }

    pub(super) fn pass(&self, mark: &str) {
        if let Some(at) = PASSING.iter().position(|m| *m == mark) {
            self.passing[at].store(true, Ordering::Relaxed);
        }
    }
}

/// What a model should reach; a model that reaches nothing shows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Marks;

/// A state that is worth reaching.
type Mark = (&'static str, fn(&State) -> bool);

impl Marks {
    /// All of them.
    pub const ALL: [Mark; 8] = [
        ("a standby was elected", |s| s.ghosts.winners.len() > 1),
        ("two elections were won", |s| s.ghosts.winners.len() > 2),
        ("a standby was promoted", |s| s.hosts[1..].iter().any(|h| h.postgres.is_some_and(|p| p.writes()))),
        ("two members stood in one term", |s| {
            let asks = || {
                s.network.iter().filter_map(|e| match &e.message {
                    Message::VoteRequested(ask) => Some((ask.ask.term, e.from)),
                    _ => None,
                })
            };
            asks().any(|(t, m)| asks().any(|(t2, m2)| t == t2 && m != m2))
        }),
        ("the guard fenced at the lease's end", |s| {
            s.spent.deaths == 0
                && s.spent.ticks > 0
                && s.hosts[0].postgres.is_some_and(|p| p.sealed && !p.up)
                && s.hosts[0].tasks.contains(&super::state::Task::TellItIsGone)
        }),
        ("a tenure was released", |s| {
            s.network.iter().any(|e| matches!(e.message, Message::LeaseReleased { .. }))
        }),
        ("a promotion's outcome was not known", |s| s.spent.promotion_faults > 0),
        ("a standby followed the winner", |s| {
            s.hosts.iter().any(|h| h.postgres.is_some_and(|p| p.in_recovery && p.line > 0))
        }),
    ];

    /// Returns a mark by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Mark> {
        Self::ALL.into_iter().find(|m| m.0 == name)
    }
}
