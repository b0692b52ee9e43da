//! Lines of history at one member (E3), and whose word counts for what (L6, M3): stepped record by record.

mod member_support;

use member_support::*;
use pgfo::core::{Lsn, MemberId, Nanos, Term, Timeline};
use pgfo::events::{
    Announcement, Answer, Decision, FenceOutcome, GuardReport, Message, Observation, OperatorRequest,
    PauseId, Refusal,
};
use pgfo_replay::Seq;

/// `C` as the winner of term 2, on timeline 2.
fn winner() -> Announcement {
    Announcement { forked: Some((lineage(1, 1), Lsn(0x300))), ..announcement(2, C, lineage(2, 2)) }
}

fn streaming(timeline: u32) -> Answer {
    Answer { timeline: Some(Timeline(timeline)), streaming: true, receiver: true, ..answer(true, 5) }
}

fn confirmed(decisions: &[Decision]) -> bool {
    decisions.iter().any(|d| matches!(d, Decision::LineageConfirmed(_)))
}

fn follows(decisions: &[Decision]) -> Option<bool> {
    decisions.iter().find_map(|d| match d {
        Decision::FollowOrdered { .. } => Some(true),
        Decision::FollowRefused { .. } => Some(false),
        _ => None,
    })
}

/// What `B` decides once it has waited in vain for a winner who opened what it is on.
fn waited_in_vain(b: &mut Member, found: Answer) -> Option<bool> {
    b.probe_own(found);
    b.now = b.now.plus_nanos(60 * SECOND);
    assert_eq!(follows(&b.probe_own(found)), None, "nobody has heard that it asks");
    b.heard = Seq(1_000);
    b.hear_heartbeat(C, Some(winner()), 1);
    assert_eq!(follows(&b.probe_own(found)), None);
    b.now = b.now.plus_nanos(9 * SECOND);
    assert_eq!(follows(&b.probe_own(found)), None, "the announcement may be on its way");
    b.now = b.now.plus_nanos(2 * SECOND);
    assert_eq!(follows(&b.probe_own(found)), None, "nobody lately said that C writes");
    b.hear_heartbeat(C, Some(winner()), 1);
    follows(&b.probe_own(found))
}

/// What `B` decides when it hears of the winner while it streams on timeline 2 from a member.
fn heard_while_streaming_from(sender: MemberId) -> (Member, Vec<Decision>) {
    let mut b = Member::new(B, false);
    b.led_by_a();
    b.see(Observation::ReceiverSeen { from: Some(A) });
    assert!(confirmed(&b.probe_own(streaming(1))), "the operator set it up");
    b.see(Observation::ReceiverSeen { from: Some(sender) });
    b.probe_own(streaming(2));
    let decided = b.hear_heartbeat(C, Some(winner()), 1);
    (b, decided)
}

#[test]
fn the_winners_number_is_not_its_line_unless_it_comes_from_the_winner() {
    let (_, from_winner) = heard_while_streaming_from(C);
    assert!(confirmed(&from_winner), "{from_winner:?}");
    // A made a timeline 2 of its own, which nobody was told of.
    let (mut b, from_another) = heard_while_streaming_from(A);
    assert!(!confirmed(&from_another), "{from_another:?}");
    assert_eq!(follows(&from_another), None, "{from_another:?}");
    assert_eq!(waited_in_vain(&mut b, streaming(2)), Some(false));
}

#[test]
fn a_line_that_was_seen_before_its_number_was_announced_stays_foreign() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    b.see(Observation::ReceiverSeen { from: Some(A) });
    b.probe_own(streaming(1));
    b.a_confirms_down();
    let request = Message::FreezeRequested { term: Term(2), nonce: process(C).nonce, roster_number: 1 };
    assert!(freezes(&b.hear(C, request)));
    b.see(Observation::FreezeCompleted { term: Term(2), outcome: frozen_on(0x200, 2) });
    assert_eq!(follows(&b.hear_heartbeat(C, Some(winner()), 1)), None);
    let stands_still = Answer { streaming: false, receiver: false, ..streaming(2) };
    assert_eq!(waited_in_vain(&mut b, stands_still), Some(false));
}

/// A member whose log was lost: it hears of all winners, and its PostgreSQL is found on a timeline.
fn without_a_log(timeline: u32) -> Vec<Decision> {
    let mut b = Member::new(B, false);
    b.hear(A, Message::RosterCommitted(roster(1)));
    b.hear_heartbeat(C, Some(winner()), 1);
    b.hear(C, Message::PrimaryAnnounced(announcement(1, A, lineage(1, 1))));
    let unattached = Answer { timeline: None, ..answer(true, 5) };
    assert!(!freezes(&b.probe_own(unattached)), "it may be about to attach");
    b.now = b.now.plus_nanos(3 * SECOND);
    assert!(!freezes(&b.probe_own(unattached)), "nobody lately said that C writes");
    b.hear_heartbeat(C, Some(winner()), 1);
    assert!(freezes(&b.probe_own(unattached)));
    b.see(Observation::FreezeCompleted { term: Term(2), outcome: frozen_on(0x200, timeline) })
}

