//! The `pgfo` command: parses, and hands over to one file per subcommand.
fn main() {}
