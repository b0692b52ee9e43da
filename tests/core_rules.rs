//! Rules of the protocol at one member, stepped record by record: what it answers, and what it must not.

use member_support::{
    A, B, C, Member, SECOND, SYSTEM, announcement, answer, ask, freezes, frozen_on, lineage, process, roster,
    vote_ask, voted,
};
use pgfo::core::{Incarnation, Lsn, MemberId, Term, Timeline};
use pgfo::events::{
    Announcement, Answer, Decision, FlushedMark, FreezeOutcome, GuardReport, Heartbeat, LogFound, Message,
    Observation, Refusal, Roster, Unelectable, Verdict,
};
use pgfo_replay::Seq;
use std::sync::Arc;

mod member_support;

#[test]
fn a_candidacy_that_is_given_up_frees_whoever_voted_for_that_very_process() {
    let mut w = Member::new(C, true);
    w.led_by_a();
    w.a_confirms_down();
    assert!(voted(&w.hear(B, vote_ask(B, 2))));
    let refused = |d: &[Decision]| {
        let stands =
            |d: &Decision| matches!(d, Decision::VoteRefused { why: Refusal::PromiseStands { .. }, .. });
        d.iter().any(stands)
    };
    assert!(refused(&w.hear(A, vote_ask(A, 3))));
    // Another process of it, or another term: the promise stands.
    w.hear(B, Message::CandidacyEnded { term: Term(2), nonce: process(B).nonce + 1 });
    assert!(refused(&w.hear(A, vote_ask(A, 4))));
    w.hear(B, Message::CandidacyEnded { term: Term(1), nonce: process(B).nonce });
    assert!(refused(&w.hear(A, vote_ask(A, 5))));
    w.hear(B, Message::CandidacyEnded { term: Term(2), nonce: process(B).nonce });
    assert!(voted(&w.hear(A, vote_ask(A, 6))));
}

#[test]
fn only_who_knows_the_winner_renews_and_flushes_that_first() {
    let mut c = Member::new(C, false);
    c.led_by_a();
    let granted = |d: &[Decision]| {
        d.iter().find_map(|d| match d {
            Decision::LeaseGranted { first, .. } => Some(Ok(*first)),
            Decision::LeaseRefused { why, .. } => Some(Err(*why)),
            _ => None,
        })
    };
    // A promises that it is the primary of term 2 by now; nothing of that was heard.
    assert!(matches!(granted(&c.hear(A, Message::LeaseRequested(ask(A, 2, 5, 1)))), Some(Ok(true))));
    let renewal = |number| Message::RenewalRequested(ask(A, 2, number, 1));
    assert_eq!(granted(&c.hear(A, renewal(6))), Some(Err(Refusal::WinnerUnknown)));
    c.flushed();
    c.hear_heartbeat(A, Some(announcement(2, A, lineage(2, 2))), 1);
    assert_eq!(granted(&c.hear(A, renewal(7))), Some(Ok(true)), "flushed with the winner's history");
    c.flushed();
    assert_eq!(granted(&c.hear(A, renewal(8))), Some(Ok(false)));
}

#[test]
fn an_acceptance_of_a_roster_is_of_one_content_and_lowers_no_floor() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    let accepts = |b: &mut Member, r: &Roster| {
        let d = b.hear(A, Message::RosterProposed(r.clone()));
        d.iter().any(|d| matches!(d, Decision::RosterAccepted { .. }))
    };
    let with = |number, member: MemberId, log| {
        let mut r = roster(number);
        r.incarnations[usize::from(member.0)] = Some(Incarnation(log));
        r
    };
    assert!(accepts(&mut b, &with(2, C, 30)));
    assert!(accepts(&mut b, &with(2, C, 30)), "the same again");
    assert!(!accepts(&mut b, &with(2, C, 31)), "another content under the same number");
    assert!(accepts(&mut b, &with(3, C, 31)));
    assert!(!accepts(&mut b, &with(4, B, 32)), "its own log");
    let mut two = with(4, C, 33);
    two.incarnations[0] = Some(Incarnation(34));
    assert!(!accepts(&mut b, &two), "two members at once");
    let mut floors = roster(4);
    floors.vote_floor = vec![Term(0), Term(0), Term(9)];
    b.hear(A, Message::RosterCommitted(floors));
    assert!(!accepts(&mut b, &with(5, C, 35)), "a floor is lowered");
}

