//! The machine's rules, one test each; time is a number of milliseconds.

use super::*;
use crate::guard::protocol::{ProcessId, RequestNumber, StartTicks};

const DAEMON: ClientId = ClientId(1);
const SUCCESSOR: ClientId = ClientId(2);
const FIRST: Incarnation = Incarnation(0xA);
const SECOND: Incarnation = Incarnation(0xB);
const RESERVE: Nanos = Nanos::from_millis(500);

struct Guard(Machine);

fn ms(millis: u64) -> BootNanos {
    BootNanos(millis * 1_000_000)
}

fn asker(client: ClientId) -> Asker {
    Asker { client, number: RequestNumber(1) }
}

fn outcome(sealed: bool, left: u32) -> FenceOutcome {
    FenceOutcome {
        sealed,
        seal_error: None,
        killed: 1,
        scans: 4,
        left,
        uninterruptible: left,
        started: ms(0),
        took: Nanos(1),
    }
}

fn postmaster(pid: i32) -> Postmaster {
    Postmaster { pid: ProcessId(pid), start: StartTicks(1) }
}

impl Guard {
    fn idle() -> Self {
        Self(Machine::new(RESERVE))
    }

    /// Armed by the first daemon at 1 s, for a term, until a deadline.
    fn armed(term: u64, deadline: u64) -> Self {
        let mut guard = Self::idle();
        guard.hello(1_000, DAEMON, FIRST);
        assert_eq!(guard.arm(1_000, term, deadline), Reply::Ok);
        guard
    }

    fn fenced(term: u64) -> Self {
        let mut guard = Self::armed(term, 5_000);
        assert!(fences(&guard.step(4_500, Input::Instant)));
        guard.step(4_600, Input::FenceEnded(outcome(true, 0)));
        guard
    }

    fn step(&mut self, now: u64, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.0.step(ms(now), input, &mut out);
        out
    }

    fn ask(&mut self, now: u64, client: ClientId, request: Request) -> Vec<Action> {
        self.step(now, Input::Asked(asker(client), request))
    }

    fn hello(&mut self, now: u64, client: ClientId, incarnation: Incarnation) {
        assert_eq!(reply(&self.ask(now, client, Request::Hello { incarnation })), Reply::Ok);
    }

    fn arm_as(
        &mut self,
        now: u64,
        client: ClientId,
        inc: Incarnation,
        term: u64,
        deadline: u64,
    ) -> Vec<Action> {
        self.ask(now, client, Request::Arm { term: Term(term), deadline: ms(deadline), incarnation: inc })
    }

    fn arm(&mut self, now: u64, term: u64, deadline: u64) -> Reply {
        reply(&self.arm_as(now, DAEMON, FIRST, term, deadline))
    }

    fn release(&mut self, now: u64, term: u64, sealed: bool, left: u32) -> Reply {
        let asked = self.ask(now, DAEMON, Request::Release { term: Term(term) });
        assert!(asked.contains(&Action::CheckRelease(asker(DAEMON), Term(term))));
        reply(&self.step(now, Input::ReleaseChecked { asker: asker(DAEMON), term: Term(term), sealed, left }))
    }

    fn deadline(&self) -> Option<BootNanos> {
        self.0.status(ms(0)).deadline()
    }
}

fn reply(actions: &[Action]) -> Reply {
    actions
        .iter()
        .find_map(|a| match a {
            Action::Reply(_, reply) => Some(reply.clone()),
            _ => None,
        })
        .expect("a reply")
}

fn fences(actions: &[Action]) -> bool {
    actions.iter().any(|a| matches!(a, Action::Fence { .. }))
}

fn refused(refusal: Refusal) -> Reply {
    Reply::Refused(refusal)
}

