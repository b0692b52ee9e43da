//! Accepts connections, shakes hands with a deadline, and lets no crowd of strangers keep members
//! out: the oldest unfinished handshake makes room for the newest.

use crate::peer::config::is_loopback;
use crate::peer::dial::Context;
use crate::peer::event::RefusedReason;
use crate::peer::frame::FrameError;
use crate::peer::handshake::{self, HandshakeError, Identity};
use crate::peer::hub::HubMessage;
use crate::peer::session::{Direction, Session};
use crate::peer::stream::{BoxedDuplex, tune};
use crate::peer::tls;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Handshakes under way at once. A member's takes a few milliseconds, so a stranger has to open
/// this many connections within that time to push it out.
pub(crate) const HANDSHAKES_MAX: usize = 32;

/// Pause after the system refused to accept, for lack of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long, and how much, is read from a side whose TLS failed before the connection is closed:
/// closing with bytes unread resets the connection, and the alert that says why would be lost.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);
const DRAIN_BYTES_MAX: u64 = 16 * 1024;

/// Runs until it is dropped or the hub is gone.
pub(crate) async fn listen<M: DeserializeOwned + Send + 'static>(
    context: Arc<Context<M>>,
    listener: TcpListener,
) {
    let mut handshakes: JoinSet<Option<Session>> = JoinSet::new();
    let mut sessions: JoinSet<()> = JoinSet::new();
    let mut strangers: VecDeque<(AbortHandle, SocketAddr)> = VecDeque::new();
    loop {
        tokio::select! {
            () = context.hub.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    make_room(&context, &mut strangers);
                    let handshake = welcome(Arc::clone(&context), stream, remote);
                    strangers.push_back((handshakes.spawn(handshake), remote));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(joined) = handshakes.join_next() => {
                // Those that were pushed out are told of in `make_room`.
                if let Ok(Some(session)) = joined {
                    let context = Arc::clone(&context);
                    sessions.spawn(async move { context.run(session, Direction::Accepted).await });
                }
            }
            Some(_ended) = sessions.join_next() => {}
        }
    }
}

fn make_room<M>(context: &Context<M>, strangers: &mut VecDeque<(AbortHandle, SocketAddr)>) {
    strangers.retain(|(task, _)| !task.is_finished());
    while strangers.len() >= HANDSHAKES_MAX
        && let Some((oldest, remote)) = strangers.pop_front()
    {
        oldest.abort();
        // Under a flood this event may be lost: the ones before it say the same.
        let reason = RefusedReason::Overload;
        let _flooded = context.hub.try_send(HubMessage::Refused { remote, reason });
    }
}

async fn welcome<M>(context: Arc<Context<M>>, stream: TcpStream, remote: SocketAddr) -> Option<Session> {
    let deadline = context.timing.handshake_timeout;
    let outcome = match timeout(deadline, shake(&context, stream, remote)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(RefusedReason::HandshakeTimeout(deadline)),
    };
    match outcome {
        Ok(session) => Some(session),
        Err(reason) => {
            // The hub is gone only when the link stops, and then nobody listens.
            let _stopped = context.hub.send(HubMessage::Refused { remote, reason }).await;
            None
        }
    }
}

async fn shake<M>(
    context: &Context<M>,
    stream: TcpStream,
    remote: SocketAddr,
) -> Result<Session, RefusedReason> {
    let io_error = |e: &io::Error| RefusedReason::from(HandshakeError::Frame(FrameError::io(e)));
    let local = &context.local;
    tune(&stream, context.timing.idle_timeout).map_err(|e| io_error(&e))?;
    let (mut stream, identity): (BoxedDuplex, _) = match context.shared.tls() {
        None if !is_loopback(remote.ip()) => return Err(RefusedReason::NotLoopback),
        None => (Box::new(stream), Identity::Claimed),
        Some(material) => match material.acceptor.accept(stream).into_fallible().await {
            Ok(stream) => {
                let chain = stream.get_ref().1.peer_certificates();
                let identity = tls::identity(chain, &local.names, &local.hello.cluster);
                (Box::new(stream), identity)
            }
            Err((e, stream)) => {
                drain(stream).await;
                return Err(io_error(&e));
            }
        },
    };
    let (member, hello) = handshake::accept(&mut stream, local, &identity).await?;
    Ok(Session { stream, member, hello })
}

async fn drain(mut stream: TcpStream) {
    let farewell = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DRAIN_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // The connection failed already; whether its farewell works changes nothing.
    let _courtesy = timeout(DRAIN_TIMEOUT, farewell).await;
}
