//! Waiting for conditions, with a deadline; nothing here waits for time to pass.

use std::time::{Duration, Instant};

/// How long anything may take before it counts as broken; on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition that nobody announces is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `found` says `Some`.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not happen in time");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Awaits something that must come.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in time"),
    }
}

/// Opens a state folder that is free, or will be in a moment: while this program starts another
/// process, that one holds a copy of every lock.
///
/// # Errors
/// Whatever `open` fails with, and is not that the folder is locked.
pub fn once_unlocked<T, E>(
    mut open: impl FnMut() -> Result<T, E>,
    is_locked: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let began = Instant::now();
    loop {
        match open() {
            Err(error) if is_locked(&error) && began.elapsed() < PATIENCE => {
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}