#[test]
fn a_member_without_its_log_follows_only_from_the_first_line() {
    assert_eq!(follows(&without_a_log(1)), Some(true));
    assert_eq!(follows(&without_a_log(2)), Some(false), "whose timeline 2 it is, nobody knows");
}

#[test]
fn the_operator_who_names_a_member_elsewhere_is_passed_on_with_what_he_vouches_for() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    let plain = b.see(Observation::OperatorRequested(OperatorRequest::Adopt { member: C }));
    assert!(plain.contains(&Decision::AdoptionForwarded { to: C }), "{plain:?}");
    let vouched = b.see(Observation::OperatorRequested(OperatorRequest::AdoptVouched { member: C }));
    assert!(vouched.contains(&Decision::VouchForwarded { to: C }), "{vouched:?}");
}

#[test]
fn within_a_pause_only_the_operator_who_vouches_is_heard() {
    let asked = |request| {
        let mut b = Member::new(B, false);
        b.led_by_a();
        b.probe_own(answer(true, 5));
        b.hear(A, Message::PauseRequested(PauseId { term: Term(1), number: 9, primary: A }));
        b.see(Observation::OperatorRequested(request))
    };
    let plain = asked(OperatorRequest::Adopt { member: B });
    assert!(plain.contains(&Decision::AdoptionRefused { why: Refusal::Paused }), "{plain:?}");
    let vouched = asked(OperatorRequest::AdoptVouched { member: B });
    assert!(!vouched.contains(&Decision::AdoptionRefused { why: Refusal::Paused }), "{vouched:?}");
}

#[test]
fn who_heard_of_the_newest_winner_first_asks_for_the_others_until_it_is_told() {
    let asks = |d: &[Decision]| d.contains(&Decision::HistoryRequested);
    let mut b = Member::new(B, false);
    b.hear(A, Message::RosterCommitted(roster(1)));
    b.hear_heartbeat(C, Some(winner()), 1);
    assert!(asks(&b.flushed()) && asks(&b.flushed()));
    let told = |d: &[Decision]| d.iter().any(|d| matches!(d, Decision::HistoryShared { .. }));
    assert!(!told(&b.hear(C, Message::HistoryRequested)), "it knows no more itself");
    b.hear(C, Message::PrimaryAnnounced(announcement(1, A, lineage(1, 1))));
    assert!(!asks(&b.flushed()));
    assert!(told(&b.hear(C, Message::HistoryRequested)));
}

#[test]
fn a_guard_that_took_anothers_place_is_told_the_lease_that_stands() {
    let extends = |d: &[Decision]| d.iter().any(|d| matches!(d, Decision::LeaseExtended { .. }));
    let mut a = Member::new(A, false);
    a.adopt_first();
    assert!(extends(&a.renew()));
    a.see(Observation::GuardReported(GuardReport::Lost));
    assert!(extends(&a.see(Observation::GuardReported(GuardReport::Present { armed: None }))));
    a.now = a.now.plus_nanos(60 * SECOND);
    assert!(!extends(&a.see(Observation::GuardReported(GuardReport::Present { armed: None }))));
}

/// L7: the guard tells a fence to whoever asked, and to all; a standby that was seen to start meanwhile is not its victim.
#[test]
fn a_fence_that_is_told_twice_says_nothing_of_who_was_started_since() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    b.see(Observation::PostmasterSeen { pid: 1, sealed: true });
    b.probe_own(answer(true, 5));
    b.see(Observation::GuardReported(GuardReport::FenceBegun { lease_over: false }));
    b.see(Observation::PostmasterGone { sealed: true });
    b.see(Observation::PostmasterSeen { pid: 2, sealed: true });
    let started_anew = Answer { postmaster_started: 9, ..answer(true, 5) };
    b.probe_own(started_anew);
    let told = |b: &mut Member| {
        let sent = b.flushed().into_iter().find_map(|d| match d {
            Decision::HeartbeatSent(h) => Some(h),
            _ => None,
        });
        sent.expect("a heartbeat").postgres.and_then(|p| p.in_recovery)
    };
    let fenced = FenceOutcome { sealed: true, nothing_left: true, killed: 1, took: Nanos(1), trouble: None };
    for _ in 0..2 {
        b.see(Observation::FenceCompleted(fenced.clone()));
        b.probe_own(started_anew);
        assert_eq!(told(&mut b), Some(true), "it is taken for gone");
    }
    b.see(Observation::PostmasterGone { sealed: true });
    assert_eq!(told(&mut b), None);
}
