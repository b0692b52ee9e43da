//! `pgfo adopt NAME`: makes a member the primary of the first, or next, term (E10).

use super::exit::Exit;
use super::{Target, connect, load};
use crate::control::Request;

/// Arguments of `pgfo adopt`.
#[derive(clap::Args, Debug)]
pub struct AdoptArgs {
    /// The member that is, or is to be, the primary.
    pub name: String,
    /// You have made sure that no process of the paused primary's PostgreSQL is left, backends included, and that
    /// none will start. Needed while the cluster is paused, and only then.
    #[arg(long)]
    pub paused_primary_is_gone: bool,
    #[command(flatten)]
    target: Target,
}

/// Asks the daemon.
///
/// # Errors
/// When the daemon can't be asked or refuses.
pub fn run(args: &AdoptArgs) -> anyhow::Result<Exit> {
    let config = load(&args.target.config)?;
    let mut client = match connect(&config) {
        Ok(client) => client,
        Err(why) => {
            anstream::eprintln!("{why}");
            return Ok(Exit::Unreachable);
        }
    };
    let vouched = args.paused_primary_is_gone;
    client.call(&Request::Adopt { name: args.name.clone(), vouched })?;
    anstream::println!(
        "asked: {} stands for the next term; `pgfo status --config {}` shows the outcome",
        args.name,
        args.target.config.display()
    );
    Ok(Exit::Ok)
}
