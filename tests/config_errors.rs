//! Every mistake in a configuration is reported with file, line, column, key and remedy.

use pgfo::config::{Config, Warning};
use std::path::Path;

/// A whole configuration; the cases change one line each, so that line numbers stay.
const GOOD: &str = include_str!("config_good.toml");

fn load(text: &str) -> Result<(Config, Vec<Warning>), String> {
    Config::parse(Path::new("/etc/pgfo.toml"), text).map_err(|errors| errors.to_string())
}

/// Returns `GOOD` with its `occurrence`-th `old` replaced.
fn changed(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old} is not in the configuration");
    GOOD.replacen(old, new, 1)
}

#[test]
fn the_good_one_is_good() {
    let (config, warnings) = load(GOOD).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.this_member().name, "node1");
    assert_eq!((config.membership.voter_count(), config.membership.quorum()), (3, 2));
}

#[test]
fn every_mistake_names_its_place_and_remedy() {
    // What is replaced, by what, where the error must stand (line:column: key), what it must say.
    let cases: &[(&str, &str, &str, &[&str])] = &[
        ("level = ", "levle = ", "8:1: log.levle", &["unknown key", "did you mean `level`?"]),
        ("level = ", "agemax = ", "8:1: log.agemax", &["unknown key", "did you mean `age_max`?"]),
        ("level = \"info\"", "age_max = 30", "8:11: log.age_max", &["an age needs a unit", "\"30d\""]),
        ("level = \"info\"", "age_max = \"5min\"", "8:11: log.age_max", &["at least \"1h\""]),
        ("level = \"info\"", "size_max = 5", "8:12: log.size_max", &["a size needs a unit"]),
        ("level = \"info\"", "size_max = \"1MB\"", "8:12: log.size_max", &["at least \"64MB\""]),
        ("level = \"info\"", "incidents_max = 0", "8:17: log.incidents_max", &["out of range"]),
        ("priority = 100", "zzz = 1", "15:1: failover.zzz", &["unknown key", "remove it", "lag_max"]),
        ("[heartbeat]", "[hartbeat]", "17:2: hartbeat", &["unknown key", "did you mean `heartbeat`?"]),
        ("role = ", "rolle = ", "40:1: member[3].rolle", &["did you mean `role`?"]),
        (
            "[[member]]\nname = \"node1\"\n",
            "[[member]]\n",
            "29:1: member[1].name",
            &["missing", "add `name = …` to this [[member]]"],
        ),
        ("conninfo = \"host=/tmp user=pgfo\"\n", "", "9:1: postgres.conninfo", &["missing", "to [postgres]"]),
        (
            "priority = 100",
            "priority = \"100\"",
            "15:12: failover.priority",
            &["an integer is expected, not a string", "without quotes"],
        ),
        ("priority = 100", "priority = -1", "15:12: failover.priority", &["out of range", "0 to 1000000"]),
        ("attempts = 3", "attempts = 0", "21:12: escalation.attempts", &["out of range", "1 to 100"]),
        (
            "mode = \"automatic\"",
            "mode = true",
            "14:8: failover.mode",
            &["a string is expected, not a boolean", "\"automatic\", \"manual\""],
        ),
        (
            "mode = \"automatic\"",
            "mode = \"automatc\"",
            "14:8: failover.mode",
            &["not possible", "did you mean \"automatic\"?"],
        ),
        (
            "mode = \"asynchronous\"",
            "mode = \"quorum\"",
            "28:8: replication.mode",
            &["quorum commit is not available", "write \"asynchronous\""],
        ),
        (
            "interval = \"1s\"",
            "interval = 1",
            "18:12: heartbeat.interval",
            &["needs a unit, and 1 has none", "\"1s\" for seconds"],
        ),
        ("interval = \"1s\"", "interval = 1.5", "18:12: heartbeat.interval", &["needs a unit", "\"1.5s\""]),
        (
            "interval = \"1s\"",
            "interval = \"300\"",
            "18:12: heartbeat.interval",
            &["needs a unit", "\"300ms\""],
        ),
        (
            "interval = \"1s\"",
            "interval = \"1 parsec\"",
            "18:12: heartbeat.interval",
            &["not a duration", "\"300ms\""],
        ),
        ("interval = \"1s\"", "interval = \"0s\"", "18:12: heartbeat.interval", &["zero", "above zero"]),
        (
            "interval = \"1s\"",
            "interval = \"2d\"",
            "18:12: heartbeat.interval",
            &["longer than a day", "at most \"24h\""],
        ),
        ("lag_max = \"16MB\"", "lag_max = 16", "16:11: failover.lag_max", &["needs a unit", "\"16MB\""]),
        ("lag_max = \"16MB\"", "lag_max = \"16\"", "16:11: failover.lag_max", &["needs a unit", "\"16MB\""]),
        (
            "lag_max = \"16MB\"",
            "lag_max = \"16KB\"",
            "16:11: failover.lag_max",
            &["not a unit", "write \"16kB\""],
        ),
        ("lag_max = \"16MB\"", "lag_max = \"MB\"", "16:11: failover.lag_max", &["not a size", "\"16MB\""]),
        (
            "lag_max = \"16MB\"",
            "lag_max = \"99999999TB\"",
            "16:11: failover.lag_max",
            &["64 bits", "smaller"],
        ),
        (
            "lag_max = \"16MB\"",
            "promote_command = \" \"",
            "16:19: failover.promote_command",
            &["empty", "leave the key out"],
        ),
        (
            "[cluster]\nname = \"main\"",
            "[cluster]\nname = \"a/b\"",
            "2:8: cluster.name",
            &["not a name", "a-z"],
        ),
        (
            "name = \"node1\"\nrun",
            "name = \"nod1\"\nrun",
            "4:8: node.name",
            &["no [[member]]", "did you mean \"node1\"?"],
        ),
        (
            "name = \"node1\"\nrun",
            "name = \"zzz\"\nrun",
            "4:8: node.name",
            &["no [[member]]", "node1, node2, node3"],
        ),
        (
            "\"/run/pgfo/main\"",
            "\"run/pgfo\"",
            "5:17: node.run_directory",
            &["relative path", "begins with \"/\""],
        ),
        ("\"/run/pgfo/main\"", "\"/run/../pgfo\"", "5:17: node.run_directory", &["\"..\"", "without"]),
        (
            "\"/run/pgfo/main\"",
            "\"/data/run\"",
            "5:17: node.run_directory",
            &["inside the data directory", "outside"],
        ),
        (
            "\"/var/lib/pgfo/main\"",
            "\"/data//log\"",
            "7:13: log.directory",
            &["inside the data directory", "/var/lib/pgfo"],
        ),
        (
            "\"host=/tmp user=pgfo\"",
            "\"host\"",
            "10:12: postgres.conninfo",
            &["no \"=\"", "as libpq takes it"],
        ),
        (
            "name = \"node2\"",
            "name = \"NODE1\"",
            "34:8: member[2].name",
            &["taken by the member at line 30", "a name of its own"],
        ),
        (
            "127.0.0.1:7002",
            "127.0.0.1:7001",
            "35:11: member[2].address",
            &["taken by the member at line 31", "of its own"],
        ),
        ("127.0.0.1:7002", "127.0.0.1", "35:11: member[2].address", &["has no port", "write host:port"]),
        ("127.0.0.1:7002", "127.0.0.1:0", "35:11: member[2].address", &["no valid port", "write host:port"]),
        (
            "127.0.0.1:7002",
            "0.0.0.0:7002",
            "35:11: member[2].address",
            &["peers could connect", "write host:port"],
        ),
        ("127.0.0.1:7002", "::1:7002", "35:11: member[2].address", &["without brackets", "[::1]:7654"]),
        (
            "127.0.0.1:7002",
            "10.0.0.2:7002",
            "35:11: member[2].address",
            &["not on loopback", "`pgfo cert`", "[tls]"],
        ),
        (
            "conninfo = \"host=127.0.0.1 port=5002\"\n",
            "",
            "33:1: member[2].conninfo",
            &["data member needs a conninfo", "role = \"witness\""],
        ),
        (
            "role = \"witness\"",
            "role = \"witness\"\nconninfo = \"host=a\"",
            "41:12: member[3].conninfo",
            &["witness has no PostgreSQL", "remove the conninfo"],
        ),
        (
            "name = \"node1\"\nrun",
            "name = \"node3\"\nrun",
            "9:1: postgres",
            &["is a witness", "remove the section [postgres]"],
        ),
        (
            "duration = \"5s\"",
            "duration = \"3500ms\"",
            "23:12: lease.duration",
            &[
                "can use 2930ms of the lease (3500ms × 0.98 - fencing.reserve 500ms)",
                "one lost heartbeat takes 3s (2 × heartbeat.interval 1s + heartbeat.timeout 1s)",
                "raise it to \"3600ms\" or more",
            ],
        ),
        (
            "reserve = \"500ms\"",
            "reserve = \"2500ms\"",
            "26:11: fencing.reserve",
            &["reserve 2500ms is not below half of lease.duration 5s", "lower it below 2500ms"],
        ),
        ("level = \"info\"", "level = info", "8:9", &["not TOML", "correct the line"]),
        ("level = \"info\"", "directory = \"/x\"", "8:1", &["not TOML: duplicate key", "correct the line"]),
        (
            "[lease]\nduration = \"5s\"",
            "[[lease]]\nduration = \"5s\"",
            "22:1: lease",
            &["a section is expected, not an array", "[lease]"],
        ),
    ];
    for (old, new, place, words) in cases {
        let error = load(&changed(old, new)).expect_err(new);
        let expected = format!("/etc/pgfo.toml:{place}: ");
        assert!(error.starts_with(&expected), "{new}\n  expected {expected}\n  got      {error}");
        for word in *words {
            assert!(error.contains(word), "{new}: {word:?} is missing in {error}");
        }
        assert_eq!(error.lines().count(), 1, "{new}: one slip, one error: {error}");
    }
}

