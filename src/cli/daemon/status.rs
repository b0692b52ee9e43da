//! What a member knows of the cluster, as JSON: the one source of `pgfo status`.

use crate::config::Config;
use crate::core::{Ledger, MemberId};
use crate::events::{Fencing, PostgresState, Verdict};
use serde_json::{Value, json};

/// Returns the status, with what is wrong beside what the ledger knows; its shape only grows.
pub(super) fn status(ledger: &Ledger, config: &Config, beside: Option<String>) -> Value {
    let members: Vec<Value> = ledger.settings.ids().map(|m| member(ledger, m)).collect();
    let primary = ledger.primary().filter(|p| is_primary(ledger, *p));
    let mut complaints = complaints(ledger, primary, &members);
    complaints.extend(beside);
    let health = if primary.is_none() {
        "no primary"
    } else if complaints.is_empty() {
        "healthy"
    } else {
        "degraded"
    };
    json!({
        "cluster": ledger.settings.cluster,
        "member": ledger.settings.name(ledger.me()),
        "term": ledger.announced_term().0,
        "term_seen": ledger.term_heard().0,
        "primary": primary.map(|p| ledger.settings.name(p)),
        "announced": ledger.primary().map(|p| ledger.settings.name(p)),
        "health": health,
        "complaints": complaints,
        "paused": ledger.paused.map(|p| ledger.settings.name(p.primary)),
        "voters": ledger.quorum().voters,
        "quorum": ledger.quorum().needed(),
        "fencing": fencing(ledger.settings.fencing),
        "mode": format!("{:?}", config.failover.mode).to_lowercase(),
        "log": config.log.directory.display().to_string(),
        "members": members,
    })
}

fn fencing(fencing: Fencing) -> &'static str {
    match fencing {
        Fencing::Guard => "guard",
        Fencing::Daemon => "daemon (a dead daemon leaves PostgreSQL unguarded)",
        Fencing::Off => "off (neither lease nor seal: two primaries are possible)",
    }
}

fn postgres_of(ledger: &Ledger, member: MemberId) -> Option<PostgresState> {
    if member == ledger.me() { ledger.postgres_state() } else { ledger.heartbeat(member)?.postgres }
}

fn is_primary(ledger: &Ledger, member: MemberId) -> bool {
    ledger.verdict == Verdict::Reachable
        || postgres_of(ledger, member).is_some_and(|p| p.alive && p.in_recovery == Some(false))
}

fn verdict_of(ledger: &Ledger, member: MemberId) -> Option<Verdict> {
    if member == ledger.me() { Some(ledger.verdict) } else { ledger.heartbeat(member).map(|h| h.verdict) }
}

fn role(ledger: &Ledger, member: MemberId, postgres: Option<&PostgresState>) -> &'static str {
    if ledger.settings.is_witness(member) {
        return "witness";
    }
    match postgres {
        None => "unknown",
        Some(p) if !p.alive => "down",
        Some(p) => match p.in_recovery {
            Some(false) if ledger.primary() == Some(member) => "primary",
            Some(false) => "unannounced primary",
            Some(true) if p.sealed && ledger.primary() == Some(member) => "sealed",
            Some(true) => "standby",
            None => "unknown",
        },
    }
}

fn state(ledger: &Ledger, member: MemberId, postgres: Option<&PostgresState>) -> String {
    let me = member == ledger.me();
    if !me && ledger.heartbeat(member).is_none() {
        return "not heard".to_owned();
    }
    if let Some(p) = postgres {
        if !p.alive {
            return if p.sealed { "stopped, sealed".to_owned() } else { "not answering".to_owned() };
        }
        if p.in_recovery == Some(true) {
            return if p.streaming { "streaming".to_owned() } else { "not streaming".to_owned() };
        }
    }
    "running".to_owned()
}