#[test]
fn a_log_that_was_registered_anew_is_silent_across_a_restart() {
    let mut c = Member::new(C, true);
    c.hear(A, Message::RosterCommitted(Roster { vote_floor: vec![Term(0); 3], ..roster(2) }));
    c.hear_heartbeat(A, Some(announcement(1, A, lineage(1, 1))), 2);
    c.start(LogFound::Intact);
    c.hear_heartbeat(A, Some(announcement(1, A, lineage(1, 1))), 2);
    c.hear_heartbeat(B, Some(announcement(1, A, lineage(1, 1))), 2);
    c.a_confirms_down();
    let mut request = vote_ask(B, 2);
    if let Message::VoteRequested(ask) = &mut request {
        ask.ask.roster_number = 2;
    }
    let said = c.hear(B, request.clone());
    let silent =
        |d: &Decision| matches!(d, Decision::VoteRefused { why: Refusal::SilentAfterRestart { .. }, .. });
    assert!(said.iter().any(silent), "{said:?}");
    c.now = c.now.plus_nanos(6 * SECOND);
    assert!(voted(&c.hear(B, request)));
}

#[test]
fn a_postgresql_that_starts_while_its_member_is_frozen_is_frozen_again() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    b.a_confirms_down();
    let request = Message::FreezeRequested { term: Term(2), nonce: process(C).nonce, roster_number: 1 };
    assert!(freezes(&b.hear(C, request)));
    let nothing = Observation::FreezeCompleted { term: Term(2), outcome: FreezeOutcome::NothingRuns };
    b.see(nothing);
    assert!(freezes(&b.probe_own(answer(true, 5))), "it was started");
    assert!(!freezes(&b.probe_own(answer(true, 5))), "that is under way");
    let outcome = FreezeOutcome::FrozenOn {
        lsn: Some(Lsn(0x200)),
        settled: true,
        system_id: SYSTEM,
        timeline: Timeline(1),
    };
    b.see(Observation::FreezeCompleted { term: Term(2), outcome: outcome.clone() });
    assert!(!freezes(&b.probe_own(answer(true, 5))));
    assert!(freezes(&b.probe_own(Answer { receiver: true, ..answer(true, 5) })), "a receiver runs");
    b.see(Observation::FreezeCompleted { term: Term(2), outcome });
    assert!(freezes(&b.probe_own(answer(true, 6))), "it was started again");
    b.start(LogFound::Intact);
    assert!(freezes(&b.probe_own(answer(true, 6))), "the daemon was");
}

#[test]
fn a_freeze_whose_report_is_lost_is_ordered_again_soon() {
    let mut b = Member::new(B, false);
    b.led_by_a();
    b.a_confirms_down();
    let request = Message::FreezeRequested { term: Term(2), nonce: process(C).nonce, roster_number: 1 };
    assert!(freezes(&b.hear(C, request)));
    let streams = Answer { receiver: true, ..answer(true, 5) };
    let time_out = b.settings.freeze_timeout.0;
    b.now = b.now.plus_nanos(time_out);
    b.flushed();
    assert!(!freezes(&b.probe_own(streams)), "its hand may take so long");
    b.see(Observation::LogStalled { why: "no space".to_owned() });
    b.now = b.now.plus_nanos(time_out);
    b.flushed();
    assert!(!freezes(&b.probe_own(streams)), "the order waits for the disk");
    b.see(Observation::LogRecovered);
    b.flushed();
    assert!(freezes(&b.probe_own(streams)), "nothing is told any more");
}

