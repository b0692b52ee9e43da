//! TLS to a real PostgreSQL: `sslmode` and client certificates mean what they mean in libpq.

mod support_pg;

use pgfo::postgres::{ConnInfo, Connector, Environment, ProbeOutcome, Prober};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support_pg::{Cluster, deadline};

/// An authority of its own.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a host name or, without one, for a role; and its key.
    fn sign(&self, host: Option<&str>, role: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(host.map(str::to_owned).into_iter().collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, role);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn put(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A PostgreSQL with TLS whose certificate says `db.test`, and `rules` before its own in pg_hba.conf.
fn with_tls(authority: &Authority, rules: &str) -> Cluster {
    let cluster = Cluster::primary();
    let (certificate, key) = authority.sign(Some("db.test"), "db.test");
    let owner = std::fs::metadata(cluster.data()).unwrap();
    for (name, text) in
        [("server.crt", &certificate), ("server.key", &key), ("clients.crt", &authority.certificate)]
    {
        let path = cluster.data().join(name);
        put(&path, text, 0o600);
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    cluster.sql("CREATE ROLE guarded LOGIN PASSWORD 'right'");
    let hba = std::fs::read_to_string(cluster.data().join("pg_hba.conf")).unwrap();
    std::fs::write(cluster.data().join("pg_hba.conf"), format!("{rules}host all guarded all reject\n{hba}"))
        .unwrap();
    cluster.sql("ALTER SYSTEM SET ssl = on");
    cluster.sql("ALTER SYSTEM SET ssl_ca_file = 'clients.crt'");
    cluster.stop("fast");
    cluster.start();
    cluster
}

fn conninfo(text: &str) -> ConnInfo {
    ConnInfo::parse(text, &Environment::of("x", None, &[])).unwrap()
}

async fn outcome(text: &str) -> ProbeOutcome {
    let mut prober = Prober::new(Connector::new(conninfo(text)).unwrap(), Duration::from_secs(600));
    prober.probe(true, deadline(5000)).await.outcome
}

#[tokio::test]
async fn sslmode_means_what_it_means_in_libpq() {
    let authority = Authority::new();
    let cluster = with_tls(&authority, "hostssl all guarded all scram-sha-256\n");
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (dir.path().join("right.crt"), dir.path().join("wrong.crt"));
    put(&right, &authority.certificate, 0o644);
    put(&wrong, &Authority::new().certificate, 0o644);
    let (right, wrong) = (right.display(), wrong.display());
    let base = format!("hostaddr=127.0.0.1 port={} user=guarded password=right", cluster.port);
    for (more, works) in [
        ("host=db.test sslmode=require channel_binding=require".to_owned(), true),
        (format!("host=db.test sslmode=verify-full sslrootcert={right}"), true),
        (format!("host=other sslmode=verify-ca sslrootcert={right}"), true),
        (format!("host=other sslmode=verify-full sslrootcert={right}"), false),
        (format!("host=db.test sslmode=verify-ca sslrootcert={wrong}"), false),
        (format!("host=db.test sslmode=require sslrootcert={wrong}"), false),
        // The server lets this role in over TLS only: libpq finds out by trying.
        ("host=db.test sslmode=allow".to_owned(), true),
        ("host=db.test sslmode=prefer".to_owned(), true),
    ] {
        let seen = outcome(&format!("{base} {more}")).await;
        match works {
            true => assert!(matches!(seen, ProbeOutcome::Answered(_)), "{more}: {seen}"),
            false => assert_eq!(seen, ProbeOutcome::TlsFailed, "{more}"),
        }
    }
    let plain = outcome(&format!("{base} host=db.test sslmode=disable")).await;
    assert_eq!(plain, ProbeOutcome::AuthenticationFailed);
    let rootless = conninfo("host=a sslmode=verify-full");
    assert!(Connector::new(rootless).unwrap_err().to_string().contains("sslrootcert"));
}

#[tokio::test]
async fn a_client_certificate_lets_its_role_in_and_no_other() {
    let authority = Authority::new();
    let cluster = with_tls(&authority, "hostssl all guarded all cert\n");
    let dir = tempfile::tempdir().unwrap();
    let pair = |name: &str, (certificate, key): (String, String)| -> (PathBuf, PathBuf) {
        let (c, k) = (dir.path().join(format!("{name}.crt")), dir.path().join(format!("{name}.key")));
        put(&c, &certificate, 0o644);
        put(&k, &key, 0o600);
        (c, k)
    };
    let own = pair("own", authority.sign(None, "guarded"));
    let other_role = pair("other_role", authority.sign(None, "somebody"));
    let stranger = pair("stranger", Authority::new().sign(None, "guarded"));
    let base = format!("host=127.0.0.1 port={} user=guarded sslmode=require", cluster.port);
    let with = |(c, k): &(PathBuf, PathBuf)| format!("{base} sslcert={} sslkey={}", c.display(), k.display());

    let seen = outcome(&with(&own)).await;
    assert!(matches!(seen, ProbeOutcome::Answered(_)), "{seen}");
    assert_eq!(outcome(&with(&other_role)).await, ProbeOutcome::AuthenticationFailed);
    assert_eq!(outcome(&base).await, ProbeOutcome::AuthenticationFailed, "no certificate at all");
    let seen = outcome(&with(&stranger)).await;
    assert_eq!(seen, ProbeOutcome::TlsFailed, "another authority's");

    // As in libpq, a key that others may read is refused, with the remedy.
    std::fs::set_permissions(&own.1, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = Connector::new(conninfo(&with(&own))).unwrap_err().to_string();
    assert!(refused.contains("own.key") && refused.contains("chmod"), "{refused}");
}
