//! What an operator does with the key file.

use std::path::Path;

use super::key_file::{AccountsKey, KeyFile, TicketsKey, VERSIONS_MAX};
use super::place::{Held, KeyFileError, refuse_inside, write_new};

/// A key that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotated {
    /// Of logins.
    Accounts,
    /// Of tickets.
    Tickets,
}

/// Copies the key file to a place of the operator's, and notes that this was done.
///
/// # Errors
/// [`KeyFileError`]; an existing file is left as it is.
pub(crate) fn export(held: &Held, data: &Path, to: &Path) -> Result<(), KeyFileError> {
    refuse_inside(to, data)?;
    let mut keys = held.read()?;
    keys.exported = Some(keys.fingerprint());
    write_new(to, &keys.to_text())?;
    keys.replace(held)
}

/// Adds a newer version of a key, from `today` on. What was made with the older ones goes on.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn rotate(held: &Held, which: Rotated, today: u32) -> Result<KeyFile, KeyFileError> {
    let mut keys = held.read()?;
    match which {
        Rotated::Accounts => {
            let version = keys.accounts.first().map_or(0, |key| key.version) + 1;
            keys.accounts.insert(0, AccountsKey::fresh(version, today)?);
            if keys.accounts.len() > VERSIONS_MAX {
                return Err(KeyFileError::Versions);
            }
        }
        Rotated::Tickets => {
            let next = TicketsKey::next_epoch(today);
            // One that never made a ticket is replaced.
            keys.tickets.retain(|key| key.first_epoch < next);
            let version = keys.tickets.first().map_or(0, |key| key.version) + 1;
            keys.tickets.insert(0, TicketsKey::fresh(version, next)?);
            // What made the epochs of three months ago verifies nothing any more.
            let needed = next.saturating_sub(2);
            let older = keys
                .tickets
                .iter()
                .position(|key| key.first_epoch <= needed);
            keys.tickets
                .truncate(older.map_or(VERSIONS_MAX, |at| at + 1));
        }
    }
    keys.replace(held)?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Held, KeyFile, KeyFileError, Rotated, export, rotate};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn newer_versions_come_first_and_old_ones_stay_as_long_as_they_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kinline.key");
        let data = folder.path().join("data");
        KeyFile::open_or_create(&path, &data, false).unwrap();
        let held = Held::take(&path).unwrap();
        for _ in 0..7 {
            rotate(&held, Rotated::Accounts, 600).unwrap();
        }
        let error = rotate(&held, Rotated::Accounts, 600);
        assert!(matches!(error, Err(KeyFileError::Versions)));
        for day in [600, 601, 630, 660, 690] {
            rotate(&held, Rotated::Tickets, day).unwrap();
        }
        let keys = KeyFile::open_or_create(&path, &data, true).unwrap();
        let versions: Vec<_> = keys.accounts.iter().map(|key| key.version).collect();
        assert_eq!(versions, [8, 7, 6, 5, 4, 3, 2, 1]);
        let epochs: Vec<_> = keys.tickets.iter().map(|key| key.first_epoch).collect();
        assert_eq!(epochs, [24, 23, 22]);
    }

    #[test]
    fn an_export_is_a_copy_that_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kinline.key");
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        KeyFile::open_or_create(&path, &data, false).unwrap();
        let held = Held::take(&path).unwrap();
        let to = folder.path().join("copy");
        export(&held, &data, &to).unwrap();
        let mode = fs::metadata(&to).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), fs::read(&to).unwrap());
        let again = export(&held, &data, &to);
        assert!(matches!(again, Err(KeyFileError::Exists { .. })));
        let inside = export(&held, &data, &data.join("copy"));
        assert!(matches!(inside, Err(KeyFileError::InsideData { .. })));
        let copied = KeyFile::open_or_create(&to, &data, true).unwrap();
        assert!(copied.is_exported());
        let keys = rotate(&held, Rotated::Tickets, 600).unwrap();
        assert!(!keys.is_exported());
    }

    #[test]
    fn one_changes_it_at_a_time_and_nobody_writes_back_what_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kinline.key");
        let data = folder.path().join("data");
        let before = KeyFile::open_or_create(&path, &data, false).unwrap();
        let held = Held::take(&path).unwrap();
        let busy = Held::take(&path);
        assert!(matches!(busy, Err(KeyFileError::Busy { .. })));
        // It is read all the same.
        KeyFile::open_or_create(&path, &data, true).unwrap();
        let mut keys = held.read().unwrap();
        keys.begin_at_rest().unwrap();
        keys.settle_at_rest(true);
        keys.replace(&held).unwrap();
        drop(held);
        let to = folder.path().join("copy");
        export(&Held::take(&path).unwrap(), &data, &to).unwrap();
        for written in [&path, &to] {
            let written = KeyFile::open_or_create(written, &data, true).unwrap();
            assert_eq!(written.at_rest().expose(), keys.at_rest().expose());
            assert_ne!(written.at_rest().expose(), before.at_rest().expose());
        }
    }
}
