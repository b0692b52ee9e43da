//! The hub: one task that knows which sessions count, and tells the link's owner in one order.
//!
//! It must never let a message of a replaced session through, and never tell of a member's second
//! connection as if it were a second member.

use crate::core::MemberId;
use crate::peer::event::{DisconnectReason, PeerEvent, RefusedReason};
use crate::peer::handshake::Hello;
use crate::peer::limit::RefusalLimiter;
use crate::peer::session::{Direction, SessionKey};
use crate::peer::tls::TlsMaterial;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// What sessions, dialler and listener tell the hub.
pub(crate) enum HubMessage<M> {
    Up { key: SessionKey, hello: Hello, sender: mpsc::Sender<Vec<u8>> },
    Received { key: SessionKey, message: M },
    Down { key: SessionKey, why: DisconnectReason },
    Refused { remote: SocketAddr, reason: RefusedReason },
}

pub(crate) struct Slot {
    number: u64,
    pub(crate) sender: mpsc::Sender<Vec<u8>>,
}

/// What is known of one peer; written by hub and dialler, read by handles.
#[derive(Default)]
pub(crate) struct PeerState {
    /// Newest session by [`Direction`].
    pub(crate) slots: [Option<Slot>; 2],
    /// Hello of the process that is connected.
    pub(crate) hello: Option<Hello>,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) received: u64,
    pub(crate) last_error: Option<String>,
}

impl PeerState {
    fn holds(&self, key: SessionKey) -> bool {
        self.slots[key.direction as usize].as_ref().is_some_and(|slot| slot.number == key.number)
    }
}

/// State that handles and tasks share. Locks are held for a few instructions, never across a wait.
pub(crate) struct Shared {
    peers: Mutex<Vec<PeerState>>,
    tls: Mutex<Option<TlsMaterial>>,
}

impl Shared {
    pub(crate) fn new(members: usize, tls: Option<TlsMaterial>) -> Self {
        let peers = (0..members).map(|_| PeerState::default()).collect();
        Self { peers: Mutex::new(peers), tls: Mutex::new(tls) }
    }

    pub(crate) fn peers(&self) -> MutexGuard<'_, Vec<PeerState>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tls(&self) -> Option<TlsMaterial> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_tls(&self, material: TlsMaterial) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(material);
    }

    fn with_peer<T>(&self, member: MemberId, f: impl FnOnce(&mut PeerState) -> T) -> Option<T> {
        self.peers().get_mut(usize::from(member.0)).map(f)
    }
}

/// Runs until the owner drops its receiver.
pub(crate) async fn run<M>(
    shared: &Shared,
    mut inbox: mpsc::Receiver<HubMessage<M>>,
    events: mpsc::Sender<PeerEvent<M>>,
) {
    let mut limiter = RefusalLimiter::new(Instant::now());
    loop {
        let message = tokio::select! {
            message = inbox.recv() => message,
            () = events.closed() => None,
        };
        let Some(message) = message else { return };
        for event in step(shared, &mut limiter, message).into_iter().flatten() {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Applies one message and returns the events that follow from it, at most two.
fn step<M>(
    shared: &Shared,
    limiter: &mut RefusalLimiter,
    message: HubMessage<M>,
) -> [Option<PeerEvent<M>>; 2] {
    match message {
        HubMessage::Up { key, hello, sender } => {
            shared.with_peer(key.member, |peer| up(peer, key, hello, sender)).unwrap_or([None, None])
        }
        HubMessage::Received { key, message } => {
            let current = shared.with_peer(key.member, |peer| {
                let current = peer.holds(key);
                peer.received += u64::from(current);
                current
            });
            [(current == Some(true)).then_some(PeerEvent::Received { member: key.member, message }), None]
        }
        HubMessage::Down { key, why } => {
            [shared.with_peer(key.member, |peer| down(peer, key, why)).flatten(), None]
        }
        HubMessage::Refused { remote, reason } => {
            let admitted = limiter.admit(Instant::now(), remote.ip(), &reason);
            [admitted.map(|suppressed| PeerEvent::Refused { remote, reason, suppressed }), None]
        }
    }
}

fn up<M>(
    peer: &mut PeerState,
    key: SessionKey,
    hello: Hello,
    sender: mpsc::Sender<Vec<u8>>,
) -> [Option<PeerEvent<M>>; 2] {
    let member = key.member;
    let same_process = peer.hello.as_ref().map(|known| known.process == hello.process);
    if same_process == Some(false) {
        // Dropping their senders ends the sessions of the process that was.
        peer.slots = [None, None];
    }
    peer.slots[key.direction as usize] = Some(Slot { number: key.number, sender });
    peer.last_error = None;
    peer.hello = Some(hello.clone());
    match same_process {
        Some(true) => [None, None],
        None => [Some(PeerEvent::Connected { member, hello }), None],
        Some(false) => [
            Some(PeerEvent::Disconnected { member, why: DisconnectReason::ReplacedByNewProcess }),
            Some(PeerEvent::Connected { member, hello }),
        ],
    }
}

fn down<M>(peer: &mut PeerState, key: SessionKey, why: DisconnectReason) -> Option<PeerEvent<M>> {
    if !peer.holds(key) {
        return None;
    }
    peer.slots[key.direction as usize] = None;
    peer.last_error = Some(why.to_string());
    if peer.slots[Direction::Dialled as usize].is_some() || peer.slots[Direction::Accepted as usize].is_some()
    {
        return None;
    }
    peer.hello = None;
    Some(PeerEvent::Disconnected { member: key.member, why })
}
