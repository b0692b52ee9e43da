//! The handshake: both sides say who they are, and each tells the other whether it is accepted.
//!
//! The accepting side speaks first. A TLS 1.3 client learns only at its first read that its
//! certificate was refused; with nothing of its own in flight, that alert can't be lost to a reset.
//! It must never let a message through before both sides have said yes.

use crate::core::{BootId, Incarnation, MemberId};
use crate::peer::frame::{self, FrameError, HANDSHAKE_FRAME_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Version of the handshake and of the messages after it. Members of different versions refuse
/// each other by name, instead of misreading each other.
pub const PROTOCOL_VERSION: u16 = 3;

/// First bytes of each hello, before its protocol version: what does not start so is no pgfo.
pub const MAGIC: [u8; 4] = *b"pgfo";

/// Longest name in a hello, in bytes: a label of a DNS name, which certificates carry.
pub const NAME_BYTES_MAX: usize = 63;

/// A random number drawn when a process starts: tells two runs of one member apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessNonce(pub u64);

/// What a member says of itself when a connection begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Name of the cluster.
    pub cluster: String,
    /// Digest of the membership this member knows.
    pub membership: [u8; 32],
    /// Name of the member.
    pub member: String,
    /// Identity of its event log.
    pub incarnation: Incarnation,
    /// Boot of its host.
    pub boot: BootId,
    /// Run of its process.
    pub process: ProcessNonce,
    /// Version of its software, for people.
    pub software: String,
}

impl Hello {
    fn is_bounded(&self) -> bool {
        [&self.cluster, &self.member, &self.software].iter().all(|s| s.len() <= NAME_BYTES_MAX)
    }
}

/// Why a member refused another; told to the other side. Grows at the end only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The protocol versions differ.
    #[error("protocol version {theirs} is not {ours}: run the same release of pgfo on all members")]
    ProtocolVersion {
        /// Version of the side that refuses.
        ours: u16,
        /// Version of the side that is refused.
        theirs: u16,
    },
    /// The cluster names differ.
    #[error("cluster \"{theirs}\" is not \"{ours}\": check the cluster's name in both configurations")]
    Cluster {
        /// Name known to the side that refuses.
        ours: String,
        /// Name said by the side that is refused.
        theirs: String,
    },
    /// The memberships differ.
    #[error("the memberships differ: give both members the same list of members")]
    Membership,
    /// No member has this name.
    #[error("\"{name}\" is no member of this cluster")]
    UnknownMember {
        /// Name that was claimed.
        name: String,
    },
    /// The certificate names another member than the hello.
    #[error("\"{claimed}\" came with the certificate of \"{certified}\": check which certificate is where")]
    NameMismatch {
        /// Name in the hello.
        claimed: String,
        /// Name in the certificate.
        certified: String,
    },
    /// The certificate names no member of this cluster, or several.
    #[error(
        "the certificate names {members} members of this cluster, not one: make one with \"pgfo cert member\""
    )]
    CertificateNames {
        /// How many members it names.
        members: u8,
    },
    /// The member that answered is not the one that was dialled.
    #[error("\"{found}\" answered at the address of \"{expected}\": check the addresses of both")]
    NotAddressee {
        /// Member that was dialled.
        expected: String,
        /// Member that answered.
        found: String,
    },
    /// The other side claims to be this very member.
    #[error("\"{name}\" is this member itself: each member needs a name of its own")]
    Myself {
        /// The name.
        name: String,
    },
}

#[derive(Serialize, Deserialize)]
enum Verdict {
    Accepted,
    Refused(Refusal),
}

/// What the transport knows of the other side, before it speaks.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Its certificate names this member, and no other.
    Certified(MemberId),
    /// Its certificate does not name exactly one member.
    Unusable(Refusal),
    /// There is no certificate; it comes from this host, and its word is taken.
    Claimed,
}

/// This side's knowledge, against which a hello is checked.
pub(crate) struct Local {
    pub(crate) hello: Hello,
    pub(crate) me: MemberId,
    /// Names by member number.
    pub(crate) names: Vec<String>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("me", &self.me).finish_non_exhaustive()
    }
}

