//! One connection after its handshake: reads messages, writes messages, and notices silence.
//!
//! Each wait has a deadline. It must never outlive the idle timeout without a frame from the other
//! side: a peer that was stopped, or a network that swallows packets, still acknowledges or stays
//! silent in the kernel, and only the application knows.

use crate::core::MemberId;
use crate::peer::event::DisconnectReason;
use crate::peer::frame::{self, FRAME_BYTES_MAX, FrameError};
use crate::peer::handshake::Hello;
use crate::peer::hub::HubMessage;
use crate::peer::stream::BoxedDuplex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

/// Messages that wait for a connected peer. Members exchange a few messages a second; a queue of
/// this length means that the peer takes nothing, and old messages are of no use to it.
pub(crate) const QUEUE_MESSAGES_MAX: usize = 64;

/// A sign of life is sent after this share of the idle timeout without a message. Members speak at
/// every heartbeat, a third of it: a sign of life sent as often would only run beside them.
const ALIVE_SHARE: u32 = 2;

/// A message that arrives is answered by a sign of life if nothing was sent for this share of the idle
/// timeout: of two connections between two members each carries one direction only, and a heart that beats
/// anyway needs no timer of its own.
const ANSWER_SHARE: u32 = 4;

/// Who opened the connection. Of each direction the newest one counts, so that two members that
/// dial each other at one moment never close each other's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Dialled = 0,
    Accepted = 1,
}

/// Names one session of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionKey {
    pub(crate) member: MemberId,
    pub(crate) direction: Direction,
    pub(crate) number: u64,
}

/// A connection whose two sides have accepted each other.
pub(crate) struct Session {
    pub(crate) stream: BoxedDuplex,
    pub(crate) member: MemberId,
    pub(crate) hello: Hello,
}

/// What is in a frame. Grows at the end only.
#[derive(Deserialize)]
enum Inbound<M> {
    Alive,
    Message(M),
}

#[derive(Serialize)]
enum Outbound<'a, M> {
    Alive,
    Message(&'a M),
}

/// Encodes a message as a whole frame.
pub(crate) fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, FrameError> {
    frame::encode(&Outbound::Message(message), FRAME_BYTES_MAX)
}

/// Runs a session to its end.
pub(crate) async fn run<M: DeserializeOwned + Send + 'static>(
    session: Session,
    key: SessionKey,
    hub: &mpsc::Sender<HubMessage<M>>,
    idle: Duration,
) {
    let (sender, queue) = mpsc::channel(QUEUE_MESSAGES_MAX);
    if hub.send(HubMessage::Up { key, hello: session.hello, sender }).await.is_err() {
        return;
    }
    let (reader, writer) = tokio::io::split(session.stream);
    let heard = Notify::new();
    let why = tokio::select! {
        why = read_all(reader, key, hub, idle, &heard) => why,
        why = write_all(writer, queue, idle, &heard) => why,
        () = hub.closed() => return,
    };
    // The hub is gone only when the link stops, and then nobody listens.
    let _stopped = hub.send(HubMessage::Down { key, why }).await;
}

async fn read_all<M: DeserializeOwned>(
    reader: impl AsyncRead + Unpin,
    key: SessionKey,
    hub: &mpsc::Sender<HubMessage<M>>,
    idle: Duration,
    heard: &Notify,
) -> DisconnectReason {
    let mut reader = BufReader::new(reader);
    let mut body = Vec::new();
    loop {
        match timeout(idle, frame::read_body(&mut reader, FRAME_BYTES_MAX, &mut body)).await {
            Err(_) => return DisconnectReason::Idle(idle),
            Ok(Err(e)) => return e.into(),
            Ok(Ok(())) => {}
        }
        match frame::decode::<Inbound<M>>(&body) {
            Err(e) => return DisconnectReason::Frame(e),
            Ok(Inbound::Alive) => {}
            Ok(Inbound::Message(message)) => {
                heard.notify_one();
                if hub.send(HubMessage::Received { key, message }).await.is_err() {
                    return DisconnectReason::Replaced;
                }
            }
        }
    }
}

async fn write_all(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Vec<u8>>,
    idle: Duration,
    heard: &Notify,
) -> DisconnectReason {
    let alive = match frame::encode(&Outbound::<()>::Alive, FRAME_BYTES_MAX) {
        Ok(alive) => alive,
        Err(e) => return DisconnectReason::Frame(e),
    };
    let mut written = Instant::now();
    loop {
        let next = async {
            tokio::select! {
                frame = queue.recv() => frame,
                () = heard_after(heard, written + idle / ANSWER_SHARE) => Some(alive.clone()),
            }
        };
        let frame = match timeout_at(written + idle / ALIVE_SHARE, next).await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                // A farewell is a courtesy: the connection ends, whether it arrives or not.
                let _courtesy = timeout(idle, writer.shutdown()).await;
                return DisconnectReason::Replaced;
            }
            Err(_) => alive.clone(),
        };
        let write = async {
            writer.write_all(&frame).await?;
            writer.flush().await
        };
        match timeout(idle, write).await {
            Err(_) => return DisconnectReason::WriteTimeout(idle),
            Ok(Err(e)) => return FrameError::io(&e).into(),
            Ok(Ok(())) => written = Instant::now(),
        }
    }
}

/// Waits for a message that is heard at `from` or later.
async fn heard_after(heard: &Notify, from: Instant) {
    loop {
        heard.notified().await;
        if Instant::now() >= from {
            return;
        }
    }
}
