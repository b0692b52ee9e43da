//! Serves the control socket: few clients, short lines, a deadline for each wait.
//! It hands requests over and writes replies; it must never answer one by itself, except to refuse.

use crate::control::protocol::{ControlError, REPLY_LINE_BYTES_MAX, REQUEST_BYTES_MAX, ReplyLine, Request};
use crate::control::replier::{Part, Replier, ReplyParts, channel};
use crate::control::socket::{SocketError, SocketFile, listen};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Clients at once: operators, a monitoring agent, a guard. One more is told so.
pub const CLIENTS_MAX: usize = 16;

/// Requests that wait for the owner; each client has one at a time.
const INCOMING_MAX: usize = CLIENTS_MAX;

/// Pause after the system refused to accept, for lack of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Deadlines of the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlTiming {
    /// For a client to send its next request whole, and to take each piece of the reply.
    pub client_timeout: Duration,
    /// For the daemon to produce the next piece of a reply.
    pub reply_timeout: Duration,
}

impl Default for ControlTiming {
    fn default() -> Self {
        Self { client_timeout: Duration::from_secs(5), reply_timeout: Duration::from_secs(60) }
    }
}

/// A request, and the way to answer it.
#[derive(Debug)]
pub struct Incoming {
    /// What is asked.
    pub request: Request,
    /// User who asks, for the log; the socket's mode admits the daemon's own user and root only.
    pub uid: u32,
    /// Answers.
    pub reply: Replier,
}

/// The control socket; dropped, it is closed and its file removed.
#[derive(Debug)]
pub struct ControlServer {
    task: JoinHandle<()>,
    _file: SocketFile,
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ControlServer {
    /// Listens on `path`, mode 0600. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`], naming the path and the remedy.
    pub fn start(path: &Path) -> Result<(Self, mpsc::Receiver<Incoming>), SocketError> {
        Self::start_with(path, ControlTiming::default())
    }

    /// As [`ControlServer::start`], with other deadlines.
    ///
    /// # Errors
    /// [`SocketError`], naming the path and the remedy.
    pub fn start_with(
        path: &Path,
        timing: ControlTiming,
    ) -> Result<(Self, mpsc::Receiver<Incoming>), SocketError> {
        let (listener, file) = listen(path)?;
        let listener = UnixListener::from_std(listener)
            .map_err(|cause| SocketError::Io { path: path.to_owned(), cause })?;
        let (requests, incoming) = mpsc::channel(INCOMING_MAX);
        let task = tokio::spawn(accept(listener, requests, timing));
        Ok((Self { task, _file: file }, incoming))
    }
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Incoming>, timing: ControlTiming) {
    let mut clients = JoinSet::new();
    // Those that are told to come back; dropped with the server, and few, by their own deadline.
    let mut refused = JoinSet::new();
    loop {
        tokio::select! {
            () = requests.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < CLIENTS_MAX => {
                    clients.spawn(serve(stream, requests.clone(), timing));
                }
                Ok((stream, _)) if refused.len() < CLIENTS_MAX => {
                    refused.spawn(refuse_busy(stream, timing));
                }
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_ended) = clients.join_next() => {}
            Some(_ended) = refused.join_next() => {}
        }
    }
}

async fn refuse_busy(stream: UnixStream, timing: ControlTiming) {
    let (_, mut writer) = stream.into_split();
    let message = format!("{CLIENTS_MAX} clients are connected already");
    let error = ControlError::new("busy", message, "try again in a moment");
    // The client may be gone; it is refused either way.
    let _refused = write_line(&mut writer, &ReplyLine::Error(error), timing).await;
}

/// Serves one client until it closes, errs or is too slow. Its end concerns nobody else, and what
/// a handler did not finish to say is told to the handler as [`ClientGone`].
///
/// [`ClientGone`]: crate::control::ClientGone
async fn serve(stream: UnixStream, requests: mpsc::Sender<Incoming>, timing: ControlTiming) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let line = match timeout(timing.client_timeout, read_line(&mut reader)).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None) | Err(_)) | Err(_) => return,
        };
        let request = match parse(&line) {
            Ok(request) => request,
            Err(error) => {
                // What follows a bad line can't be trusted to be a line.
                let _gone = write_line(&mut writer, &ReplyLine::Error(error), timing).await;
                return;
            }
        };
        let (reply, parts) = channel();
        if requests.send(Incoming { request, uid: credentials.uid(), reply }).await.is_err() {
            return;
        }
        if write_reply(&mut writer, parts, timing).await.is_err() {
            return;
        }
    }
}

async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let bytes = reader.take(REQUEST_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok((bytes > 0).then_some(line))
}

fn parse(line: &[u8]) -> Result<Request, ControlError> {
    if line.len() > REQUEST_BYTES_MAX {
        let message = format!("the request is longer than {REQUEST_BYTES_MAX} bytes");
        return Err(ControlError::new("too-large", message, "send a shorter one"));
    }
    serde_json::from_slice(line).map_err(|e| {
        let message = format!("the request is not understood: {e}");
        ControlError::new("bad-request", message, "use the pgfo command of the daemon's release")
    })
}

async fn write_reply(
    writer: &mut OwnedWriteHalf,
    mut reply: ReplyParts,
    timing: ControlTiming,
) -> io::Result<()> {
    let late = || {
        let message =
            format!("no answer within {:?}; what became of the request is unknown", timing.reply_timeout);
        ReplyLine::Error(ControlError::new(
            "unknown-outcome",
            message,
            "look at \"pgfo status\" before trying again",
        ))
    };
    loop {
        match timeout(timing.reply_timeout, reply.parts.recv()).await {
            Ok(Some(Part::Item(value))) => write_line(writer, &ReplyLine::Item(value), timing).await?,
            Ok(Some(Part::Chunk(bytes))) => {
                write_line(writer, &ReplyLine::Chunk(bytes.len()), timing).await?;
                write_bytes(writer, &bytes, timing).await?;
            }
            Ok(None) => break,
            Err(_) => {
                write_line(writer, &late(), timing).await?;
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
    let end = match reply.end.await {
        Ok(Ok(value)) => ReplyLine::Done(value),
        Ok(Err(error)) => ReplyLine::Error(error),
        Err(_) => ReplyLine::Error(ControlError::new(
            "unanswered",
            "the daemon dropped the request; what became of it is unknown",
            "look at \"pgfo status\" and the daemon's log",
        )),
    };
    write_line(writer, &end, timing).await
}

async fn write_line(writer: &mut OwnedWriteHalf, line: &ReplyLine, timing: ControlTiming) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    if text.len() >= REPLY_LINE_BYTES_MAX {
        let message = format!("the reply needs {} bytes in one line", text.len());
        let error = ControlError::new("reply-too-large", message, "report this as a bug in pgfo");
        text = serde_json::to_vec(&ReplyLine::Error(error))?;
    }
    text.push(b'\n');
    write_bytes(writer, &text, timing).await
}

async fn write_bytes(writer: &mut OwnedWriteHalf, bytes: &[u8], timing: ControlTiming) -> io::Result<()> {
    timeout(timing.client_timeout, writer.write_all(bytes)).await?
}