/// The handshake did not end in a yes from both.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("refused: {0}")]
    RefusedByUs(Refusal),
    #[error("refused by the other side: {0}")]
    RefusedByPeer(Refusal),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Local {
    fn name(&self, id: MemberId) -> String {
        self.names.get(usize::from(id.0)).cloned().unwrap_or_default()
    }

    /// Returns the member that `hello` proves to be, or why it is refused.
    fn check(
        &self,
        hello: &Hello,
        identity: &Identity,
        dialled: Option<MemberId>,
    ) -> Result<MemberId, Refusal> {
        if hello.cluster != self.hello.cluster {
            let (ours, theirs) = (self.hello.cluster.clone(), hello.cluster.clone());
            return Err(Refusal::Cluster { ours, theirs });
        }
        if let Identity::Unusable(refusal) = identity {
            return Err(refusal.clone());
        }
        if let Identity::Certified(id) = identity
            && self.name(*id) != hello.member
        {
            let certified = self.name(*id);
            return Err(Refusal::NameMismatch { claimed: hello.member.clone(), certified });
        }
        if hello.membership != self.hello.membership {
            return Err(Refusal::Membership);
        }
        let position = self.names.iter().position(|n| *n == hello.member);
        let Some(found) = position.and_then(|p| u8::try_from(p).ok()).map(MemberId) else {
            return Err(Refusal::UnknownMember { name: hello.member.clone() });
        };
        if found == self.me {
            return Err(Refusal::Myself { name: hello.member.clone() });
        }
        match dialled {
            Some(expected) if expected != found => {
                Err(Refusal::NotAddressee { expected: self.name(expected), found: hello.member.clone() })
            }
            _ => Ok(found),
        }
    }
}

/// Runs the accepting side: hello out; hello and verdict in; verdict out.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    local: &Local,
    identity: &Identity,
) -> Result<(MemberId, Hello), HandshakeError> {
    write_hello(stream, &local.hello).await?;
    let theirs = read_hello(stream).await;
    let ours = judge(theirs, local, identity, None)?;
    let verdict_in = match &ours {
        // Someone of another version may not know this verdict's form.
        Err(Refusal::ProtocolVersion { .. }) => None,
        _ => Some(read_verdict(stream).await?),
    };
    write_verdict(stream, &ours).await?;
    settle(ours, verdict_in)
}

/// Runs the dialling side: hello in; hello and verdict out; verdict in.
pub(crate) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    local: &Local,
    identity: &Identity,
    dialled: MemberId,
) -> Result<(MemberId, Hello), HandshakeError> {
    let theirs = read_hello(stream).await;
    let ours = judge(theirs, local, identity, Some(dialled))?;
    write_hello(stream, &local.hello).await?;
    write_verdict(stream, &ours).await?;
    // A refusal is waited for as well, so that ours is read before the connection goes.
    let verdict_in = read_verdict(stream).await;
    match (ours, verdict_in) {
        (Err(refusal), _) => Err(HandshakeError::RefusedByUs(refusal)),
        (ours, verdict_in) => settle(ours, Some(verdict_in?)),
    }
}

type Judged = Result<(MemberId, Hello), Refusal>;

fn judge(
    hello: Result<Hello, HelloError>,
    local: &Local,
    identity: &Identity,
    dialled: Option<MemberId>,
) -> Result<Judged, FrameError> {
    match hello {
        Ok(hello) => Ok(local.check(&hello, identity, dialled).map(|id| (id, hello))),
        Err(HelloError::Version { theirs }) => {
            Ok(Err(Refusal::ProtocolVersion { ours: PROTOCOL_VERSION, theirs }))
        }
        Err(HelloError::Frame(e)) => Err(e),
    }
}

fn settle(ours: Judged, theirs: Option<Verdict>) -> Result<(MemberId, Hello), HandshakeError> {
    let accepted = ours.map_err(HandshakeError::RefusedByUs)?;
    match theirs {
        Some(Verdict::Refused(refusal)) => Err(HandshakeError::RefusedByPeer(refusal)),
        _ => Ok(accepted),
    }
}

enum HelloError {
    Version { theirs: u16 },
    Frame(FrameError),
}

async fn write_hello<S: AsyncWrite + Unpin>(stream: &mut S, hello: &Hello) -> Result<(), FrameError> {
    let mut body = MAGIC.to_vec();
    body.extend_from_slice(&PROTOCOL_VERSION.to_be_bytes());
    body.extend_from_slice(&frame::encode_body(hello, HANDSHAKE_FRAME_BYTES_MAX)?);
    write(stream, &frame::wrap(&body, HANDSHAKE_FRAME_BYTES_MAX)?).await
}

async fn read_hello<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Hello, HelloError> {
    let malformed = |detail: &str| HelloError::Frame(FrameError::Malformed { detail: detail.to_owned() });
    let mut body = Vec::new();
    frame::read_body(stream, HANDSHAKE_FRAME_BYTES_MAX, &mut body).await.map_err(HelloError::Frame)?;
    let Some((version, rest)) = body.strip_prefix(&MAGIC).and_then(|r| r.split_first_chunk::<2>()) else {
        return Err(malformed("not a hello of pgfo"));
    };
    let theirs = u16::from_be_bytes(*version);
    if theirs != PROTOCOL_VERSION {
        return Err(HelloError::Version { theirs });
    }
    let hello: Hello = frame::decode(rest).map_err(HelloError::Frame)?;
    if hello.is_bounded() { Ok(hello) } else { Err(malformed("a name in the hello is too long")) }
}

