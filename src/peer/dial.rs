//! Keeps one outgoing connection to one peer: look up, connect, shake hands, run, pause, again.

use crate::core::MemberId;
use crate::peer::backoff::{Backoff, PAUSE_MAX};
use crate::peer::config::{LinkTiming, PeerMember, is_loopback};
use crate::peer::event::RefusedReason;
use crate::peer::frame::FrameError;
use crate::peer::handshake::{self, HandshakeError, Identity, Local};
use crate::peer::hub::{HubMessage, Shared};
use crate::peer::session::{self, Direction, Session, SessionKey};
use crate::peer::stream::{BoxedDuplex, tune};
use crate::peer::tls;
use serde::de::DeserializeOwned;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// What all tasks of a link know.
pub(crate) struct Context<M> {
    pub(crate) local: Local,
    pub(crate) members: Vec<PeerMember>,
    pub(crate) timing: LinkTiming,
    pub(crate) shared: Arc<Shared>,
    pub(crate) hub: mpsc::Sender<HubMessage<M>>,
    pub(crate) sessions: AtomicU64,
}

impl<M: DeserializeOwned + Send + 'static> Context<M> {
    /// Runs `session` to its end.
    pub(crate) async fn run(&self, session: Session, direction: Direction) {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let key = SessionKey { member: session.member, direction, number };
        session::run(session, key, &self.hub, self.timing.idle_timeout).await;
    }
}

enum DialError {
    /// Nobody was reached; a normal state of a failing cluster.
    Unreachable(String),
    Refused(SocketAddr, RefusedReason),
}

/// Runs until it is dropped or the hub is gone.
pub(crate) async fn keep_connected<M: DeserializeOwned + Send + 'static>(
    context: Arc<Context<M>>,
    peer: MemberId,
) {
    let mut backoff = Backoff::new();
    let mut resolver = Resolver::new(context.members[usize::from(peer.0)].address.clone());
    while !context.hub.is_closed() {
        match dial(&context, peer, &mut resolver).await {
            Ok(session) => {
                let began = Instant::now();
                context.run(session, Direction::Dialled).await;
                // A connection that is closed at once, again and again, must not be retried faster.
                if began.elapsed() >= PAUSE_MAX {
                    backoff.reset();
                }
            }
            Err(e) => report(&context, peer, e).await,
        }
        sleep(backoff.pause()).await;
    }
}

async fn report<M>(context: &Context<M>, peer: MemberId, error: DialError) {
    let text = match &error {
        DialError::Unreachable(text) => text.clone(),
        DialError::Refused(_, reason) => reason.to_string(),
    };
    if let Some(state) = context.shared.peers().get_mut(usize::from(peer.0)) {
        state.last_error = Some(text);
    }
    if let DialError::Refused(remote, reason) = error {
        // The hub is gone only when the link stops, and then nobody listens.
        let _stopped = context.hub.send(HubMessage::Refused { remote, reason }).await;
    }
}

async fn dial<M>(
    context: &Context<M>,
    peer: MemberId,
    resolver: &mut Resolver,
) -> Result<Session, DialError> {
    let timing = context.timing;
    let addresses = resolver.addresses(timing).await.map_err(DialError::Unreachable)?;
    let mut failure = format!("{} has no address", resolver.address);
    let material = context.shared.tls();
    for remote in addresses {
        if material.is_none() && !is_loopback(remote.ip()) {
            return Err(DialError::Refused(remote, RefusedReason::NotLoopback));
        }
        match timeout(timing.connect_timeout, TcpStream::connect(remote)).await {
            Err(_) => failure = format!("{remote}: no answer within {:?}", timing.connect_timeout),
            Ok(Err(e)) => failure = format!("{remote}: {e}"),
            Ok(Ok(stream)) => {
                let session = shake(context, peer, stream, material.as_ref());
                return match timeout(timing.handshake_timeout, session).await {
                    Ok(session) => session.map_err(|reason| DialError::Refused(remote, reason)),
                    Err(_) => {
                        let reason = RefusedReason::HandshakeTimeout(timing.handshake_timeout);
                        Err(DialError::Refused(remote, reason))
                    }
                };
            }
        }
    }
    Err(DialError::Unreachable(failure))
}

async fn shake<M>(
    context: &Context<M>,
    peer: MemberId,
    stream: TcpStream,
    material: Option<&tls::TlsMaterial>,
) -> Result<Session, RefusedReason> {
    let io_error = |e: &io::Error| RefusedReason::from(HandshakeError::Frame(FrameError::io(e)));
    let local = &context.local;
    tune(&stream, context.timing.idle_timeout).map_err(|e| io_error(&e))?;
    let (mut stream, identity): (BoxedDuplex, _) = match material {
        None => (Box::new(stream), Identity::Claimed),
        Some(material) => {
            let cluster = &local.hello.cluster;
            let name = tls::server_name(&local.names[usize::from(peer.0)], cluster)
                .map_err(|e| io_error(&io::Error::other(e)))?;
            let stream = material.connector.connect(name, stream).await.map_err(|e| io_error(&e))?;
            let identity = tls::identity(stream.get_ref().1.peer_certificates(), &local.names, cluster);
            (Box::new(stream), identity)
        }
    };
    let (member, hello) = handshake::dial(&mut stream, local, &identity, peer).await?;
    Ok(Session { stream, member, hello })
}

/// Looks names up without ever having two look-ups under way: each one occupies a thread for as
/// long as the name server is silent, and a retry every second would collect them.
struct Resolver {
    address: String,
    pending: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
    known: Vec<SocketAddr>,
}

impl Resolver {
    const fn new(address: String) -> Self {
        Self { address, pending: None, known: Vec::new() }
    }

    /// Returns the addresses; those known before, if the name server is silent or unwell.
    async fn addresses(&mut self, timing: LinkTiming) -> Result<Vec<SocketAddr>, String> {
        if let Ok(literal) = self.address.parse() {
            return Ok(vec![literal]);
        }
        let address = self.address.clone();
        let pending = self
            .pending
            .get_or_insert_with(|| tokio::spawn(async move { Ok(lookup_host(address).await?.collect()) }));
        let outcome = match timeout(timing.connect_timeout, pending).await {
            Err(_) => Err(format!("cannot resolve {}: the name server is silent", self.address)),
            Ok(joined) => {
                self.pending = None;
                match joined {
                    Ok(Ok(found)) => Ok(found),
                    Ok(Err(e)) => Err(format!("cannot resolve {}: {e}", self.address)),
                    Err(e) => Err(format!("cannot resolve {}: {e}", self.address)),
                }
            }
        };
        match outcome {
            Ok(found) => {
                self.known.clone_from(&found);
                Ok(found)
            }
            Err(_) if !self.known.is_empty() => Ok(self.known.clone()),
            Err(e) => Err(e),
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(pending) = &self.pending {
            pending.abort();
        }
    }
}
