//! The command line's end of the control socket: plain blocking calls with deadlines.

use crate::control::protocol::{CHUNK_BYTES_MAX, ControlError, REPLY_LINE_BYTES_MAX, ReplyLine, Request};
use crate::control::socket;
use rustix::io::Errno;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for each piece of a reply: longer than the daemon takes to give up on its own
/// answer, so that its word about the outcome arrives.
const REPLY_TIMEOUT: Duration = Duration::from_secs(70);

/// A call to the daemon did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens.
    #[error("no daemon listens on {}: start it, or name its socket ({cause})", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The socket belongs to another user.
    #[error("{} belongs to another user: run this as the user of the daemon, or as root", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon does not take connections.
    #[error("the daemon on {} is alive but takes no connection: is it stopped or overloaded?", path.display())]
    Stuck {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon refused, and says why.
    #[error(transparent)]
    Refused(ControlError),
    /// The connection ended or timed out in the middle: whether the request had effect is unknown.
    #[error("the daemon on {} went silent, the outcome is unknown: {cause}; look at \"pgfo status\"", path.display())]
    Unknown {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// What streamed in could not be stored by the caller.
    #[error("cannot store what the daemon sent: {0}")]
    Sink(io::Error),
    /// The reply holds what this version does not understand.
    #[error("the reply is not understood ({0}): use the pgfo command of the daemon's release")]
    Reply(String),
}

/// One piece of a streamed reply.
#[derive(Debug, PartialEq)]
pub enum StreamPart<'a> {
    /// One of several results.
    Item(Value),
    /// Raw bytes, at most 64 KiB.
    Bytes(&'a [u8]),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects; does not wait for a daemon that takes no connection.
    ///
    /// # Errors
    /// [`ClientError`], naming the socket and the remedy.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::connect_with(path, REPLY_TIMEOUT)
    }

    /// As [`Client::connect`], waiting at most `reply_timeout` for each piece of a reply.
    ///
    /// # Errors
    /// [`ClientError`], naming the socket and the remedy.
    pub fn connect_with(path: &Path, reply_timeout: Duration) -> Result<Self, ClientError> {
        let owned = path.to_owned();
        let stream = socket::connect(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Forbidden { path: owned.clone() },
            _ if Errno::from_io_error(&cause) == Some(Errno::AGAIN) => {
                ClientError::Stuck { path: owned.clone() }
            }
            _ => ClientError::NotRunning { path: owned.clone(), cause },
        })?;
        let timeouts = stream
            .set_read_timeout(Some(reply_timeout))
            .and_then(|()| stream.set_write_timeout(Some(reply_timeout)));
        timeouts.map_err(|cause| ClientError::NotRunning { path: owned.clone(), cause })?;
        Ok(Self { path: owned, stream: BufReader::new(stream) })
    }

    /// Asks, and returns the result.
    ///
    /// # Errors
    /// [`ClientError`]; also when the reply is a stream.
    pub fn call(&mut self, request: &Request) -> Result<Value, ClientError> {
        let mut streamed = false;
        let value = self.stream(request, |_| {
            streamed = true;
            Ok(())
        })?;
        if streamed { Err(ClientError::Reply("a stream was not expected".to_owned())) } else { Ok(value) }
    }

    /// Asks, gives each piece of the reply to `sink`, and returns the result at its end. After an
    /// error the client is of no use any more.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Sink`] with what `sink` returned.
    pub fn stream(
        &mut self,
        request: &Request,
        mut sink: impl FnMut(StreamPart<'_>) -> io::Result<()>,
    ) -> Result<Value, ClientError> {
        let mut line = serde_json::to_vec(request).map_err(|e| ClientError::Reply(e.to_string()))?;
        line.push(b'\n');
        // A server that refuses at once closes before it reads; what it said is still to be read.
        let written = self.stream.get_mut().write_all(&line);
        loop {
            match (self.read_line(), &written) {
                (Err(_), Err(e)) => {
                    return Err(self.unknown(io::Error::new(e.kind(), e.to_string())));
                }
                (Err(e), Ok(())) => return Err(e),
                (Ok(ReplyLine::Item(value)), _) => {
                    sink(StreamPart::Item(value)).map_err(ClientError::Sink)?
                }
                (Ok(ReplyLine::Chunk(bytes)), _) => {
                    let chunk = self.read_chunk(bytes)?;
                    sink(StreamPart::Bytes(&chunk)).map_err(ClientError::Sink)?;
                }
                (Ok(ReplyLine::Done(value)), _) => return Ok(value),
                (Ok(ReplyLine::Error(error)), _) => return Err(ClientError::Refused(error)),
            }
        }
    }

    fn unknown(&self, cause: io::Error) -> ClientError {
        ClientError::Unknown { path: self.path.clone(), cause }
    }

    fn read_line(&mut self) -> Result<ReplyLine, ClientError> {
        let mut line = Vec::new();
        let limited = (&mut self.stream).take(REPLY_LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
        limited.map_err(|cause| self.unknown(cause))?;
        if line.last() != Some(&b'\n') {
            return Err(self.unknown(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(|e| ClientError::Reply(e.to_string()))
    }

    fn read_chunk(&mut self, bytes: usize) -> Result<Vec<u8>, ClientError> {
        if bytes > CHUNK_BYTES_MAX {
            return Err(ClientError::Reply(format!("a chunk of {bytes} bytes")));
        }
        let mut chunk = vec![0; bytes];
        self.stream.read_exact(&mut chunk).map_err(|cause| self.unknown(cause))?;
        Ok(chunk)
    }
}