#[test]
fn fences_at_the_deadline_less_the_reserve_and_not_before() {
    let mut guard = Guard::armed(3, 5_000);
    assert_eq!(guard.0.wake_at(), Some(ms(4_500)));
    assert!(!fences(&guard.step(4_499, Input::Instant)));
    let actions = guard.step(4_500, Input::Instant);
    let why = FenceReason::Deadline { deadline: ms(5_000), late: Nanos(0) };
    assert_eq!(
        actions,
        [
            Action::Notify(Notice::FenceStarted { why: why.clone() }),
            Action::Fence { why, by: Some(ms(5_000)) }
        ]
    );
}

#[test]
fn whatever_arrives_after_the_deadline_the_fence_comes_first() {
    let extension = Request::Arm { term: Term(3), deadline: ms(20_000), incarnation: FIRST };
    let inputs = [
        Input::Instant,
        Input::Asked(asker(DAEMON), extension),
        Input::Asked(asker(DAEMON), Request::StandDown { why: "late".into() }),
        Input::Asked(asker(SUCCESSOR), Request::Hello { incarnation: SECOND }),
        Input::ClientGone(DAEMON),
        Input::TerminationAsked,
        Input::Looked { sealed: Some(false), postmaster: None },
        Input::HostStalled(Nanos(1)),
    ];
    for input in inputs {
        let mut guard = Guard::armed(3, 5_000);
        let actions = guard.step(9_000, input.clone());
        assert!(matches!(actions[1], Action::Fence { .. }), "{input:?}: {actions:?}");
        assert!(!actions.contains(&Action::Exit));
        assert!(
            !matches!(reply_if_any(&actions), Some(Reply::Ok))
                || matches!(input, Input::Asked(_, Request::Hello { .. }))
        );
        assert!(matches!(guard.0.state(), GuardState::Fenced { term: Term(3), .. }), "{input:?}");
    }
}

fn reply_if_any(actions: &[Action]) -> Option<Reply> {
    actions.iter().any(|a| matches!(a, Action::Reply(..))).then(|| reply(actions))
}

#[test]
fn extensions_move_the_deadline_forwards_only() {
    let mut guard = Guard::armed(3, 5_000);
    for (asked, held) in [(6_000, 6_000), (5_500, 6_000), (1_500, 6_000), (6_001, 6_001)] {
        assert_eq!(guard.arm(1_200, 3, asked), Reply::Ok);
        assert_eq!(guard.deadline(), Some(ms(held)));
    }
}

#[test]
fn no_deadline_counts_as_expired_once_armed() {
    let mut guard = Guard::armed(3, 5_000);
    let actions = guard.arm_as(1_200, DAEMON, FIRST, 3, 0);
    assert!(fences(&actions));
    assert_eq!(reply(&actions), refused(Refusal::DeadlineLost));
    assert_eq!(Guard::idle().arm(1_000, 3, 0), refused(Refusal::NotCurrentDaemon));
}

#[test]
fn an_impossible_deadline_neither_arms_nor_disarms() {
    let mut guard = Guard::idle();
    guard.hello(1_000, DAEMON, FIRST);
    assert_eq!(guard.arm(1_000, 3, 0), refused(Refusal::DeadlinePassed { now: ms(1_000) }));
    assert_eq!(guard.arm(1_000, 3, 1_500), refused(Refusal::DeadlinePassed { now: ms(1_000) }));
    assert_eq!(guard.arm(1_000, 3, 1_000 + 600_001), refused(Refusal::DeadlineTooFar));
    assert_eq!(guard.0.state(), &GuardState::Idle);
    assert_eq!(guard.arm(1_000, 3, 5_000), Reply::Ok);
    assert_eq!(guard.arm(1_000, 3, u64::MAX / 1_000_000), refused(Refusal::DeadlineTooFar));
    assert_eq!(guard.deadline(), Some(ms(5_000)));
}

