//! Connection strings as libpq reads them.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn bare() -> Environment {
    Environment::of("alice", None, &[])
}

fn parse(text: &str) -> ConnInfo {
    ConnInfo::parse(text, &bare()).unwrap()
}

#[test]
fn key_value_syntax_knows_quotes_escapes_and_blanks() {
    let info = parse(r"host = 10.0.0.1 port=5433 user='o\'brien' dbname='a b' application_name=x\ y");
    assert_eq!(info.hosts(), [Host { name: "10.0.0.1".into(), address: None, port: 5433 }]);
    assert_eq!((info.user(), info.dbname()), ("o'brien", "a b"));
    assert_eq!(info.get("application_name"), Some("x y"));
    assert!(ConnInfo::parse("host='a", &bare()).is_err());
    assert!(ConnInfo::parse("host", &bare()).is_err());
    assert_eq!(parse("").user(), "alice");
}

#[test]
fn uris_know_users_ports_ipv6_lists_and_escapes() {
    let info =
        parse("postgresql://bob:p%40ss@[::1]:5433,db2:5434/app%20db?sslmode=disable&connect_timeout=1");
    assert_eq!((info.user(), info.dbname()), ("bob", "app db"));
    let hosts: Vec<_> = info.hosts().iter().map(|h| (h.name.as_str(), h.port)).collect();
    assert_eq!(hosts, [("::1", 5433), ("db2", 5434)]);
    assert_eq!(info.password_for(&info.hosts()[0]).unwrap().as_deref(), Some("p@ss"));
    assert_eq!(info.sslmode(), SslMode::Disable);
    assert_eq!(info.connect_timeout(), Some(Duration::from_secs(2)));
    assert!(parse("postgres://%2Ftmp/x").hosts()[0].is_socket());
    assert_eq!(parse("postgresql://").dbname(), "postgres");
    assert!(ConnInfo::parse("postgresql://h/?x%zz=1", &bare()).is_err());
    assert!(ConnInfo::parse("postgresql://[::1/x", &bare()).is_err());
}

#[test]
fn the_environment_completes_but_never_overrides() {
    let env = Environment::of(
        "alice",
        None,
        &[("PGHOST", "db"), ("PGPORT", "6000"), ("PGUSER", "carol"), ("PGSSLMODE", "require")],
    );
    let info = ConnInfo::parse("host=other", &env).unwrap();
    assert_eq!(info.hosts(), [Host { name: "other".into(), address: None, port: 6000 }]);
    assert_eq!((info.user(), info.sslmode()), ("carol", SslMode::Require));
}

#[test]
fn unknown_and_unsupported_parameters_are_named() {
    for (text, key) in [
        ("hots=x", "hots"),
        ("replication=1", "replication"),
        ("service=x", "service"),
        ("target_session_attrs=primary", "target_session_attrs"),
        ("sslmode=maybe", "sslmode"),
        ("port=0", "port"),
        ("connect_timeout=soon", "connect_timeout"),
        ("sslpassword=secret", "sslpassword"),
    ] {
        let message = ConnInfo::parse(text, &bare()).unwrap_err().to_string();
        assert!(message.contains(&format!("\"{key}\"")), "{message}");
        assert!(!message.contains("secret"));
    }
    for text in ["target_session_attrs=any", "gssencmode=prefer", "load_balance_hosts=disable", "service="] {
        assert!(ConnInfo::parse(text, &bare()).is_ok(), "{text}");
    }
}

#[test]
fn a_password_is_never_displayed() {
    let env = Environment::of("alice", None, &[("PGPASSWORD", "hunter2")]);
    for info in [parse("password=hunter2"), ConnInfo::parse("host=a", &env).unwrap()] {
        for text in [format!("{info:?}"), info.to_string(), info.redacted(), format!("{env:?}")] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    let broken = ConnInfo::parse("password='hunter2", &env).unwrap_err();
    assert!(!format!("{broken:?} {broken}").contains("hunter2"));
}

#[test]
fn primary_conninfo_keeps_only_an_inline_password() {
    let env = Environment::of("alice", None, &[("PGPASSWORD", "hunter2"), ("PGPASSFILE", "/p f")]);
    let from_env = ConnInfo::parse("host=a", &env).unwrap().to_libpq_string("n1");
    assert_eq!(from_env, "host=a passfile='/p f' user=alice application_name=n1");
    let inline = ConnInfo::parse(r"host=a password=it\'s dbname=x", &env).unwrap().to_libpq_string("n 1");
    assert!(inline.ends_with(r"application_name='n 1' password='it\'s'"), "{inline}");
    // What was rendered means the same when it is read again.
    assert_eq!(ConnInfo::parse(&inline, &bare()).unwrap().get("application_name"), Some("n 1"));
}

#[test]
fn the_password_file_knows_wildcards_escapes_and_modes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".pgpass");
    let text = "# note\nh1:5432:db:u:first\n\\*:*:*:*:literal\nh\\:2:*:*:u:co:lon\\\\\nlocalhost:*:*:*:sock\n*:*:*:bob:b\n";
    std::fs::write(&path, text).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let password = |conninfo: &str| {
        let env = Environment::of("u", Some(dir.path()), &[]);
        let info = ConnInfo::parse(conninfo, &env).unwrap();
        info.password_for(&info.hosts()[0])
    };
    set_mode(0o600);
    assert_eq!(password("host=h1 dbname=db").unwrap().as_deref(), Some("first"));
    assert_eq!(password("host=h:2").unwrap().as_deref(), Some("co:lon\\"));
    assert_eq!(password("host=/tmp").unwrap().as_deref(), Some("sock"));
    assert_eq!(password("host=h9 user=bob").unwrap().as_deref(), Some("b"));
    assert_eq!(password("host=h9").unwrap(), None);
    set_mode(0o640);
    assert!(password("host=h1 dbname=db").unwrap_err().to_string().contains("chmod 0600"));
}
