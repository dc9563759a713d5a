//! An account as the features see it: no permutation, no seal, no SQL.

use bytes::Bytes;
use kinline_protocol::account::VAULT_PART_BYTES_MIN;
use kinline_protocol::day::Day;
use kinline_protocol::primitives::opaque::RECORD_BYTES;
use kinline_protocol::primitives::sign::PublicKey;

/// Bytes of an account's state before it is sealed: what is needed, and room for what may come.
pub(crate) const STATE_BYTES: usize = 320;
const VERSION: u8 = 1;

/// Where an account may lie: hashes of its id under each pepper, the newest first; and where the
/// row lies that stands for accounts that are not there.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) ids: Vec<[u8; 32]>,
    pub(crate) nobody: [u8; 32],
}

/// An account's state. Always [`STATE_BYTES`] on the disk.
///
/// ```text
/// 1 ‖ setup u32 ‖ memory, passes, lanes u32 each ‖ record 192 ‖ write key 32 ‖ vault version u64
///   ‖ failed logins u32 ‖ their last day u32 ‖ epoch u32 ‖ tickets drawn in it u32 ‖ flags ‖ zeros
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRow {
    /// Version of the OPAQUE setup that the record depends on.
    pub(crate) setup: u32,
    /// Memory in KiB, passes and lanes of its stretching.
    pub(crate) stretching: [u32; 3],
    /// OPAQUE's record.
    pub(crate) record: [u8; RECORD_BYTES],
    /// Writes the vault without the password.
    pub(crate) write_key: PublicKey,
    /// 0: there is none.
    pub(crate) vault_version: u64,
    /// Logins that were begun and not ended well since the last that was.
    pub(crate) failed_logins: u32,
    /// Of the last of them.
    pub(crate) failed_day: Day,
    /// Of the tickets drawn last.
    pub(crate) ticket_epoch: u32,
    /// In that epoch.
    pub(crate) tickets_drawn: u32,
    /// For the operator's tripwires.
    pub(crate) flags: u8,
}

impl AccountRow {
    /// Its bytes.
    pub(crate) fn to_bytes(&self) -> [u8; STATE_BYTES] {
        let [memory, passes, lanes] = self.stretching.map(u32::to_be_bytes);
        let parts: [&[u8]; 13] = [
            &[VERSION],
            &self.setup.to_be_bytes(),
            &memory,
            &passes,
            &lanes,
            &self.record,
            self.write_key.as_bytes(),
            &self.vault_version.to_be_bytes(),
            &self.failed_logins.to_be_bytes(),
            &self.failed_day.0.to_be_bytes(),
            &self.ticket_epoch.to_be_bytes(),
            &self.tickets_drawn.to_be_bytes(),
            &[self.flags],
        ];
        let mut bytes = [0; STATE_BYTES];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Reads them; `None` for what is none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; STATE_BYTES] = bytes.try_into().ok()?;
        let mut left = &bytes[..];
        if take(&mut left)? != [VERSION] {
            return None;
        }
        let mut number = || take(&mut left).map(u32::from_be_bytes);
        let setup = number()?;
        let stretching = [number()?, number()?, number()?];
        let record = take(&mut left)?;
        let write_key = PublicKey::new(take(&mut left)?);
        let vault_version = u64::from_be_bytes(take(&mut left)?);
        let mut number = || take(&mut left).map(u32::from_be_bytes);
        let (failed_logins, failed_day) = (number()?, Day(number()?));
        let (ticket_epoch, tickets_drawn) = (number()?, number()?);
        let [flags] = take(&mut left)?;
        Some(Self {
            setup,
            stretching,
            record,
            write_key,
            vault_version,
            failed_logins,
            failed_day,
            ticket_epoch,
            tickets_drawn,
            flags,
        })
    }
}

fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = left.split_first_chunk::<N>()?;
    *left = rest;
    Some(*first)
}

/// The two parts of a vault, as the device sealed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VaultParts {
    pub(crate) request: Bytes,
    pub(crate) recovery: Bytes,
}

impl VaultParts {
    /// What an account has that has none: the smallest that there is.
    pub(crate) fn none() -> Self {
        let zeros = Bytes::from_static(&[0; VAULT_PART_BYTES_MIN]);
        Self {
            request: zeros.clone(),
            recovery: zeros,
        }
    }
}

/// A vault that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedVault {
    /// Of its account.
    pub(crate) flags: u8,
    /// Bytes of its two parts.
    pub(crate) sizes: [usize; 2],
}

/// What lies at an account's places.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Which of the places it is; `None`: there is no such account, and the row is nobody's.
    pub(crate) place: Option<usize>,
    pub(crate) row: AccountRow,
    /// Only where it was asked for.
    pub(crate) vault: Option<VaultParts>,
}

impl Found {
    /// Whether there is such an account.
    pub(crate) const fn is_there(&self) -> bool {
        self.place.is_some()
    }
}

/// What is to be written of an account.
#[derive(Debug)]
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// Its state, where it lies; nobody's if there is none, which costs the same.
    Count(AccountRow),
    /// Its state, and its vault or the one that it has, under the newest id. Makes an account
    /// where there is none, if it is admitted.
    Put(AccountRow, Option<VaultParts>),
    /// It goes.
    Remove,
}

/// How a change of an account ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Well; the state as it was before.
    Done(Box<AccountRow>),
    /// It belongs to another.
    Taken,
    /// There is none, or not with this proof.
    Denied,
    /// Older than what is there.
    Stale,
    /// Not admitted.
    Admission,
    /// Used up.
    Quota,
    /// A row is damaged: nothing was changed.
    Damaged,
}

/// Decides, in the order of all writes, what becomes of an account.
pub(crate) type Decide = Box<dyn FnOnce(&Found) -> (Change, Said) + Send>;

/// What lets somebody in where not everybody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Everybody may.
    Open,
    /// Hash of an admission code, which is used up by one.
    Code([u8; 32]),
    /// A genuine ticket, if it was not spent.
    Ticket {
        /// Under what it is kept.
        hash: [u8; 32],
        /// The last day on which it is good.
        expires: Day,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{AccountRow, STATE_BYTES};
    use kinline_protocol::day::Day;
    use kinline_protocol::primitives::sign::PublicKey;

    #[test]
    fn a_state_has_one_length_and_reads_back() {
        let row = AccountRow {
            setup: 1,
            stretching: [2, 3, 4],
            record: [5; 192],
            write_key: PublicKey::new([6; 32]),
            vault_version: 7,
            failed_logins: 8,
            failed_day: Day(9),
            ticket_epoch: 10,
            tickets_drawn: 11,
            flags: 12,
        };
        let bytes = row.to_bytes();
        assert_eq!(AccountRow::from_bytes(&bytes).unwrap(), row);
        assert!(AccountRow::from_bytes(&bytes[1..]).is_none());
        let mut newer = bytes;
        newer[0] = 2;
        assert!(AccountRow::from_bytes(&newer).is_none());
        // Nothing was cut off: the last byte in use is the flags'.
        let flags = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        assert!(bytes[flags] == 12 && flags < STATE_BYTES - 1);
    }
}
