//! What a primary, and whoever watches it, makes of what it sees: stepped record by record.

use member_support::{
    A, B, C, Member, SECOND, SYSTEM, announcement, answer, ask, lineage, process, roster, voted,
};
use pgfo::core::{Incarnation, MemberId, Nanos, Term};
use pgfo::events::{
    Announcement, CandidacyKind, Decision, FenceReason, FlushedMark, GuardReport, Heartbeat, LogFound,
    Message, Observation, OperatorRequest, PauseId, PostgresState, ProbeFailure, ProbeKind, ProbeReport,
    Refusal, SignOfLife, Unelectable, Verdict, VoteAsk,
};
use pgfo_replay::Seq;
use std::sync::Arc;

mod member_support;

fn extends(decisions: &[Decision]) -> bool {
    decisions.iter().any(|d| matches!(d, Decision::LeaseExtended { .. }))
}

/// `A` leads, and a quorum has agreed that its daemon ends.
fn pause_confirmed() -> Member {
    let mut a = Member::new(A, false);
    a.adopt_first();
    assert!(extends(&a.renew()));
    let said = a.see(Observation::OperatorRequested(OperatorRequest::Stop));
    let pause = said.iter().find_map(|d| match d {
        Decision::PauseRequested(pause) => Some(*pause),
        _ => None,
    });
    let said = a.hear(B, Message::PauseAgreed(pause.expect("it asks for a pause")));
    assert!(said.iter().any(|d| matches!(d, Decision::PauseConfirmed { .. })), "{said:?}");
    a
}

#[test]
fn a_guard_that_was_told_to_stand_down_is_not_armed_again() {
    let mut a = pause_confirmed();
    a.now = a.now.plus_nanos(SECOND);
    assert!(!extends(&a.renew()), "while the guard stands down");
    let said = a.see(Observation::GuardReported(GuardReport::StoodDown));
    assert!(said.contains(&Decision::StopAllowed), "{said:?}");
    a.now = a.now.plus_nanos(SECOND);
    assert!(!extends(&a.renew()), "while the daemon ends");

    // A daemon that stays goes on at once: its lease may be over in a moment.
    let mut a = pause_confirmed();
    a.now = a.now.plus_nanos(2 * SECOND);
    a.renew();
    let said = a.see(Observation::GuardReported(GuardReport::Lost));
    assert!(said.iter().any(|d| matches!(d, Decision::StopRefused { .. })), "{said:?}");
    assert!(extends(&said), "{said:?}");
    a.now = a.now.plus_nanos(SECOND);
    assert!(extends(&a.renew()));
}

#[test]
fn who_may_have_forgotten_lets_nobody_write() {
    let writes = |log: LogFound| {
        let mut b = Member::new(B, false);
        b.start(log);
        let said = b.probe_own(answer(false, 5));
        let fence = |d: &Decision| matches!(d, Decision::FenceOrdered { why: FenceReason::NoLease, .. });
        !said.iter().any(fence)
    };
    assert!(writes(LogFound::Fresh), "a cluster that nobody has adopted yet");
    assert!(!writes(LogFound::PutAside { path: "aside".to_owned(), why: "damaged".to_owned() }));
    assert!(!writes(LogFound::TailLost { head: Seq(9) }));
}

fn heartbeat_of(member: MemberId, about_b: FlushedMark) -> Message {
    heartbeat_with(member, about_b, None)
}

fn heartbeat_with(member: MemberId, about_b: FlushedMark, resumed: Option<PauseId>) -> Message {
    let incarnation = process(member).incarnation;
    let mut heard_flushed = vec![FlushedMark::default(); 3];
    heard_flushed[1] = about_b;
    Message::Heartbeat(Arc::new(Heartbeat {
        announced: Some(announcement(1, A, lineage(1, 1))),
        verdict: Verdict::Unknown,
        term_seen: Term(0),
        roster_number: 1,
        incarnation,
        flushed: FlushedMark { incarnation, seq: Seq(1) },
        heard_flushed,
        postgres: None,
        electable: Err(Unelectable::Witness),
        priority: 100,
        able: Ok(()),
        paused: None,
        resumed,
        lease_left: None,
    }))
}

