//! Mutual TLS 1.3 between members, with the cluster's own authority.
//!
//! A certificate carries the DNS name `NAME.CLUSTER.pgfo` and so names exactly one member. This
//! file must never accept a certificate that the authority did not sign, nor fall back to less
//! than TLS 1.3; and it never shows what is in a key file.

use crate::core::MemberId;
use crate::peer::handshake::{Identity, Refusal};
use rustls::client::{Resumption, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Last label of the names in certificates; no such domain exists, so no public authority signs it.
pub const NAME_SUFFIX: &str = "pgfo";

/// Largest certificate or key file read, in bytes: a chain of several certificates fits.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPaths {
    /// The cluster's authority, PEM.
    pub ca: PathBuf,
    /// This member's certificate, PEM.
    pub certificate: PathBuf,
    /// This member's private key, PEM, readable by its owner alone.
    pub key: PathBuf,
}

/// A certificate or key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}; make certificates with \"pgfo cert\", and check owner and mode", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file holds nothing of the kind that was expected.
    #[error("{} holds no usable {what} ({detail}); make it anew with \"pgfo cert\"", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What the parser said; never the content.
        detail: String,
    },
    /// Others than the owner may read the key.
    #[error("{} has mode {mode:04o}, others can read the key: run \"chmod 600 {}\"", path.display(), path.display())]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The certificate is of another member or another cluster.
    #[error("{} does not name {expected}: make one with \"pgfo cert member\"", path.display())]
    NotOurs {
        /// The certificate file.
        path: PathBuf,
        /// DNS name that it should carry.
        expected: String,
    },
    /// Key and certificate do not belong together.
    #[error("{} and {} do not belong together ({detail}): copy both from one \"pgfo cert member\"", certificate.display(), key.display())]
    Pair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What the library said.
        detail: String,
    },
    /// A name that no certificate can carry.
    #[error(
        "\"{name}\" cannot stand in a certificate: use lower-case letters, digits, '-' and '_', at most 63, starting and ending with a letter or digit"
    )]
    Name {
        /// The name of a member or a cluster.
        name: String,
    },
}

/// Returns the DNS name that the certificate of `member` carries.
///
/// # Errors
/// [`TlsFileError::Name`] when one of the names has no place in a DNS name.
pub fn certificate_name(member: &str, cluster: &str) -> Result<String, TlsFileError> {
    for name in [member, cluster] {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let bytes = name.as_bytes();
        let fits = bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last());
        // Upper case is refused, because DNS names compare without case and member names with it.
        if !fits || !bytes.iter().all(|b| inner(*b)) {
            return Err(TlsFileError::Name { name: name.to_owned() });
        }
    }
    Ok(format!("{member}.{cluster}.{NAME_SUFFIX}"))
}

/// Certificates and key, loaded and checked; cheap to clone.
#[derive(Clone)]
pub struct TlsMaterial {
    pub(crate) connector: TlsConnector,
    pub(crate) acceptor: TlsAcceptor,
    expires_unix_s: i64,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial").field("expires_unix_s", &self.expires_unix_s).finish_non_exhaustive()
    }
}

impl TlsMaterial {
    /// Loads the files and checks that they belong together and name `member` of `cluster`. A
    /// certificate that has expired is loaded: peers refuse it, and say so.
    ///
    /// # Errors
    /// [`TlsFileError`], naming the file and the remedy.
    pub fn load(paths: &TlsPaths, member: &str, cluster: &str) -> Result<Self, TlsFileError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&paths.ca)? {
            roots.add(root).map_err(|e| content(&paths.ca, "authority certificate", &e))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&paths.certificate)?;
        let first = chain.first().ok_or_else(|| content(&paths.certificate, "certificate", &"empty"))?;
        let expected = certificate_name(member, cluster)?;
        if !names(first, &expected) {
            return Err(TlsFileError::NotOurs { path: paths.certificate.clone(), expected });
        }
        let (_, parsed) = x509_parser::parse_x509_certificate(first)
            .map_err(|e| content(&paths.certificate, "certificate", &e))?;
        let expires_unix_s = parsed.validity().not_after.timestamp();
        let key = private_key(&paths.key)?;
        let pair = |e: rustls::Error| TlsFileError::Pair {
            certificate: paths.certificate.clone(),
            key: paths.key.clone(),
            detail: e.to_string(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|e| content(&paths.ca, "authority certificate", &e))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(pair)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(pair)?;
        // No resumption: each connection proves its certificate anew, against what is loaded now.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(pair)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(pair)?;
        client.resumption = Resumption::disabled();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            expires_unix_s,
        })
    }

    /// Returns when this member's certificate expires, in seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn expires_unix_s(&self) -> i64 {
        self.expires_unix_s
    }
}

