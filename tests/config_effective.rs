//! The effective configuration is complete, canonical and free of secrets; reloads are all or nothing;
//! the examples load.

use pgfo::config::{Applies, Config, MASK, MemberRole, closest, diff, reload_changes};
use pgfo::core::{MemberId, Nanos};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Every key that exists, none at its default, members not in the order of their names.
const EVERY_KEY: &str = r#"
cluster = { name = "every" }
node = { name = "b", run_directory = "/r" }
log = { directory = "/l", level = "debug", format = "json", age_max = "36h", size_max = "512MB", incidents_max = 7, incidents_size_max = "33MB" }
fencing = { mode = "daemon", reserve = "700ms" }
lease = { duration = "1m 7s" }
replication = { mode = "asynchronous" }
tls = { ca = "/t/ca", certificate = "/t/c", key = "/t/k" }
[postgres]
conninfo = "host=/tmp password='it\\'s secret1'"
data_directory = "/d/"
bin_directory = "/b"
start_command = "PGPASSWORD=secret2 start"
stop_command = "stop \"it\""
reload_command = "reload"
[failover]
mode = "manual"
priority = 0
lag_max = "1536kB"
promote_command = "p"
follow_command = "f"
validation_command = "v"
promote_timeout = "61s"
follow_timeout = "62s"
validation_timeout = "63s"
[heartbeat]
interval = "1001ms"
timeout = "1002ms"
reconnect_interval = "11s"
[escalation]
attempts = 4
interval = "301ms"
timeout = "1003ms"
sign_of_life_max = "64s"
[election]
testimony_timeout = "151ms"
rank_delay = "201ms"
retry_interval = "1004ms"
freeze_timeout = "2001ms"
[[member]]
name = "w"
address = "[2001:db8::1]:1"
role = "witness"
location = "elsewhere"
[[member]]
name = "c"
address = "C.example:2"
conninfo = "postgresql://u:secret3@c/db?sslmode=require"
votes = false
[[member]]
name = "b"
address = "b.example:3"
conninfo = "host=b"
"#;

fn load(text: &str) -> Config {
    Config::parse(Path::new("pgfo.toml"), text).unwrap_or_else(|errors| panic!("{errors}")).0
}

#[test]
fn members_are_sorted_by_name_and_typed() {
    let config = load(EVERY_KEY);
    let names: Vec<&str> = config.membership.members().iter().map(|m| m.name.as_str()).collect();
    assert_eq!((names.as_slice(), config.me()), (["b", "c", "w"].as_slice(), MemberId(0)));
    assert_eq!(config.membership.id_of("w"), Some(MemberId(2)));
    assert_eq!(config.membership.get(MemberId(2)).unwrap().role, MemberRole::Witness);
    assert_eq!(config.membership.get(MemberId(3)), None);
    assert_eq!(config.lease.duration, Nanos::from_millis(67_000));
    assert_eq!(config.lease.counted(), Nanos::from_millis(65_660));
    assert_eq!(config.escalation.total(), Nanos::from_millis(3 * 301 + 1003));
    assert_eq!(config.failover.lag_max.unwrap().0, 1536 * 1024);
    assert_eq!(config.postgres.unwrap().data_directory, Path::new("/d"));
}

#[test]
fn effective_text_has_every_key_and_reads_back_to_itself() {
    let config = load(EVERY_KEY);
    let effective = config.effective();
    for line in EVERY_KEY.lines().filter(|line| line.contains('=')) {
        for key in line.split(['{', ',']).filter_map(|part| part.split_once(" = ")) {
            let name = key.0.trim();
            let written = effective.text.lines().any(|l| l.starts_with(&format!("{name} = ")));
            assert!(written || effective.text.contains(&format!("[{name}]")), "{name} is missing");
        }
    }
    assert!(!effective.text.contains("secret"), "{}", effective.text);
    assert_eq!(effective.text.matches(MASK).count(), 3);
    let again = load(&effective.text).effective();
    assert_eq!(again, effective);
    assert_ne!(load(&EVERY_KEY.replace("62s", "65s")).effective().digest, effective.digest);
}

