//! Panics: a mistake in this program must still end as a failure with a code, and must not print what the
//! panicking code held in its hands.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ExitCode, Failure};

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How many guards this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Set by [`run_guarded`]: from then on no thread of the process prints a panic's message.
static WHOLE_PROCESS: AtomicBool = AtomicBool::new(false);

/// Runs `body`; a panic inside becomes an internal failure that names the place in the source, never the
/// panic's message (which may quote a share or a key). Values owned by `body` are dropped on the way, so a
/// link tells its peer.
///
/// # Errors
/// What `body` returns, or [`ExitCode::Internal`].
pub fn guard<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !note(info) {
                before(info)
            }
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    // Nothing that `body` could leave half-changed outlives it.
    let result = std::panic::catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(DEPTH.get() - 1);
    result.unwrap_or_else(|_| {
        let place = PLACE.with_borrow_mut(Option::take).unwrap_or_else(|| "an unknown place".into());
        Err(Failure::new(ExitCode::Internal, format!("a mistake in twoply at {place}")))
    })
}

/// The whole of `main`: runs `body`, has a failure told, returns the exit code.
pub fn run_guarded(
    body: impl FnOnce() -> Result<(), Failure>,
    tell: impl FnOnce(&Failure),
) -> std::process::ExitCode {
    WHOLE_PROCESS.store(true, Ordering::Relaxed);
    match guard(body) {
        Ok(()) => ExitCode::Success.into(),
        Err(failure) => {
            tell(&failure);
            failure.code().into()
        }
    }
}

/// Notes the place of a panic; false when the usual hook should report it. A thread without a guard is
/// reported at once, as nobody may look at it later.
fn note(info: &PanicHookInfo<'_>) -> bool {
    let place = info.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
    if DEPTH.get() > 0 {
        PLACE.with_borrow_mut(|slot| *slot = Some(place));
        return true;
    }
    let whole = WHOLE_PROCESS.load(Ordering::Relaxed);
    if whole {
        let thread = std::thread::current();
        eprintln!("a mistake in twoply at {place}, thread {}", thread.name().unwrap_or("unnamed"));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_failures_without_their_message() {
        let failure = guard::<()>(|| panic!("the key is 0xdeadbeef")).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Internal);
        let text = failure.to_string();
        assert!(text.contains("guard.rs") && !text.contains("deadbeef"), "{text}");
    }

    #[test]
    fn results_pass_through() {
        assert_eq!(guard(|| Ok(7)), Ok(7));
        let failure = Failure::new(ExitCode::Budget, "too dear");
        assert_eq!(guard::<()>(|| Err(failure.clone())), Err(failure));
    }
}