/// Returns the member that the certificate names, if it names exactly one.
pub(crate) fn identity(
    chain: Option<&[CertificateDer<'_>]>,
    names_by_id: &[String],
    cluster: &str,
) -> Identity {
    let Some(leaf) = chain.and_then(<[_]>::first) else {
        return Identity::Unusable(Refusal::CertificateNames { members: 0 });
    };
    let mut found = (0_u8..)
        .zip(names_by_id)
        .filter(|(_, member)| certificate_name(member, cluster).is_ok_and(|expected| names(leaf, &expected)));
    match (found.next(), found.count()) {
        (Some((id, _)), 0) => Identity::Certified(MemberId(id)),
        (None, _) => Identity::Unusable(Refusal::CertificateNames { members: 0 }),
        (Some(_), more) => {
            let members = u8::try_from(more).unwrap_or(u8::MAX).saturating_add(1);
            Identity::Unusable(Refusal::CertificateNames { members })
        }
    }
}

/// Returns `member`'s name as TLS compares it.
pub(crate) fn server_name(member: &str, cluster: &str) -> Result<ServerName<'static>, TlsFileError> {
    let name = certificate_name(member, cluster)?;
    ServerName::try_from(name).map_err(|_| TlsFileError::Name { name: member.to_owned() })
}

fn names(certificate: &CertificateDer<'_>, dns_name: &str) -> bool {
    let Ok(name) = ServerName::try_from(dns_name) else { return false };
    ParsedCertificate::try_from(certificate).is_ok_and(|c| verify_server_name(&c, &name).is_ok())
}

fn content(path: &Path, what: &'static str, detail: &dyn fmt::Display) -> TlsFileError {
    TlsFileError::Content { path: path.to_owned(), what, detail: detail.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let read_error = |cause| TlsFileError::Read { path: path.to_owned(), cause };
    let metadata = fs::metadata(path).map_err(read_error)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(content(path, "PEM", &"not a file of ordinary size"));
    }
    fs::read(path).map_err(read_error)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(content(path, "certificate", &"no CERTIFICATE section")),
        Err(e) => Err(content(path, "certificate", &e)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let pem = read(path)?;
    let metadata = fs::metadata(path).map_err(|cause| TlsFileError::Read { path: path.to_owned(), cause })?;
    let mode = metadata.permissions().mode() & 0o7777;
    // Group reading is allowed for root's files, as PostgreSQL allows it for its own key.
    let group_allowed = std::os::unix::fs::MetadataExt::uid(&metadata) == 0;
    let forbidden = if group_allowed { 0o027 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(TlsFileError::KeyMode { path: path.to_owned(), mode });
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| content(path, "private key", &"no PRIVATE KEY section"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_certificates_cannot_carry_are_refused() {
        assert_eq!(certificate_name("node_1", "main").unwrap(), "node_1.main.pgfo");
        let long = "x".repeat(64);
        for bad in ["", "Node", "a.b", "-a", "a-", "*", "ä", long.as_str()] {
            assert!(certificate_name(bad, "main").is_err(), "{bad:?}");
            assert!(certificate_name("node", bad).is_err(), "{bad:?}");
        }
    }
}