#[test]
fn several_mistakes_are_reported_together_in_the_order_of_the_file() {
    let text = GOOD
        .replace("level = \"info\"", "levle = \"info\"")
        .replace("attempts = 3", "attempts = 0")
        .replace("duration = \"5s\"", "duration = \"2s\"")
        .replace("127.0.0.1:7003", "10.0.0.3:7003");
    let error = load(&text).unwrap_err();
    let places: Vec<&str> = error.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let expected =
        ["/etc/pgfo.toml:8:1", "/etc/pgfo.toml:21:12", "/etc/pgfo.toml:23:12", "/etc/pgfo.toml:39:11"];
    assert_eq!(places, expected, "{error}");
}

#[test]
fn a_cluster_that_can_never_elect_is_an_error() {
    let witness =
        |text: &str| text.replace("conninfo = \"host=127.0.0.1", "role = \"witness\" # \"host=127.0.0.1");
    let cases: &[(String, &[&str])] = &[
        (GOOD[..GOOD.find("[[member]]").unwrap()].to_owned(), &["no members", "add a [[member]] section"]),
        (witness(GOOD), &["no data member: there is nothing to promote", "role = \"data\""]),
        (GOOD.replace("port=500", "port=600").replace("host=127.0.0.1 port=6001\"", "host=a\"\nvotes = false")
            .replace("host=127.0.0.1 port=6002\"", "host=b\"\nvotes = false"),
            &["no data member votes (1 of 3 members do)", "write votes = true"]),
        (GOOD.replace("name = \"node3\"\naddress = \"127.0.0.1:7003\"\nrole = \"witness\"", "name = \"node3\"\naddress = \"127.0.0.1:7003\"\nconninfo = \"host=c\"")
            .replace("[postgres]\nconninfo = \"host=/tmp user=pgfo\"\ndata_directory = \"/data\"\nbin_directory = \"/usr/lib/postgresql/15/bin\"\n", ""),
            &[":4:8: postgres: \"node1\" is a data member", "add [postgres] with conninfo"]),
    ];
    for (text, words) in cases {
        let error = load(text).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
    }
}

