//! Who takes part: mailboxes with their keys, everything that will be sent, all from one seed.

use bytes::Bytes;
use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::blob;
use kinline_protocol::day::Day;
use kinline_protocol::grant::{Grant, revocation_hash};
use kinline_protocol::ids::{MailboxId, MessageId, SlotToken};
use kinline_protocol::limits::ENVELOPE_BYTES;
use kinline_protocol::primitives::sign::SecretKey;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// Devices that send; each has a mailbox of its own.
pub const SENDERS: usize = 2;
/// Bytes of a blob: one of Padmé's classes.
pub const BLOB_BYTES: usize = 16 * 1_024;
/// Days that a grant holds.
const GRANT_DAYS: u32 = 90;

/// A mailbox and its keys.
#[derive(Debug)]
pub struct Mailbox {
    /// For people who read reports.
    pub name: &'static str,
    /// Its id.
    pub id: MailboxId,
    /// Attaches.
    pub authentication: SecretKey,
    /// Signs grants.
    pub grant: SecretKey,
    /// Closes.
    pub close: SecretKey,
}

impl Mailbox {
    fn new(name: &'static str, random: &mut ChaCha20Rng) -> Self {
        Self {
            name,
            id: MailboxId::random(random),
            authentication: SecretKey::random(random),
            grant: SecretKey::random(random),
            close: SecretKey::random(random),
        }
    }

    /// Its public keys.
    #[must_use]
    pub fn keys(&self) -> MailboxKeys {
        MailboxKeys {
            authentication: self.authentication.public(),
            grant: self.grant.public(),
            close: self.close.public(),
        }
    }

    /// A grant that `secret` revokes.
    #[must_use]
    pub fn grant(&self, today: u32, secret: &[u8; 32]) -> Bytes {
        let grant = Grant {
            mailbox: self.id,
            serial: u64::from(secret[0]),
            last_day: Day(today + GRANT_DAYS),
            revocation_hash: revocation_hash(secret),
        };
        grant.sign(&self.grant).to_vec().into()
    }

    /// The last day of what [`Self::grant`] makes.
    #[must_use]
    pub const fn grant_ends(today: u32) -> u32 {
        today + GRANT_DAYS
    }
}

/// Something larger than an envelope.
#[derive(Debug)]
pub struct Blob {
    /// Reads it.
    pub read: [u8; 32],
    /// Writes and deletes it.
    pub owner: [u8; 32],
    /// All of it.
    pub bytes: Bytes,
}

impl Blob {
    fn new(random: &mut ChaCha20Rng) -> Self {
        let mut bytes = vec![0; BLOB_BYTES];
        random.fill_bytes(&mut bytes);
        Self {
            read: thirty_two(random),
            owner: thirty_two(random),
            bytes: bytes.into(),
        }
    }

    /// Hashes of both secrets.
    #[must_use]
    pub fn hashes(&self) -> ([u8; 32], [u8; 32]) {
        (blob::read_hash(&self.read), blob::owner_hash(&self.owner))
    }
}

/// Everybody.
#[derive(Debug)]
pub struct Cast {
    /// Attached all the time, acknowledges now and then.
    pub anna: Mailbox,
    /// Never there.
    pub bob: Mailbox,
    /// Comes in the middle, takes some, goes.
    pub cleo: Mailbox,
    /// Absent, and closed in the middle.
    pub dora: Mailbox,
    /// Uploads blobs; nothing is sent to it.
    pub uploader: Mailbox,
    /// The senders' own.
    pub senders: Vec<Mailbox>,
    /// Revokes the last sender's grant for bob.
    pub doomed: [u8; 32],
    /// Revokes every other grant; never published.
    pub lasting: [u8; 32],
    /// Tokens that both senders offer a commit for.
    pub slots: Vec<SlotToken>,
    /// Uploaded in two parts and kept; uploaded and deleted; begun.
    pub blobs: [Blob; 3],
    /// Sends of each sender.
    pub rounds: usize,
    seed: u64,
}