#[test]
fn a_new_daemon_extends_only_with_its_own_grants() {
    let mut guard = Guard::armed(3, 5_000);
    guard.hello(1_100, SUCCESSOR, SECOND);
    assert_eq!(guard.deadline(), Some(ms(5_000)), "a hello changes no deadline");
    assert_eq!(guard.arm(1_200, 3, 9_000), refused(Refusal::NotCurrentDaemon));
    let foreign = guard.arm_as(1_200, SUCCESSOR, FIRST, 3, 9_000);
    assert_eq!(reply(&foreign), refused(Refusal::OtherIncarnation));
    assert_eq!(guard.deadline(), Some(ms(5_000)));
    assert_eq!(reply(&guard.arm_as(1_300, SUCCESSOR, SECOND, 3, 9_000)), Reply::Ok);
    assert_eq!(guard.deadline(), Some(ms(9_000)));
}

#[test]
fn the_same_incarnation_from_another_connection_is_a_successor_too() {
    let mut guard = Guard::armed(3, 5_000);
    guard.hello(1_100, SUCCESSOR, FIRST);
    assert_eq!(guard.arm(1_200, 3, 9_000), refused(Refusal::NotCurrentDaemon));
    assert_eq!(reply(&guard.arm_as(1_200, SUCCESSOR, FIRST, 3, 9_000)), Reply::Ok);
}

#[test]
fn a_lost_daemon_changes_no_deadline_and_must_say_hello_again() {
    let mut guard = Guard::armed(3, 5_000);
    assert_eq!(guard.step(1_200, Input::ClientGone(DAEMON)), []);
    assert_eq!(guard.deadline(), Some(ms(5_000)));
    assert_eq!(guard.arm(1_300, 3, 9_000), refused(Refusal::NotCurrentDaemon));
    assert!(fences(&guard.step(4_500, Input::Instant)));
}

#[test]
fn a_fenced_term_is_never_armed_again_and_a_higher_one_may_be() {
    let mut guard = Guard::fenced(3);
    for term in [0, 1, 3] {
        assert_eq!(guard.arm(5_000, term, 9_000), refused(Refusal::TermEnded { ended: Term(3) }));
    }
    assert_eq!(guard.arm(5_000, 4, 9_000), Reply::Ok);
    assert_eq!(guard.0.wake_at(), Some(ms(8_500)));
}

#[test]
fn a_higher_term_takes_its_own_deadline_and_a_lower_one_none() {
    let mut guard = Guard::armed(3, 5_000);
    assert_eq!(guard.arm(1_100, 4, 4_000), Reply::Ok);
    assert_eq!(guard.deadline(), Some(ms(4_000)));
    assert_eq!(guard.arm(1_200, 3, 9_000), refused(Refusal::TermLower { highest: Term(4) }));
}

#[test]
fn release_needs_the_seal_and_no_process_and_ends_the_tenure() {
    let mut guard = Guard::armed(3, 5_000);
    assert_eq!(guard.release(1_100, 3, false, 0), refused(Refusal::NotSealed));
    assert_eq!(guard.release(1_100, 3, true, 2), refused(Refusal::ProcessesLeft { count: 2 }));
    assert_eq!(guard.deadline(), Some(ms(5_000)));
    assert_eq!(guard.release(1_100, 3, true, 0), Reply::Ok);
    assert_eq!(guard.0.state(), &GuardState::Idle);
    assert_eq!(guard.0.wake_at(), None);
    assert_eq!(guard.arm(1_200, 3, 5_000), refused(Refusal::TermEnded { ended: Term(3) }));
    assert_eq!(guard.arm(1_200, 4, 5_000), Reply::Ok);
}

#[test]
fn releasing_an_older_term_leaves_the_armed_one() {
    let mut guard = Guard::armed(3, 5_000);
    assert_eq!(guard.arm(1_100, 4, 6_000), Reply::Ok);
    assert_eq!(guard.release(1_100, 3, false, 9), Reply::Ok);
    assert_eq!(guard.deadline(), Some(ms(6_000)));
}

#[test]
fn a_fenced_term_is_released_also_when_a_read_only_postgres_runs_again() {
    let mut guard = Guard::fenced(3);
    assert_eq!(guard.release(5_000, 3, true, 7), Reply::Ok);
    assert_eq!(guard.0.state(), &GuardState::Idle);
    let looked = Input::Looked { sealed: Some(false), postmaster: Some(postmaster(7)) };
    assert!(!fences(&guard.step(5_100, looked)), "a rewind may take the seal off now");
}

