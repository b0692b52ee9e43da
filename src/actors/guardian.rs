//! The guardian: pings every actor, and ends the process when one is gone or stuck, so that it is
//! started anew and the log restores it. Correctness never depends on a clean shutdown.

use super::prober::HeartbeatProber;
use super::role_shell::{Ping, RoleShell};
use super::sequencer::Sequencer;
use actix::Addr;
use slog::{Logger, crit};
use std::time::Duration;

/// How often everybody is pinged: a third of the unit's `WatchdogSec`.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Who does not answer for so long is stuck: no handler does more than a millisecond's work, and a
/// rebuild from a long log takes seconds.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The exit code of an internal failure (`EX_SOFTWARE`).
const EXIT_INTERNAL: i32 = 70;

/// Whom to ping.
pub struct Guardian {
    /// The sequencer.
    pub sequencer: Addr<Sequencer>,
    /// The roles.
    pub roles: Vec<(&'static str, Addr<RoleShell>)>,
    /// The prober.
    pub prober: Addr<HeartbeatProber>,
    /// The text log.
    pub logger: Logger,
}

impl Guardian {
    /// Pings for ever; tells systemd's watchdog after each round in which everybody answered.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(PING_INTERVAL).await;
            self.expect("sequencer", tokio::time::timeout(ANSWER_MAX, self.sequencer.send(Ping)).await);
            for (name, role) in &self.roles {
                self.expect(name, tokio::time::timeout(ANSWER_MAX, role.send(Ping)).await);
            }
            self.expect("heartbeat prober", tokio::time::timeout(ANSWER_MAX, self.prober.send(Ping)).await);
            // Without systemd there is nobody to tell.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }

    fn expect<E: std::fmt::Display>(
        &self,
        name: &str,
        answer: Result<Result<(), E>, tokio::time::error::Elapsed>,
    ) {
        let why = match answer {
            Ok(Ok(())) => return,
            Ok(Err(gone)) => gone.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER_MAX.as_secs()),
        };
        crit!(self.logger, "an actor is gone or stuck: ending, to be started anew from the log";
            "actor" => name, "why" => why);
        std::process::exit(EXIT_INTERNAL);
    }
}