impl Cast {
    /// The cast of a seed; each sender sends `rounds` times.
    #[must_use]
    pub fn new(seed: u64, rounds: usize) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let random = &mut random;
        Self {
            anna: Mailbox::new("anna", random),
            bob: Mailbox::new("bob", random),
            cleo: Mailbox::new("cleo", random),
            dora: Mailbox::new("dora", random),
            uploader: Mailbox::new("uploader", random),
            senders: (0..SENDERS)
                .map(|_| Mailbox::new("sender", random))
                .collect(),
            doomed: thirty_two(random),
            lasting: thirty_two(random),
            slots: (0..rounds).map(|_| SlotToken::random(random)).collect(),
            blobs: [Blob::new(random), Blob::new(random), Blob::new(random)],
            rounds,
            seed,
        }
    }

    /// Every mailbox, in the order in which they are opened.
    pub fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        [
            &self.anna,
            &self.bob,
            &self.cleo,
            &self.dora,
            &self.uploader,
        ]
        .into_iter()
        .chain(&self.senders)
    }

    /// Into whose mailboxes a sender puts something in a round.
    #[must_use]
    pub fn recipients(&self, sender: usize, round: usize) -> Vec<&Mailbox> {
        match (round + sender) % 4 {
            0 => vec![&self.anna, &self.bob],
            1 => vec![&self.bob, &self.cleo, &self.dora],
            2 => vec![&self.anna, &self.cleo],
            _ => vec![&self.anna, &self.bob, &self.cleo, &self.dora],
        }
    }

    /// Names one envelope of one Send.
    #[must_use]
    pub fn message(&self, sender: usize, round: usize, recipient: usize) -> MessageId {
        let name = (sender as u64) << 48 | (round as u64) << 16 | recipient as u64;
        let mut random = ChaCha20Rng::seed_from_u64(self.seed);
        random.set_stream(name + 1);
        MessageId::random(&mut random)
    }

    /// The slot of a round, if it is one with a commit.
    #[must_use]
    pub fn slot(&self, round: usize) -> Option<SlotToken> {
        (round % 4 == 3).then(|| self.slots[round])
    }

    /// What a sender offers for it.
    #[must_use]
    pub fn commit(&self, sender: usize, round: usize) -> Bytes {
        let mut random = ChaCha20Rng::seed_from_u64(self.seed);
        random.set_stream(u64::MAX - (round * SENDERS + sender) as u64);
        let mut sealed = vec![0; 4_096];
        random.fill_bytes(&mut sealed);
        sealed.into()
    }

    /// What a sender's grant for a mailbox is revoked with.
    #[must_use]
    pub fn secret(&self, sender: usize, to: &Mailbox) -> &[u8; 32] {
        if sender == SENDERS - 1 && to.id == self.bob.id {
            &self.doomed
        } else {
            &self.lasting
        }
    }
}

/// The sealed bytes that a message id names: any other bytes under it are damage.
#[must_use]
pub fn body(message: &MessageId) -> Bytes {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(message.as_bytes());
    let mut bytes = vec![0; ENVELOPE_BYTES];
    ChaCha20Rng::from_seed(seed).fill_bytes(&mut bytes);
    bytes.into()
}

fn thirty_two(random: &mut ChaCha20Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Cast, SENDERS, body};

    #[test]
    fn a_seed_makes_the_same_cast_and_no_two_envelopes_are_alike() {
        let (cast, again) = (Cast::new(7, 8), Cast::new(7, 8));
        let mut seen = BTreeSet::new();
        for sender in 0..SENDERS {
            for round in 0..8 {
                for recipient in 0..4 {
                    let message = cast.message(sender, round, recipient);
                    assert_eq!(message, again.message(sender, round, recipient));
                    assert!(seen.insert(body(&message)));
                }
            }
            assert_eq!(cast.commit(sender, 3), again.commit(sender, 3));
        }
        assert_ne!(cast.commit(0, 3), cast.commit(1, 3));
        assert_ne!(cast.bob.id, Cast::new(8, 8).bob.id);
    }
}