#[test]
fn a_rolled_back_log_that_was_not_renewed_is_found_again() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    let finds = |d: &[Decision]| d.iter().any(|d| matches!(d, Decision::RollbackDetected { .. }));
    let remembered = FlushedMark { incarnation: process(B).incarnation, seq: Seq(10_000) };
    assert!(finds(&b.hear(C, heartbeat_of(C, remembered))));
    assert!(!finds(&b.hear(C, heartbeat_of(C, remembered))), "once is enough");
    // It ended before its log was given another incarnation; nobody need remember more by now.
    b.start(LogFound::Intact);
    assert!(finds(&b.hear(C, heartbeat_of(C, FlushedMark::default()))));
    assert!(!finds(&b.hear(C, heartbeat_of(C, FlushedMark::default()))));
    // Under another incarnation it waits to be registered.
    b.start(LogFound::TailLost { head: Seq(10_000) });
    assert!(!finds(&b.hear(C, heartbeat_of(C, FlushedMark::default()))));
}

fn probed(of: &mut Member, report: ProbeReport) -> Vec<Decision> {
    let (kind, none) = (ProbeKind::Heartbeat, Nanos(0));
    of.see(Observation::ProbeCompleted { target: A, kind, report, took: none, stalled: none })
}

fn suspects(decisions: &[Decision]) -> bool {
    decisions.iter().any(|d| matches!(d, Decision::SuspicionRaised { .. }))
}

#[test]
fn signs_of_life_are_bounded_whatever_comes_between() {
    let sign = ProbeReport::Alive(SignOfLife::TooManyClients);
    let mut c = Member::new(C, false);
    c.led_by_a();
    // Nobody vouches: its daemon was heard last long ago.
    c.now = c.now.plus_nanos(10 * SECOND);
    probed(&mut c, sign);
    c.now = c.now.plus_nanos(30 * SECOND);
    assert!(suspects(&probed(&mut c, ProbeReport::Failed(ProbeFailure::TimedOut))));
    assert!(!suspects(&probed(&mut c, sign)), "it is alive");
    c.now = c.now.plus_nanos(31 * SECOND);
    assert!(suspects(&probed(&mut c, sign)), "for more than a minute it has let nobody in");
    // An answer ends that.
    probed(&mut c, ProbeReport::Answered(answer(false, 1)));
    assert!(!suspects(&probed(&mut c, sign)));
    // A new primary does not inherit it.
    c.now = c.now.plus_nanos(61 * SECOND);
    c.hear(A, Message::PrimaryAnnounced(announcement(2, A, lineage(2, 2))));
    assert!(!suspects(&probed(&mut c, sign)));
}

#[test]
fn only_the_primary_of_the_term_says_which_postmaster_is_gone() {
    let mut c = Member::new(C, false);
    c.led_by_a();
    c.a_confirms_down();
    let boot_id = process(B).boot_id;
    c.hear(B, Message::ConfirmedDown { term: Term(1), boot_id, postmaster_started: 9 });
    c.hear(A, Message::ConfirmedDown { term: Term(0), boot_id, postmaster_started: 9 });
    let said = probed(&mut c, ProbeReport::Answered(answer(false, 1)));
    let back = |d: &Decision| matches!(d, Decision::VerdictChanged { .. });
    assert!(!said.iter().any(back), "an orphan's late answer: {said:?}");
}

#[test]
fn a_new_log_is_registered_once_nothing_it_forgot_can_stand() {
    let mut a = Member::new(A, false);
    // Longer than what the other knows of.
    a.reload(|s| s.lease_duration = Nanos(30 * SECOND));
    a.adopt_first();
    let mut other = heartbeat_of(C, FlushedMark::default());
    if let Message::Heartbeat(h) = &mut other {
        Arc::make_mut(h).incarnation = Incarnation(77);
    }
    let mut proposed_after = None;
    for seconds in 0..40 {
        a.hear(C, other.clone());
        let said = a.renew();
        let proposes = said.iter().any(|d| matches!(d, Decision::RosterProposed(_)));
        if proposes || a.flushed().iter().any(|d| matches!(d, Decision::RosterProposed(_))) {
            proposed_after = Some(seconds);
            break;
        }
        a.now = a.now.plus_nanos(SECOND);
    }
    assert!(proposed_after.is_some_and(|s| (30..=32).contains(&s)), "{proposed_after:?}");
}

