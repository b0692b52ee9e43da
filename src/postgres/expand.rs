//! Placeholders in command templates. Pure; it must never run anything.

/// Why a template could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The placeholder is not one of those that this command knows.
    #[error("unknown placeholder %{placeholder} at byte {at}; write %% for a percent sign")]
    Unknown {
        /// The character after the percent sign.
        placeholder: char,
        /// Where in the template, in bytes.
        at: usize,
    },
    /// The template ends in a single percent sign.
    #[error("a single % at the end; write %% for a percent sign")]
    Unfinished,
    /// A value holds a NUL byte, which no command line can carry.
    #[error("the value of %{placeholder} holds a NUL byte")]
    Nul {
        /// The placeholder.
        placeholder: char,
    },
}

/// Returns `template` with each `%x` replaced by the value given for `x`, quoted for the shell, and `%%` by a
/// percent sign. Placeholders must stand outside quotes in the template.
///
/// # Errors
/// When a placeholder is unknown or unfinished, or a value holds a NUL byte.
pub fn expand(template: &str, values: &[(char, &str)]) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(template.len());
    let mut chars = template.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (_, placeholder) = chars.next().ok_or(ExpandError::Unfinished)?;
        if placeholder == '%' {
            out.push('%');
            continue;
        }
        let known = values.iter().find(|(name, _)| *name == placeholder);
        let (_, value) = known.ok_or(ExpandError::Unknown { placeholder, at })?;
        if value.contains('\0') {
            return Err(ExpandError::Nul { placeholder });
        }
        out.push_str(&shell_quote(value));
    }
    Ok(out)
}

/// Returns `value` as one word of a POSIX shell. A word of harmless characters stays as it is.
#[must_use]
pub fn shell_quote(value: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+".contains(c);
    if !value.is_empty() && value.chars().all(harmless) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_percent_signs_kept() {
        let values = [('n', "node a"), ('h', "10.0.0.1"), ('q', "it's; rm -rf /"), ('e', "")];
        assert_eq!(expand("x %n %h 100%% %e", &values).unwrap(), "x 'node a' 10.0.0.1 100% ''");
        assert_eq!(expand("%q", &values).unwrap(), r"'it'\''s; rm -rf /'");
    }

    #[test]
    fn unknown_and_unfinished_placeholders_are_errors() {
        assert_eq!(expand("a %z", &[]), Err(ExpandError::Unknown { placeholder: 'z', at: 2 }));
        assert_eq!(expand("a %", &[]), Err(ExpandError::Unfinished));
        assert_eq!(expand("%n", &[('n', "a\0b")]), Err(ExpandError::Nul { placeholder: 'n' }));
    }
}
