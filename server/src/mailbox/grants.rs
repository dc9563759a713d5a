//! Which grants are good: checked ones in a bounded cache, revoked ones on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kinline_protocol::day::Day;
use kinline_protocol::grant::{self, GrantIn};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits;
use kinline_protocol::primitives::hash;
use kinline_protocol::primitives::sign::PublicKey;
use quick_cache::sync::Cache;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::errors::Refusal;
use crate::storage::{ReadError, RowWrite, Storage, Write, reply};

/// Checked grants kept: 65,536 x about 100 B are 6.5 MB, and as many busy address pairs.
const CHECKED_MAX: usize = 65_536;
/// Revocation hashes whose state is kept in memory.
const REVOKED_MAX: usize = 65_536;

/// Grants that are checked at a time: with the reading that belongs to it, each takes 4 KB.
const CHECKS_MAX: usize = 16;

/// The latest last day that a grant may have: a revocation is never kept longer than that.
pub(crate) const fn last_day_max(today: Day) -> Day {
    today.plus(limits::REVOKED_DAYS_MAX)
}

/// A grant that was good, and what that rests on.
pub(super) struct Trusted {
    grant: [u8; grant::GRANT_BYTES],
    revocations: u64,
    day: Day,
}

impl Trusted {
    /// The grant as it came.
    pub(super) const fn bytes(&self) -> &[u8] {
        &self.grant
    }
}

/// Whether both are the same, in a time that tells no more than their lengths. By words: by bytes,
/// as slices are compared, it was a twentieth of what a message costs.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (one_words, one_rest) = one.as_chunks::<8>();
    let (other_words, other_rest) = other.as_chunks::<8>();
    let mut same = one_rest.ct_eq(other_rest) & one.len().ct_eq(&other.len());
    for (one, other) in one_words.iter().zip(other_words) {
        same &= u64::from_ne_bytes(*one).ct_eq(&u64::from_ne_bytes(*other));
    }
    same.into()
}

/// Checks grants.
pub(crate) struct Grants {
    storage: Arc<dyn Storage>,
    /// SHA-256 over key and grant of those whose signature was good.
    checked: Cache<[u8; 32], ()>,
    /// Revocation hash to whether it was revoked.
    revoked: Cache<[u8; 32], bool>,
    /// Counts revocations: an answer read before one is not kept.
    revocations: AtomicU64,
    /// One permit for each check under way.
    checks: Semaphore,
}

impl Grants {
    /// Empty caches.
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            checked: Cache::new(CHECKED_MAX),
            revoked: Cache::new(REVOKED_MAX),
            revocations: AtomicU64::new(0),
            checks: Semaphore::new(CHECKS_MAX),
        }
    }

    /// What to remember of a grant if it turns out good; drawn before it is checked.
    pub(super) fn to_trust(&self, bytes: &[u8], today: Day) -> Option<Box<Trusted>> {
        Some(Box::new(Trusted {
            grant: bytes.try_into().ok()?,
            revocations: self.revocations.load(Ordering::SeqCst),
            day: today,
        }))
    }

    /// Whether this grant of the same mailbox was good on this day, and nothing was revoked
    /// since. Takes as long whatever is different: nobody feels their way to a good one.
    pub(super) fn is_trusted(&self, trusted: &Trusted, bytes: &[u8], today: Day) -> bool {
        trusted.day == today
            && trusted.revocations == self.revocations.load(Ordering::SeqCst)
            && is_same(&trusted.grant, bytes)
    }

    /// Whether these bytes are a grant of `mailbox`, good today and not revoked.
    ///
    /// # Errors
    /// [`ReadError`] when the revoked ones could not be read.
    pub(crate) async fn is_good(
        &self,
        bytes: &[u8],
        key: &PublicKey,
        mailbox: &MailboxId,
        today: Day,
    ) -> Result<bool, ReadError> {
        // It is never closed: without a permit it would be checked all the same.
        let _check = self.checks.acquire().await.ok();
        let Ok(grant) = GrantIn::parse(bytes) else {
            return Ok(false);
        };
        if grant.mailbox() != *mailbox
            || grant.last_day() < today
            || grant.last_day() > last_day_max(today)
        {
            return Ok(false);
        }
        let name = hash::labelled(b"checked grant", &[key.as_bytes(), bytes]);
        if self.checked.get(&name).is_none() {
            if grant.verify(key, mailbox, today).is_err() {
                return Ok(false);
            }
            self.checked.insert(name, ());
        }
        Ok(!Box::pin(self.is_revoked(grant.revocation_hash())).await?)
    }

    async fn is_revoked(&self, hash: [u8; 32]) -> Result<bool, ReadError> {
        loop {
            if let Some(revoked) = self.revoked.get(&hash) {
                return Ok(revoked);
            }
            let before = self.revocations.load(Ordering::SeqCst);
            let revoked = self.storage.is_revoked(hash).await?;
            if self.revocations.load(Ordering::SeqCst) == before {
                self.revoked.insert(hash, revoked);
                // A revocation between the check and the insert inserts after us or is seen here.
                if self.revocations.load(Ordering::SeqCst) == before {
                    return Ok(revoked);
                }
                self.revoked.remove(&hash);
            }
        }
    }

    /// Revokes durably; from the answer on nothing more is accepted under such a grant.
    ///
    /// # Errors
    /// [`Refusal`] of the write.
    pub(crate) async fn revoke(&self, hash: [u8; 32], expires: Day) -> Result<(), Refusal> {
        let (done, revoked) = reply();
        self.storage.submit(Write::Row(RowWrite::RevokeGrant {
            hash,
            expires,
            done,
        }));
        revoked.await?;
        self.revocations.fetch_add(1, Ordering::SeqCst);
        self.revoked.insert(hash, true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use kinline_protocol::grant::GRANT_BYTES;

    use super::is_same;

    #[test]
    fn no_other_grant_is_the_same() {
        let grant = [7; GRANT_BYTES];
        assert!(is_same(&grant, &grant));
        for place in 0..GRANT_BYTES {
            let mut other = grant;
            other[place] ^= 1;
            assert!(!is_same(&grant, &other), "{place}");
            assert!(!is_same(&grant, &grant[..place]), "{place}");
        }
    }
}
