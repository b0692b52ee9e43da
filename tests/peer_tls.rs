//! Promise: only who holds a certificate of the cluster's own authority, for the name it claims,
//! becomes a peer; and whoever is refused learns why, at both sides.
#![allow(missing_docs)]

mod peer_support;

use clap::Parser;
use peer_support::{A, B, C, Message, NAMES, Raw, Town, hello, text};
use pgfo::cli::cert::{CaArgs, CertArgs, MemberArgs, ca, member, run, show};
use pgfo::core::MemberId;
use pgfo::peer::{
    FaultSide, LinkConfig, PeerLink, Refusal, RefusedReason, Security, StartError, TlsFault, TlsFaultKind,
    TlsFileError, TlsMaterial, TlsPaths,
};
use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority with certificates for a, b and c in one directory.
struct Papers {
    dir: tempfile::TempDir,
}

impl Papers {
    fn new() -> Self {
        let papers = Self { dir: tempfile::tempdir().unwrap() };
        ca(&ca_args(papers.dir.path())).unwrap();
        for name in NAMES {
            member(&member_args(name, papers.dir.path())).unwrap();
        }
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn paths(&self, member: MemberId) -> TlsPaths {
        let name = NAMES[usize::from(member.0)];
        TlsPaths {
            ca: self.path("ca.crt"),
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
        }
    }

    fn tls(&self, member: MemberId) -> Security {
        Security::Tls(self.paths(member))
    }

    /// Signs a certificate that `pgfo cert` would not make.
    fn forge(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let signer = KeyPair::from_pem(&fs::read_to_string(self.path("ca.key")).unwrap()).unwrap();
        let issuer =
            Issuer::from_ca_cert_pem(&fs::read_to_string(self.path("ca.crt")).unwrap(), signer).unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let pair = KeyPair::generate().unwrap();
        fs::write(self.path(&format!("{file}.crt")), params.signed_by(&pair, &issuer).unwrap().pem())
            .unwrap();
        fs::write(self.path(&format!("{file}.key")), pair.serialize_pem()).unwrap();
        fs::set_permissions(self.path(&format!("{file}.key")), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Opens TLS to `address` by hand, as `file` says, or without a certificate.
    async fn dial(
        &self,
        address: std::net::SocketAddr,
        to: &str,
        file: Option<&str>,
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{file}.crt"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{file}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from(format!("{to}.main.pgfo")).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

fn ca_args(out: &Path) -> CaArgs {
    CaArgs { cluster: "main".to_owned(), out: out.to_owned(), days: 10, force: false }
}

fn member_args(name: &str, dir: &Path) -> MemberArgs {
    MemberArgs {
        name: name.to_owned(),
        ca: dir.to_owned(),
        out: dir.to_owned(),
        addresses: vec![],
        days: 5,
        force: false,
    }
}

fn is_tls(side: FaultSide, kind: TlsFaultKind) -> impl Fn(&RefusedReason) -> bool {
    move |r| matches!(r, RefusedReason::Tls(TlsFault { side: s, kind: k, .. }) if *s == side && *k == kind)
}

#[tokio::test]
async fn members_with_certificates_talk_and_round_trips_are_short() {
    let papers = Papers::new();
    let mut town = Town::new();
    let configs = [A, B, C].map(|id| town.config(id, papers.tls(id)));
    let [mut a, mut b, mut c] = configs.map(|config| town.start(config));
    a.connected(B).await;
    b.connected(A).await;
    c.connected(A).await;
    assert!(a.handle.certificate_expires_unix_s().is_some());
    let message = Message::Blob(vec![3; 100]);
    let mut times = Vec::new();
    for _ in 0..500 {
        let begin = Instant::now();
        a.handle.send(B, &message);
        assert_eq!(b.received(A).await, message);
        b.handle.send(A, &message);
        assert_eq!(a.received(B).await, message);
        times.push(begin.elapsed());
    }
    times.sort();
    println!("round trip of 100 B, mutual TLS: p50 {:?}, p99 {:?}", times[250], times[495]);
    // The largest message crosses several TLS records.
    let large = Message::Blob((0..65_000).map(|n: u32| n as u8).collect());
    c.handle.send(A, &large);
    assert_eq!(a.received(C).await, large);
}

#[tokio::test]
async fn another_authority_is_refused_at_both_sides() {
    let (papers, others) = (Papers::new(), Papers::new());
    let mut town = Town::new();
    // A trusts B's authority, but was signed by another.
    let paths = TlsPaths { ca: papers.path("ca.crt"), ..others.paths(A) };
    let (config_a, config_b) = (town.config(A, Security::Tls(paths)), town.config(B, papers.tls(B)));
    let (mut a, mut b) = (town.start(config_a), town.start(config_b));
    b.refused(is_tls(FaultSide::Us, TlsFaultKind::OtherAuthority)).await;
    a.refused(is_tls(FaultSide::Peer, TlsFaultKind::OtherAuthority)).await;
    assert!(a.handle.status(B).unwrap().hello.is_none());
    assert!(b.handle.status(A).unwrap().hello.is_none());
}

#[tokio::test]
async fn an_expired_certificate_is_refused_at_both_sides_until_it_is_reloaded() {
    let papers = Papers::new();
    papers.forge("a", &["a.main.pgfo"], |p| {
        (p.not_before, p.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    let mut town = Town::new();
    let (config_a, config_b) = (town.config(A, papers.tls(A)), town.config(B, papers.tls(B)));
    let (mut a, mut b) = (town.start(config_a), town.start(config_b));
    b.refused(is_tls(FaultSide::Us, TlsFaultKind::Expired)).await;
    let reason = a.refused(is_tls(FaultSide::Peer, TlsFaultKind::Expired)).await;
    assert!(reason.to_string().contains("pgfo cert member"), "{reason}");
    assert!(a.handle.certificate_expires_unix_s().unwrap() < 1_700_000_000);

    // Half a replacement is an error, and changes nothing.
    fs::write(papers.path("a.crt"), "half").unwrap();
    assert!(matches!(a.handle.reload_tls(), Err(TlsFileError::Content { .. })));
    member(&MemberArgs { force: true, ..member_args("a", papers.dir.path()) }).unwrap();
    a.handle.reload_tls().unwrap();
    a.connected(B).await;
    b.connected(A).await;
    a.handle.send(B, &text("renewed"));
    assert_eq!(b.received(A).await, text("renewed"));
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_at_both_sides() {
    let papers = Papers::new();
    let mut town = Town::new();
    town.close(B);
    let config = town.config(A, papers.tls(A));
    let mut a = town.start(config);
    let mut nobody = Raw { stream: papers.dial(town.addresses[0], "a", None).await };
    let error = nobody.read().await.unwrap_err().to_string();
    assert!(error.contains("certificate is missing"), "{error}");
    a.refused(is_tls(FaultSide::Us, TlsFaultKind::NoCertificate)).await;
}

#[tokio::test]
async fn a_certificate_speaks_for_its_own_name_only() {
    let papers = Papers::new();
    papers.forge("both", &["b.main.pgfo", "c.main.pgfo"], |_| {});
    papers.forge("wild", &["*.main.pgfo"], |_| {});
    papers.forge("none", &["b.other.pgfo"], |_| {});
    let mut town = Town::new();
    town.close(B);
    town.close(C);
    let config = town.config(A, papers.tls(A));
    let mut a = town.start(config);
    let cases = [
        ("c", Refusal::NameMismatch { claimed: "b".to_owned(), certified: "c".to_owned() }),
        ("both", Refusal::CertificateNames { members: 2 }),
        ("wild", Refusal::CertificateNames { members: 3 }),
        ("none", Refusal::CertificateNames { members: 0 }),
    ];
    for (file, refusal) in cases {
        let mut raw = Raw { stream: papers.dial(town.addresses[0], "a", Some(file)).await };
        assert_eq!(raw.shake(&hello(B, 1)).await.unwrap(), 1, "{file}");
        let wanted = RefusedReason::ByUs(refusal);
        a.refused(|r| *r == wanted).await;
    }
    let mut raw = Raw { stream: papers.dial(town.addresses[0], "a", Some("b")).await };
    assert_eq!(raw.shake(&hello(B, 1)).await.unwrap(), 0);
    a.connected(B).await;
}

#[tokio::test]
async fn another_member_at_the_address_is_refused_at_both_sides() {
    let papers = Papers::new();
    let mut town = Town::new();
    town.close(B);
    let mut config_a = town.config(A, papers.tls(A));
    config_a.members[1].address = town.addresses[2].to_string();
    let mut config_c = town.config(C, papers.tls(C));
    config_c.members[0].address = "127.0.0.1:1".to_owned();
    let (mut a, mut c) = (town.start(config_a), town.start(config_c));
    a.refused(is_tls(FaultSide::Us, TlsFaultKind::WrongName)).await;
    c.refused(is_tls(FaultSide::Peer, TlsFaultKind::BadCertificate)).await;
}

#[tokio::test]
async fn tls_and_plain_do_not_mix() {
    let papers = Papers::new();
    let mut town = Town::new();
    let (config_a, config_b) = (town.config(A, papers.tls(A)), town.config(B, Security::PlainLoopback));
    let (mut a, mut b) = (town.start(config_a), town.start(config_b));
    a.refused(|_| true).await;
    b.refused(|_| true).await;
    assert!(a.handle.status(B).unwrap().hello.is_none());
}

fn start_error(config: LinkConfig) -> TlsFileError {
    match PeerLink::start_on::<Message>(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), config) {
        Err(StartError::Tls(e)) => e,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn unusable_files_are_named_with_a_remedy() {
    let papers = Papers::new();
    let town = Town::new();
    let with = |paths: TlsPaths| start_error(town.config(A, Security::Tls(paths)));

    let error = with(TlsPaths { ca: papers.path("absent.crt"), ..papers.paths(A) });
    assert!(
        matches!(error, TlsFileError::Read { .. }) && error.to_string().contains("absent.crt"),
        "{error}"
    );
    let error = with(papers.paths(B));
    assert!(matches!(error, TlsFileError::NotOurs { .. }) && error.to_string().contains("b.crt"), "{error}");
    let error = with(TlsPaths { key: papers.path("b.key"), ..papers.paths(A) });
    assert!(matches!(error, TlsFileError::Pair { .. }), "{error}");
    let error = with(TlsPaths { key: papers.path("a.crt"), ..papers.paths(A) });
    // A certificate is readable by all, and no key.
    assert!(matches!(error, TlsFileError::KeyMode { .. }), "{error}");
    fs::set_permissions(papers.path("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = with(papers.paths(A));
    assert!(matches!(error, TlsFileError::KeyMode { mode: 0o644, .. }), "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn certificates_are_made_once_with_private_keys_and_shown() {
    let papers = Papers::new();
    let dir = papers.dir.path();
    for key in ["ca.key", "a.key"] {
        assert_eq!(papers.path(key).metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }
    assert!(ca(&ca_args(dir)).unwrap_err().to_string().contains("--force"));
    assert!(member(&member_args("a", dir)).unwrap_err().to_string().contains("--force"));
    for bad in ["ca", "A", "x.y", "", "../x"] {
        assert!(member(&member_args(bad, dir)).is_err(), "{bad}");
    }
    let authority = show(&papers.path("ca.crt")).unwrap();
    assert!(authority.authority && authority.subject.contains("O=main"), "{authority:?}");
    let addresses = vec!["db1.example".to_owned(), "10.0.0.7".to_owned(), "::1".to_owned()];
    let days = 99;
    member(&MemberArgs { addresses, days, ..member_args("d", dir) }).unwrap();
    let shown = show(&papers.path("d.crt")).unwrap();
    assert_eq!(shown.names, ["d.main.pgfo", "db1.example", "10.0.0.7", "::1"]);
    assert!(!shown.authority && shown.issuer == authority.subject);
    assert_eq!(shown.not_after, authority.not_after, "never outlives its authority");
    assert!((9..=10).contains(&shown.days_left), "{}", shown.days_left);
    for bad in ["x.main.pgfo", "*.example", "no host"] {
        let args = MemberArgs { addresses: vec![bad.to_owned()], ..member_args("e", dir) };
        assert!(member(&args).is_err(), "{bad}");
    }
    let other = Papers::new();
    fs::copy(other.path("ca.key"), papers.path("ca.key")).unwrap();
    assert!(member(&member_args("e", dir)).unwrap_err().to_string().contains("belong together"));
    assert!(show(&papers.path("a.key")).is_err());
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    cert: CertArgs,
}

#[test]
fn the_command_line_makes_a_cluster_that_loads() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let cert = |args: &[&str]| run(&Cli::try_parse_from([&["cert"], args].concat())?.cert);
    cert(&["ca", "--cluster", "shop", "--out", at, "--days", "3"]).unwrap();
    cert(&["member", "db1", "--ca", at, "--out", at, "--address", "10.1.2.3", "--json"]).unwrap();
    cert(&["show", &format!("{at}/db1.crt")]).unwrap();
    assert!(cert(&["ca", "--out", at, "--days", "0"]).is_err());
    assert!(cert(&["ca", "--out", at]).is_err());
    cert(&["ca", "--cluster", "shop", "--out", at, "--force"]).unwrap();
    let paths = TlsPaths {
        ca: dir.path().join("ca.crt"),
        certificate: dir.path().join("db1.crt"),
        key: dir.path().join("db1.key"),
    };
    TlsMaterial::load(&paths, "db1", "shop").unwrap();
    assert!(matches!(TlsMaterial::load(&paths, "db1", "other"), Err(TlsFileError::NotOurs { .. })));
}
