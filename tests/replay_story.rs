//! The story tells who did what, and why, in words that stay as they are. `UPDATE_GOLDEN=1` writes
//! the golden texts anew; read the difference before committing it.

mod replay_support;

use pgfo::core::{BootNanos, Lsn, MemberId, Nanos, Term, Timeline};
use pgfo::events::story::{Level, Line, StoryMemory, describe, describe_settings_changes, grouped, tell};
use pgfo::events::{
    Actor, Announcement, CandidacyKind, Decision, Event, LeaseAsk, Lineage, NoElection, Observation,
    Position, ProbeFailure, ProbeReport, ProcessIdentity, Record, Refusal, Settings, Unelectable, Verdict,
};
use pgfo_replay::{Seq, WallNanos};
use replay_support::*;

/// Replays the logs of some members, without the line that names the temporary directory.
fn story(cluster: &mut Cluster, members: &[MemberId]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let logs: Vec<_> = members.iter().map(|member| write(cluster, *member, dir.path())).collect();
    let (_, text, _) = replay(&args(&logs));
    text.replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn a_failover_reads_well() {
    let mut cluster = failover();
    assert_golden("replay_failover_node2.txt", &story(&mut cluster, &[NODE2]));
    assert_golden("replay_failover_cluster.txt", &story(&mut cluster, &[NODE1, NODE2, NODE3]));
}

#[test]
fn an_isolated_standby_says_why_it_does_not_stand() {
    let mut cluster = Cluster::new();
    cluster.begin();
    // node2 alone loses sight of node1: the others still see it.
    for attempt in 0..=3 {
        let kind = match attempt {
            0 => pgfo::events::ProbeKind::Heartbeat,
            n => pgfo::events::ProbeKind::Massage(n),
        };
        let failed = Observation::ProbeCompleted {
            target: NODE1,
            kind,
            report: ProbeReport::Failed(ProbeFailure::TimedOut),
            took: Nanos::from_millis(1_000),
            stalled: Nanos(0),
        };
        cluster.observe(NODE2, Actor::HeartbeatProber, failed);
        cluster.advance_millis(300);
    }
    // It tries again, and again for the same reason.
    cluster.advance_millis(1_500);
    let text = story(&mut cluster, &[NODE2]);
    let told = "node2 did not stand: only 1 of 3 voters holds node1 down (node2); node1 and node3 still see it; \
                2 are needed";
    assert_eq!(text.matches(told).count(), 1, "{text}");
    let abandoned =
        cluster.node(NODE2).decisions().filter(|d| matches!(d, Decision::ElectionAbandoned { .. }));
    assert!(abandoned.count() > 1, "it was decided more than once");
    assert_golden("replay_isolated_node2.txt", &text);
}

#[test]
fn a_quiet_minute_is_one_line() {
    let mut cluster = Cluster::new();
    cluster.begin();
    for _ in 0..60 {
        cluster.heartbeat(NODE1);
    }
    cluster.crash_primary();
    let text = story(&mut cluster, &[NODE1]);
    let folded: Vec<&str> =
        text.lines().filter(|l| l.contains("heartbeats, ") && l.starts_with(' ')).collect();
    assert_eq!(folded.len(), 1, "{text}");
    assert!(folded[0].contains("lease renewals") && folded[0].ends_with("folded"), "{folded:?}");
    assert!(text.contains("; --all tells them"), "{text}");
}

#[test]
fn manual_mode_says_what_would_have_been() {
    let mut cluster = Cluster::new();
    for member in [NODE2, NODE3] {
        cluster.node(member).settings.automatic = false;
    }
    cluster.begin();
    cluster.crash_primary();
    let text = story(&mut cluster, &[NODE3]);
    assert!(text.contains("node3 would have stood (rank 0) but mode is manual: "), "{text}");
    assert!(!text.contains("is promoted now"), "{text}");
}

// ---- single lines ---------------------------------------------------------------------------------

fn record(event: Event) -> Record {
    let cause = matches!(event, Event::Decided(_)).then_some(Seq(9));
    Record { seq: Seq(10), boot: BootNanos(5_000_000_000), wall: WallNanos(0), actor: 17, cause, event }
}

fn ask(term: u64) -> LeaseAsk {
    LeaseAsk {
        term: Term(term),
        number: 7,
        duration: Nanos::from_millis(5_000),
        sent_at: BootNanos(0),
        process: ProcessIdentity::default(),
        roster_number: 1,
    }
}

fn position(opened: u64, timeline: u32, lsn: u64) -> Position {
    Position { lineage: Lineage { opened: Term(opened), timeline: Timeline(timeline) }, lsn: Lsn(lsn) }
}

/// A memory that knows node1 as the primary, and holds it unreachable because it timed out.
fn memory(settings: &Settings) -> StoryMemory {
    let mut memory = StoryMemory::new();
    let lineage = Lineage { opened: Term(1), timeline: Timeline(2) };
    let winner = Announcement { term: Term(3), primary: NODE1, lineage, forked: None, system_id: SYSTEM };
    let evidence = Some(ProbeReport::Failed(ProbeFailure::TimedOut));
    let (from, to) = (Verdict::Suspect, Verdict::Unreachable);
    for decision in [
        Decision::AnnouncementAdopted(winner),
        Decision::VerdictChanged { primary: NODE1, term: Term(3), from, to, evidence },
    ] {
        assert!(tell(&record(Event::Decided(decision)), settings, &mut memory).is_some());
    }
    memory
}

fn line(decision: Decision) -> Line {
    let settings = settings(NODE2);
    describe(&record(Event::Decided(decision)), &settings, &memory(&settings))
}

#[test]
fn a_vote_carries_its_evidence() {
    let told = line(Decision::VoteGranted {
        candidate: NODE3,
        ask: Box::new(ask(4)),
        position: Some(position(1, 2, 0x1_0300_01A8)),
        own: Some(position(1, 2, 0x1_0300_0148)),
        verdict: Verdict::Unreachable,
        loss_bytes: 0,
        until: BootNanos(0),
    });
    assert_eq!(
        told.text,
        "node2 voted for node3 in term 4: its position 1/30001A8 on timeline 2 (opened in term 1) is at least \
         node2's own 1/3000148; node2 holds node1 unreachable (timed out)"
    );
    assert_eq!((told.subject, told.level, told.term), ("vote granted", Level::Info, Some(Term(4))));
    assert!(told.decision);
}

#[test]
fn refusals_name_their_reason_and_numbers() {
    let left = Nanos::from_millis(2_140);
    for (why, text) in [
        (Refusal::SeesPrimary(Verdict::Reachable), "node2 still sees node1"),
        (
            Refusal::PromiseStands { holder: NODE1, left },
            "node2's promise to node1 stands for another 2.140 s",
        ),
        (Refusal::VotedInTerm { term: Term(4), candidate: NODE1 }, "node2 voted for node1 in term 4 already"),
        (
            Refusal::PositionBehind { own: position(1, 2, 0x500), electable: false },
            "the candidate is behind node2's own position 0/500 on timeline 2 (opened in term 1); node2 can't be \
             promoted itself",
        ),
        (Refusal::QuorumHoldsDown { holders: 2 }, "2 of 3 voters, a quorum, hold node1 down"),
    ] {
        let told = line(Decision::VoteRefused { candidate: NODE3, ask: Box::new(ask(4)), why });
        assert_eq!(told.text, format!("node2 refused node3 its vote in term 4: {text}"));
        assert_eq!(told.level, Level::Warning);
    }
}

#[test]
fn abandonments_count_voters() {
    let why = NoElection::TooFewHoldItDown {
        holders: vec![NODE2],
        seers: vec![],
        silent: vec![NODE1, NODE3],
        needed: 2,
    };
    assert_eq!(
        line(Decision::ElectionAbandoned { term: None, why }).text,
        "node2 did not stand: only 1 of 3 voters holds node1 down (node2); node1 and node3 did not answer; 2 are needed"
    );
    let refused = vec![(NODE3, Refusal::Paused)];
    let why = NoElection::TooFewVotes { granted: vec![NODE2], refused, needed: 2 };
    assert_eq!(
        line(Decision::ElectionAbandoned { term: Some(Term(4)), why }).text,
        "node2 gave up term 4: only 1 of 3 voters voted for it (node2), 2 are needed; the cluster is paused"
    );
    let told = line(Decision::CandidacyWithheld {
        why: Unelectable::Lagging { behind_bytes: 17_000_000 },
        holders: vec![NODE2, NODE3],
        rank: 1,
    });
    assert_eq!(
        told.text,
        "node2 does not stand: it is 17 000 000 bytes behind the primary, more than lag_max; 2 of 3 voters hold node1 \
         down (node2 and node3)"
    );
}

#[test]
fn a_win_says_what_is_lost_at_least() {
    let told = line(Decision::ElectionWon {
        term: Term(4),
        voters: vec![NODE2, NODE3],
        until: BootNanos(9_900_000_000),
        kind: CandidacyKind::Failover,
        loss_bytes_max: Some(16_384),
    });
    assert_eq!(
        told.text,
        "node2 won term 4: 2 of 3 voters voted for it (node2 and node3); its lease stands for 4.900 s; at least 16 384 \
         bytes are lost, of what the old primary was heard to have written"
    );
}

#[test]
fn repetitions_are_folded_and_counted() {
    let settings = settings(NODE2);
    let mut memory = memory(&settings);
    let refused = |left: u64| {
        let why = Refusal::PromiseStands { holder: NODE1, left: Nanos::from_millis(left) };
        record(Event::Decided(Decision::LeaseRefused { to: NODE3, ask: Box::new(ask(4)), why }))
    };
    assert!(tell(&refused(2_000), &settings, &mut memory).is_some());
    for left in 1..=47 {
        assert_eq!(tell(&refused(left), &settings, &mut memory), None);
    }
    let due = record(Event::Observed(Observation::HeartbeatDue { flushed: Seq(1) }));
    assert_eq!(tell(&due, &settings, &mut memory), None);
    assert_eq!(memory.take_folded().to_string(), "1 heartbeat, 47 repetitions folded");
    assert_eq!(memory.take_folded().total(), 0);

    let mut all = StoryMemory::telling_all();
    assert_eq!(tell(&due, &settings, &mut all).unwrap().level, Level::Debug);
}

#[test]
fn what_came_from_outside_moves_no_cursor() {
    let settings = settings(NODE2);
    let why = "no space\u{1b}[2J\nleft".to_owned();
    let told =
        describe(&record(Event::Observed(Observation::LogStalled { why })), &settings, &StoryMemory::new());
    assert!(told.text.contains("no space [2J left"), "{}", told.text);
    assert_eq!(told.level, Level::Critical);
}

#[test]
fn changed_settings_are_named_as_in_the_configuration() {
    let old = settings(NODE2);
    let mut new = old.clone();
    assert!(describe_settings_changes(&old, &new).is_empty());
    new.escalation_attempts = 5;
    new.automatic = false;
    new.lease_duration = Nanos::from_millis(7_500);
    new.lag_bytes_max = None;
    assert_eq!(
        describe_settings_changes(&old, &new),
        [
            "failover.mode automatic -> manual",
            "failover.lag_max 16 777 216 bytes -> none",
            "lease.duration 5.000 s -> 7.500 s",
            "escalation.attempts 3 -> 5"
        ]
    );
}

#[test]
fn numbers_are_set_apart() {
    assert_eq!([0, 999, 1_000, 12_345_678].map(grouped), ["0", "999", "1 000", "12 345 678"]);
}
