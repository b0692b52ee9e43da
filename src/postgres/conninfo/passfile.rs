//! The password file (`~/.pgpass`). It refuses a file that others can read, and never shows a line of it.

use super::{ConnInfoError, Host, SOCKET_DIRS};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A password file of more than this is something else.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Returns the password of the first line that matches; `None` if there is no file or no such line.
///
/// # Errors
/// When the file is there, but can't be read or may be read by others.
pub(super) fn lookup(
    path: &Path,
    host: &Host,
    dbname: &str,
    user: &str,
) -> Result<Option<String>, ConnInfoError> {
    let refuse =
        |what: String| ConnInfoError::File { key: "passfile", path: path.display().to_string(), what };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(refuse(e.to_string())),
    };
    let meta = file.metadata().map_err(|e| refuse(e.to_string()))?;
    if !meta.is_file() {
        return Err(refuse("is not a plain file".to_owned()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(refuse("may be read by group or world; run chmod 0600 on it".to_owned()));
    }
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|e| refuse(e.to_string()))?;
    Ok(search(&text, host, dbname, user))
}

fn search(text: &str, host: &Host, dbname: &str, user: &str) -> Option<String> {
    let port = host.port.to_string();
    let default_socket = host.is_socket() && SOCKET_DIRS.contains(&host.name.as_str());
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let [f_host, f_port, f_dbname, f_user, password] = fields.as_slice() else { return None };
        let host_fits = fits(f_host, &host.name) || (default_socket && f_host.text == "localhost");
        let found = host_fits && fits(f_port, &port) && fits(f_dbname, dbname) && fits(f_user, user);
        (found && !password.text.is_empty()).then(|| password.text.clone())
    })
}

struct Field {
    text: String,
    /// Whether it was a bare `*`; an escaped one is a name.
    any: bool,
}

fn fits(field: &Field, value: &str) -> bool {
    field.any || field.text == value
}

/// Splits a line at unescaped colons into at most five fields; the last one keeps its colons.
fn split(line: &str) -> Vec<Field> {
    let mut fields = vec![];
    let (mut text, mut raw_len) = (String::new(), 0);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        raw_len += 1;
        match c {
            '\\' => text.push(chars.next().inspect(|_| raw_len += 1).unwrap_or('\\')),
            ':' if fields.len() < 4 => {
                let any = text == "*" && raw_len == 2;
                fields.push(Field { text: std::mem::take(&mut text), any });
                raw_len = 0;
            }
            _ => text.push(c),
        }
    }
    fields.push(Field { text, any: false });
    fields
}
