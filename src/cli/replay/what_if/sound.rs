//! Owns the question whether a daemon would take the changed values at all: they are checked as a configuration file
//! is, by the same code. It must never refuse what the recorded cluster itself had.

use super::changes::{Changes, Value};
use crate::config::Config;
use crate::core::Nanos;
use crate::events::{Fencing, Settings};
use std::path::Path;

/// Time-outs of probes are in no log: as long as `heartbeat.interval` lets them, and no longer than the default.
const TIMEOUT_MAX: Nanos = Nanos::from_millis(1_000);

/// Says what `pgfo daemon` would say of the changed values, the first of it.
///
/// # Errors
/// Key, problem and remedy, as of a configuration file.
pub(super) fn would_be_taken(changes: &Changes, settings: &Settings) -> Result<(), String> {
    let before = errors_of(settings, &Changes::default());
    let mut changed = settings.clone();
    changes.apply(&mut changed);
    // Who is removed here does without its vote, and leaves no configuration behind that somebody wrote.
    for (member, recorded) in changed.members.iter_mut().zip(&settings.members) {
        member.votes |= recorded.votes && changes.removed.contains(&member.name);
    }
    errors_of(&changed, changes).into_iter().find(|error| !before.contains(error)).map_or(Ok(()), Err)
}

fn errors_of(settings: &Settings, changes: &Changes) -> Vec<String> {
    match Config::parse(Path::new("--what-if"), &as_file(settings, changes)) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let findings = errors.errors().iter().map(|error| &error.0);
            findings.map(|found| format!("{}: {}; {}", found.key, found.problem, found.remedy)).collect()
        }
    }
}

/// The settings as a file of some data member: what is in no log stands there with a value that is always right.
fn as_file(settings: &Settings, changes: &Changes) -> String {
    let me = settings.members.iter().find(|m| !m.witness).map_or("?", |m| m.name.as_str());
    let fencing = match settings.fencing {
        Fencing::Guard => "guard",
        Fencing::Daemon => "daemon",
        Fencing::Off => "off",
    };
    let longest = settings.heartbeat_interval.min(TIMEOUT_MAX);
    let timeout = |key: &str| match changes.value(me, key) {
        Some(Value::Length(length)) => length.0,
        _ => longest.0,
    };
    let mut members = String::new();
    for (at, member) in settings.members.iter().enumerate() {
        let role = if member.witness { "role = \"witness\"" } else { "conninfo = \"host=127.0.0.1\"" };
        let (name, port, votes) = (&member.name, 7_001 + at, member.votes);
        members.push_str(&format!(
            "[[member]]\nname = {name:?}\naddress = \"127.0.0.1:{port}\"\nvotes = {votes}\n{role}\n"
        ));
    }
    format!(
        "[cluster]\nname = {:?}\n[node]\nname = {me:?}\nrun_directory = \"/run/pgfo\"\n\
         [log]\ndirectory = \"/var/lib/pgfo\"\n\
         [postgres]\nconninfo = \"host=/tmp\"\ndata_directory = \"/data\"\nbin_directory = \"/bin\"\n\
         [heartbeat]\ninterval = \"{}ns\"\ntimeout = \"{}ns\"\n\
         [escalation]\nattempts = {}\ninterval = \"{}ns\"\ntimeout = \"{}ns\"\nsign_of_life_max = \"{}ns\"\n\
         [election]\ntestimony_timeout = \"{}ns\"\nrank_delay = \"{}ns\"\nretry_interval = \"{}ns\"\n\
         freeze_timeout = \"{}ns\"\n\
         [lease]\nduration = \"{}ns\"\n[fencing]\nmode = {fencing:?}\nreserve = \"{}ns\"\n\
         [failover]\npromote_timeout = \"{}ns\"\nfollow_timeout = \"{}ns\"\n{members}",
        settings.cluster,
        settings.heartbeat_interval.0,
        timeout("heartbeat.timeout"),
        settings.escalation_attempts,
        settings.escalation_interval.0,
        timeout("escalation.timeout"),
        settings.sign_of_life_max.0,
        settings.testimony_timeout.0,
        settings.rank_delay.0,
        settings.retry_interval.0,
        settings.freeze_timeout.0,
        settings.lease_duration.0,
        settings.fence_reserve.0,
        settings.promote_timeout.0,
        settings.follow_timeout.0,
    )
}
