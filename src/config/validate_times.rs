//! The arithmetic of the lease: one lost heartbeat must not fence, and the fence must fit.

use super::finding::{Fault, Findings};
use super::schema::Config;
use super::units::duration_text;
use super::words::FencingMode;
use crate::core::Nanos;

/// Remedies name durations in whole steps of this.
const STEP: Nanos = Nanos::from_millis(100);

/// The keys that the arithmetic builds on.
const LEASE_KEYS: [&str; 5] =
    ["lease.duration", "fencing.mode", "fencing.reserve", "heartbeat.interval", "heartbeat.timeout"];
const ESCALATION_KEYS: [&str; 3] = ["escalation.attempts", "escalation.interval", "escalation.timeout"];

pub(super) fn validate(config: &Config, findings: &mut Findings<'_>) {
    if config.fencing.mode == FencingMode::Off || !findings.are_sound(&LEASE_KEYS) {
        return;
    }
    let (lease, reserve) = (config.lease.duration, config.fencing.reserve);
    if reserve.0.saturating_mul(2) >= lease.0 {
        let problem = format!(
            "the reserve {} is not below half of lease.duration {}",
            duration_text(reserve),
            duration_text(lease)
        );
        let remedy = format!("lower it below {}, or raise lease.duration", duration_text(Nanos(lease.0 / 2)));
        findings.error("fencing.reserve", Fault::new(problem, remedy));
        return;
    }
    one_lost_heartbeat(config, findings);
    detection(config, findings);
}

fn one_lost_heartbeat(config: &Config, findings: &mut Findings<'_>) {
    let (lease, reserve, heartbeat) = (config.lease.duration, config.fencing.reserve, &config.heartbeat);
    let usable = Nanos(config.lease.counted().0.saturating_sub(reserve.0));
    let needed = Nanos(heartbeat.interval.0.saturating_mul(2).saturating_add(heartbeat.timeout.0));
    if usable > needed {
        return;
    }
    let problem = format!(
        "the primary can use {} of the lease ({} × 0.98 - fencing.reserve {}), and one lost heartbeat takes {} \
         (2 × heartbeat.interval {} + heartbeat.timeout {}): it would fence a healthy primary",
        duration_text(usable),
        duration_text(lease),
        duration_text(reserve),
        duration_text(needed),
        duration_text(heartbeat.interval),
        duration_text(heartbeat.timeout),
    );
    let least = needed.0.saturating_add(reserve.0) / 98 * 100;
    let least = Nanos((least / STEP.0 + 1).saturating_mul(STEP.0));
    let remedy = format!(
        "raise it to \"{}\" or more, or lower heartbeat.interval or heartbeat.timeout",
        duration_text(least)
    );
    findings.error("lease.duration", Fault::new(problem, remedy));
}

/// A detection slower than the lease is safe, but then it, and not the lease, sets the pace.
fn detection(config: &Config, findings: &mut Findings<'_>) {
    if !findings.are_sound(&ESCALATION_KEYS) {
        return;
    }
    let (heartbeat, escalation) = (&config.heartbeat, &config.escalation);
    let total = heartbeat.interval.0.saturating_add(heartbeat.timeout.0).saturating_add(escalation.total().0);
    if total <= config.lease.duration.0 {
        return;
    }
    let problem = format!(
        "a dead host is noticed after up to {} (heartbeat.interval {} + heartbeat.timeout {} + escalation {}), \
         later than lease.duration {} ends",
        duration_text(Nanos(total)),
        duration_text(heartbeat.interval),
        duration_text(heartbeat.timeout),
        duration_text(escalation.total()),
        duration_text(config.lease.duration),
    );
    findings.warn(
        "escalation.attempts",
        Fault::new(problem, "lower the attempts or the timeouts for a faster failover"),
    );
}