#[test]
fn the_first_roster_is_the_one_that_was_voted_on() {
    let (mut a, asked) = Member::that_stands_first();
    // C has lost its log since, and with it its vote.
    let mut other = heartbeat_of(C, FlushedMark::default());
    if let Message::Heartbeat(h) = &mut other {
        let h = Arc::make_mut(h);
        h.announced = None;
        h.roster_number = 0;
        h.incarnation = Incarnation(77);
    }
    a.hear(C, other);
    let said = a.hear(B, Message::VoteGranted(asked));
    let committed = said.iter().find_map(|d| match d {
        Decision::RosterCommitted(r) => Some(r.incarnations.clone()),
        _ => None,
    });
    assert_eq!(committed, Some(roster(1).incarnations), "{said:?}");
}

/// The primary came back and ended its pause while this member's daemon was away; by now it may not know that any more.
#[test]
fn the_end_of_a_pause_is_heard_from_who_knows_it() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    let pause = |number| PauseId { term: Term(1), number, primary: A };
    b.hear(A, Message::PauseRequested(pause(9)));
    let ends = |of: &mut Member, from, resumed| {
        let said = of.hear(from, heartbeat_with(from, FlushedMark::default(), Some(resumed)));
        said.iter().any(|d| matches!(d, Decision::PauseEnded(_)))
    };
    assert!(!ends(&mut b, C, pause(8)), "an older one");
    assert!(!ends(&mut b, C, PauseId { primary: C, ..pause(9) }), "another primary's");
    assert!(!ends(&mut b, A, pause(9)), "a heartbeat overtakes the flush of what it tells");
    assert!(ends(&mut b, C, pause(9)));
    assert!(!ends(&mut b, C, pause(9)), "once is enough");
}

#[test]
fn the_pause_of_a_primary_without_a_vote_outlives_its_daemon() {
    let mut a = Member::new(A, false);
    a.adopt_first();
    a.settings.members[usize::from(A.0)].votes = false;
    let settings = Box::new(a.settings.clone());
    a.see(Observation::SettingsChanged { settings, configuration_digest: String::new() });
    let said = a.see(Observation::OperatorRequested(OperatorRequest::Stop));
    let asks = |d: &Decision| matches!(d, Decision::PauseRequested(_));
    assert!(said.iter().any(asks), "{said:?}");
    assert!(said.iter().any(|d| matches!(d, Decision::PauseAgreed(p) if p.primary == A)), "{said:?}");
}

#[test]
fn a_pause_protects_nothing_that_its_own_guard_has_fenced() {
    let mut a = pause_confirmed();
    // The daemon ended before its guard was told.
    a.start(LogFound::Intact);
    let said = a.see(Observation::GuardReported(GuardReport::Fenced { term: Term(1) }));
    let over = |d: &Decision| {
        matches!(
            d,
            Decision::FenceOrdered { term: Term(1), .. } | Decision::LeaseReleased { term: Term(1), .. }
        )
    };
    assert!(said.iter().any(over), "{said:?}");
}

/// A log without a roster may have lost it: nobody is named before all are heard, and none remembers a primary.
#[test]
fn the_operator_can_not_name_the_first_primary_while_somebody_may_remember_one() {
    let named = |told: Option<(Option<Announcement>, u32)>, request: OperatorRequest| {
        let mut b = Member::new(B, false);
        b.probe_own(answer(true, 5));
        b.hear_heartbeat(A, None, 0);
        if let Some((announced, roster)) = told {
            b.hear_heartbeat(C, announced, roster);
        }
        b.see(Observation::OperatorRequested(request))
    };
    let stands = |d: &[Decision]| d.iter().any(|d| matches!(d, Decision::CandidacyOpened { .. }));
    let refused = |d: &[Decision], why| d.contains(&Decision::AdoptionRefused { why });
    for request in [OperatorRequest::Adopt { member: B }, OperatorRequest::AdoptVouched { member: B }] {
        let unheard = named(None, request.clone());
        assert!(refused(&unheard, Refusal::MemberUnheard { member: C }) && !stands(&unheard), "{unheard:?}");
        let remembers = named(Some((None, 1)), request.clone());
        assert!(refused(&remembers, Refusal::HistoryExists) && !stands(&remembers), "{remembers:?}");
        // Who hears of the winner itself knows a history, though no roster.
        let told = Some(announcement(1, A, lineage(1, 1)));
        let remembers = named(Some((told, 0)), request.clone());
        assert!(!stands(&remembers), "{remembers:?}");
        let new = named(Some((None, 0)), request);
        assert!(stands(&new), "{new:?}");
    }
}