#[test]
fn more_members_than_numbers_are_an_error() {
    let mut text = GOOD.to_owned();
    for port in 4..=251 {
        text += &format!(
            "[[member]]\nname = \"n{port}\"\naddress = \"127.0.0.1:{}\"\nrole = \"witness\"\n",
            8000 + port
        );
    }
    let error = load(&text).unwrap_err();
    assert!(error.contains("member[251]: 251 members are more than 250; register fewer"), "{error}");
}

#[test]
fn warnings_say_what_is_at_risk() {
    let third = &GOOD[GOOD.rfind("[[member]]").unwrap()..];
    let cases: &[(String, &str, &str)] = &[
        (GOOD.replace(third, ""), "two voters", "add a witness"),
        (
            format!("{GOOD}{}", third.replace("node3", "node4").replace("7003", "7004")),
            "4 voters need 3 for a quorum and so survive the loss of 1, no more than 3 voters would",
            "add a witness",
        ),
        (format!("{GOOD}votes = false\n"), "a witness without a vote does nothing", "votes = true"),
        (changed("\"guard\"", "\"daemon\""), "the daemon is the only guard", "write \"guard\""),
        (changed("\"guard\"", "\"off\""), "neither lease nor seal", "write \"guard\""),
        (changed("host=/tmp", "password=hunter2 host=/tmp"), "a password is written", "~/.pgpass"),
        (
            changed("host=127.0.0.1 port=5002", "postgresql://u:hunter2@h/db"),
            "a password is written",
            "~/.pgpass",
        ),
        (
            changed("lag_max = \"16MB\"", "promote_command = \"PGPASSWORD=hunter2 x\""),
            "a password is written in the command",
            "~/.pgpass",
        ),
        (changed("attempts = 3", "attempts = 30"), "noticed after up to 11700ms", "faster failover"),
    ];
    for (text, problem, remedy) in cases {
        let (config, warnings) = load(text).unwrap();
        let shown: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert!(shown.iter().any(|w| w.contains(problem) && w.contains(remedy)), "{problem}: {shown:?}");
        assert!(shown.iter().all(|w| w.starts_with("/etc/pgfo.toml:")), "{shown:?}");
        assert!(
            !format!("{config:?}{shown:?}{}", config.effective().text).contains("hunter2"),
            "a secret is shown"
        );
    }
}

