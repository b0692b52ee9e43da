//! `pgfo status`: a table of the members, as one daemon sees them.

use super::exit::Exit;
use super::{Target, connect, load};
use crate::config::Config;
use crate::control::Request;
use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::time::Duration;

/// How often `--watch` looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `pgfo status`.
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Shows it again every second, until interrupted.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// Asks the daemon and prints.
///
/// # Errors
/// When the configuration can't be read or the daemon answers oddly.
pub fn run(args: &StatusArgs) -> anyhow::Result<Exit> {
    let config = load(&args.target.config)?;
    loop {
        let exit = show(args, &config)?;
        if !args.watch {
            return Ok(exit);
        }
        std::thread::sleep(WATCH_INTERVAL);
        anstream::print!("\x1b[2J\x1b[H");
    }
}

fn show(args: &StatusArgs, config: &Config) -> anyhow::Result<Exit> {
    let mut client = match connect(config) {
        Ok(client) => client,
        Err(why) => {
            anstream::eprintln!("the daemon of {} can't be asked: {why}", config.node.name);
            return Ok(Exit::Unreachable);
        }
    };
    let status = client.call(&Request::Status)?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print_table(&status);
    }
    // 0 healthy, 1 degraded, 2 no primary.
    Ok(match status["health"].as_str() {
        Some("healthy") => Exit::Ok,
        Some("degraded") => Exit::Degraded,
        _ => Exit::Usage,
    })
}

fn print_table(status: &Value) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "member",
        "role",
        "state",
        "TL",
        "receive LSN",
        "replay LSN",
        "lag",
        "prio",
        "verdict",
        "term",
        "lease left",
        "able to act",
    ]);
    for m in status["members"].as_array().into_iter().flatten() {
        let text = |key: &str| match &m[key] {
            Value::Null => "-".to_owned(),
            Value::String(s) => s.clone(),
            other => other.to_string(),
        };
        let lag = m["lag_bytes"].as_u64().map_or_else(|| "-".to_owned(), bytes);
        let lease = m["lease_left_ms"]
            .as_u64()
            .map_or_else(|| "-".to_owned(), |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100));
        table.add_row([
            text("name"),
            text("role"),
            text("state"),
            text("timeline"),
            text("receive_lsn"),
            text("replay_lsn"),
            lag,
            text("priority"),
            text("verdict"),
            text("term"),
            lease,
            able(m),
        ]);
    }
    let health = status["health"].as_str().unwrap_or("unknown");
    let colour = match health {
        "healthy" => AnsiColor::Green,
        "degraded" => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    let style = Style::new().fg_color(Some(colour.into())).bold();
    anstream::println!(
        "cluster {}, seen by {}: {style}{health}{style:#}, term {}, primary {}",
        status["cluster"].as_str().unwrap_or("?"),
        status["member"].as_str().unwrap_or("?"),
        status["term"],
        status["primary"].as_str().unwrap_or("none"),
    );
    anstream::println!("{table}");
    anstream::println!(
        "{} voters, quorum {}; mode {}; fencing: {}",
        status["voters"],
        status["quorum"],
        status["mode"].as_str().unwrap_or("?"),
        status["fencing"].as_str().unwrap_or("?"),
    );
    for complaint in status["complaints"].as_array().into_iter().flatten() {
        anstream::println!("  ! {}", complaint.as_str().unwrap_or("?"));
    }
}

fn able(m: &Value) -> String {
    let reason = |key: &str| m[key].as_str().map(str::to_owned);
    match (m["able"].as_bool(), m["electable"].as_bool()) {
        (None, _) => "-".to_owned(),
        (Some(false), _) => reason("unable_because").unwrap_or_else(|| "no".to_owned()),
        (Some(true), Some(true)) => "vote, promote".to_owned(),
        (Some(true), _) => format!("vote ({})", reason("unelectable_because").unwrap_or_default()),
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..=9_999 => format!("{n} B"),
        10_000..=9_999_999 => format!("{} kB", n / 1024),
        _ => format!("{} MB", n / 1024 / 1024),
    }
}
