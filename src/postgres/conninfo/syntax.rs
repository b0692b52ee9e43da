//! The two syntaxes of a connection string, `key=value` and URI. Pure. Errors name places, never text.

use super::ConnInfoError;
use std::collections::BTreeMap;

/// Longer than any honest connection string; bounds the parser.
const TEXT_BYTES_MAX: usize = 16 * 1024;

type Parameters = BTreeMap<String, String>;

const fn error(what: &'static str, at: usize) -> ConnInfoError {
    ConnInfoError::Syntax { what, at }
}

/// Parses either syntax; a key given twice keeps its last value, as in libpq.
pub(super) fn parse(text: &str) -> Result<Parameters, ConnInfoError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(error("text longer than 16 KiB", TEXT_BYTES_MAX));
    }
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => uri(rest, text.len() - rest.len()),
        None => key_values(text),
    }
}

fn key_values(text: &str) -> Result<Parameters, ConnInfoError> {
    let mut out = Parameters::new();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let Some(&(start, _)) = chars.peek() else { return Ok(out) };
        let mut key = String::new();
        while let Some((_, c)) = chars.next_if(|(_, c)| *c != '=' && !c.is_ascii_whitespace()) {
            key.push(c);
        }
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        if key.is_empty() || chars.next_if(|(_, c)| *c == '=').is_none() {
            return Err(error("\"key=value\" expected", start));
        }
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let quoted = chars.next_if(|(_, c)| *c == '\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                None if quoted => return Err(error("unfinished quote in the value that starts", start)),
                None => break,
                Some((at, '\\')) => match chars.next() {
                    Some((_, c)) => value.push(c),
                    None => return Err(error("nothing after a backslash", at)),
                },
                Some((_, '\'')) if quoted => break,
                Some((_, c)) if !quoted && c.is_ascii_whitespace() => break,
                Some((_, c)) => value.push(c),
            }
        }
        out.insert(key, value);
    }
}

/// Parses what follows `postgresql://`: `[user[:password]@][host[:port][,…]][/dbname][?key=value[&…]]`.
fn uri(rest: &str, offset: usize) -> Result<Parameters, ConnInfoError> {
    let mut out = Parameters::new();
    let (before_query, query) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
    let (authority, dbname) =
        before_query.split_once('/').map_or((before_query, None), |(a, b)| (a, Some(b)));
    let (userinfo, hostspec) = authority.rsplit_once('@').map_or((None, authority), |(a, b)| (Some(a), b));
    if let Some(userinfo) = userinfo {
        let (user, password) = userinfo.split_once(':').map_or((userinfo, None), |(a, b)| (a, Some(b)));
        insert(&mut out, "user", user, offset)?;
        insert(&mut out, "password", password.unwrap_or_default(), offset)?;
    }
    host_ports(hostspec, offset + authority.len() - hostspec.len(), &mut out)?;
    insert(&mut out, "dbname", dbname.unwrap_or_default(), offset + authority.len())?;
    for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let at = offset + before_query.len() + 1;
        let (key, value) = pair.split_once('=').ok_or_else(|| error("\"key=value\" expected", at))?;
        let (key, value) = (decode(key, at)?, decode(value, at)?);
        match (key.as_str(), value.as_str()) {
            // JDBC's spelling, which libpq takes, too.
            ("ssl", "true") => out.insert("sslmode".to_owned(), "require".to_owned()),
            _ => out.insert(key, value),
        };
    }
    Ok(out)
}

fn host_ports(spec: &str, at: usize, out: &mut Parameters) -> Result<(), ConnInfoError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in spec.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(rest) => {
                let (host, after) =
                    rest.split_once(']').ok_or_else(|| error("unfinished IPv6 address", at))?;
                let port = match after {
                    "" => "",
                    _ => after.strip_prefix(':').ok_or_else(|| error("\":port\" expected", at))?,
                };
                (host, port)
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        hosts.push(decode(host, at)?);
        ports.push(decode(port, at)?);
    }
    if hosts.iter().any(|h| !h.is_empty()) {
        out.insert("host".to_owned(), hosts.join(","));
    }
    if ports.iter().any(|p| !p.is_empty()) {
        out.insert("port".to_owned(), ports.join(","));
    }
    Ok(())
}

fn insert(out: &mut Parameters, key: &str, value: &str, at: usize) -> Result<(), ConnInfoError> {
    if !value.is_empty() {
        out.insert(key.to_owned(), decode(value, at)?);
    }
    Ok(())
}

fn decode(text: &str, at: usize) -> Result<String, ConnInfoError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        match (digit(), digit()) {
            (Some(high), Some(low)) if high + low > 0 => out.push((high * 16 + low) as u8),
            _ => return Err(error("two hexadecimal digits, not 00, expected after %", at)),
        }
    }
    String::from_utf8(out).map_err(|_| error("UTF-8 expected", at))
}

/// Returns `value` as one value of the `key=value` syntax.
pub(super) fn quote(value: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:@,+*".contains(c);
    if !value.is_empty() && value.chars().all(harmless) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}