#[test]
fn each_key_is_noticed_by_diff() {
    let old = load(EVERY_KEY);
    assert_eq!(diff(&old, &old), []);
    let cases = [
        ("\"every\"", "\"other\"", "cluster.name", true),
        ("\"/r\"", "\"/r2\"", "node.run_directory", true),
        ("\"/l\"", "\"/l2\"", "log.directory", true),
        ("\"debug\"", "\"info\"", "log.level", false),
        ("\"json\"", "\"terminal\"", "log.format", true),
        ("\"36h\"", "\"2d\"", "log.age_max", false),
        ("\"512MB\"", "\"1GB\"", "log.size_max", false),
        ("incidents_max = 7", "incidents_max = 8", "log.incidents_max", false),
        ("\"33MB\"", "\"34MB\"", "log.incidents_size_max", false),
        ("\"700ms\"", "\"701ms\"", "fencing.reserve", true),
        ("\"1m 7s\"", "\"68s\"", "lease.duration", true),
        ("\"/t/ca\"", "\"/t/ca2\"", "tls.ca", true),
        ("secret1", "secret9", "postgres.conninfo", true),
        ("secret2", "secret9", "postgres.start_command", false),
        ("\"manual\"", "\"automatic\"", "failover.mode", false),
        ("priority = 0", "priority = 1", "failover.priority", false),
        ("lag_max = \"1536kB\"\n", "", "failover.lag_max", false),
        ("\"1001ms\"", "\"1s\"", "heartbeat.interval", false),
        ("attempts = 4", "attempts = 5", "escalation.attempts", false),
        ("\"151ms\"", "\"152ms\"", "election.testimony_timeout", false),
        ("secret3", "secret9", "member.c.conninfo", true),
        ("votes = false", "votes = true", "member.c.votes", true),
    ];
    for (from, to, key, needs_restart) in cases {
        let new = load(&EVERY_KEY.replace(from, to));
        let changes = diff(&old, &new);
        assert_eq!(changes.len(), 1, "{key}: {changes:?}");
        assert_eq!(changes[0].key, key);
        assert_eq!(changes[0].applies == Applies::NeedsRestart, needs_restart, "{key}");
        assert!(!format!("{changes:?} {}", changes[0]).contains("secret"), "{changes:?}");
    }
}

#[test]
fn a_reload_with_one_key_that_needs_a_restart_is_refused_whole() {
    let old = load(EVERY_KEY);
    let live = load(&EVERY_KEY.replace("attempts = 4", "attempts = 5"));
    assert_eq!(reload_changes(&old, &live).unwrap()[0].to_string(), "escalation.attempts: 4 -> 5");
    let mixed = load(&EVERY_KEY.replace("attempts = 4", "attempts = 5").replace("1m 7s", "68s"));
    let refused = reload_changes(&old, &mixed).unwrap_err().to_string();
    assert!(refused.starts_with("nothing was reloaded; restart the daemon"), "{refused}");
    assert!(refused.ends_with("\n  lease.duration: \"67s\" -> \"68s\" (needs a restart)"), "{refused}");
    assert!(!refused.contains("attempts"), "{refused}");
    let rotated = load(&EVERY_KEY.replace("secret1", "secret9"));
    let refused = reload_changes(&old, &rotated).unwrap_err().to_string();
    assert!(refused.contains("postgres.conninfo: the password changed (needs a restart)"), "{refused}");
    let without = load(&EVERY_KEY.replace("lag_max = \"1536kB\"\n", ""));
    assert_eq!(
        reload_changes(&old, &without).unwrap()[0].to_string(),
        "failover.lag_max: \"1536kB\" -> (none)"
    );
}

