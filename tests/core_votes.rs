//! Who gets a member's vote, and when it stands itself: stepped record by record.

use member_support::{
    A, B, C, Member, SECOND, SYSTEM, answer, ask, freezes, process, roster, vote_ask, voted,
};
use pgfo::core::{Lsn, Term, Timeline};
use pgfo::events::{
    Answer, CandidacyKind, Deadline, Decision, FollowOutcome, FreezeOutcome, LogFound, Message, NoElection,
    Observation, OperatorRequest, PauseId, Refusal, VoteAsk,
};

mod member_support;

fn refused(decisions: &[Decision]) -> Option<Refusal> {
    decisions.iter().find_map(|d| match d {
        Decision::VoteRefused { why, .. } => Some(*why),
        _ => None,
    })
}

fn asks_for_votes(decisions: &[Decision]) -> bool {
    decisions.iter().any(|d| matches!(d, Decision::VoteRequested(_)))
}

fn catches_up(decisions: &[Decision]) -> bool {
    decisions.iter().any(|d| matches!(d, Decision::CatchUpOrdered { .. }))
}

/// A vote request at a position, in timeline 1.
fn asks_at(term: Term, lsn: u64) -> Message {
    let mut request = vote_ask(A, term.0);
    if let Message::VoteRequested(ask) = &mut request {
        ask.position = ask.position.map(|p| pgfo::events::Position { lsn: Lsn(lsn), ..p });
    }
    request
}

/// `B` stands and is to stream what `C`, which may not stand, is ahead.
fn catching_up() -> (Member, Term) {
    let mut b = Member::new(B, false);
    b.led_by_a();
    let term = b.stand();
    b.frozen(term, 0x200);
    let said = b.c_reports(term, 0x300);
    assert!(catches_up(&said), "{said:?}");
    (b, term)
}

#[test]
fn who_catches_up_votes_on_no_position_from_before() {
    let (mut b, term) = catching_up();
    let said = b.hear(A, asks_at(term, 0x200));
    assert!(!voted(&said), "its position is no longer the frozen one: {said:?}");
    assert!(freezes(&said), "{said:?}");
    let said = b.frozen(term, 0x2a0);
    assert!(matches!(refused(&said), Some(Refusal::PositionBehind { .. })), "{said:?}");
}

#[test]
fn who_has_caught_up_looks_again_before_it_votes() {
    let (mut b, term) = catching_up();
    let lsn = Some(Lsn(0x300));
    let outcome = FollowOutcome::Streaming { timeline: Timeline(1), lsn };
    b.see(Observation::CatchUpCompleted { term, outcome });
    let said = b.hear(A, asks_at(term, 0x200));
    assert!(!voted(&said) && freezes(&said), "{said:?}");
    assert!(voted(&b.frozen(term, 0x200)), "it got nothing");
}

#[test]
fn who_voted_for_another_in_its_own_term_no_longer_catches_up() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    let term = b.stand();
    b.frozen(term, 0x200);
    assert!(voted(&b.hear(A, asks_at(term, 0x200))));
    let said = b.c_reports(term, 0x300);
    assert!(!catches_up(&said), "its vote was cast on where it stands: {said:?}");
    let given_up = |d: &Decision| matches!(d, Decision::ElectionAbandoned { term: Some(t), why: NoElection::TooFewVotes { .. } } if *t == term);
    assert!(said.iter().any(given_up), "{said:?}");
}

#[test]
fn a_standby_whose_backends_crashed_has_to_settle_anew() {
    let said = |received: Option<Lsn>, when_frozen: Option<bool>| {
        let mut b = Member::new(B, false);
        b.led_by_a();
        b.probe_own(Answer { streaming: true, receiver: true, waits_for_wal: false, ..answer(true, 5) });
        // The same postmaster: its shared memory may have been made anew, and replay begins again.
        b.probe_own(Answer { received, waits_for_wal: false, ..answer(true, 5) });
        b.a_confirms_down();
        b.hear(C, Message::FreezeRequested { term: Term(2), nonce: process(C).nonce, roster_number: 1 });
        let (lsn, settled, system_id, timeline) = (Some(Lsn(0x200)), false, SYSTEM, Timeline(1));
        let outcome = match when_frozen {
            None => FreezeOutcome::FrozenOn { lsn, settled, system_id, timeline },
            Some(received) => FreezeOutcome::FrozenAt { lsn, received, settled, system_id, timeline },
        };
        b.see(Observation::FreezeCompleted { term: Term(2), outcome })
    };
    let reports = |d: &Decision| matches!(d, Decision::FreezeReported { position: Some(_), .. });
    let unsettled = |d: &Decision| matches!(d, Decision::FreezeRefused { why: Refusal::Unsettled, .. });
    for when_frozen in [None, Some(true)] {
        let as_it_was = said(Some(Lsn(0x200)), when_frozen);
        assert!(as_it_was.iter().any(reports), "{as_it_was:?}");
    }
    for (received, when_frozen) in [(None, None), (None, Some(false)), (Some(Lsn(0x200)), Some(false))] {
        let restarted = said(received, when_frozen);
        assert!(restarted.iter().any(unsettled), "{restarted:?}");
    }
}

