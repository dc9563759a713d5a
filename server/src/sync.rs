//! Locks that outlive a panic: the relay's locks guard plain values whose updates don't panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock; a poisoned one is taken over.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