#[test]
fn files_that_cannot_be_read_name_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pgfo.toml");
    let error = |path: &Path| Config::load(path).unwrap_err().to_string();
    assert!(error(&path).contains("cannot be read: No such file"), "{}", error(&path));
    assert!(error(&path).ends_with("name a readable configuration file with --config"));
    std::fs::write(&path, b"[cluster]\nname = \"\xff\"").unwrap();
    assert!(
        error(&path).ends_with("pgfo.toml:2:9: is not UTF-8 from here on; save the file as UTF-8"),
        "{}",
        error(&path)
    );
    std::fs::write(&path, vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
    assert!(error(&path).contains("is larger than 4MB"), "{}", error(&path));
}

#[test]
fn one_bracket_is_not_two() {
    let text = format!("{}[member]\nname = \"node1\"\n", &GOOD[..GOOD.find("[[member]]").unwrap()]);
    let error = load(&text).unwrap_err();
    let expected = "/etc/pgfo.toml:29:1: member: a list of sections is expected, not a section; \
                    write one section [[member]] for each, in two brackets";
    assert_eq!(error, expected);
}

#[test]
fn damaged_text_is_an_error_and_never_a_panic() {
    for (index, c) in GOOD.char_indices() {
        let rest = &GOOD[index + c.len_utf8()..];
        for damage in ["", "\"", "é", "[", "]", "\n", "=", "0", "'"] {
            let text = format!("{}{damage}{rest}", &GOOD[..index]);
            if let Err(errors) = Config::parse(Path::new("f"), &text) {
                let places = errors.errors().iter().map(|error| error.0.at.map(|at| at.line));
                assert!(places.flatten().all(|line| line <= text.lines().count() + 1), "{errors}");
                assert!(!errors.errors().is_empty() && !errors.to_string().is_empty());
            }
        }
    }
}

#[test]
fn no_error_shows_a_password() {
    for text in [
        changed("\"host=/tmp user=pgfo\"", "\"password='hunter2\""),
        changed("\"host=/tmp user=pgfo\"", "\"host password=hunter2\""),
        changed("\"host=/tmp user=pgfo\"", "\"password=hunter2"),
        changed("\"host=/tmp user=pgfo\"", "[\"password=hunter2\"]"),
        changed("127.0.0.1:7002", "postgres://u:hunter2@h:5432"),
        changed("lag_max = \"16MB\"", "lag_max = \"password=hunter2\""),
        changed("\"/run/pgfo/main\"", "\"password=hunter2\""),
        changed("role = \"witness\"", "role = \"witness\"\nconninfo = \"password=hunter2\""),
    ] {
        let errors = Config::parse(Path::new("f"), &text).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
    }
}