#[test]
fn an_incomplete_fence_is_repeated_and_excludes_standing_down_and_release() {
    let mut guard = Guard::armed(3, 5_000);
    guard.step(4_500, Input::Instant);
    let ended = guard.step(4_600, Input::FenceEnded(outcome(false, 1)));
    assert!(ended.contains(&Action::Notify(Notice::Fenced { outcome: outcome(false, 1) })));
    assert_eq!(guard.0.wake_at(), Some(ms(4_800)));
    let stand_down = guard.ask(4_650, DAEMON, Request::StandDown { why: "x".into() });
    assert_eq!(reply(&stand_down), refused(Refusal::FenceIncomplete));
    assert_eq!(guard.release(4_660, 3, true, 0), refused(Refusal::FenceIncomplete));
    assert!(!fences(&guard.step(4_799, Input::Instant)));
    let again = guard.step(4_800, Input::Instant);
    assert_eq!(again, [Action::Fence { why: FenceReason::Incomplete, by: None }]);
    // The same outcome is not told twice; a better one is.
    assert_eq!(guard.step(4_900, Input::FenceEnded(outcome(false, 1))), [Action::Look]);
    guard.step(5_200, Input::Instant);
    let done = guard.step(5_300, Input::FenceEnded(outcome(true, 0)));
    assert!(done.contains(&Action::Notify(Notice::Fenced { outcome: outcome(true, 0) })));
    assert_eq!(guard.0.wake_at(), None);
}

#[test]
fn what_comes_back_unsealed_after_a_fence_is_fenced_again() {
    let mut guard = Guard::fenced(3);
    let alive = Some(postmaster(7));
    assert!(!fences(&guard.step(6_000, Input::Looked { sealed: Some(true), postmaster: alive })));
    assert!(!fences(&guard.step(6_000, Input::Looked { sealed: None, postmaster: alive })));
    let lost = guard.step(6_100, Input::Looked { sealed: Some(false), postmaster: alive });
    assert_eq!(
        lost,
        [Action::Notify(Notice::SealLost), Action::Fence { why: FenceReason::SealLost, by: None }]
    );
    assert!(!fences(&guard.step(6_200, Input::Looked { sealed: Some(false), postmaster: alive })));
    guard.step(6_300, Input::FenceEnded(outcome(true, 0)));
    assert!(matches!(guard.0.state(), GuardState::Fenced { why: FenceReason::Deadline { .. }, .. }));
}

#[test]
fn an_armed_guard_lets_a_promotion_take_the_seal_off() {
    let mut guard = Guard::fenced(3);
    assert_eq!(guard.arm(5_000, 4, 9_000), Reply::Ok);
    assert!(!fences(
        &guard.step(5_100, Input::Looked { sealed: Some(false), postmaster: Some(postmaster(7)) })
    ));
}

#[test]
fn a_fence_that_was_asked_for_is_answered_when_it_ends() {
    for mut guard in [Guard::idle(), Guard::armed(3, 5_000), Guard::fenced(3)] {
        let asked = guard.ask(1_200, DAEMON, Request::Fence { why: "switchover".into() });
        assert!(fences(&asked));
        assert_eq!(reply_if_any(&asked), None);
        let ended = guard.step(5_000, Input::FenceEnded(outcome(true, 0)));
        assert_eq!(reply(&ended), Reply::Fenced(outcome(true, 0)));
        assert!(matches!(guard.0.state(), GuardState::Fenced { why: FenceReason::Asked(_), .. }));
    }
}

#[test]
fn standing_down_disarms_and_the_same_term_may_be_armed_again() {
    let mut guard = Guard::armed(3, 5_000);
    assert_eq!(reply(&guard.ask(1_100, DAEMON, Request::StandDown { why: "upgrade".into() })), Reply::Ok);
    assert_eq!(guard.step(60_000, Input::Instant), []);
    assert_eq!(guard.0.wake_at(), None);
    assert_eq!(guard.arm(60_000, 2, 65_000), refused(Refusal::TermLower { highest: Term(3) }));
    assert_eq!(guard.arm(60_000, 3, 65_000), Reply::Ok);
}

