//! The registered members: names, addresses, roles, votes; the arithmetic of quorums; the digest.
//!
//! It must never depend on the order in which a file names the members: [`MemberId`] is the place in
//! the order of names, the same on every member.

use super::conninfo::Conninfo;
use super::words::{MemberRole, word_of};
use crate::core::MemberId;
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;

/// The most members: [`MemberId`] is one byte, and the last few values stay free.
pub const MEMBERS_MAX: usize = 250;

/// Where a member's daemon listens for its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAddress {
    host: String,
    port: u16,
}

impl PeerAddress {
    /// Reads `host:port`, an IPv6 address in brackets.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err("holds no IPv6 address in its brackets"),
            None if host.contains(':') => return Err("is an IPv6 address without brackets"),
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err("has no valid host");
        }
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
            return Err("is no address that peers could connect to");
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { host: host.to_ascii_lowercase(), port }),
            _ => Err("has no valid port"),
        }
    }

    /// Returns the host: a name or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether it can be reached from the same host only.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.parse::<IpAddr>().map_or(self.host == "localhost", |ip| ip.is_loopback())
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `[[member]]`: one member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `name`: unique without regard to case, because PostgreSQL compares standby names so; required.
    pub name: String,
    /// `address`: where its daemon listens for peers; required.
    pub address: PeerAddress,
    /// `conninfo`: how the other members reach its PostgreSQL; required on data members, an error on a
    /// witness.
    pub conninfo: Option<Conninfo>,
    /// `role`: default `data`.
    pub role: MemberRole,
    /// `location`: a name for where it is; default `default`.
    pub location: String,
    /// `votes`: whether its vote counts; default true.
    pub votes: bool,
}

/// All members, sorted by name, and which of them this one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    members: Vec<Member>,
    me: MemberId,
}

impl Membership {
    /// Takes validated members in any order: at most [`MEMBERS_MAX`], `me` among them.
    pub(super) fn new(mut members: Vec<Member>, me: &str) -> Self {
        assert!(members.len() <= MEMBERS_MAX, "validation bounds the members");
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let place = (0..=u8::MAX).zip(&members).find(|(_, member)| member.name == me).map(|(id, _)| id);
        assert!(place.is_some(), "validation knows this member");
        Self { members, me: MemberId(place.unwrap_or_default()) }
    }

    /// Returns the stand-in while a file is read.
    pub(super) const fn empty() -> Self {
        Self { members: Vec::new(), me: MemberId(0) }
    }

    /// Returns the members; the one at index `i` is `MemberId(i)`.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the members with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        (0..=u8::MAX).map(MemberId).zip(&self.members)
    }

    /// Returns this member's number.
    #[must_use]
    pub const fn me(&self) -> MemberId {
        self.me
    }

    /// Returns this member.
    #[must_use]
    pub fn this_member(&self) -> &Member {
        &self.members[usize::from(self.me.0)]
    }

    /// Returns the member of that number, if there is one.
    #[must_use]
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(usize::from(id.0))
    }

    /// Returns the number of the member of that name, if there is one.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<MemberId> {
        self.iter().find(|(_, member)| member.name == name).map(|(id, _)| id)
    }

    /// Returns `V`, the number of registered voters.
    #[must_use]
    pub fn voter_count(&self) -> usize {
        self.members.iter().filter(|member| member.votes).count()
    }

    /// Returns `Q`, the quorum of the registered voters.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.voter_count() / 2 + 1
    }

    /// Returns the SHA-256 over names, addresses, roles, votes and locations, in the order of names;
    /// members whose digests differ refuse each other in the handshake.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"pgfo membership 1");
        for member in &self.members {
            let address = member.address.to_string();
            for part in [&member.name, &address, word_of(member.role), &member.location] {
                // The length in front keeps neighbouring parts apart.
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
            hash.update([u8::from(member.votes)]);
        }
        hash.finalize().into()
    }
}
