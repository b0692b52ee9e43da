//! Owns why nobody took over: the last word of each member that tried, what each member said last of itself, and what
//! an operator can do. It must never tell a reason that no record holds.

use super::deeds::What;
use super::gather::{Gathered, Standing};
use super::incident::{Incident, kept};
use super::page::span;
use crate::core::{MemberId, Quorum};
use crate::events::story::{ability, electable};
use crate::events::{Decision, Event, NoElection, Refusal, Settings, Unelectable};

/// A member that said nothing for so many heartbeats before the logs end may have said otherwise since.
const RECENT_HEARTBEATS: u64 = 3;

const LOGS_LOST: &str = "bring back whoever remembers, and its log with it; if those logs are lost for good, \"The logs of most \
                         members are lost at once\" in docs/operations.md says what to do";
const PAUSED: &str = "start the daemon of the paused primary; once nothing is left of its PostgreSQL, \
                      `pgfo adopt NAME --paused-primary-is-gone` ends the pause";
const DISK: &str = "give the event logs room on their disks again";
const BY_NAME: &str = "`pgfo adopt NAME` makes one the primary all the same";
const STANDBY_DOWN: &str = "start PostgreSQL on a standby, and see that it answers the daemon beside it";

/// Returns it, a sentence for each member.
#[must_use]
pub(super) fn why_not(logs: &[Gathered], incident: &Incident, settings: &Settings) -> Vec<String> {
    if incident.winner.is_some() {
        return Vec::new();
    }
    let mut said = tries(logs, incident, settings);
    if incident.down.is_empty() {
        return said;
    }
    if said.is_empty() {
        said.push("nobody asked for votes within these logs".to_owned());
    }
    let end = logs.iter().filter_map(Gathered::end).max().unwrap_or(incident.ended);
    let last: Vec<_> = settings.ids().map(|m| (m, last_said(logs, m))).collect();
    said.extend(last.iter().map(|(member, last)| told(settings, *member, *last, end)));
    said.extend(what_to_do(settings, &last));
    said
}

/// The last word of each member that could not, and when those that refused had seen the primary last.
fn tries(logs: &[Gathered], incident: &Incident, settings: &Settings) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for member in settings.ids() {
        let last = incident.marks.iter().rev().find(|m| {
            let k = kept(logs, **m);
            k.deed.who == member && matches!(k.deed.what, What::Abandoned | What::Withheld(_))
        });
        let Some(mark) = last else { continue };
        let k = kept(logs, *mark);
        let mut text = k.text.clone();
        for seer in seers(&k.record.event) {
            text.push_str(&saw_last(logs, incident, settings, seer, mark.at));
        }
        said.push(text);
    }
    said
}

/// `; node3 had its last answer from node1 0.400 s before`, if its log is at hand.
fn saw_last(
    logs: &[Gathered],
    incident: &Incident,
    settings: &Settings,
    seer: MemberId,
    before: i64,
) -> String {
    let name = settings.name(seer);
    let log = logs.iter().find(|log| log.audit().member() == Some(name));
    let primary = incident.about.0;
    let seen = log.and_then(|log| {
        let answer = log.last_answer(primary, before)?;
        Some(before - log.common(answer.seq, answer.wall))
    });
    seen.map_or(String::new(), |ago| {
        format!("; {name} had its last answer from {} {} before", settings.name(primary), span(ago))
    })
}

fn seers(event: &Event) -> Vec<MemberId> {
    match event {
        Event::Decided(Decision::ElectionAbandoned {
            why: NoElection::TooFewHoldItDown { seers, .. },
            ..
        }) => seers.clone(),
        Event::Decided(Decision::ElectionAbandoned {
            why: NoElection::TooFewVotes { refused, .. }, ..
        }) => refused
            .iter()
            .filter(|(_, why)| matches!(why, Refusal::SeesPrimary(_)))
            .map(|(member, _)| *member)
            .collect(),
        _ => Vec::new(),
    }
}

/// What a member said last of what it can do, in whichever log, and when by common time.
fn last_said(logs: &[Gathered], member: MemberId) -> Option<(i64, &Standing)> {
    let said = logs.iter().filter_map(|log| {
        let standing = log.standings.get(&member)?;
        Some((log.common(standing.seq, standing.wall), standing))
    });
    said.max_by_key(|(at, _)| *at)
}

fn told(settings: &Settings, member: MemberId, last: Option<(i64, &Standing)>, end: i64) -> String {
    let name = settings.name(member);
    let Some((at, standing)) = last else { return format!("nothing was heard of {name}") };
    let mut text = ability(settings, member, &standing.able);
    if !matches!(standing.electable, Err(Unelectable::Witness)) {
        text = format!("{text}; it {}", electable(&standing.electable));
    }
    let recent = RECENT_HEARTBEATS * settings.heartbeat_interval.0;
    if end - at > i64::try_from(recent).unwrap_or(i64::MAX) {
        text = format!("{text} (last heard {} before these logs end)", span(end - at));
    }
    text
}

/// The remedy, where too few can vote, or nobody can be promoted.
fn what_to_do(settings: &Settings, last: &[(MemberId, Option<(i64, &Standing)>)]) -> Option<String> {
    let said = || last.iter().filter_map(|(member, last)| Some((*member, last.as_ref()?.1)));
    let quorum = Quorum::of(settings);
    let (voters, needed) = (quorum.voters, quorum.needed());
    let able = said().filter(|(m, standing)| settings.votes(*m) && standing.able.is_ok()).count();
    if able < needed {
        let remedy = said().find_map(|(_, standing)| of_refusal(standing.able.as_ref().err()?));
        let remedy = remedy.unwrap_or("bring back the daemons that are not heard");
        return Some(format!("only {able} of {voters} voters can vote, {needed} are needed: {remedy}"));
    }
    if said().any(|(_, standing)| standing.electable.is_ok()) {
        return None;
    }
    let remedy = said().find_map(|(_, standing)| of_unelectable(standing.electable.as_ref().err()?))?;
    Some(format!("nobody can be promoted: {remedy}"))
}

const fn of_refusal(why: &Refusal) -> Option<&'static str> {
    match why {
        Refusal::NotRegistered | Refusal::NotHeardYet | Refusal::MemberUnheard { .. } => Some(LOGS_LOST),
        Refusal::Paused => Some(PAUSED),
        Refusal::LogStalled => Some(DISK),
        _ => None,
    }
}

const fn of_unelectable(why: &Unelectable) -> Option<&'static str> {
    match why {
        Unelectable::NotRegistered => Some(LOGS_LOST),
        Unelectable::Paused => Some(PAUSED),
        Unelectable::LogStalled => Some(DISK),
        Unelectable::Manual | Unelectable::PriorityZero | Unelectable::Lagging { .. } => Some(BY_NAME),
        Unelectable::PostgresDown | Unelectable::Unsettled => Some(STANDBY_DOWN),
        _ => None,
    }
}
