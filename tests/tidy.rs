//! House rules that the compiler does not know: what decides is pure, and texts speak of the project.

use std::path::{Path, PathBuf};

/// Returns every file below `dir` whose name ends like that.
fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, ending: &str, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ending, out);
            } else if path.to_string_lossy().ends_with(ending) {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), ending, &mut out);
    assert!(!out.is_empty(), "nothing below {dir}");
    out
}

/// The code of a file without its unit tests and comments, line by line.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line.to_owned()))
        .collect()
}

#[test]
fn what_decides_is_pure() {
    let banned = [
        ("Instant::now", "time is an observation"),
        ("SystemTime", "time is an observation"),
        ("crate::os", "no system calls"),
        ("std::fs", "no I/O"),
        ("std::net", "no I/O"),
        ("std::env", "no environment"),
        ("tokio", "no async"),
        ("actix", "no actors"),
        ("async ", "no async"),
        (".await", "no async"),
        ("slog", "no logging"),
        ("println!", "no logging"),
        ("rand", "randomness is an observation"),
        ("HashMap", "no map with random order"),
        ("HashSet", "no map with random order"),
        ("f32", "no float"),
        ("f64", "no float"),
        (".unwrap()", "no unwrap"),
        (".expect(", "no unwrap"),
        ("thread_local!", "no state outside a machine"),
    ];
    // Planted bugs are switched on by the thread that runs a simulated cluster; a build without the feature has
    // no such switch.
    let excepted = |path: &Path, word: &str| path.ends_with("src/core/planted.rs") && word == "thread_local!";
    let mut found = Vec::new();
    for path in files("src/core", ".rs").into_iter().chain(files("replay/src", ".rs")) {
        for (line, text) in code(&path) {
            for (word, why) in banned {
                if text.contains(word) && !excepted(&path, word) {
                    found.push(format!("{}:{line}: {word}: {why}", path.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn arrows_run_one_way() {
    let mut found = Vec::new();
    let mut check = |dir: &str, banned: &[&str]| {
        for path in files(dir, ".rs") {
            for (line, text) in code(&path) {
                for word in banned {
                    if text.contains(word) {
                        found.push(format!("{}:{line}: {dir} must not use {word}", path.display()));
                    }
                }
            }
        }
    };
    check(
        "src/core",
        &["crate::actors", "crate::cli", "crate::postgres", "crate::peer", "crate::guard", "crate::config"],
    );
    check("src/events", &["crate::actors", "crate::cli", "crate::postgres", "crate::peer", "crate::guard"]);
    check("src/guard", &["crate::actors", "crate::cli", "crate::postgres", "crate::peer", "crate::events::"]);
    check("src/postgres", &["crate::actors", "crate::cli", "crate::peer", "crate::guard"]);
    check("src/peer", &["crate::actors", "crate::cli", "crate::postgres", "crate::guard"]);
    check("src/actors", &["crate::cli"]);
    check("replay/src", &["pgfo::", "postgres"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn modules_say_what_they_own() {
    let missing: Vec<String> = files("src", ".rs")
        .into_iter()
        .chain(files("replay/src", ".rs"))
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| path.display().to_string())
        .collect();
    assert!(missing.is_empty(), "no module header: {missing:?}");
}
