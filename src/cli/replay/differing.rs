//! Owns the shortening of two long records that differ in little: what both share is left out, but for the
//! names of what the difference lies in.

/// Texts shorter than this are read as they are.
const SHORT_CHARS: usize = 160;

/// Returns both texts without what they share, if they are long.
#[must_use]
pub(super) fn differing(one: &str, other: &str) -> (String, String) {
    let whole = || (one.to_owned(), other.to_owned());
    if one.len().max(other.len()) < SHORT_CHARS {
        return whole();
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (parts(one), parts(other));
    let shared = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let rest = a.len().min(b.len()) - shared;
    let tail = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(x, y)| x == y).count();
    if shared == 0 {
        return whole();
    }
    let within = open(&a[..shared]);
    let side = |parts: &[&str]| {
        let differs = parts[shared..parts.len() - tail].concat();
        let end = if tail > 0 { " …" } else { "" };
        format!("{within} … {}{end}", differs.trim().trim_end_matches(','))
    };
    (side(&a), side(&b))
}

/// Fields, each with the name before it and the comma or brace behind it.
fn parts(text: &str) -> Vec<&str> {
    text.split_inclusive([',', '{']).collect()
}

/// The beginnings of all structures that are open behind these parts.
fn open(parts: &[&str]) -> String {
    let mut open: Vec<&str> = Vec::new();
    for part in parts {
        for _ in part.matches('}') {
            open.pop();
        }
        if part.ends_with('{') {
            open.push(part);
        }
    }
    open.concat().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_left() {
        let of = |lsn: u64| {
            format!(
                "voter: VoteGranted {{ candidate: MemberId(0), ask: LeaseAsk {{ term: Term(2), number: 7, duration: \
                 Nanos(5000000000) }}, position: None, own: Some(Position {{ lineage: Lineage {{ opened: Term(1) }}, lsn: \
                 Lsn({lsn}) }}), verdict: ConfirmedDown, loss_bytes: 0 }}"
            )
        };
        let (one, other) = differing(&of(16), &of(17));
        assert_eq!(one, "voter: VoteGranted { own: Some(Position { … lsn: Lsn(16) }) …");
        assert_eq!(other, "voter: VoteGranted { own: Some(Position { … lsn: Lsn(17) }) …");
        assert_eq!(differing("nothing", "something"), ("nothing".to_owned(), "something".to_owned()));
        let (long, none) = ("x".repeat(300), "y".repeat(300));
        assert_eq!(differing(&long, &none), (long.clone(), none.clone()), "nothing is shared");
    }
}
