//! Which hand performs which effect. It performs nothing itself and reorders nothing.

use super::operator::{Perform, PostgresOperator};
use super::peers::Envelope;
use super::prober::{HeartbeatProber, Massage, WatchPrimary};
use crate::core::Effect;
use crate::peer::{PeerHandle, SendOutcome};
use actix::Addr;
use pgfo_replay::Seq;
use slog::{Logger, crit, debug};
use tokio::sync::mpsc;

/// What the daemon itself has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonOrder {
    /// End in order.
    Stop,
    /// Say that it stays.
    StayRunning,
    /// Start anew with another incarnation.
    StartAnew,
}

/// The hands of one member.
#[derive(Clone)]
pub struct Hands {
    /// Peers.
    pub peers: PeerHandle<Envelope>,
    /// Probes.
    pub prober: Addr<HeartbeatProber>,
    /// The local PostgreSQL; `None` on a witness.
    pub operator: Option<Addr<PostgresOperator>>,
    /// The daemon.
    pub daemon: mpsc::Sender<DaemonOrder>,
    /// The text log.
    pub logger: Logger,
}

impl Hands {
    /// Has an effect performed. Never waits: a hand that does not keep up is a bug that ends the
    /// process, except for messages, whose loss is normal.
    pub fn perform(&self, effect: Effect, sent_by: Seq) {
        let taken = match effect {
            Effect::Send { to, message } => {
                match self.peers.send(to, &Envelope { sent_by, message }) {
                    SendOutcome::Queued | SendOutcome::NotConnected => {}
                    lost => debug!(self.logger, "a message was dropped"; "to" => to.0, "why" => ?lost),
                }
                true
            }
            Effect::Massage { target, attempt } => self.prober.try_send(Massage { target, attempt }).is_ok(),
            Effect::WatchPrimary(winner) => {
                let told = self.prober.try_send(WatchPrimary(winner)).is_ok();
                told && self.operate(Effect::WatchPrimary(winner))
            }
            Effect::Stop => self.daemon.try_send(DaemonOrder::Stop).is_ok(),
            Effect::StartAnew => self.daemon.try_send(DaemonOrder::StartAnew).is_ok(),
            Effect::StayRunning => self.daemon.try_send(DaemonOrder::StayRunning).is_ok(),
            other => self.operate(other),
        };
        if !taken {
            crit!(self.logger, "a hand does not keep up: ending, to be started anew from the log");
            std::process::exit(70);
        }
    }

    fn operate(&self, effect: Effect) -> bool {
        self.operator.as_ref().is_none_or(|operator| operator.try_send(Perform(effect)).is_ok())
    }
}
