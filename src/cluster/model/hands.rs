//! What the hands of a daemon do when they are told to, and what they tell of it.

use super::actions::Mishap;
use super::state::{Line, State, Task};
use super::steps::ClusterModel;
use crate::core::{Lsn, MemberId, Nanos, Term, Timeline};
use crate::events::{FenceOutcome, FollowOutcome, FreezeOutcome, Observation, PromotionOutcome};

impl ClusterModel {
    pub(super) fn work(&self, s: &mut State, id: MemberId, task: Task) {
        let host = &mut s.hosts[usize::from(id.0)];
        host.tasks.remove(&task);
        s.touched = true;
        match task {
            Task::TellItIsGone => {
                let sealed = host.postgres.is_some_and(|p| p.sealed);
                self.observe(s, id, &Observation::PostmasterGone { sealed });
            }
            Task::Fence => {
                host.guard.begin_fence();
                host.guard.fencing = false;
                Self::go_down(s, id, true);
                s.hosts[usize::from(id.0)].tasks.remove(&Task::TellItIsGone);
                let outcome = FenceOutcome {
                    sealed: true,
                    nothing_left: true,
                    killed: 0,
                    took: Nanos(0),
                    trouble: None,
                };
                self.observe(s, id, &Observation::FenceCompleted(outcome));
            }
            Task::Freeze(term) => {
                let Some(p) = &mut host.postgres else { return };
                let outcome = if !p.up {
                    FreezeOutcome::NothingRuns
                } else if p.in_recovery {
                    p.receiver = None;
                    let answer = p.answer(&s.lines);
                    let (lsn, system_id) = (answer.lsn(), answer.system_id);
                    FreezeOutcome::Frozen { lsn, settled: true, system_id }
                } else {
                    FreezeOutcome::NotObserved { why: "it is no standby".to_owned() }
                };
                self.observe(s, id, &Observation::FreezeCompleted { term, outcome });
            }
            Task::Promote(term, _) => self.promote(s, id, term, None),
            Task::Follow(term, primary) => self.follow(s, id, term, primary),
            Task::CatchUp(term, from) => self.catch_up(s, id, term, from),
        }
    }

    pub(super) fn promote(&self, s: &mut State, id: MemberId, term: Term, mishap: Option<Mishap>) {
        let host = &mut s.hosts[usize::from(id.0)];
        let of_term = |t: &Task| matches!(t, Task::Promote(of, _) if *of == term);
        let named = host.tasks.iter().find(|t| of_term(t)).copied();
        host.tasks.retain(|t| !of_term(t));
        s.touched = true;
        s.spent.promotion_faults += u8::from(mishap.is_some());
        let Some(p) = &mut host.postgres else { return };
        if let Some(Task::Promote(_, Some(asked))) = named
            && p.up
            && asked != p.started
        {
            let outcome = PromotionOutcome::Refused { asked, found: p.started };
            return self.observe(s, id, &Observation::PromotionCompleted { term, outcome, commands: vec![] });
        }
        let happens = p.up && p.in_recovery && mishap != Some(Mishap::NotDoneButUnknown);
        if happens {
            let parent = Some((p.line, p.lsn));
            let timeline = s.lines[usize::from(p.line)].timeline + 1;
            p.line = u8::try_from(s.lines.len()).unwrap_or(u8::MAX);
            p.in_recovery = false;
            p.sealed = false;
            p.receiver = None;
            s.lines.push(Line { parent, timeline });
        }
        let line = s.lines[usize::from(p.line)];
        let outcome = match mishap {
            Some(Mishap::DoneUntold) => return,
            Some(_) => PromotionOutcome::Unknown { why: "no answer in time".to_owned() },
            None if p.writes() => PromotionOutcome::Promoted {
                timeline: Timeline(line.timeline),
                switched_at: Lsn(line.parent.map_or(p.lsn, |(_, at)| at)),
                system_id: p.answer(&s.lines).system_id,
            },
            None => PromotionOutcome::Failed { why: "it does not run".to_owned() },
        };
        self.observe(s, id, &Observation::PromotionCompleted { term, outcome, commands: vec![] });
    }

    fn follow(&self, s: &mut State, id: MemberId, term: Term, primary: MemberId) {
        let source = s.hosts[usize::from(primary.0)].postgres;
        let lines = &s.lines;
        let Some(p) = &mut s.hosts[usize::from(id.0)].postgres else { return };
        let outcome = match source.filter(|q| q.writes() && p.up && p.in_recovery) {
            None => FollowOutcome::Failed { why: "nobody is there".to_owned() },
            Some(q) => {
                let fork = lines[usize::from(q.line)].parent.filter(|(line, _)| *line == p.line);
                if q.line == p.line || fork.is_some_and(|(_, at)| p.lsn <= at) {
                    p.line = q.line;
                    p.receiver = Some(primary);
                    let timeline = Timeline(lines[usize::from(q.line)].timeline);
                    FollowOutcome::Streaming { timeline, lsn: Some(Lsn(p.lsn)) }
                } else {
                    FollowOutcome::Diverged { why: "it is past the fork".to_owned() }
                }
            }
        };
        self.observe(s, id, &Observation::FollowCompleted { term, outcome, commands: vec![] });
    }

    fn catch_up(&self, s: &mut State, id: MemberId, term: Term, from: MemberId) {
        let source = s.hosts[usize::from(from.0)].postgres;
        let timeline = |line: u8| Timeline(s.lines[usize::from(line)].timeline);
        let Some(p) = s.hosts[usize::from(id.0)].postgres else { return };
        let outcome = match source.filter(|q| q.up && q.line == p.line && p.up) {
            Some(q) => FollowOutcome::Streaming { timeline: timeline(q.line), lsn: Some(Lsn(q.lsn)) },
            None => FollowOutcome::Failed { why: "it has another history".to_owned() },
        };
        if let (FollowOutcome::Streaming { lsn: Some(lsn), .. }, Some(p)) =
            (&outcome, &mut s.hosts[usize::from(id.0)].postgres)
        {
            p.lsn = p.lsn.max(lsn.0);
        }
        self.observe(s, id, &Observation::CatchUpCompleted { term, outcome });
    }

    pub(super) fn stream(s: &mut State, id: MemberId) {
        let at = usize::from(id.0);
        let Some(p) = s.hosts[at].postgres else { return };
        let source = p.receiver.and_then(|r| s.hosts[usize::from(r.0)].postgres);
        if let Some(q) = source.filter(|q| q.up && q.line == p.line && q.lsn > p.lsn && p.up)
            && let Some(p) = &mut s.hosts[at].postgres
        {
            p.lsn = q.lsn;
            s.touched = true;
        }
    }
}