#[test]
fn the_membership_digest_is_the_same_on_all_members_and_for_all_orders() {
    let digest = load(EVERY_KEY).membership_digest();
    let on_c =
        load(&EVERY_KEY.replace("node = { name = \"b\"", "node = { name = \"c\"").replace("67s", "68s"));
    assert_eq!(on_c.membership_digest(), digest);
    let (head, members) = EVERY_KEY.split_once("[[member]]").unwrap();
    let mut parts: Vec<&str> = members.split("[[member]]").collect();
    parts.reverse();
    let reordered = format!("{head}[[member]]{}", parts.join("\n[[member]]"));
    assert_eq!(load(&reordered).membership_digest(), digest);
    assert_eq!(load(&EVERY_KEY.replace("host=b", "host=bb")).membership_digest(), digest);
    for (from, to) in [
        ("b.example:3", "b.example:4"),
        ("elsewhere", "here"),
        ("votes = false", "votes = true"),
        ("\"w\"", "\"x\""),
    ] {
        assert_ne!(load(&EVERY_KEY.replace(from, to)).membership_digest(), digest, "{to}");
    }
}

#[test]
fn the_examples_load_without_a_warning() {
    let examples = [
        (include_str!("../dist/pgfo.example-3.toml"), MemberRole::Data),
        (include_str!("../dist/pgfo.example-witness.toml"), MemberRole::Witness),
    ];
    for (text, role) in examples {
        let path = Path::new("pgfo.example.toml");
        let (config, warnings) = Config::parse(path, text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(warnings, []);
        assert_eq!(config.this_member().role, role);
        assert_eq!((config.membership.voter_count(), config.membership.quorum()), (3, 2));
        // A key that is shown as a comment exists, and shows its default unless it has none.
        let uncommented: String = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line))
            .fold(String::new(), |all, line| all + line + "\n");
        let (shown, _) = Config::parse(path, &uncommented).unwrap_or_else(|errors| panic!("{errors}"));
        for change in diff(&config, &shown) {
            assert_eq!(change.old, None, "the example shows another default: {change}");
        }
    }
}

/// Returns whether a line reads `word = value`.
fn is_key(line: &str) -> bool {
    let key = line.split_once(" = ").map_or("", |(key, _)| key);
    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn files_are_checked_apart_from_loading() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for directory in ["bin", "data", "tls"] {
        std::fs::create_dir(at(directory)).unwrap();
    }
    std::os::unix::fs::symlink(at("data"), at("log")).unwrap();
    let text = EVERY_KEY
        .replace("\"/l\"", &format!("{:?}", at("log/events")))
        .replace("\"/d/\"", &format!("{:?}", at("data")))
        .replace("\"/b\"", &format!("{:?}", at("bin")))
        .replace("\"/t/", &format!("\"{}/", at("tls").display()));
    let file = Path::new("/etc/pgfo.toml");
    let errors = load(&text).check_files(file).unwrap_err().to_string();
    for word in ["tls.ca", "tls.key", "`pgfo cert`", "pg_rewind", "leads into the data directory"] {
        assert!(errors.contains(word), "{word} in {errors}");
    }
    for name in
        ["bin/pg_ctl", "bin/pg_controldata", "bin/pg_rewind", "bin/pg_basebackup", "tls/ca", "tls/c", "tls/k"]
    {
        std::fs::write(at(name), "").unwrap();
    }
    std::fs::remove_file(at("log")).unwrap();
    let errors = load(&text).check_files(file).unwrap_err().to_string();
    assert!(
        errors.contains("is open to others (mode 0644); chmod 0600") && errors.lines().count() == 1,
        "{errors}"
    );
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(at("tls/k"), private).unwrap();
    assert_eq!(load(&text).check_files(file), Ok(Vec::new()));
    std::fs::remove_dir(at("data")).unwrap();
    let warnings = load(&text).check_files(file).unwrap();
    assert!(warnings[0].to_string().contains("clone this member"), "{warnings:?}");
}

#[test]
fn suggestions_are_near_or_none() {
    assert_eq!(closest("nod2", ["node1", "node2"]), Some("node2"));
    assert_eq!(closest("Lag-Max", ["lag_max", "mode"]), Some("lag_max"));
    assert_eq!(closest("witness", ["node1", "node2"]), None);
}
