//! The link of one member to all others, and the handle through which messages are sent.
//!
//! A member dials every other, and accepts from every other; each connection carries messages both
//! ways, so it is enough that one side can reach the other. A lost message is normal: nothing here
//! repeats, orders across reconnects, or promises delivery.

use crate::core::MemberId;
use crate::peer::config::{ConfigError, LinkConfig, Security};
use crate::peer::dial::{self, Context};
use crate::peer::event::PeerEvent;
use crate::peer::handshake::{Hello, Local};
use crate::peer::hub::{self, Shared};
use crate::peer::tls::{TlsFileError, TlsMaterial, TlsPaths};
use crate::peer::{accept, session};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

/// Events that wait for the owner. When it is full nothing more is read from the sockets, so a
/// slow owner slows its peers' messages, not its memory.
const EVENTS_MAX: usize = 1024;

/// Messages between the sessions and the hub; small, because the queue above is the buffer.
const HUB_MESSAGES_MAX: usize = 64;

/// The link could not be started, or its certificates not be loaded again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for peers: {cause}; is another pgfo running, or the port taken?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// Starts links.
#[derive(Debug)]
pub struct PeerLink;

impl PeerLink {
    /// Listens, and starts to connect to all other members. Must be called inside a tokio runtime.
    /// The link ends when all handles or the receiver are dropped, or at [`PeerHandle::stop`].
    ///
    /// # Errors
    /// [`StartError`], naming the place and the remedy.
    pub fn start<M: Serialize + DeserializeOwned + Send + 'static>(
        config: LinkConfig,
    ) -> Result<(PeerHandle<M>, mpsc::Receiver<PeerEvent<M>>), StartError> {
        config.validate()?;
        let address = config.listen;
        let listener =
            std::net::TcpListener::bind(address).map_err(|cause| StartError::Listen { address, cause })?;
        Self::start_on(listener, config)
    }

    /// As [`PeerLink::start`], on a socket that listens already; `config.listen` must be its address.
    ///
    /// # Errors
    /// [`StartError`], naming the place and the remedy.
    pub fn start_on<M: Serialize + DeserializeOwned + Send + 'static>(
        listener: std::net::TcpListener,
        config: LinkConfig,
    ) -> Result<(PeerHandle<M>, mpsc::Receiver<PeerEvent<M>>), StartError> {
        config.validate()?;
        let material = load(&config)?;
        let address = config.listen;
        let listen_error = |cause| StartError::Listen { address, cause };
        listener.set_nonblocking(true).map_err(listen_error)?;
        let listener = TcpListener::from_std(listener).map_err(listen_error)?;
        let shared = Arc::new(Shared::new(config.members.len(), material));
        let (hub, inbox) = mpsc::channel(HUB_MESSAGES_MAX);
        let (events_in, events_out) = mpsc::channel(EVENTS_MAX);
        let names = config.members.iter().map(|m| m.name.clone()).collect();
        let context = Arc::new(Context {
            local: Local { hello: config.hello.clone(), me: config.me, names },
            members: config.members.clone(),
            timing: config.timing,
            shared: Arc::clone(&shared),
            hub,
            sessions: AtomicU64::new(0),
        });
        let mut tasks = vec![tokio::spawn(accept::listen(Arc::clone(&context), listener))];
        let ids = (0..=u8::MAX).map(MemberId).take(config.members.len()).filter(|id| *id != config.me);
        tasks.extend(ids.map(|id| tokio::spawn(dial::keep_connected(Arc::clone(&context), id))));
        let hub_shared = Arc::clone(&shared);
        tasks.push(tokio::spawn(async move { hub::run(&hub_shared, inbox, events_in).await }));
        let owner = Owner { shared, tasks: Mutex::new(tasks), config };
        Ok((PeerHandle { owner: Arc::new(owner), messages: PhantomData }, events_out))
    }
}

fn load(config: &LinkConfig) -> Result<Option<TlsMaterial>, TlsFileError> {
    match &config.security {
        Security::PlainLoopback => Ok(None),
        Security::Tls(paths) => load_from(paths, &config.hello).map(Some),
    }
}

