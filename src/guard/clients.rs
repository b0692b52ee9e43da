//! The guard's connections: bounded buffers, nothing that blocks. Knows frames, and not what they mean.

use super::facts::{Asker, ClientId};
use super::frame::{self, FRAME_BYTES_MAX, LENGTH_BYTES};
use super::protocol::{ClientFrame, GuardFrame, Notice, Reply, Request};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Connections at once: the daemon, its successor, and a few commands. One more drops the oldest that
/// is not the daemon's.
pub(super) const CLIENTS_MAX: usize = 6;
/// What may have arrived of one connection and not be handled, in bytes: a whole frame and a bit.
const INBOX_BYTES: usize = FRAME_BYTES_MAX + LENGTH_BYTES;
/// What may wait to be sent to one connection, in bytes; a client that leaves more unread is dropped.
const OUTBOX_BYTES: usize = 8 * INBOX_BYTES;
/// Requests handled per connection between two looks at the clock.
const REQUESTS_MAX: usize = 8;

struct Client {
    id: ClientId,
    socket: OwnedFd,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    subscribed: bool,
    /// Why the connection is to be dropped.
    broken: Option<String>,
}

/// All connections.
#[derive(Default)]
pub(super) struct Clients {
    all: Vec<Client>,
    next: u64,
}

impl Clients {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes a connection in, and marks the oldest but the daemon's as broken if there are too many.
    pub(super) fn add(&mut self, socket: OwnedFd, daemon: Option<ClientId>) {
        if self.all.len() >= CLIENTS_MAX
            && let Some(oldest) = self.all.iter_mut().find(|c| Some(c.id) != daemon)
        {
            oldest.broken = Some("too many connections".into());
        }
        self.next += 1;
        self.all.push(Client {
            id: ClientId(self.next),
            socket,
            inbox: Vec::with_capacity(INBOX_BYTES),
            outbox: Vec::with_capacity(OUTBOX_BYTES),
            subscribed: false,
            broken: None,
        });
    }

    /// Returns each socket with what to poll it for, in the order that [`Clients::receive`] counts.
    pub(super) fn polls(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.all.iter().map(|c| {
            let out = if c.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            (c.socket.as_fd(), PollFlags::IN | out)
        })
    }

    /// Reads what has arrived at one connection and returns its requests.
    pub(super) fn receive(&mut self, index: usize) -> Vec<(Asker, Request)> {
        let Some(client) = self.all.get_mut(index) else { return Vec::new() };
        let mut requests = Vec::new();
        while requests.len() < REQUESTS_MAX && client.broken.is_none() {
            match frame::take::<ClientFrame>(&mut client.inbox) {
                Ok(Some(f)) => requests.push((Asker { client: client.id, number: f.number }, f.request)),
                Ok(None) => {
                    if !client.fill() {
                        break;
                    }
                }
                Err(e) => client.broken = Some(e.to_string()),
            }
        }
        requests
    }

    /// Returns whether a whole frame or a broken connection waits that no poll would tell of.
    pub(super) fn has_unread(&self) -> bool {
        self.all.iter().any(|c| c.broken.is_some() || c.holds_frame())
    }

    pub(super) fn reply(&mut self, asker: Asker, reply: Reply) {
        let frame = GuardFrame::Reply { number: asker.number, reply };
        if let Some(client) = self.all.iter_mut().find(|c| c.id == asker.client) {
            client.send(&frame);
        }
    }

    pub(super) fn subscribe(&mut self, id: ClientId) {
        if let Some(client) = self.all.iter_mut().find(|c| c.id == id) {
            client.subscribed = true;
        }
    }

    /// Sends a notice to one client, or to all that subscribed.
    pub(super) fn notify(&mut self, only: Option<ClientId>, notice: &Notice) {
        let frame = GuardFrame::Notice(notice.clone());
        for client in &mut self.all {
            if only.map_or(client.subscribed, |id| id == client.id) {
                client.send(&frame);
            }
        }
    }

    /// Sends what waits, as far as sockets take it.
    pub(super) fn flush(&mut self) {
        self.all.iter_mut().for_each(Client::flush);
    }

    /// Drops the broken connections; returns them with the reason.
    pub(super) fn sweep(&mut self) -> Vec<(ClientId, String)> {
        let mut gone = Vec::new();
        self.all.retain_mut(|c| match c.broken.take() {
            Some(why) => {
                gone.push((c.id, why));
                false
            }
            None => true,
        });
        gone
    }
}

impl Client {
    fn holds_frame(&self) -> bool {
        self.inbox
            .split_first_chunk()
            .is_some_and(|(head, rest)| frame::body_len(*head).map_or(true, |len| rest.len() >= len))
    }

    /// Reads once; returns whether something arrived.
    fn fill(&mut self) -> bool {
        let mut buf = [0_u8; INBOX_BYTES];
        let room = INBOX_BYTES.saturating_sub(self.inbox.len());
        if room == 0 {
            return false;
        }
        match recv(&self.socket, &mut buf[..room], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.broken = Some("closed by the client".into());
                false
            }
            Ok((n, _)) => {
                self.inbox.extend_from_slice(&buf[..n]);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            Err(e) => {
                self.broken = Some(e.to_string());
                false
            }
        }
    }

    fn send(&mut self, frame: &GuardFrame) {
        if let Err(e) = frame::encode(frame, &mut self.outbox) {
            self.broken = Some(format!("cannot encode: {e}"));
        } else if self.outbox.len() > OUTBOX_BYTES {
            self.broken = Some("reads too slowly".into());
        }
    }

    fn flush(&mut self) {
        while !self.outbox.is_empty() && self.broken.is_none() {
            match send(&self.socket, &self.outbox, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => drop(self.outbox.drain(..n)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(e) => self.broken = Some(e.to_string()),
            }
        }
    }
}