fn member(ledger: &Ledger, member: MemberId) -> Value {
    let me = member == ledger.me();
    let heartbeat = ledger.heartbeat(member);
    let postgres = postgres_of(ledger, member);
    let primary_lsn = ledger.primary_lsn.filter(|(t, _)| *t == ledger.announced_term()).map(|(_, lsn)| lsn);
    let received = postgres.and_then(|p| p.received);
    let replayed = postgres.and_then(|p| p.replayed);
    let lsn = received.max(replayed);
    let lag_bytes = primary_lsn.zip(lsn).map(|(p, l)| p.bytes_since(l));
    let electable = if me { Some(ledger.electable()) } else { heartbeat.map(|h| h.electable) };
    let able = if me { Some(ledger.ability()) } else { heartbeat.map(|h| h.able) };
    let priority = if me { Some(ledger.settings.priority) } else { heartbeat.map(|h| h.priority) };
    let lease_left = if me {
        ledger
            .lease_stands()
            .then_some(ledger.lease)
            .flatten()
            .map(|l| l.until.nanos_since(ledger.now) / 1_000_000)
    } else {
        heartbeat.and_then(|h| h.lease_left).map(crate::core::Nanos::as_millis)
    };
    let term = if me { Some(ledger.term_seen().0) } else { heartbeat.map(|h| h.term_seen.0) };
    json!({
        "name": ledger.settings.name(member),
        "role": role(ledger, member, postgres.as_ref()),
        "state": state(ledger, member, postgres.as_ref()),
        "timeline": postgres.and_then(|p| p.timeline).map(|t| t.0),
        "receive_lsn": received.map(|l| l.to_string()),
        "replay_lsn": replayed.map(|l| l.to_string()),
        "lag_bytes": lag_bytes,
        "priority": priority.filter(|_| !ledger.settings.is_witness(member)),
        "verdict": verdict_of(ledger, member).map(verdict_word),
        "term": term,
        "lease_left_ms": lease_left,
        "able": able.map(|a| a.is_ok()),
        "unable_because": able.and_then(Result::err).map(|e| format!("{e:?}")),
        "electable": electable.map(|e| e.is_ok()),
        "unelectable_because": electable.and_then(Result::err).map(|e| format!("{e:?}")),
        "sealed": postgres.map(|p| p.sealed),
        "votes": ledger.settings.votes(member),
    })
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "unknown",
        Verdict::Reachable => "reachable",
        Verdict::Suspect => "suspect",
        Verdict::Unreachable => "unreachable",
        Verdict::ConfirmedDown => "confirmed down",
    }
}

/// Says why this member's standby does not follow the primary, if its data is what is in the way.
fn cannot_follow(ledger: &Ledger) -> Option<String> {
    let winner = ledger.announced().filter(|a| a.primary != ledger.me())?;
    ledger.answer().filter(|a| a.in_recovery && !a.streaming && a.system_id == winner.system_id)?;
    let why = match ledger.past_fork_bytes() {
        Some(0) => return None,
        Some(bytes) => format!("it has {bytes} bytes past the fork"),
        None if ledger.lineage.is_none() && !ledger.diverged() => return None,
        None => "its line of history is not among the primary's".to_owned(),
    };
    let (me, primary) = (ledger.settings.name(ledger.me()), ledger.settings.name(winner.primary));
    Some(format!("{me} can't follow {primary} as it is: {why}; it needs a rewind or a new base backup"))
}

fn complaints(ledger: &Ledger, primary: Option<MemberId>, members: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    match (ledger.announced(), primary) {
        (None, _) => found.push(
            "no primary was ever adopted: all members must be reachable, or use `pgfo adopt`".to_owned(),
        ),
        (Some(a), None) => {
            found.push(format!(
                "the primary of term {}, {}, is down",
                a.term,
                ledger.settings.name(a.primary)
            ));
        }
        _ => {}
    }
    if ledger.paused.is_some() {
        found.push("paused: nothing automatic happens".to_owned());
    }
    if ledger.quorum().voters == 2 {
        found.push("two voters: if a whole node is lost, nobody can take over; add a witness".to_owned());
    }
    found.extend(cannot_follow(ledger));
    for m in members {
        let name = m["name"].as_str().unwrap_or("?");
        let role = m["role"].as_str().unwrap_or("?");
        let state = m["state"].as_str().unwrap_or("?");
        if matches!(state, "not heard" | "not answering" | "not streaming" | "stopped, sealed") {
            found.push(format!("{name} ({role}): {state}"));
        } else if role == "unannounced primary" {
            found.push(format!("{name} runs as a primary that nobody elected"));
        }
        if m["able"] == Value::Bool(false) && m["votes"] == Value::Bool(true) {
            found.push(format!("{name} can't vote: {}", m["unable_because"].as_str().unwrap_or("unknown")));
        }
    }
    found
}
