//! Serves a guard with nothing around it: `guard_serve RUN_DIR DATA_DIR RESERVE_MS`. The tests run it
//! as the process it is meant to be.

use pgfo::core::Nanos;
use pgfo::guard::{ServeOptions, log, serve};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [run_dir, data_dir, reserve_ms] = args.as_slice() else {
        eprintln!("usage: guard_serve RUN_DIR DATA_DIR RESERVE_MS");
        return ExitCode::from(2);
    };
    let Ok(reserve_ms) = reserve_ms.parse() else {
        eprintln!("not a number of milliseconds: {reserve_ms}");
        return ExitCode::from(2);
    };
    let options = ServeOptions {
        run_dir: run_dir.into(),
        data_dir: data_dir.into(),
        fence_reserve: Nanos::from_millis(reserve_ms),
        detach: true,
        announce: true,
        log: log::stderr(),
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("guard: {e}");
            ExitCode::FAILURE
        }
    }
}
