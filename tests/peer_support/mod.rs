//! What the link's tests share: members on loopback, and a hand-made peer that misbehaves.
#![allow(dead_code, missing_docs, unreachable_pub)]

use pgfo::core::{BootId, Incarnation, MemberId};
use pgfo::peer::frame::{self, FRAME_BYTES_MAX, HANDSHAKE_FRAME_BYTES_MAX};
use pgfo::peer::handshake::{MAGIC, PROTOCOL_VERSION};
use pgfo::peer::{
    Hello, LinkConfig, LinkTiming, PeerEvent, PeerHandle, PeerLink, PeerMember, ProcessNonce, RefusedReason,
    Security,
};
use serde::{Deserialize, Serialize};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub const A: MemberId = MemberId(0);
pub const B: MemberId = MemberId(1);
pub const C: MemberId = MemberId(2);
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// No test waits longer for one event; generous, because machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    Text(String),
    Blob(Vec<u8>),
}

pub fn text(s: &str) -> Message {
    Message::Text(s.to_owned())
}

pub fn hello(member: MemberId, nonce: u64) -> Hello {
    Hello {
        cluster: "main".to_owned(),
        membership: [7; 32],
        member: NAMES[usize::from(member.0)].to_owned(),
        incarnation: Incarnation(u64::from(member.0) + 100),
        boot: BootId(5),
        process: ProcessNonce(nonce),
        software: "test 1".to_owned(),
    }
}

/// Listening sockets for three members, so that all know all addresses before anyone starts.
pub struct Town {
    listeners: Vec<Option<TcpListener>>,
    pub addresses: Vec<SocketAddr>,
}

impl Town {
    pub fn new() -> Self {
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        Self { listeners: listeners.into_iter().map(Some).collect(), addresses }
    }

    /// Closes a member's socket: whoever dials it is refused by the kernel.
    pub fn close(&mut self, member: MemberId) {
        self.listeners[usize::from(member.0)] = None;
    }

    pub fn config(&self, me: MemberId, security: Security) -> LinkConfig {
        let members = NAMES
            .iter()
            .zip(&self.addresses)
            .map(|(name, address)| PeerMember { name: (*name).to_owned(), address: address.to_string() });
        LinkConfig {
            hello: hello(me, rand::random()),
            me,
            members: members.collect(),
            listen: self.addresses[usize::from(me.0)],
            security,
            timing: LinkTiming {
                connect_timeout: Duration::from_secs(1),
                handshake_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(5),
            },
        }
    }

    pub fn start(&mut self, config: LinkConfig) -> Node {
        let id = config.me;
        let (handle, events) = match self.listeners[usize::from(id.0)].take() {
            Some(listener) => PeerLink::start_on(listener, config).unwrap(),
            None => PeerLink::start(config).unwrap(),
        };
        Node { id, handle, events }
    }

    pub fn plain(&mut self, me: MemberId) -> Node {
        let config = self.config(me, Security::PlainLoopback);
        self.start(config)
    }
}

pub struct Node {
    pub id: MemberId,
    pub handle: PeerHandle<Message>,
    pub events: mpsc::Receiver<PeerEvent<Message>>,
}

impl Node {
    pub async fn next(&mut self) -> PeerEvent<Message> {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("a running link")
    }

    /// Waits for the first event of which `pick` makes something.
    pub async fn wait<T>(&mut self, mut pick: impl FnMut(PeerEvent<Message>) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    pub async fn connected(&mut self, to: MemberId) -> Hello {
        self.wait(|e| match e {
            PeerEvent::Connected { member, hello } if member == to => Some(hello),
            _ => None,
        })
        .await
    }

    pub async fn disconnected(&mut self, from: MemberId) -> pgfo::peer::DisconnectReason {
        self.wait(|e| match e {
            PeerEvent::Disconnected { member, why } if member == from => Some(why),
            _ => None,
        })
        .await
    }

    pub async fn received(&mut self, from: MemberId) -> Message {
        self.wait(|e| match e {
            PeerEvent::Received { member, message } if member == from => Some(message),
            _ => None,
        })
        .await
    }

    /// Waits for a refusal that `wanted` accepts, and returns it.
    pub async fn refused(&mut self, wanted: impl Fn(&RefusedReason) -> bool) -> RefusedReason {
        self.wait(|e| match e {
            PeerEvent::Refused { reason, .. } if wanted(&reason) => Some(reason),
            _ => None,
        })
        .await
    }
}

/// A peer made by hand: it speaks the protocol as it stands in the documents, and then does what
/// it likes.
pub struct Raw<S> {
    pub stream: S,
}

impl Raw<TcpStream> {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub async fn read(&mut self) -> Result<Vec<u8>, frame::FrameError> {
        let mut body = Vec::new();
        let read = frame::read_body(&mut self.stream, FRAME_BYTES_MAX, &mut body);
        timeout(PATIENCE, read).await.expect("a frame or an end in time").map(|()| body)
    }

    pub async fn write(&mut self, body: &[u8]) {
        self.stream.write_all(&frame::wrap(body, FRAME_BYTES_MAX).unwrap()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Says hello and yes; returns the verdict's first byte, 0 for yes.
    pub async fn shake(&mut self, hello: &Hello) -> Result<u8, frame::FrameError> {
        let theirs = self.read().await?;
        assert!(theirs.starts_with(&MAGIC));
        let mut body = MAGIC.to_vec();
        body.extend_from_slice(&PROTOCOL_VERSION.to_be_bytes());
        body.extend_from_slice(&frame::encode_body(hello, HANDSHAKE_FRAME_BYTES_MAX).unwrap());
        self.write(&body).await;
        self.write(&[0]).await;
        Ok(self.read().await?[0])
    }

    /// Sends a message: variant 1, after the sign of life, which is variant 0.
    pub async fn send(&mut self, message: &Message) {
        let mut body = vec![1];
        body.extend_from_slice(&frame::encode_body(message, FRAME_BYTES_MAX).unwrap());
        self.write(&body).await;
    }
}
