//! Owns what became of the old primary after another had taken over, as far as the logs at hand tell.

use super::deeds::What;
use super::gather::{Gathered, Kept};
use super::incident::{Incident, Mark, kept};
use super::page::span;
use crate::core::MemberId;
use crate::events::{Event, Observation, Settings};

/// Returns it in words; `None` where nobody else took over.
#[must_use]
pub(super) fn became(logs: &[Gathered], incident: &Incident, settings: &Settings) -> Option<String> {
    let (winner, _) = incident.winner?;
    let old = incident.about.0;
    if winner == old {
        return None;
    }
    let name = settings.name(old);
    let marks = || incident.marks.iter().map(|m| (m.at, kept(logs, *m)));
    let taken = incident.taken_over_at(logs).unwrap_or(incident.ended);
    let own = || marks().filter(|(_, k)| k.deed.who == old);
    let last = last_state(logs, incident, old, taken).map(|m| (m.at, kept(logs, m)));
    let sealed = own().find(|(_, k)| k.deed.what == What::FenceEnded { complete: true });
    let stopped = sealed.or_else(|| own().find(|(_, k)| k.deed.what == What::Confirmed));
    let at = |at: i64| format!("+{}", span(at - incident.began));
    let of_postgres = match (last, stopped) {
        (Some((when, k)), _) => match k.deed.what {
            What::Followed { .. } => format!("follows the new primary since {}", at(when)),
            What::FollowRefused { .. } => {
                "stays read-only: its WAL went past the fork, it needs a rewind or a new base backup"
                    .to_owned()
            }
            What::PostmasterSeen { sealed: true } => match streams_since(logs, old, winner, when) {
                Some(since) => format!("runs again, and follows the new primary since {}", at(since)),
                None => format!("runs again, read-only, since {}", at(when)),
            },
            What::FenceEnded { complete: true } => format!("was sealed and stopped at {}", at(when)),
            _ => format!("was kept from writing at {}", at(when)),
        },
        (None, Some((when, _))) => {
            format!("was sealed and stopped at {}; it did not come back within these logs", at(when))
        }
        (None, None) => "is not told of: nobody saw it end, or come back, within these logs".to_owned(),
    };
    Some(format!(
        "PostgreSQL on {name}, the old primary, {of_postgres}; {}",
        daemon(logs, incident, settings, taken)
    ))
}

/// The last that tells what state the old primary's PostgreSQL is in. A daemon that starts finds a PostgreSQL that ran all
/// the time: it does not run again then.
fn last_state(logs: &[Gathered], incident: &Incident, old: MemberId, taken: i64) -> Option<Mark> {
    let tells =
        |m: &&Mark| m.at >= taken && kept(logs, **m).deed.who == old && tells(&kept(logs, **m).deed.what);
    incident.marks.iter().filter(tells).fold(None, |state: Option<Mark>, mark| {
        state.filter(|state| ran_on(logs, *state, *mark)).or(Some(*mark))
    })
}

/// When the WAL receiver of a member was first seen to stream from another, after a common instant.
fn streams_since(logs: &[Gathered], member: MemberId, from: MemberId, after: i64) -> Option<i64> {
    let log = logs.iter().find(|log| log.me() == Some(member))?;
    let streams = log.streamed.iter().filter(|seen| seen.peer == from);
    streams.map(|seen| log.common(seen.seq, seen.wall)).find(|at| *at >= after)
}

/// Whether the postmaster that is found is the one that was there before, as far as its own log tells.
fn ran_on(logs: &[Gathered], before: Mark, found: Mark) -> bool {
    let is_found = matches!(kept(logs, found).deed.what, What::PostmasterSeen { .. });
    let was_up = matches!(kept(logs, before).deed.what, What::Followed { .. } | What::PostmasterSeen { .. });
    if !is_found || !was_up || before.log != found.log {
        return false;
    }
    let log = &logs[found.log];
    let ended = |k: &Kept| matches!(&k.record.event, Event::Observed(Observation::PostmasterGone { .. }));
    let pid = |k: &Kept| match &k.record.event {
        Event::Observed(Observation::PostmasterSeen { pid, .. }) => Some(*pid),
        _ => None,
    };
    let pid_before = log.kept[..=before.kept].iter().rev().find_map(pid);
    let (first, last) = (kept(logs, before).record.seq, kept(logs, found).record.seq);
    let is_booted =
        log.stretches.iter().any(|s| s.set_by_nanos.is_none() && first < s.from && s.from <= last);
    !is_booted
        && pid_before == pid(&log.kept[found.kept])
        && !log.kept[before.kept..found.kept].iter().any(ended)
}

/// Whether it tells what state the old primary's PostgreSQL is in.
const fn tells(what: &What) -> bool {
    matches!(
        what,
        What::Followed { streams: true }
            | What::FollowRefused { .. }
            | What::PostmasterSeen { .. }
            | What::FenceEnded { .. }
            | What::Fence(_)
    )
}

/// When the daemon beside it was last heard.
fn daemon(logs: &[Gathered], incident: &Incident, settings: &Settings, taken: i64) -> String {
    let old = incident.about.0;
    let end = logs.iter().filter_map(Gathered::end).max().unwrap_or(incident.ended);
    let own =
        logs.iter().filter(|log| log.audit().member() == Some(settings.name(old))).filter_map(Gathered::end);
    let heard = logs.iter().filter_map(|log| {
        let told = log.told.iter().rev().find(|told| told.from == old)?;
        Some(log.common(told.seq, told.wall))
    });
    match own.chain(heard).max() {
        None => "its daemon was never heard in these logs".to_owned(),
        Some(last) if end - last <= 2 * i64::try_from(settings.heartbeat_interval.0).unwrap_or(i64::MAX) => {
            let started = incident.marks.iter().rfind(|m| {
                m.at > taken && kept(logs, **m).deed.who == old && kept(logs, **m).deed.what == What::Started
            });
            let again = started
                .map_or(String::new(), |m| format!("started again at +{} and ", span(m.at - incident.began)));
            format!("its daemon {again}was there until these logs end")
        }
        Some(last) => format!(
            "its daemon was last heard at {}{}, and not again until these logs end, {} later",
            if last < incident.began { "" } else { "+" },
            span(last - incident.began),
            span(end - last)
        ),
    }
}