#[test]
fn a_position_is_on_the_line_that_the_freeze_saw() {
    let report = |known: bool, attached: bool, timeline| {
        let mut b = Member::new(B, false);
        b.led_by_a();
        b.probe_own(Answer { streaming: true, receiver: true, ..answer(true, 5) });
        if known {
            let forked = Some((lineage(1, 1), Lsn(0x300)));
            let winner = Announcement { forked, ..announcement(2, C, lineage(2, 2)) };
            assert!(freezes(&b.hear_heartbeat(C, Some(winner), 1)), "it is looked at before it is attached");
            if attached {
                let said = b.frozen(Term(2), 0x300);
                assert!(said.iter().any(|d| matches!(d, Decision::FollowOrdered { .. })), "{said:?}");
            }
            let boot_id = process(C).boot_id;
            b.hear(C, Message::ConfirmedDown { term: Term(2), boot_id, postmaster_started: 1 });
        } else {
            b.a_confirms_down();
        }
        b.hear(A, Message::FreezeRequested { term: Term(3), nonce: process(A).nonce, roster_number: 1 });
        let said = b.see(Observation::FreezeCompleted { term: Term(3), outcome: frozen_on(0x300, timeline) });
        said.iter().find_map(|d| match d {
            Decision::FreezeReported { position, .. } => Some(position.map(|p| p.lineage)),
            _ => None,
        })
    };
    assert_eq!(report(false, false, 1), Some(Some(lineage(1, 1))));
    assert_eq!(report(true, true, 2), Some(Some(lineage(2, 2))), "the winner's, before it was confirmed");
    assert_eq!(report(true, false, 2), Some(None), "it did not come from the winner, whose number it bears");
    assert_eq!(report(false, false, 2), Some(None), "nobody announced such a line: it counts for nothing");
}

#[test]
fn nobody_is_told_of_an_announcement_before_it_is_flushed() {
    let (mut a, asked) = Member::that_stands_first();
    a.hear(B, Message::VoteGranted(asked));
    let until = a.now.plus_nanos(4 * SECOND);
    let said = a.see(Observation::GuardReported(GuardReport::Armed { term: Term(1), until }));
    let announced = |d: &[Decision]| {
        d.iter().find_map(|d| match d {
            Decision::HeartbeatSent(h) => Some(h.announced.map(|a| a.term)),
            _ => None,
        })
    };
    assert!(said.iter().any(|d| matches!(d, Decision::PrimaryAnnounced(_))), "{said:?}");
    assert_eq!(announced(&said), Some(None));
    let said = a.see(Observation::HeartbeatDue { flushed: Seq(1) });
    assert_eq!(announced(&said), Some(None));
    assert!(said.iter().any(|d| matches!(d, Decision::LeaseRequested(_))), "{said:?}");
    let said = a.flushed();
    assert_eq!(announced(&said), Some(Some(Term(1))));
    assert!(said.iter().any(|d| matches!(d, Decision::RenewalRequested(_))), "{said:?}");

    // M1: its proposal is accepted by content. C comes with another log.
    let mut request = None;
    for echo in 0..2 {
        let said = a.flushed();
        request = said.iter().find_map(|d| match d {
            Decision::RenewalRequested(ask) => Some(*ask),
            _ => None,
        });
        a.hear(B, Message::LeaseGranted(request.expect("a renewal")));
        assert!(echo < 2);
    }
    assert!(request.is_some());
    a.hear_heartbeat(B, None, 1);
    let other = Message::Heartbeat(Arc::new(Heartbeat {
        announced: None,
        verdict: Verdict::Unknown,
        term_seen: Term(0),
        roster_number: 0,
        incarnation: Incarnation(77),
        flushed: FlushedMark { incarnation: Incarnation(77), seq: Seq(1) },
        heard_flushed: vec![FlushedMark::default(); 3],
        postgres: None,
        electable: Err(Unelectable::NotRegistered),
        priority: 100,
        able: Err(Refusal::NotRegistered),
        paused: None,
        resumed: None,
        lease_left: None,
    }));
    a.hear(C, other.clone());
    for _ in 0..3 {
        a.now = a.now.plus_nanos(2 * SECOND);
        a.renew();
    }
    a.hear(C, other);
    let said = a.flushed();
    let proposed = said.iter().find_map(|d| match d {
        Decision::RosterProposed(r) => Some(r.clone()),
        _ => None,
    });
    let proposed = proposed.expect("C's new log is proposed");
    let commits = |d: &[Decision]| d.iter().any(|d| matches!(d, Decision::RosterCommitted(_)));
    let voted = Term(4);
    assert!(!commits(&a.hear(B, Message::RosterAccepted { number: proposed.number, voted })));
    let mut other = proposed.clone();
    other.incarnations[2] = Some(Incarnation(78));
    assert!(!commits(&a.hear(B, Message::RosterAgreed { roster: other, voted })));
    let said = a.hear(B, Message::RosterAgreed { roster: proposed, voted });
    let floor = said.iter().find_map(|d| match d {
        Decision::RosterCommitted(r) => Some(r.vote_floor[2]),
        _ => None,
    });
    assert_eq!(floor, Some(Term(4)), "{said:?}");
}
