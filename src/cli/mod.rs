//! One file per subcommand: parse, resolve, run. Decides nothing about failover.

pub mod exit;
pub mod logging;
pub mod cert;
pub mod simulate;
