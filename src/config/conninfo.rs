//! A libpq connection string as configured, with its secrets kept out of sight.
//!
//! Owns the masking of passwords. It must never print one: `Debug` and `Display` are masked, and
//! only [`Conninfo::expose`] returns the text itself. What the keywords mean is not known here.

use std::fmt;
use std::ops::Range;

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// A libpq connection string: `keyword=value …` or `postgresql://…`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Conninfo(String);

/// A text is not a libpq connection string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    /// Nothing in it.
    #[error("the connection string is empty")]
    Empty,
    /// A word without `=`.
    #[error("a keyword of the connection string has no \"=\" behind it")]
    NoEquals,
    /// A quote that is not closed.
    #[error("a quoted value of the connection string is not closed")]
    Unclosed,
}

impl Conninfo {
    /// Takes a connection string whose form is right; its keywords are not judged.
    ///
    /// # Errors
    /// [`ConninfoError`] when it is empty, or not in the form `keyword=value` or a URI.
    pub fn new(text: &str) -> Result<Self, ConninfoError> {
        if text.trim().is_empty() {
            return Err(ConninfoError::Empty);
        }
        if uri_rest(text).is_none() {
            keyword_values(text)?;
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the text itself, secrets included: for connecting, never for showing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the text with [`MASK`] in the place of every password.
    #[must_use]
    pub fn masked(&self) -> String {
        mask_ranges(&self.0, &secret_ranges(&self.0))
    }

    /// Returns whether a password is written in it.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        secret_ranges(&self.0).iter().any(|range| !range.is_empty())
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conninfo({:?})", self.masked())
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

pub(super) fn mask_ranges(text: &str, ranges: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for range in ranges {
        out.push_str(&text[from..range.start]);
        out.push_str(MASK);
        from = range.end;
    }
    out.push_str(&text[from..]);
    out
}

/// Returns the byte ranges of the secrets, in order; of a malformed text, all of it.
fn secret_ranges(text: &str) -> Vec<Range<usize>> {
    if let Some(start) = uri_rest(text) {
        return uri_secret_ranges(text, start);
    }
    match keyword_values(text) {
        Ok(pairs) => pairs.into_iter().filter(|(key, _)| is_secret(key)).map(|(_, value)| value).collect(),
        // A text whose form is not understood may hold a password anywhere.
        Err(_) => std::iter::once(0..text.len()).collect(),
    }
}

/// `password` and `sslpassword`, `oauth_client_secret`, and what may be added in their likeness.
fn is_secret(keyword: &str) -> bool {
    let keyword = keyword.to_ascii_lowercase();
    keyword.contains("password") || keyword.contains("secret")
}

/// Returns where the authority of a URI begins.
fn uri_rest(text: &str) -> Option<usize> {
    ["postgresql://", "postgres://"]
        .iter()
        .find(|scheme| text.starts_with(**scheme))
        .map(|scheme| scheme.len())
}

fn uri_secret_ranges(text: &str, start: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let authority_end = text[start..].find('/').map_or(text.len(), |slash| start + slash);
    let query_start = text[start..].find('?').map_or(text.len(), |question| start + question);
    // libpq ends the user part at the first "@" before the first "/". A password that holds a raw "@"
    // or "/" is against the rules, but must be hidden all the same: hence the last "@".
    let user_end = text[start..authority_end].rfind('@').or_else(|| text[start..query_start].rfind('@'));
    if let Some(at) = user_end.map(|offset| start + offset)
        && let Some(colon) = text[start..at].find(':')
    {
        ranges.push(start + colon + 1..at);
    }
    let query_start = query_start.max(ranges.last().map_or(0, |range: &Range<usize>| range.end));
    let mut from = query_start;
    while from < text.len() {
        let end = text[from..].find('&').map_or(text.len(), |ampersand| from + ampersand);
        if let Some(equals) = text[from..end].find('=') {
            let key = &text[from..from + equals];
            // A percent sign may spell "password" so that it is not recognised.
            if is_secret(key) || key.contains('%') {
                ranges.push(from + equals + 1..end);
            }
        }
        from = end + 1;
    }
    ranges
}

/// Splits `keyword = value` pairs by libpq's rules; the range is that of the value, quotes included.
fn keyword_values(text: &str) -> Result<Vec<(&str, Range<usize>)>, ConninfoError> {
    let mut pairs = Vec::new();
    let mut rest = 0;
    loop {
        rest += text[rest..].len() - text[rest..].trim_start().len();
        if rest == text.len() {
            return Ok(pairs);
        }
        let key_length =
            text[rest..].find(|c: char| c == '=' || c.is_whitespace()).ok_or(ConninfoError::NoEquals)?;
        let key = &text[rest..rest + key_length];
        let behind = text[rest + key_length..].trim_start();
        let value = behind.strip_prefix('=').ok_or(ConninfoError::NoEquals)?.trim_start();
        if key.is_empty() {
            return Err(ConninfoError::NoEquals);
        }
        let start = text.len() - value.len();
        let end = start + value_length(value)?;
        pairs.push((key, start..end));
        rest = end;
    }
}

fn value_length(value: &str) -> Result<usize, ConninfoError> {
    let quoted = value.starts_with('\'');
    let mut escaped = false;
    for (offset, c) in value.char_indices().skip(usize::from(quoted)) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if quoted && c == '\'' {
            return Ok(offset + 1);
        } else if !quoted && c.is_whitespace() {
            return Ok(offset);
        }
    }
    if quoted { Err(ConninfoError::Unclosed) } else { Ok(value.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_shown() {
        let cases = [
            ("host=a password=s3cret port=5432", "host=a password=******** port=5432"),
            ("password = 's3 \\' cret' host=a", "password = ******** host=a"),
            ("host=a password=s3\\ cret", "host=a password=********"),
            ("host=a PASSWORD=s3&cret", "host=a PASSWORD=********"),
            ("sslpassword=s3cret host=a", "sslpassword=******** host=a"),
            ("postgresql://u:s3cret@h:5432/db", "postgresql://u:********@h:5432/db"),
            ("postgres://u:s3?cret@h/db", "postgres://u:********@h/db"),
            ("postgres://u:s3@cret@h/db", "postgres://u:********@h/db"),
            ("postgres://u:s3/cret@h/db", "postgres://u:********@h/db"),
            (
                "postgres://h/db?password=s3cret&sslmode=disable",
                "postgres://h/db?password=********&sslmode=disable",
            ),
            ("postgres://h/db?%70assword=s3cret", "postgres://h/db?%70assword=********"),
            ("postgres://h:5432/db?user=u", "postgres://h:5432/db?user=u"),
            ("host=a passfile=/etc/pgpass", "host=a passfile=/etc/pgpass"),
        ];
        for (text, masked) in cases {
            let conninfo = Conninfo::new(text).unwrap();
            assert_eq!(conninfo.masked(), masked, "{text}");
            assert_eq!(conninfo.has_secret(), text.contains("s3"), "{text}");
            assert!(!format!("{conninfo:?} {conninfo}").contains("s3"), "{text}");
            assert_eq!(conninfo.expose(), text);
        }
        assert_eq!(Conninfo("host password=s3cret".to_owned()).masked(), MASK);
    }

    #[test]
    fn any_text_can_be_masked() {
        let long = "postgres://ü:p@ss/w?ö@h/d?password=é&%=&= password = 'é\\' \\' host=";
        for start in long.char_indices().map(|(index, _)| index) {
            for end in (start..=long.len()).filter(|end| long.is_char_boundary(*end)) {
                let text = &long[start..end];
                assert!(Conninfo(text.to_owned()).masked().len() <= text.len() + 4 * MASK.len());
            }
        }
    }

    #[test]
    fn an_empty_password_is_no_secret() {
        assert!(!Conninfo::new("host=a password=").unwrap().has_secret());
        assert!(!Conninfo::new("postgres://u:@h/db").unwrap().has_secret());
    }

    #[test]
    fn malformed_text_is_refused() {
        assert_eq!(Conninfo::new("  "), Err(ConninfoError::Empty));
        assert_eq!(Conninfo::new("host"), Err(ConninfoError::NoEquals));
        assert_eq!(Conninfo::new("=a"), Err(ConninfoError::NoEquals));
        assert_eq!(Conninfo::new("host='a"), Err(ConninfoError::Unclosed));
    }
}