/// Nor is it voted for: the candidate may have heard another than this member did.
#[test]
fn a_log_without_a_roster_votes_for_the_one_named_only_while_it_hears_all() {
    let votes = |hears_c: bool| {
        let mut b = Member::new(B, false);
        b.probe_own(answer(true, 5));
        b.hear_heartbeat(A, None, 0);
        if hears_c {
            b.hear_heartbeat(C, None, 0);
        }
        voted(&b.hear(
            A,
            Message::VoteRequested(Box::new(VoteAsk {
                kind: CandidacyKind::OperatorVouched,
                ask: ask(A, 1, 1, 0),
                position: None,
                system_id: SYSTEM,
                roster: Some(roster(1)),
                accepts_loss: false,
            })),
        ))
    };
    assert!(votes(true));
    assert!(!votes(false));
}

/// A PostgreSQL that its own daemon has not looked at yet, or that starts, may accept writes in a moment.
#[test]
fn the_operator_can_not_name_a_first_primary_before_every_daemon_has_looked() {
    let state = |alive, in_recovery| PostgresState {
        alive,
        in_recovery,
        sealed: false,
        streaming: false,
        system_id: None,
        timeline: None,
        received: None,
        replayed: None,
    };
    let said = |told: Option<PostgresState>| {
        let mut b = Member::new(B, false);
        b.probe_own(answer(true, 5));
        b.hear_heartbeat(A, None, 0);
        let Message::Heartbeat(heard) = heartbeat_of(C, FlushedMark::default()) else { unreachable!() };
        let heard = Heartbeat { announced: None, roster_number: 0, postgres: told, ..(*heard).clone() };
        b.hear(C, Message::Heartbeat(Arc::new(heard)));
        b.see(Observation::OperatorRequested(OperatorRequest::Adopt { member: B }))
    };
    let stands = |d: &[Decision]| d.iter().any(|d| matches!(d, Decision::CandidacyOpened { .. }));
    let refused = Decision::AdoptionRefused { why: Refusal::PostgresUnknown { member: C } };
    for unknown in [None, Some(state(true, None))] {
        let said = said(unknown);
        assert!(said.contains(&refused) && !stands(&said), "{unknown:?}: {said:?}");
    }
    for known in [state(false, None), state(true, Some(true))] {
        let said = said(Some(known));
        assert!(stands(&said), "{known:?}: {said:?}");
    }
}

/// Nobody was announced yet, so no lease bounds the one that writes: naming another would make two.
#[test]
fn the_operator_can_not_name_a_standby_beside_a_writer_that_nobody_leads() {
    let refuses = |in_recovery| {
        let mut b = Member::new(B, false);
        b.probe_own(answer(true, 5));
        let Message::Heartbeat(told) = heartbeat_of(A, FlushedMark::default()) else { unreachable!() };
        let state = PostgresState {
            alive: true,
            in_recovery: Some(in_recovery),
            sealed: false,
            streaming: false,
            system_id: None,
            timeline: None,
            received: None,
            replayed: None,
        };
        let told = Heartbeat { announced: None, postgres: Some(state), ..(*told).clone() };
        b.hear(A, Message::Heartbeat(Arc::new(told)));
        let said = b.see(Observation::OperatorRequested(OperatorRequest::Adopt { member: B }));
        let why = Refusal::SeesPrimary(Verdict::Reachable);
        said.contains(&Decision::AdoptionRefused { why })
    };
    assert!(refuses(false));
    assert!(!refuses(true));
}
