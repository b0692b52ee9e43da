//! Owns the telling of what changed between two settings, under the names of the configuration file.

use crate::core::Nanos;
use crate::events::{Fencing, Settings};

/// Returns one phrase for each setting that differs, such as `escalation.attempts 3 -> 5`.
#[must_use]
pub fn describe_settings_changes(old: &Settings, new: &Settings) -> Vec<String> {
    // Destructured, so that a new setting can't be forgotten here.
    let Settings {
        cluster,
        members,
        me,
        automatic,
        priority,
        lag_bytes_max,
        heartbeat_interval,
        escalation_attempts,
        escalation_interval,
        sign_of_life_max,
        testimony_timeout,
        rank_delay,
        retry_interval,
        freeze_timeout,
        lease_duration,
        fence_reserve,
        fencing,
        promote_timeout,
        follow_timeout,
    } = new;
    let mut changes = Changes(Vec::new());
    changes.add("cluster.name", &old.cluster, cluster);
    changes.add("members", &membership(&old.members), &membership(members));
    changes.add("node.name", &old.name(old.me).to_owned(), &new.name(*me).to_owned());
    changes.add("failover.mode", &mode(old.automatic), &mode(*automatic));
    changes.add("failover.priority", &old.priority, priority);
    changes.add("failover.lag_max", &bytes(old.lag_bytes_max), &bytes(*lag_bytes_max));
    for (name, before, after) in [
        ("heartbeat.interval", old.heartbeat_interval, *heartbeat_interval),
        ("escalation.interval", old.escalation_interval, *escalation_interval),
        ("escalation.sign_of_life_max", old.sign_of_life_max, *sign_of_life_max),
        ("election.testimony_timeout", old.testimony_timeout, *testimony_timeout),
        ("election.rank_delay", old.rank_delay, *rank_delay),
        ("election.retry_interval", old.retry_interval, *retry_interval),
        ("election.freeze_timeout", old.freeze_timeout, *freeze_timeout),
        ("lease.duration", old.lease_duration, *lease_duration),
        ("fencing.reserve", old.fence_reserve, *fence_reserve),
        ("failover.promote_timeout", old.promote_timeout, *promote_timeout),
        ("failover.follow_timeout", old.follow_timeout, *follow_timeout),
    ] {
        changes.add::<Nanos>(name, &before, &after);
    }
    changes.add("escalation.attempts", &old.escalation_attempts, escalation_attempts);
    changes.add("fencing.mode", &fencing_word(old.fencing), &fencing_word(*fencing));
    changes.0
}

struct Changes(Vec<String>);

impl Changes {
    fn add<T: PartialEq + std::fmt::Display>(&mut self, name: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(format!("{name} {old} -> {new}"));
        }
    }
}

fn membership(members: &[crate::events::MemberSettings]) -> String {
    let words: Vec<String> = members
        .iter()
        .map(|m| match (m.witness, m.votes) {
            (false, true) => m.name.clone(),
            (false, false) => format!("{} (no vote)", m.name),
            (true, true) => format!("{} (witness)", m.name),
            (true, false) => format!("{} (witness, no vote)", m.name),
        })
        .collect();
    words.join(", ")
}

pub(super) const fn mode(automatic: bool) -> &'static str {
    if automatic { "automatic" } else { "manual" }
}

pub(super) const fn fencing_word(fencing: Fencing) -> &'static str {
    match fencing {
        Fencing::Guard => "guard",
        Fencing::Daemon => "daemon",
        Fencing::Off => "off",
    }
}

fn bytes(limit: Option<u64>) -> String {
    limit.map_or_else(|| "none".to_owned(), |bytes| format!("{} bytes", super::grouped(bytes)))
}