#[test]
fn what_a_stopped_postgresql_had_is_told_as_a_loss() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    let ahead = Some(Lsn(0x300));
    b.probe_own(Answer { streaming: true, received: ahead, replayed: ahead, ..answer(true, 5) });
    b.see(Observation::PostmasterGone { sealed: false });
    b.a_confirms_down();
    assert!(freezes(&b.hear(C, vote_ask(C, 2))));
    let said = b.see(Observation::FreezeCompleted { term: Term(2), outcome: FreezeOutcome::NothingRuns });
    let loss = said.iter().find_map(|d| match d {
        Decision::VoteGranted { loss_bytes, .. } => Some(*loss_bytes),
        _ => None,
    });
    assert_eq!(loss, Some(0x100), "{said:?}");
}

#[test]
fn what_forbids_to_stand_ends_a_candidacy() {
    let abandoned = |d: &[Decision]| {
        let not_electable =
            |d: &Decision| matches!(d, Decision::ElectionAbandoned { why: NoElection::NotElectable(_), .. });
        d.iter().any(not_electable)
    };
    let mut b = Member::new(B, false);
    b.led_by_a();
    let term = b.stand();
    let mut said = b.reload(|s| s.automatic = false);
    said.extend(b.frozen(term, 0x200));
    said.extend(b.c_reports(term, 0x200));
    assert!(abandoned(&said) && !asks_for_votes(&said), "manual while it freezes: {said:?}");

    let mut b = Member::new(B, false);
    b.led_by_a();
    let term = b.stand();
    b.frozen(term, 0x200);
    let said = b.c_reports(term, 0x200);
    let asked = said.iter().find_map(|d| match d {
        Decision::VoteRequested(ask) => Some(ask.ask),
        _ => None,
    });
    let asked = asked.expect("it asks for votes");
    let mut said = b.reload(|s| s.priority = 0);
    said.extend(b.hear(C, Message::VoteGranted(asked)));
    let wins = |d: &Decision| matches!(d, Decision::ElectionWon { .. });
    assert!(abandoned(&said) && !said.iter().any(wins), "priority 0 while it stands: {said:?}");

    // The operator's word stands above both (E10).
    let mut b = Member::new(B, false);
    b.led_by_a();
    let term = b.stand();
    b.see(Observation::OperatorRequested(OperatorRequest::Adopt { member: B }));
    b.reload(|s| s.automatic = false);
    b.frozen(term, 0x200);
    let said = b.c_reports(term, 0x200);
    assert!(asks_for_votes(&said), "{said:?}");
}

#[test]
fn what_one_reason_waives_does_not_hide_the_next() {
    // Registered anew, so silent; and it agreed to a pause.
    let mut c = Member::new(C, false);
    c.hear(A, Message::RosterCommitted(roster(2)));
    let announced = Some(member_support::announcement(1, A, member_support::lineage(1, 1)));
    c.hear_heartbeat(A, announced, 2);
    let pause = PauseId { term: Term(1), number: 9, primary: A };
    let said = c.hear(A, Message::PauseRequested(pause));
    assert!(said.iter().any(|d| matches!(d, Decision::PauseAgreed(_))), "{said:?}");
    // The operator's word ends the pause, not the silence.
    let by_name = |number| {
        Message::VoteRequested(Box::new(VoteAsk {
            kind: CandidacyKind::OperatorVouched,
            ask: ask(A, 2, number, 2),
            position: None,
            system_id: SYSTEM,
            roster: None,
            accepts_loss: false,
        }))
    };
    let said = c.hear(A, by_name(1));
    assert!(matches!(refused(&said), Some(Refusal::SilentAfterRestart { .. })), "{said:?}");
    c.now = c.now.plus_nanos(6 * SECOND);
    assert!(voted(&c.hear(A, by_name(2))));
}

#[test]
fn a_vote_is_not_repeated_after_its_candidacy() {
    let mut w = Member::new(C, true);
    w.led_by_a();
    w.a_confirms_down();
    assert!(voted(&w.hear(B, vote_ask(B, 2))));
    assert!(voted(&w.hear(B, vote_ask(B, 2))), "the reply may have been lost");
    w.hear(B, Message::CandidacyEnded { term: Term(2), nonce: process(B).nonce });
    let said = w.hear(B, vote_ask(B, 2));
    assert!(matches!(refused(&said), Some(Refusal::VotedInTerm { .. })), "{said:?}");
}

#[test]
fn no_member_stands_twice_in_a_term() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    b.probe_own(Answer { streaming: true, ..answer(true, 5) });
    // It has granted, so it is silent after its restart: its own vote is refused.
    b.hear(A, Message::RenewalRequested(ask(A, 1, 5, 1)));
    b.start(LogFound::Intact);
    for peer in [A, C] {
        let announced = member_support::announcement(1, A, member_support::lineage(1, 1));
        b.hear_heartbeat(peer, Some(announced), 1);
    }
    b.probe_own(Answer { streaming: true, ..answer(true, 5) });
    b.a_confirms_down();
    let named = Observation::OperatorRequested(OperatorRequest::Adopt { member: B });
    let opened = |d: &[Decision]| {
        d.iter().find_map(|d| match d {
            Decision::CandidacyOpened { term, .. } => Some(*term),
            _ => None,
        })
    };
    b.pass(Deadline::TestimonyEnds);
    let first = opened(&b.see(named.clone())).expect("it stands");
    let said = b.pass(Deadline::CandidacyEnds);
    assert!(said.iter().any(|d| matches!(d, Decision::CandidacyClosed { .. })), "{said:?}");
    let second = opened(&b.see(named)).expect("it stands again");
    assert!(second > first, "{second} after {first}");
}
