//! The systemd units hold what the guard's rules build on.

const DAEMON: &str = include_str!("../dist/pgfo.service");
const GUARD: &str = include_str!("../dist/pgfo-guard.service");
const DROP_IN: &str = include_str!("../dist/postgresql-pgfo.conf");

fn assert_lines(unit: &str, lines: &[&str]) {
    for line in lines {
        assert!(unit.lines().any(|l| l == *line), "{line} is missing");
    }
}

#[test]
fn postgresql_is_bound_to_the_guard_and_asks_it_before_it_starts() {
    assert_lines(DROP_IN, &["BindsTo=pgfo-guard.service", "After=pgfo-guard.service"]);
    let asks = DROP_IN.lines().filter_map(|line| line.strip_prefix("ExecStartPre=")).collect::<Vec<_>>();
    assert_eq!(asks.len(), 1);
    // A "-" in front would let PostgreSQL start although the decision failed.
    assert!(asks[0].starts_with('/') && asks[0].contains("pgfo guard --config "), "{}", asks[0]);
    assert!(!asks[0].contains("--serve"));
}

#[test]
fn the_guard_keeps_running_when_memory_and_processors_are_scarce() {
    let lines = [
        "Type=notify",
        "User=postgres",
        "ExecStart=/usr/bin/pgfo guard --config /etc/pgfo/pgfo.toml --serve",
        "Restart=always",
        "LimitMEMLOCK=infinity",
        "OOMScoreAdjust=-1000",
    ];
    assert_lines(GUARD, &lines);
}

#[test]
fn the_daemon_comes_back_and_leaves_its_children_alone() {
    let lines = [
        "Type=notify",
        "User=postgres",
        "KillMode=process",
        "Restart=always",
        "RestartPreventExitStatus=2",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ];
    assert_lines(DAEMON, &lines);
    // PostgreSQL must not go down with the daemon: that is the guard's decision.
    assert!(!DAEMON.contains("BindsTo=") && !GUARD.contains("pgfo.service\n"));
}
