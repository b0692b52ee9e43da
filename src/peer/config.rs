//! What a link needs to know, and the check that plain TCP never leaves the host.

use crate::core::MemberId;
use crate::peer::handshake::{Hello, NAME_BYTES_MAX};
use crate::peer::tls::TlsPaths;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One registered member, this one included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMember {
    /// Its name.
    pub name: String,
    /// Where its link listens, `HOST:PORT`.
    pub address: String,
}

/// How connections are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all: all members are on this host, and whoever can open a socket here is trusted.
    PlainLoopback,
    /// Mutual TLS 1.3.
    Tls(TlsPaths),
}

/// Deadlines of a link; every wait has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTiming {
    /// For name lookup, and again for TCP's connect to each address.
    pub connect_timeout: Duration,
    /// For TLS and hello together.
    pub handshake_timeout: Duration,
    /// A session that hears nothing, or can send nothing, for so long is closed. Each side sends a
    /// sign of life after a third of it.
    pub idle_timeout: Duration,
}

impl Default for LinkTiming {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(3),
        }
    }
}

/// Configuration of a link. A changed membership needs a new link.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// What this member says of itself; `hello.member` must be the name of `me`.
    pub hello: Hello,
    /// This member.
    pub me: MemberId,
    /// All members, indexed by [`MemberId`].
    pub members: Vec<PeerMember>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How connections are protected.
    pub security: Security,
    /// Deadlines.
    pub timing: LinkTiming,
}

/// The configuration of a link makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An address leaves this host, and there is no TLS.
    #[error(
        "{what} {address} is not on this host, and no TLS is configured: make certificates with \"pgfo cert\" and configure them, or use 127.0.0.1"
    )]
    NotLoopback {
        /// Whose address.
        what: String,
        /// The address.
        address: String,
    },
    /// An address has no port.
    #[error("address \"{address}\" of \"{member}\" is not of the form HOST:PORT")]
    Address {
        /// The member.
        member: String,
        /// The address.
        address: String,
    },
    /// The member's number and name do not agree with the list of members.
    #[error("\"{name}\" is not member number {number} of the list of members")]
    NotAMember {
        /// The name in the hello.
        name: String,
        /// The number.
        number: u8,
    },
    /// Two members have one name, or too many members are listed, or a name is too long.
    #[error("{what} in the list of members")]
    Members {
        /// What is wrong.
        what: String,
    },
    /// A deadline of zero.
    #[error("deadlines of the link must be longer than zero")]
    Timing,
}

impl LinkConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`ConfigError`], the first thing found.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let me = self.members.get(usize::from(self.me.0));
        if me.is_none_or(|m| m.name != self.hello.member) {
            return Err(ConfigError::NotAMember { name: self.hello.member.clone(), number: self.me.0 });
        }
        if self.members.len() > usize::from(u8::MAX) {
            return Err(ConfigError::Members {
                what: format!("{} members, at most 255", self.members.len()),
            });
        }
        for (place, member) in self.members.iter().enumerate() {
            if self.members[..place].iter().any(|m| m.name == member.name) {
                return Err(ConfigError::Members { what: format!("\"{}\" appears twice", member.name) });
            }
        }
        let names = self.members.iter().map(|m| &m.name).chain([&self.hello.cluster, &self.hello.software]);
        if let Some(long) = names.into_iter().find(|n| n.len() > NAME_BYTES_MAX) {
            return Err(ConfigError::Members {
                what: format!("\"{long}\" is longer than {NAME_BYTES_MAX} bytes"),
            });
        }
        let timing = [self.timing.connect_timeout, self.timing.handshake_timeout, self.timing.idle_timeout];
        if timing.contains(&Duration::ZERO) {
            return Err(ConfigError::Timing);
        }
        self.members.iter().try_for_each(|m| self.validate_address(m))?;
        if self.security == Security::PlainLoopback && !is_loopback(self.listen.ip()) {
            let address = self.listen.to_string();
            return Err(ConfigError::NotLoopback { what: "the listening address".to_owned(), address });
        }
        Ok(())
    }

    fn validate_address(&self, member: &PeerMember) -> Result<(), ConfigError> {
        let bad = || ConfigError::Address { member: member.name.clone(), address: member.address.clone() };
        let (host, port) = member.address.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        // A name other than localhost may resolve to anything tomorrow.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(is_loopback);
        if self.security == Security::PlainLoopback && !local {
            let what = format!("the address of \"{}\",", member.name);
            return Err(ConfigError::NotLoopback { what, address: member.address.clone() });
        }
        Ok(())
    }
}

/// Returns whether `ip` is of this host: 127.0.0.0/8, also mapped into IPv6, or `::1`.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}
