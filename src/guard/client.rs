//! The daemon's end of the guard's socket: requests with deadlines, notices as events. Decides nothing.

use super::error::GuardError;
use super::frame::{self, LENGTH_BYTES};
use super::protocol::{ClientFrame, GuardFrame, Notice, Reply, Request, RequestNumber};
use super::serve::SOCKET_FILE;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// Events that may wait to be received; a guard sends a handful per incident.
pub const EVENTS_MAX: usize = 64;
/// Requests that may wait for an answer; the daemon sends one extension per heartbeat.
pub const WAITING_MAX: usize = 32;

/// What the guard's connection tells unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    /// The guard said so.
    Notice(Notice),
    /// Notices were lost, because nobody received them in time: ask for the status.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The connection has ended; the guard itself may well go on. The last event.
    Disconnected {
        /// How.
        why: String,
    },
}

/// The stream of events of one connection.
#[derive(Debug)]
pub struct GuardEvents {
    queue: mpsc::Receiver<GuardEvent>,
    shared: Arc<Mutex<Shared>>,
    over: bool,
}

impl GuardEvents {
    /// Waits for the next event; none after [`GuardEvent::Disconnected`]. Cancel-safe.
    pub async fn recv(&mut self) -> Option<GuardEvent> {
        if self.over {
            return None;
        }
        let missed = std::mem::take(&mut lock(&self.shared).missed);
        if missed > 0 {
            return Some(GuardEvent::Lagged { missed });
        }
        if let Some(event) = self.queue.recv().await {
            return Some(event);
        }
        self.over = true;
        let why = lock(&self.shared).ended.clone().unwrap_or_else(|| "the reader has ended".into());
        Some(GuardEvent::Disconnected { why })
    }
}

#[derive(Debug, Default)]
struct Shared {
    waiting: BTreeMap<RequestNumber, oneshot::Sender<Reply>>,
    next: u64,
    missed: u64,
    /// How the connection ended.
    ended: Option<String>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing under this lock panics halfway; a poisoned one is as good.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection to a guard. Cheap to clone; it closes when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct GuardClient {
    shared: Arc<Mutex<Shared>>,
    frames: mpsc::Sender<Vec<u8>>,
}

impl GuardClient {
    /// Connects to the guard of a run directory.
    ///
    /// # Errors
    /// [`GuardError::System`] when nobody answers there.
    pub async fn connect(run_dir: &Path) -> Result<(Self, GuardEvents), GuardError> {
        let path = run_dir.join(SOCKET_FILE);
        let stream = UnixStream::connect(&path)
            .await
            .map_err(GuardError::system(format!("connect to the guard at {}", path.display())))?;
        Ok(Self::over(stream))
    }

    /// Speaks over a connected stream.
    pub(super) fn over(stream: UnixStream) -> (Self, GuardEvents) {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (frames, frame_queue) = mpsc::channel(WAITING_MAX);
        let (events, queue) = mpsc::channel(EVENTS_MAX);
        let (reader, writer) = stream.into_split();
        tokio::spawn(write(writer, frame_queue));
        tokio::spawn(read(reader, Arc::clone(&shared), events));
        (Self { shared: Arc::clone(&shared), frames }, GuardEvents { queue, shared, over: false })
    }

    /// Asks, and waits for the reply for at most `within`.
    ///
    /// # Errors
    /// [`GuardError::Unknown`] and [`GuardError::Disconnected`] say nothing about whether the guard
    /// took the request.
    pub async fn request(&self, request: Request, within: Duration) -> Result<Reply, GuardError> {
        let (number, reply) = self.register()?;
        let mut bytes = Vec::new();
        frame::encode(&ClientFrame { number, request: cut(request) }, &mut bytes)
            .inspect_err(|_| self.forget(number))?;
        let answered = async {
            // A writer that ended leaves the reply's sender to the reader, which says why.
            self.frames.send(bytes).await.ok();
            reply.await
        };
        let result = tokio::time::timeout(within, answered).await;
        self.forget(number);
        match result {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(self.disconnected()),
            Err(_) => Err(GuardError::Unknown { within }),
        }
    }

    fn register(&self) -> Result<(RequestNumber, oneshot::Receiver<Reply>), GuardError> {
        let mut shared = lock(&self.shared);
        if let Some(why) = &shared.ended {
            return Err(GuardError::Disconnected { why: why.clone() });
        }
        if shared.waiting.len() >= WAITING_MAX {
            return Err(GuardError::Busy { waiting: shared.waiting.len() });
        }
        shared.next += 1;
        let number = RequestNumber(shared.next);
        let (sender, receiver) = oneshot::channel();
        shared.waiting.insert(number, sender);
        Ok((number, receiver))
    }

    fn forget(&self, number: RequestNumber) {
        lock(&self.shared).waiting.remove(&number);
    }

    fn disconnected(&self) -> GuardError {
        let why = lock(&self.shared).ended.clone().unwrap_or_else(|| "the reader has ended".into());
        GuardError::Disconnected { why }
    }
}

fn cut(request: Request) -> Request {
    match request {
        Request::Fence { why } => Request::Fence { why: frame::cut_text(why) },
        Request::StandDown { why } => Request::StandDown { why: frame::cut_text(why) },
        other => other,
    }
}

async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = frames.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            // The reader sees the end of the connection, too, and tells.
            return;
        }
    }
}

async fn read(mut reader: OwnedReadHalf, shared: Arc<Mutex<Shared>>, events: mpsc::Sender<GuardEvent>) {
    let why = loop {
        match read_frame(&mut reader).await {
            Ok(GuardFrame::Reply { number, reply }) => {
                if let Some(waiting) = lock(&shared).waiting.remove(&number) {
                    // Nobody waits any more: the request was given up, as unknown.
                    waiting.send(reply).ok();
                }
            }
            Ok(GuardFrame::Notice(notice)) => {
                if events.try_send(GuardEvent::Notice(notice)).is_err() {
                    lock(&shared).missed += 1;
                }
            }
            Err(why) => break why,
        }
    };
    let mut shared = lock(&shared);
    shared.ended = Some(why);
    shared.waiting.clear();
}

async fn read_frame(reader: &mut OwnedReadHalf) -> Result<GuardFrame, String> {
    let mut head = [0; LENGTH_BYTES];
    reader.read_exact(&mut head).await.map_err(|e| e.to_string())?;
    let len = frame::body_len(head).map_err(|e| e.to_string())?;
    let mut body = vec![0; len];
    reader.read_exact(&mut body).await.map_err(|e| e.to_string())?;
    frame::decode(&body).map_err(|e| e.to_string())
}
