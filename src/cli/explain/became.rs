//! Owns what became of the old primary after another had taken over, as far as the logs at hand tell.

use super::deeds::What;
use super::gather::Gathered;
use super::incident::{Incident, kept};
use super::page::span;
use crate::events::Settings;

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
    let last = own().rfind(|(at, k)| *at >= taken && tells(&k.deed.what));
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
            What::PostmasterSeen { sealed: true } => format!("runs again, read-only, since {}", at(when)),
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
        daemon(logs, incident, settings)
    ))
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
fn daemon(logs: &[Gathered], incident: &Incident, settings: &Settings) -> String {
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
            "its daemon was there until these logs end".to_owned()
        }
        Some(last) => format!(
            "its daemon was last heard at {}{}, and not again until these logs end, {} later",
            if last < incident.began { "" } else { "+" },
            span(last - incident.began),
            span(end - last)
        ),
    }
}
