//! From the configuration to what the roles and hands need. Plain mapping.

use crate::actors::{OperatorConfig, ProbeTargets};
use crate::config::{CommandLine, Config, FailoverMode, FencingMode, MemberRole};
use crate::core::{MemberId, Nanos};
use crate::events::{Fencing, MemberSettings, Settings};
use crate::keep::{IncidentLimits, Limits};
use crate::postgres::{ConnInfo, Connector, Environment};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::time::Duration;

/// What decisions depend on.
pub(super) fn settings(config: &Config) -> Settings {
    let members = config.membership.members().iter();
    Settings {
        cluster: config.cluster.name.clone(),
        members: members
            .map(|m| MemberSettings {
                name: m.name.clone(),
                witness: m.role == MemberRole::Witness,
                votes: m.votes,
            })
            .collect(),
        me: config.me(),
        automatic: config.failover.mode == FailoverMode::Automatic,
        priority: config.failover.priority,
        lag_bytes_max: config.failover.lag_max.map(|l| l.0),
        heartbeat_interval: config.heartbeat.interval,
        escalation_attempts: u8::try_from(config.escalation.attempts).unwrap_or(u8::MAX),
        escalation_interval: config.escalation.interval,
        sign_of_life_max: config.escalation.sign_of_life_max,
        testimony_timeout: config.election.testimony_timeout,
        rank_delay: config.election.rank_delay,
        retry_interval: config.election.retry_interval,
        freeze_timeout: config.election.freeze_timeout,
        lease_duration: config.lease.duration,
        fence_reserve: config.fencing.reserve,
        fencing: match config.fencing.mode {
            FencingMode::Guard => Fencing::Guard,
            FencingMode::Daemon => Fencing::Daemon,
            FencingMode::Off => Fencing::Off,
        },
        promote_timeout: config.failover.promote_timeout,
        follow_timeout: config.failover.follow_timeout,
    }
}

/// How long records and incidents are kept.
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        age_max: config.log.age_max,
        size_bytes_max: config.log.size_max.0,
        incidents: IncidentLimits {
            count_max: config.log.incidents_max,
            size_bytes_max: config.log.incidents_size_max.0,
        },
    }
}

/// The digest of the effective configuration, hexadecimal.
pub(super) fn digest(config: &Config) -> String {
    config.effective().digest.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn length(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos.0)
}

fn conninfo(text: &str, whose: &str) -> anyhow::Result<ConnInfo> {
    ConnInfo::parse(text, &Environment::of_process()).with_context(|| format!("conninfo of {whose}"))
}

/// How the PostgreSQL of this member is reached; `None` on a witness.
pub(super) fn local(config: &Config) -> anyhow::Result<Option<Connector>> {
    let Some(postgres) = &config.postgres else { return Ok(None) };
    let parsed = conninfo(postgres.conninfo.expose(), "[postgres]")?;
    Ok(Some(Connector::new(parsed).context("conninfo of [postgres]")?))
}

/// Whom to probe, and how patiently.
pub(super) fn targets(config: &Config) -> anyhow::Result<ProbeTargets> {
    let mut connectors = BTreeMap::new();
    for (id, member) in config.membership.iter() {
        if id == config.me() {
            if let Some(local) = local(config)? {
                connectors.insert(id, local);
            }
        } else if let Some(text) = &member.conninfo {
            let parsed = conninfo(text.expose(), &member.name)?;
            let connector = Connector::new(parsed).with_context(|| format!("conninfo of {}", member.name))?;
            connectors.insert(id, connector);
        }
    }
    Ok(ProbeTargets {
        me: config.me(),
        connectors,
        interval: length(config.heartbeat.interval),
        timeout: length(config.heartbeat.timeout),
        massage_timeout: length(config.escalation.timeout),
        renew_after: length(config.heartbeat.reconnect_interval),
    })
}

fn command(line: Option<&CommandLine>) -> Option<String> {
    line.map(|l| l.expose().to_owned())
}

/// How the local PostgreSQL is operated; `None` on a witness.
pub(super) fn operator(config: &Config) -> anyhow::Result<Option<OperatorConfig>> {
    let (Some(postgres), Some(local)) = (&config.postgres, local(config)?) else { return Ok(None) };
    let mut upstreams: BTreeMap<MemberId, (String, ConnInfo)> = BTreeMap::new();
    for (id, member) in config.membership.iter() {
        if let Some(text) = &member.conninfo {
            upstreams.insert(id, (member.name.clone(), conninfo(text.expose(), &member.name)?));
        }
    }
    let failover = &config.failover;
    Ok(Some(OperatorConfig {
        name: config.node.name.clone(),
        data_dir: postgres.data_directory.clone(),
        log_dir: config.log.directory.clone(),
        local,
        upstreams,
        others: config.membership.iter().map(|(id, _)| id).filter(|id| *id != config.me()).collect(),
        promote_command: command(failover.promote_command.as_ref()),
        follow_command: command(failover.follow_command.as_ref()),
        validation_command: command(failover.validation_command.as_ref()),
        promote_timeout: length(failover.promote_timeout),
        follow_timeout: length(failover.follow_timeout),
        validation_timeout: length(failover.validation_timeout),
        freeze_timeout: length(config.election.freeze_timeout),
        guarded: config.fencing.mode != FencingMode::Off,
    }))
}
