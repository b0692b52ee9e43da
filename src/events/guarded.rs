//! Owns the fence around sled's panics: they become values, and stay out of the terminal. It must
//! never be put around code of our own, whose panics are bugs to be seen.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}
/// Guarded calls under way: only meanwhile are panics of sled's own pool threads kept quiet.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();
/// sled names its pool threads so.
const SLED_THREAD_PREFIX: &str = "sled-io-";

/// A panic that was caught, with its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panicked(pub(crate) String);

/// Runs `call`; a panic in it becomes an error and prints nothing.
///
/// The values that `call` touches may be left half changed: the caller must drop them.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    HOOK.call_once(install_hook);
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    ACTIVE.fetch_add(1, Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(call));
    ACTIVE.fetch_sub(1, Ordering::Relaxed);
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    result.map_err(|_| {
        let message = MESSAGE.with(|message| message.borrow_mut().take());
        Panicked(message.unwrap_or_else(|| "panic without a message".to_string()))
    })
}

fn install_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if DEPTH.with(Cell::get) > 0 {
            MESSAGE.with(|message| {
                if let Ok(mut message) = message.try_borrow_mut() {
                    // Where in sled it happened says nothing to whoever reads a log.
                    let payload = info.payload();
                    let text = payload.downcast_ref::<&str>().copied();
                    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                    *message = text.map(|text| text.replace('\n', " "));
                }
            });
            return;
        }
        let of_sled = std::thread::current().name().is_some_and(|name| name.starts_with(SLED_THREAD_PREFIX));
        if of_sled && ACTIVE.load(Ordering::Relaxed) > 0 {
            return;
        }
        previous(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_value_with_its_message() {
        let why = guarded(|| panic!("tried to serialize {}", "Uninitialized")).unwrap_err();
        assert_eq!(why.0, "tried to serialize Uninitialized");
        assert_eq!(guarded(|| 3), Ok(3));
    }
}
