//! One file per subcommand: parse, resolve, run. Decides nothing about failover.

pub mod cert;
pub mod exit;
pub mod logging;
pub mod simulate;
