//! Owns for how long nobody could write: from the old primary's end to the new one's beginning. Where only
//! the last answer is known and not the end, it must say so.

use super::deeds::What;
use super::gather::Gathered;
use super::incident::{Incident, kept};
use super::page::span;
use crate::events::{Event, Observation, Settings};
use serde::Serialize;

/// A primary that answered within so many halves of a heartbeat of its end is taken to have written until then.
const HALF_HEARTBEATS: u64 = 3;

/// A time without a primary that takes writes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outage {
    /// When the old primary was last seen to take writes, since the first sign, nanoseconds.
    pub seen_writing_ns: Option<i64>,
    /// When it certainly took none any more, since the first sign, nanoseconds.
    pub stopped_ns: Option<i64>,
    /// When the new one took writes, since the first sign, nanoseconds.
    pub ended_ns: i64,
    /// At least so long, nanoseconds; `None`: not known.
    pub at_least_ns: Option<i64>,
    /// At most so long, nanoseconds; `None`: not known.
    pub at_most_ns: Option<i64>,
}

/// Returns the outage of an incident that somebody won.
#[must_use]
pub(super) fn outage(logs: &[Gathered], incident: &Incident, settings: &Settings) -> Option<Outage> {
    let (winner, won) = incident.winner?;
    let old = incident.about.0;
    let marks = || incident.marks.iter().map(|m| (m.at, kept(logs, *m)));
    let promoted = marks().find(|(_, k)| {
        k.deed.who == winner && k.deed.term == Some(won) && k.deed.what == What::Promoted { done: true }
    });
    let known = promoted.or_else(|| {
        let tells = |what: &What| matches!(what, What::Announced | What::Learned);
        marks().find(|(_, k)| k.deed.term == Some(won) && tells(&k.deed.what))
    });
    let end = known?.0;
    let writing = logs
        .iter()
        .filter_map(|log| {
            let answers = log.glances.iter().rev();
            let mut answers = answers.map(|g| (log.common(g.seq, g.wall), g));
            answers.find(|(at, g)| g.target == old && g.answered && !g.in_recovery && *at < end)
        })
        .map(|(at, _)| at)
        .max();
    // The first that ended it after it was last seen: what came before, it had survived.
    let stopped = marks().find(|(at, k)| {
        k.deed.who == old
            && *at <= end
            && writing.is_none_or(|seen| seen <= *at)
            && stops(&k.deed.what, &k.record.event)
    });
    let stopped = stopped.map(|(at, _)| at);
    let near = settings.heartbeat_interval.0 / 2 * HALF_HEARTBEATS;
    let near = i64::try_from(near).unwrap_or(i64::MAX);
    let is_exact = stopped.zip(writing).is_some_and(|(stopped, seen)| stopped - seen <= near);
    let at_least_ns = stopped.map(|at| end - at);
    Some(Outage {
        seen_writing_ns: writing.map(|at| at - incident.began),
        stopped_ns: stopped.map(|at| at - incident.began),
        ended_ns: end - incident.began,
        at_least_ns,
        at_most_ns: if is_exact { at_least_ns } else { writing.map(|at| end - at) },
    })
}

/// Whether a primary takes no writes from here on.
const fn stops(what: &What, event: &Event) -> bool {
    matches!(
        what,
        What::Fence(_) | What::FenceEnded { .. } | What::Expired | What::Confirmed | What::Released
    ) || matches!(event, Event::Observed(Observation::PostmasterGone { .. }))
}

/// `nobody could write for 2.717 s`.
#[must_use]
pub(super) fn outage_words(outage: &Outage) -> Option<String> {
    Some(match (outage.at_least_ns, outage.at_most_ns) {
        (Some(least), Some(most)) if least == most => format!("nobody could write for {}", span(least)),
        (Some(least), Some(most)) => {
            format!("nobody could write for {} at least, {} at most", span(least), span(most))
        }
        (Some(least), None) => format!("nobody could write for {} at least", span(least)),
        (None, Some(most)) => format!("nobody could write for {} at most", span(most)),
        (None, None) => return None,
    })
}
