//! The PeerLink hand: what the link tells becomes observations.

use super::sequencer::Observer;
use crate::core::{BootId, Incarnation, MemberId};
use crate::events::{Message, Observation, ProcessIdentity};
use crate::peer::{Hello, PeerEvent};
use pgfo_replay::Seq;
use serde::{Deserialize, Serialize};
use slog::{Logger, info, warn};
use tokio::sync::mpsc;

/// A message with the number of the sender's record that sent it: what orders several logs by cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The last record of the batch that sent it.
    pub sent_by: Seq,
    /// What is said.
    pub message: Message,
}

/// Turns a handshake into the identity that decisions know.
fn identity(hello: &Hello) -> ProcessIdentity {
    ProcessIdentity {
        incarnation: Incarnation(hello.incarnation.0),
        boot_id: BootId(hello.boot.0),
        nonce: hello.process.0,
    }
}

/// Tells what peers do and say, for as long as the link lives.
pub async fn listen_to_peers(
    mut events: mpsc::Receiver<PeerEvent<Envelope>>,
    observer: Observer,
    logger: Logger,
    names: Vec<String>,
) {
    let name = |m: MemberId| names.get(usize::from(m.0)).cloned().unwrap_or_default();
    while let Some(event) = events.recv().await {
        match event {
            PeerEvent::Connected { member, hello } => {
                observer.tell(Observation::PeerConnected { member, process: identity(&hello) }).await;
            }
            PeerEvent::Disconnected { member, why } => {
                info!(logger, "lost the connection to a peer"; "peer" => name(member), "why" => %why);
                observer.tell(Observation::PeerDisconnected { member, refused: false }).await;
            }
            PeerEvent::Received { member, message } => {
                let Envelope { sent_by, message } = message;
                observer.tell(Observation::MessageReceived { from: member, sent_by, message }).await;
            }
            PeerEvent::Refused { remote, reason, suppressed } => {
                warn!(logger, "a connection was refused"; "remote" => %remote, "why" => %reason,
                    "untold" => suppressed);
            }
        }
    }
}
