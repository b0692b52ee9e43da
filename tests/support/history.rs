//! What the members' logs say together: who voted, won and was promoted in which term. Must hold for
//! every test, whatever it does.

use pgfo::demo::Cluster;
use pgfo::events::{Decision, Event, LogReader, Message, Observation, Record};
use std::collections::{BTreeMap, BTreeSet};

/// Returns a member's records; its daemon must not run.
pub(crate) fn records(cluster: &Cluster, name: &str) -> Vec<Record> {
    let log = cluster.node(name).dir().join("log");
    let reader = LogReader::<Event>::open(&log).unwrap_or_else(|e| panic!("{name}: {e}"));
    reader.map(|record| record.unwrap_or_else(|damage| panic!("{name}: {damage:?}"))).collect()
}

/// Returns a member's decisions.
pub(crate) fn decisions(cluster: &Cluster, name: &str) -> Vec<Decision> {
    let decided = |record: Record| match record.event {
        Event::Decided(decision) => Some(decision),
        Event::Observed(_) => None,
    };
    records(cluster, name).into_iter().filter_map(decided).collect()
}

/// Fails if a term was won twice (S1), a member voted twice in a term (S4), a reply left before its
/// vote was stored (S5), or one process ordered two promotions in a term (E11).
/// A log that was lost, of `forgetful`, can't hold every vote.
pub(crate) fn check(cluster: &Cluster, forgetful: Option<&str>) {
    let mut votes: BTreeMap<(u64, String), BTreeSet<u8>> = BTreeMap::new();
    let mut winners: BTreeMap<u64, BTreeSet<u8>> = BTreeMap::new();
    let mut replies = Vec::new();
    for (at, node) in cluster.nodes().iter().enumerate() {
        let me = u8::try_from(at).unwrap();
        let mut promotions = BTreeSet::new();
        for record in records(cluster, node.name()) {
            match record.event {
                Event::Decided(Decision::VoteGranted { candidate, ask, .. }) => {
                    votes.entry((ask.term.0, node.name().to_owned())).or_default().insert(candidate.0);
                }
                Event::Decided(Decision::ElectionWon { term, .. }) => {
                    winners.entry(term.0).or_default().insert(me);
                }
                Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a)) => {
                    winners.entry(a.term.0).or_default().insert(a.primary.0);
                }
                // A daemon that was started anew goes on with fresh grants of that term.
                Event::Observed(Observation::ProcessStarted(_)) => promotions.clear(),
                Event::Decided(
                    Decision::PromotionOrdered { term } | Decision::PromotionOrderedOf { term, .. },
                ) => {
                    assert!(promotions.insert(term.0), "{} promoted twice in term {term}", node.name());
                }
                Event::Observed(Observation::MessageReceived {
                    from,
                    message: Message::VoteGranted(ask),
                    ..
                }) => replies.push((ask.term.0, from.0, me)),
                _ => {}
            }
        }
    }
    for ((term, voter), candidates) in &votes {
        assert_eq!(candidates.len(), 1, "{voter} voted for {candidates:?} in term {term}");
    }
    for (term, who) in &winners {
        assert_eq!(who.len(), 1, "term {term} was won by members {who:?}");
    }
    for (term, voter, candidate) in replies {
        let voter = cluster.nodes()[usize::from(voter)].name();
        if Some(voter) == forgetful {
            continue;
        }
        let stored = votes.get(&(term, voter.to_owned()));
        assert!(
            stored.is_some_and(|c| c.contains(&candidate)),
            "{voter} answered with a vote in term {term} that its log does not hold"
        );
    }
}