async fn write_verdict<S: AsyncWrite + Unpin>(stream: &mut S, ours: &Judged) -> Result<(), FrameError> {
    let verdict = match ours {
        Ok(_) => Verdict::Accepted,
        Err(refusal) => Verdict::Refused(refusal.clone()),
    };
    write(stream, &frame::encode(&verdict, HANDSHAKE_FRAME_BYTES_MAX)?).await
}

async fn read_verdict<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Verdict, FrameError> {
    let mut body = Vec::new();
    frame::read_body(stream, HANDSHAKE_FRAME_BYTES_MAX, &mut body).await?;
    frame::decode(&body)
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), FrameError> {
    stream.write_all(bytes).await.map_err(|e| FrameError::io(&e))?;
    stream.flush().await.map_err(|e| FrameError::io(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(me: u8) -> Local {
        let names = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let hello = Hello {
            cluster: "main".to_owned(),
            membership: [1; 32],
            member: names[usize::from(me)].clone(),
            incarnation: Incarnation(1),
            boot: BootId(2),
            process: ProcessNonce(3),
            software: "test".to_owned(),
        };
        Local { hello, me: MemberId(me), names }
    }

    type Outcome = Result<(MemberId, Hello), HandshakeError>;

    async fn shake(dialler: Local, acceptor: Local, certified: Identity) -> (Outcome, Outcome) {
        let (mut left, mut right) = tokio::io::duplex(8192);
        tokio::join!(
            dial(&mut left, &dialler, &Identity::Claimed, MemberId(1)),
            accept(&mut right, &acceptor, &certified)
        )
    }

    fn refused(refusal: &Refusal) -> (HandshakeError, HandshakeError) {
        (HandshakeError::RefusedByUs(refusal.clone()), HandshakeError::RefusedByPeer(refusal.clone()))
    }

    #[tokio::test]
    async fn both_learn_who_the_other_is() {
        let (left, right) = shake(local(0), local(1), Identity::Claimed).await;
        assert_eq!(left.unwrap().0, MemberId(1));
        assert_eq!(right.unwrap().0, MemberId(0));
    }

    #[tokio::test]
    async fn another_cluster_is_refused_by_both() {
        let mut stranger = local(0);
        stranger.hello.cluster = "other".to_owned();
        let (left, right) = shake(stranger, local(1), Identity::Claimed).await;
        assert!(matches!(left, Err(HandshakeError::RefusedByUs(Refusal::Cluster { .. }))));
        assert!(matches!(right, Err(HandshakeError::RefusedByUs(Refusal::Cluster { .. }))));
    }

    #[tokio::test]
    async fn the_refused_side_is_told_why() {
        let (left, right) = shake(local(0), local(1), Identity::Certified(MemberId(2))).await;
        let (ours, theirs) =
            refused(&Refusal::NameMismatch { claimed: "a".to_owned(), certified: "c".to_owned() });
        assert_eq!(right.unwrap_err(), ours);
        assert_eq!(left.unwrap_err(), theirs);

        let (left, right) = shake(local(0), local(2), Identity::Claimed).await;
        let (ours, theirs) =
            refused(&Refusal::NotAddressee { expected: "b".to_owned(), found: "c".to_owned() });
        assert_eq!(left.unwrap_err(), ours);
        assert_eq!(right.unwrap_err(), theirs);
    }

    #[tokio::test]
    async fn garbage_and_another_version_are_told_apart() {
        let (mut left, mut right) = tokio::io::duplex(8192);
        left.write_all(&frame::wrap(b"GET / HTTP/1.1", 100).unwrap()).await.unwrap();
        let error = accept(&mut right, &local(1), &Identity::Claimed).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Frame(FrameError::Malformed { .. })));

        let (mut left, mut right) = tokio::io::duplex(8192);
        left.write_all(&frame::wrap(b"pgfo\x00\x09whatever", 100).unwrap()).await.unwrap();
        let error = accept(&mut right, &local(1), &Identity::Claimed).await.unwrap_err();
        let wanted = Refusal::ProtocolVersion { ours: PROTOCOL_VERSION, theirs: 9 };
        assert_eq!(error, HandshakeError::RefusedByUs(wanted));
    }
}
