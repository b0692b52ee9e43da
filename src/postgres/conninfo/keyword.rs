//! Every libpq parameter: used, passed on to libpq alone, or refused with its name and a remedy.

use super::{ConnInfoError, SslMode};

/// Checks one parameter. An empty value counts as "not given" and is always right.
pub(super) fn check(key: &str, value: &str) -> Result<(), ConnInfoError> {
    let refuse = |remedy| Err(ConnInfoError::Unsupported { key: key.to_owned(), remedy });
    let wrong = |expected| Err(ConnInfoError::Value { key: key.to_owned(), expected });
    if value.contains('\0') {
        return wrong("a value without NUL bytes");
    }
    match key {
        "host"
        | "hostaddr"
        | "port"
        | "dbname"
        | "user"
        | "password"
        | "passfile"
        | "application_name"
        | "fallback_application_name"
        | "options"
        | "sslrootcert"
        | "sslcert"
        | "sslkey" => Ok(()),
        // Without effect on what pgfo itself does; a WAL receiver may want them.
        "client_encoding" | "sslcompression" | "krbsrvname" | "gsslib" | "sslsni" => Ok(()),
        _ if value.is_empty() => known(key),
        "connect_timeout"
        | "keepalives_idle"
        | "keepalives_interval"
        | "keepalives_count"
        | "tcp_user_timeout" => match value.parse::<u32>() {
            Ok(_) => Ok(()),
            Err(_) => wrong("a whole number, not negative,"),
        },
        "keepalives" if !matches!(value, "0" | "1") => wrong("0 or 1"),
        "sslmode" => sslmode(value).map(drop),
        "channel_binding" if !matches!(value, "disable" | "prefer" | "require") => {
            wrong("disable, prefer or require")
        }
        "ssl_min_protocol_version" if !matches!(value, "TLSv1.2" | "TLSv1.3") => {
            refuse("TLS 1.2 is the oldest version here")
        }
        "ssl_max_protocol_version" => refuse("leave it out; the newest common version is used"),
        "gssencmode" if value == "require" => refuse("use TLS, or gssencmode=disable"),
        "target_session_attrs" if value != "any" => {
            refuse("pgfo looks at the server that is named, whatever its state; leave it out")
        }
        "load_balance_hosts" if value != "disable" => refuse("hosts are tried in their order; leave it out"),
        "replication" => refuse("pgfo opens ordinary sessions; leave it out"),
        "service" | "servicefile" => refuse("write the parameters out; service files are not read"),
        "requirepeer" => refuse("leave it out"),
        "require_auth" => refuse("leave it out; the server decides"),
        "sslcrl" | "sslcrldir" => refuse("revocation lists are not read; leave it out"),
        "sslpassword" => refuse("use a key without a passphrase, with mode 0600"),
        "sslnegotiation" if value != "postgres" => refuse("leave it out"),
        "gssdelegation" | "sslcertmode" | "sslkeylogfile" => refuse("leave it out"),
        _ => known(key),
    }
}

fn known(key: &str) -> Result<(), ConnInfoError> {
    const KNOWN: [&str; 27] = [
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "sslmode",
        "channel_binding",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "gssencmode",
        "target_session_attrs",
        "load_balance_hosts",
        "replication",
        "service",
        "servicefile",
        "requirepeer",
        "require_auth",
        "sslcrl",
        "sslcrldir",
        "sslpassword",
        "sslnegotiation",
        "gssdelegation",
        "sslcertmode",
        "sslkeylogfile",
        "min_protocol_version",
        "max_protocol_version",
    ];
    match KNOWN.contains(&key) {
        true => Ok(()),
        false => Err(ConnInfoError::UnknownKey { key: key.to_owned() }),
    }
}

pub(super) fn sslmode(value: &str) -> Result<SslMode, ConnInfoError> {
    Ok(match value {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            let expected = "disable, allow, prefer, require, verify-ca or verify-full";
            return Err(ConnInfoError::Value { key: "sslmode".to_owned(), expected });
        }
    })
}