#[test]
fn a_fence_after_standing_down_ends_the_tenure_stood_down_from() {
    let mut guard = Guard::armed(3, 5_000);
    guard.ask(1_100, DAEMON, Request::StandDown { why: "upgrade".into() });
    guard.ask(1_200, SUCCESSOR, Request::Fence { why: "told".into() });
    guard.step(1_300, Input::FenceEnded(outcome(true, 0)));
    assert_eq!(guard.arm(1_400, 3, 5_000), refused(Refusal::TermEnded { ended: Term(3) }));
}

#[test]
fn sigterm_ends_only_a_guard_that_guards_nothing() {
    let mut stood_down = Guard::armed(3, 5_000);
    stood_down.ask(1_100, DAEMON, Request::StandDown { why: "x".into() });
    assert_eq!(stood_down.step(1_200, Input::TerminationAsked), [Action::Exit]);
    assert_eq!(Guard::idle().step(1_200, Input::TerminationAsked), [Action::Exit]);
    for mut guard in [Guard::armed(3, 5_000), Guard::fenced(3)] {
        assert!(matches!(guard.step(1_200, Input::TerminationAsked)[..], [Action::Log(_)]));
    }
}

#[test]
fn a_standstill_fences_only_when_long_and_armed() {
    assert!(fences(&Guard::armed(3, 5_000).step(1_100, Input::HostStalled(STALL_MAX))));
    assert!(!fences(&Guard::armed(3, 5_000).step(1_100, Input::HostStalled(Nanos(STALL_MAX.0 - 1)))));
    assert_eq!(Guard::idle().step(1_100, Input::HostStalled(STALL_MAX)), []);
}

#[test]
fn the_postmaster_is_told_of_once_when_seen_and_once_when_gone() {
    let mut guard = Guard::idle();
    let look = |p| Input::Looked { sealed: Some(false), postmaster: p };
    let seen = |pid| Action::Notify(Notice::PostmasterSeen { postmaster: postmaster(pid) });
    let gone = |pid, at| Action::Notify(Notice::PostmasterGone { postmaster: postmaster(pid), at: ms(at) });
    assert_eq!(guard.step(1, look(None)), []);
    assert_eq!(guard.step(2, look(Some(postmaster(7)))), [seen(7)]);
    assert_eq!(guard.step(3, look(Some(postmaster(7)))), []);
    assert_eq!(guard.step(4, Input::PostmasterEnded(postmaster(7))), [gone(7, 4), Action::Look]);
    assert_eq!(guard.step(5, Input::PostmasterEnded(postmaster(7))), []);
    guard.step(6, look(Some(postmaster(8))));
    assert_eq!(guard.step(7, look(Some(postmaster(9)))), [gone(8, 7), seen(9)]);
    let watch = guard.ask(8, SUCCESSOR, Request::Watch);
    assert!(
        watch.contains(&Action::NotifyOne(SUCCESSOR, Notice::PostmasterSeen { postmaster: postmaster(9) }))
    );
    assert!(watch.contains(&Action::Subscribe(SUCCESSOR)) && watch.contains(&Action::Look));
}

#[test]
fn sealing_alone_reports_and_changes_nothing_else() {
    let mut guard = Guard::armed(3, 5_000);
    assert_eq!(guard.ask(1_100, DAEMON, Request::SealOnly), [Action::Seal(asker(DAEMON))]);
    let done = guard.step(1_200, Input::SealTried(asker(DAEMON), Ok(())));
    assert_eq!(reply(&done), Reply::Ok);
    let failed = guard.step(1_200, Input::SealTried(asker(DAEMON), Err("read-only".into())));
    assert_eq!(reply(&failed), refused(Refusal::SealFailed { why: "read-only".into() }));
    assert_eq!(guard.deadline(), Some(ms(5_000)));
}
