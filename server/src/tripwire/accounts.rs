//! Decoy accounts: marked, and given a vault as others have.

use bytes::Bytes;
use kinline_protocol::account::VAULT_PART_BYTES_MIN;
use kinline_protocol::padme;
use rand_chacha::rand_core::Rng as _;

use super::decoys::chance;
use crate::random::{self, RandomError};
use crate::storage::{
    Change, Decide, Entry, ListedVault, Places, ReadError, RowWrite, Said, SqliteStorage,
    VaultParts, WriteError, reply,
};

/// The bit of an account's flags that makes it a decoy.
pub(crate) const DECOY_ACCOUNT: u8 = 1;
/// Below so many vaults their sizes say little, and a decoy among them would be a copy of one.
const ENOUGH: usize = 16;
/// Bytes of one device in a vault (PROTOCOL §15.5).
const DEVICE_BYTES: usize = 220;
/// Of a link with two phones of the other family.
const LINK_BYTES: usize = 2 * DEVICE_BYTES + 40;
/// Of all else in the first part, with nonce and tag.
const REST_BYTES: usize = 200;

/// Why an account can't become a decoy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkError {
    /// Only what is there can.
    #[error("there is no such account: register it first")]
    Nobody,
    /// It may be somebody's.
    #[error(
        "this account has a vault, which noise would replace: if you have registered it yourself, say --replace-vault"
    )]
    Vault,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// What lies there can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Bytes of the two parts of a decoy's vault: those of one of the vaults that are there, or of a
/// family of two to five devices with up to three links, where too few are.
fn draw(vaults: &[ListedVault]) -> Result<[usize; 2], RandomError> {
    let real: Vec<[usize; 2]> = vaults
        .iter()
        .filter(|vault| vault.flags & DECOY_ACCOUNT == 0)
        .map(|vault| vault.sizes)
        .collect();
    if real.len() >= ENOUGH {
        let sizes = real.get(below(real.len())?).copied();
        return Ok(sizes.unwrap_or([VAULT_PART_BYTES_MIN; 2]));
    }
    let (devices, links) = (2 + below(4)?, below(4)?);
    let bytes = REST_BYTES + DEVICE_BYTES * devices + LINK_BYTES * links;
    let class = usize::try_from(padme::class(bytes as u64)).unwrap_or(VAULT_PART_BYTES_MIN);
    // What the recovery code opens is of the smallest class in every vault.
    Ok([class, VAULT_PART_BYTES_MIN])
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a list, below its length"
)]
fn below(count: usize) -> Result<usize, RandomError> {
    Ok((chance()? * count as f64) as usize)
}

/// What a device's seal looks like from outside.
fn noise([request, recovery]: [usize; 2]) -> Result<VaultParts, RandomError> {
    let mut rng = random::generator()?;
    let mut part = |bytes| {
        let mut noise = vec![0; bytes];
        rng.fill_bytes(&mut noise);
        Bytes::from(noise)
    };
    Ok(VaultParts {
        request: part(request),
        recovery: part(recovery),
    })
}

/// Makes a decoy of an account that is there. It was registered like any other, by the operator,
/// under a name that somebody who guesses would try. Noise of a size drawn from `vaults` becomes
/// its vault, and takes the place of one that it has only with `replaces`; one that is a decoy
/// already gets other noise of the size that it has, as a phone writes its vault anew.
///
/// # Errors
/// [`MarkError`].
pub(crate) async fn mark_account(
    storage: &SqliteStorage,
    places: Places,
    vaults: &[ListedVault],
    replaces: bool,
) -> Result<(), MarkError> {
    let found = storage.account(places.clone(), true).await?;
    let is_decoy = found.row.flags & DECOY_ACCOUNT != 0;
    let before = found.row.vault_version;
    let sizes = match found.vault {
        Some(vault) if is_decoy && before > 0 => [vault.request.len(), vault.recovery.len()],
        _ => draw(vaults)?,
    };
    let noise = noise(sizes)?;
    let (done, said) = reply();
    let decide: Decide = Box::new(move |found| {
        if !found.is_there() {
            return (Change::Nothing, Said::Denied);
        }
        let version = found.row.vault_version;
        // Also one that a phone has written just now.
        let is_free = version == 0 || replaces || (is_decoy && version == before);
        if !is_free {
            return (Change::Nothing, Said::Taken);
        }
        let mut row = found.row.clone();
        row.flags |= DECOY_ACCOUNT;
        row.vault_version = version.saturating_add(1);
        (
            Change::Put(row.clone(), Some(noise)),
            Said::Done(Box::new(row)),
        )
    });
    storage.submit(RowWrite::Account {
        places,
        entry: Entry::Open,
        decide,
        done,
    });
    match said.await? {
        Said::Done(_) => Ok(()),
        Said::Taken => Err(MarkError::Vault),
        Said::Damaged => Err(WriteError::Failed.into()),
        _ => Err(MarkError::Nobody),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::collections::BTreeMap;

    use super::{DECOY_ACCOUNT, ENOUGH, draw, noise};
    use crate::storage::ListedVault;
    use kinline_protocol::account::is_part_size;

    fn vaults(count: usize, sizes: [usize; 2], flags: u8) -> Vec<ListedVault> {
        vec![ListedVault { flags, sizes }; count]
    }

    #[test]
    fn a_decoys_vault_has_the_size_of_one_that_is_there() {
        let mut all = vaults(ENOUGH, [2_048, 1_024], 0);
        all.extend(vaults(3 * ENOUGH, [4_096, 1_280], 0));
        all.extend(vaults(100, [65_536, 65_536], DECOY_ACCOUNT));
        let mut drawn = BTreeMap::new();
        for _ in 0..4_000 {
            *drawn.entry(draw(&all).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(drawn.values().sum::<i32>(), 4_000);
        let small = drawn[&[2_048, 1_024]];
        assert_eq!(drawn[&[4_096, 1_280]], 4_000 - small);
        // A thousand, and a deviation of 27.
        assert!((830..1_170).contains(&small), "{small}");
    }

    #[test]
    fn where_too_few_are_it_is_that_of_a_family() {
        let few = vaults(ENOUGH - 1, [65_536, 65_536], 0);
        let mut drawn = BTreeMap::new();
        for _ in 0..1_000 {
            let [request, recovery] = draw(&few).unwrap();
            assert!(is_part_size(request) && recovery == 1_024);
            *drawn.entry(request).or_insert(0) += 1;
        }
        assert!(drawn.len() >= 8, "{drawn:?}");
        assert!(drawn.keys().all(|bytes| *bytes < 4_096), "{drawn:?}");
    }

    #[test]
    fn noise_is_never_the_same() {
        let (one, other) = (
            noise([2_048, 1_024]).unwrap(),
            noise([2_048, 1_024]).unwrap(),
        );
        assert_eq!((one.request.len(), one.recovery.len()), (2_048, 1_024));
        assert!(one.request != other.request && one.recovery != other.recovery);
        assert!(one.request[..1_024] != one.recovery[..]);
    }
}
