//! Ctrl-C and SIGTERM: clean up, then end as a shell expects. Must never leave a process behind.

use super::error::{DemoError, Result};
use super::sandbox::clean_up_all;
use tokio::signal::unix::{SignalKind, signal};

/// The exit status that shells give to a process ended by signal N is 128 + N.
const EXIT_BASE: i32 = 128;

/// From now on SIGINT and SIGTERM remove every sandbox of this process and end it.
///
/// # Errors
/// When the signals can't be watched.
pub fn clean_up_on_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| DemoError::State(format!("cannot watch for signals: {e}")))?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let watch =
            |kind| signal(kind).map_err(|e| DemoError::State(format!("cannot watch for signals: {e}")));
        (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?)
    };
    let spawned = std::thread::Builder::new().name("interrupt".into()).spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
            }
        });
        anstream::eprintln!("\npgfo: interrupted, cleaning up");
        clean_up_all();
        std::process::exit(EXIT_BASE + number);
    });
    spawned.map(drop).map_err(|e| DemoError::State(format!("cannot watch for signals: {e}")))
}
