//! TLS to PostgreSQL, with libpq's meanings of `sslmode`. It must never accept what `verify-*` forbids.

use super::answer::Step;
use super::conninfo::{ConnInfo, ConnInfoError, SslMode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio_postgres::tls::TlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Builds the TLS client of `conninfo`; `None` if its mode never uses TLS.
///
/// # Errors
/// When a certificate or key file is missing, malformed, or a key may be read by others.
pub(super) fn client(conninfo: &ConnInfo) -> Result<Option<MakeRustlsConnect>, ConnInfoError> {
    let mode = conninfo.sslmode();
    if mode == SslMode::Disable {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(conninfo, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = match conninfo.get("ssl_min_protocol_version") {
        Some("TLSv1.3") => builder.with_protocol_versions(&[&rustls::version::TLS13]),
        _ => builder.with_safe_default_protocol_versions(),
    };
    let builder = builder.map_err(|e| bad("sslmode", Path::new("-"), e.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match client_certificate(conninfo)? {
        None => builder.with_no_client_auth(),
        Some((path, chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|e| bad("sslcert", &path, e.to_string()))?
        }
    };
    Ok(Some(MakeRustlsConnect::new(config)))
}

fn bad(key: &'static str, path: &Path, what: String) -> ConnInfoError {
    ConnInfoError::File { key, path: path.display().to_string(), what }
}

fn file(conninfo: &ConnInfo, key: &str, default: &str) -> Option<PathBuf> {
    conninfo.get(key).map(PathBuf::from).or_else(|| conninfo.default_file(default))
}

fn verifier(
    conninfo: &ConnInfo,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, ConnInfoError> {
    let mode = conninfo.sslmode();
    let must_verify = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
    let roots_path = match file(conninfo, "sslrootcert", "root.crt") {
        // Like libpq: `require` verifies the authority if there is one to compare with.
        Some(path) if must_verify || mode == SslMode::Require => path,
        None if must_verify => {
            let what = "name the authority's certificate in sslrootcert".to_owned();
            return Err(bad("sslrootcert", Path::new("~/.postgresql/root.crt"), what));
        }
        _ => return Ok(Arc::new(Verifier { provider: provider.clone(), chain: None, name: false })),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("sslrootcert", &roots_path)? {
        roots.add(certificate).map_err(|e| bad("sslrootcert", &roots_path, e.to_string()))?;
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let chain = chain.map_err(|e| bad("sslrootcert", &roots_path, e.to_string()))?;
    let name = mode == SslMode::VerifyFull;
    Ok(Arc::new(Verifier { provider: provider.clone(), chain: Some(chain), name }))
}

type ClientCertificate = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(conninfo: &ConnInfo) -> Result<Option<ClientCertificate>, ConnInfoError> {
    let Some(path) = file(conninfo, "sslcert", "postgresql.crt") else { return Ok(None) };
    let chain = certificates("sslcert", &path)?;
    let key_path = file(conninfo, "sslkey", "postgresql.key").ok_or_else(|| {
        bad("sslkey", Path::new("~/.postgresql/postgresql.key"), "name the key in sslkey".to_owned())
    })?;
    let meta = std::fs::metadata(&key_path).map_err(|e| bad("sslkey", &key_path, e.to_string()))?;
    // libpq's rule: 0600, or 0640 if it belongs to root.
    let allowed = if meta.uid() == 0 { 0o640 } else { 0o600 };
    if meta.mode() & 0o777 & !allowed != 0 {
        let what = format!("may be read by others; run chmod {allowed:04o} on it");
        return Err(bad("sslkey", &key_path, what));
    }
    let key = PrivateKeyDer::from_pem_file(&key_path);
    let key = key.map_err(|_| bad("sslkey", &key_path, "is not an unencrypted PEM key".to_owned()))?;
    Ok(Some((path, chain, key)))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnInfoError> {
    let found = CertificateDer::pem_file_iter(path).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    let found = found.map_err(|e| bad(key, path, e.to_string()))?;
    if found.is_empty() {
        return Err(bad(key, path, "holds no PEM certificate".to_owned()));
    }
    Ok(found)
}

/// Verifies as much of a server's certificate as the mode asks for.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// The authorities; without them any certificate will do, as in libpq below `verify-ca`.
    chain: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, so the chain is fine.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Which step of a handshake is under way, shared with the future that performs it.
#[derive(Clone, Debug, Default)]
pub(super) struct StepCell(Arc<AtomicU8>);

impl StepCell {
    pub(super) fn get(&self) -> Step {
        match self.0.load(Ordering::Relaxed) {
            1 => Step::Tls,
            _ => Step::Authenticate,
        }
    }
}

/// A TLS connector that marks in a [`StepCell`] when its handshake is under way.
pub(super) struct Traced<T> {
    pub(super) inner: T,
    pub(super) step: StepCell,
}

impl<S, T> TlsConnect<S> for Traced<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
    T::Stream: 'static,
    T::Error: 'static,
{
    type Stream = T::Stream;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<T::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Self { inner, step } = self;
        step.0.store(1, Ordering::Relaxed);
        let handshake = inner.connect(stream);
        Box::pin(async move {
            let stream = handshake.await?;
            step.0.store(0, Ordering::Relaxed);
            Ok(stream)
        })
    }
}
