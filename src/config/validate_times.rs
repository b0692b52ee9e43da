//! The arithmetic of the lease: one lost heartbeat must not fence, and the fence must fit.

use super::finding::{Fault, Findings};
use super::schema::{Config, Lease};
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
    let times = LeaseTimes {
        lease: config.lease.duration,
        reserve: config.fencing.reserve,
        heartbeat: config.heartbeat.interval,
        timeout: config.heartbeat.timeout,
    };
    if let Err(fault) = times.reserve_fits() {
        findings.error("fencing.reserve", fault);
        return;
    }
    if let Err(fault) = times.outlasts_one_lost_heartbeat() {
        findings.error("lease.duration", fault);
    }
    detection(config, findings);
}

/// The times that the arithmetic of a lease is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseTimes {
    /// `lease.duration`.
    pub(crate) lease: Nanos,
    /// `fencing.reserve`.
    pub(crate) reserve: Nanos,
    /// `heartbeat.interval`.
    pub(crate) heartbeat: Nanos,
    /// `heartbeat.timeout`.
    pub(crate) timeout: Nanos,
}

impl LeaseTimes {
    /// The fence has its time within the lease, and leaves most of it.
    pub(crate) fn reserve_fits(self) -> Result<(), Fault> {
        let Self { lease, reserve, .. } = self;
        if reserve.0.saturating_mul(2) < lease.0 {
            return Ok(());
        }
        let problem = format!(
            "the reserve {} is not below half of lease.duration {}",
            duration_text(reserve),
            duration_text(lease)
        );
        let remedy = format!("lower it below {}, or raise lease.duration", duration_text(Nanos(lease.0 / 2)));
        Err(Fault::new(problem, remedy))
    }

    /// One lost heartbeat does not cost the lease.
    pub(crate) fn outlasts_one_lost_heartbeat(self) -> Result<(), Fault> {
        let Self { lease, reserve, heartbeat, timeout } = self;
        let counted = Lease { duration: lease }.counted();
        let usable = Nanos(counted.0.saturating_sub(reserve.0));
        let needed = Nanos(heartbeat.0.saturating_mul(2).saturating_add(timeout.0));
        if usable > needed {
            return Ok(());
        }
        let problem = format!(
            "the primary can use {} of the lease ({} × 0.98 - fencing.reserve {}), and one lost heartbeat takes {} \
             (2 × heartbeat.interval {} + heartbeat.timeout {}): it would fence a healthy primary",
            duration_text(usable),
            duration_text(lease),
            duration_text(reserve),
            duration_text(needed),
            duration_text(heartbeat),
            duration_text(timeout),
        );
        let least = needed.0.saturating_add(reserve.0) / 98 * 100;
        let least = Nanos((least / STEP.0 + 1).saturating_mul(STEP.0));
        let remedy = format!(
            "raise it to \"{}\" or more, or lower heartbeat.interval or heartbeat.timeout",
            duration_text(least)
        );
        Err(Fault::new(problem, remedy))
    }
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
