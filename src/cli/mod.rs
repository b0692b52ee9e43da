//! One file per subcommand: parse, resolve, run. Decides nothing about failover.

pub mod adopt;
pub mod bench;
pub mod cert;
pub mod daemon;
pub mod demo;
pub mod exit;
pub mod explain;
pub mod guard;
pub mod incident;
pub mod logging;
pub mod postgres;
pub mod replay;
pub mod simulate;
pub mod status;
pub mod sweep;

/// The control socket's name in the run directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// A link in the log's directory to the control socket of the daemon that holds the log.
pub const LIVE_LOG_LINK: &str = "control";

use crate::config::Config;
use crate::control::Client;
use std::path::{Path, PathBuf};

/// Which member's daemon to ask.
#[derive(clap::Args, Debug, Clone)]
pub struct Target {
    /// Configuration file of the member whose daemon is asked.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/pgfo/pgfo.toml")]
    pub config: PathBuf,
}

/// Loads a configuration for a command that only asks.
///
/// # Errors
/// The configuration's errors, as text.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load(path).map(|(config, _)| config).map_err(|errors| anyhow::anyhow!("{errors}"))
}

/// Connects to the daemon of a configuration.
///
/// # Errors
/// When it does not run, with the path that was tried.
pub fn connect(config: &Config) -> Result<Client, crate::control::ClientError> {
    Client::connect(&config.node.run_directory.join(CONTROL_SOCKET))
}