fn load_from(paths: &TlsPaths, hello: &Hello) -> Result<TlsMaterial, TlsFileError> {
    TlsMaterial::load(paths, &hello.member, &hello.cluster)
}

struct Owner {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    config: LinkConfig,
}

impl Owner {
    fn take_tasks(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        for task in self.take_tasks() {
            task.abort();
        }
    }
}

/// What became of a message that was given to [`PeerHandle::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// It waits for the socket; whether it arrives is unknown.
    Queued,
    /// The member is not connected; the message was dropped and counted.
    NotConnected,
    /// The member takes nothing; the message was dropped and counted.
    QueueFull,
    /// The message does not fit into a frame or cannot be encoded; dropped and counted.
    NotEncodable,
    /// There is no such member, or it is this one.
    NoSuchMember,
}

/// What is known of the link to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// What the connected process said of itself; `None` when not connected.
    pub hello: Option<Hello>,
    /// Messages queued for it.
    pub sent: u64,
    /// Messages dropped, because it was not connected or took nothing, or they were too large.
    pub dropped: u64,
    /// Messages received from it.
    pub received: u64,
    /// Why it could not be reached, or why the last connection ended; `None` once connected.
    pub last_error: Option<String>,
}

/// Sends messages to members; cheap to clone.
pub struct PeerHandle<M> {
    owner: Arc<Owner>,
    messages: PhantomData<fn(M)>,
}

impl<M> Clone for PeerHandle<M> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), messages: PhantomData }
    }
}

impl<M> fmt::Debug for PeerHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerHandle").field("me", &self.owner.config.me).finish_non_exhaustive()
    }
}

impl<M: Serialize> PeerHandle<M> {
    /// Queues `message` for `to`, or drops it. Never waits.
    pub fn send(&self, to: MemberId, message: &M) -> SendOutcome {
        let encoded = session::encode(message);
        let mut peers = self.owner.shared.peers();
        let Some(peer) = peers.get_mut(usize::from(to.0)).filter(|_| to != self.owner.config.me) else {
            return SendOutcome::NoSuchMember;
        };
        let mut outcome = SendOutcome::NotConnected;
        match encoded {
            Err(_) => outcome = SendOutcome::NotEncodable,
            Ok(mut frame) => {
                // Dialled first, so that messages keep their order while both connections stand.
                for slot in peer.slots.iter().flatten() {
                    match slot.sender.try_send(frame) {
                        Ok(()) => {
                            peer.sent += 1;
                            return SendOutcome::Queued;
                        }
                        Err(TrySendError::Full(_)) => {
                            outcome = SendOutcome::QueueFull;
                            break;
                        }
                        Err(TrySendError::Closed(unsent)) => frame = unsent,
                    }
                }
            }
        }
        peer.dropped += 1;
        outcome
    }
}

impl<M> PeerHandle<M> {
    /// Returns what is known of the link to `member`, `None` if there is no such member.
    #[must_use]
    pub fn status(&self, member: MemberId) -> Option<PeerStatus> {
        let peers = self.owner.shared.peers();
        peers.get(usize::from(member.0)).map(|peer| PeerStatus {
            hello: peer.hello.clone(),
            sent: peer.sent,
            dropped: peer.dropped,
            received: peer.received,
            last_error: peer.last_error.clone(),
        })
    }

    /// Returns when this member's certificate expires, in seconds since 1970-01-01 UTC; `None`
    /// without TLS.
    #[must_use]
    pub fn certificate_expires_unix_s(&self) -> Option<i64> {
        self.owner.shared.tls().map(|material| material.expires_unix_s())
    }

    /// Loads the certificates again. New connections use them, those that stand go on; after an
    /// error everything stays as it was. Without TLS it does nothing.
    ///
    /// # Errors
    /// [`TlsFileError`], naming the file and the remedy.
    pub fn reload_tls(&self) -> Result<(), TlsFileError> {
        if let Some(material) = load(&self.owner.config)? {
            self.owner.shared.set_tls(material);
        }
        Ok(())
    }

    /// Closes all connections and the listening socket, and returns when they are closed.
    pub async fn stop(&self) {
        let tasks = self.owner.take_tasks();
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // Each ends as aborted; one that panicked is gone as well.
            let _aborted = task.await;
        }
    }
}
