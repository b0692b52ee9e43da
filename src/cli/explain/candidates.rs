//! Owns why this member was chosen and not another: what was compared, by E5's order. The comparison is
//! told, never made anew: who won is a fact of the log.

use super::deeds::What;
use super::gather::Gathered;
use super::incident::{Incident, kept};
use crate::core::MemberId;
use crate::events::story::{electable, grouped, lineage};
use crate::events::{Decision, Event, Placement, Position, Settings};
use serde::Serialize;
use std::cmp::Ordering;

/// A data member, as it was compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Its name.
    pub member: String,
    /// Where it stood, frozen if that was observed.
    pub position: Option<String>,
    /// Whether that position was frozen.
    pub frozen: bool,
    /// Its priority.
    pub priority: u32,
    /// Its rank as it counted itself, from 0, if it planned to stand and could be promoted.
    pub rank: Option<u8>,
    /// Whether it took over.
    pub won: bool,
    /// Why, or why not.
    pub why: String,
}

/// Returns every data member that was compared, the winner first.
#[must_use]
pub(super) fn candidates(logs: &[Gathered], incident: &Incident, settings: &Settings) -> Vec<Candidate> {
    let winner = incident.winner.map(|(member, _)| member);
    let Some(placements) = placements(logs, incident, winner) else { return Vec::new() };
    let term = incident.winner.map(|(_, term)| term).or(incident.stood);
    let frozen = |member: MemberId| {
        incident.marks.iter().rev().find_map(|m| {
            let k = kept(logs, *m);
            match k.deed.what {
                What::Frozen(position) if k.deed.who == member && k.deed.term == term => position,
                _ => asked_at(&k.record.event).filter(|_| k.deed.who == member && k.deed.term == term),
            }
        })
    };
    let best = winner.and_then(|w| placements.iter().find(|p| p.member == w)).cloned();
    let best_at = best.as_ref().and_then(|b| frozen(b.member).or(b.position));
    let mut rows: Vec<Candidate> = placements
        .iter()
        .map(|p| {
            let stands_at = frozen(p.member);
            let position = stands_at.or(p.position);
            let won = Some(p.member) == winner;
            let why = match &best {
                _ if won => "took over".to_owned(),
                _ if p.electable.is_err() => electable(&p.electable),
                Some(best) => compare(p, position, best, best_at, settings),
                None => "nobody took over".to_owned(),
            };
            Candidate {
                member: settings.name(p.member).to_owned(),
                position: position.map(|at| format!("{} on {}", at.lsn, lineage(&at.lineage))),
                frozen: stands_at.is_some(),
                priority: p.priority,
                rank: rank(logs, incident, p.member).filter(|_| won || p.electable.is_ok()),
                won,
                why,
            }
        })
        .collect();
    rows.sort_by_key(|r| !r.won);
    rows
}

fn compare(
    p: &Placement,
    position: Option<Position>,
    best: &Placement,
    best_at: Option<Position>,
    settings: &Settings,
) -> String {
    let name = settings.name(best.member);
    match (position, best_at) {
        (None, _) => "it has no position".to_owned(),
        (Some(own), Some(at)) => match own.cmp(&at) {
            Ordering::Less if own.lineage == at.lineage => {
                format!("it is {} bytes behind {name}", grouped(at.lsn.bytes_since(own.lsn)))
            }
            Ordering::Less => format!("its history is older than {name}'s"),
            Ordering::Greater => {
                format!("it was ahead of {name}, but {name} was elected: see the votes")
            }
            Ordering::Equal if p.priority < best.priority => {
                format!("equal position, lower priority than {name}")
            }
            Ordering::Equal if p.priority > best.priority => {
                format!("equal position and higher priority, but {name} was elected: see the votes")
            }
            Ordering::Equal if p.member > best.member => {
                format!("equal position and priority; {name} comes first by name")
            }
            Ordering::Equal => format!("equal position and priority, but {name} was elected: see the votes"),
        },
        (Some(_), None) => format!("the position of {name} is not in these logs"),
    }
}

fn asked_at(event: &Event) -> Option<Position> {
    match event {
        Event::Decided(Decision::VoteRequested(ask)) => ask.position,
        Event::Observed(crate::events::Observation::MessageReceived {
            message: crate::events::Message::VoteRequested(ask),
            ..
        }) => ask.position,
        _ => None,
    }
}

fn placements(logs: &[Gathered], incident: &Incident, by: Option<MemberId>) -> Option<Vec<Placement>> {
    let of = |by: Option<MemberId>| {
        incident.marks.iter().rev().find_map(|m| {
            let k = kept(logs, *m);
            match &k.record.event {
                Event::Decided(Decision::ElectionPlanned { placements, .. })
                    if by.is_none_or(|by| k.deed.who == by) =>
                {
                    Some(placements.clone())
                }
                _ => None,
            }
        })
    };
    of(by).or_else(|| of(None))
}

fn rank(logs: &[Gathered], incident: &Incident, member: MemberId) -> Option<u8> {
    incident.marks.iter().rev().find_map(|m| {
        let k = kept(logs, *m);
        match &k.record.event {
            Event::Decided(
                Decision::ElectionPlanned { rank, .. } | Decision::CandidacyWithheld { rank, .. },
            ) if k.deed.who == member => Some(*rank),
            _ => None,
        }
    })
}
