//! One file per subcommand: parse, resolve, run. Decides nothing about failover.

pub mod cert;
