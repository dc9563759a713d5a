//! What a device could do that follows no rules: its MLS state and keys, taken out of its store.

use kinline_protocol::conversation::{
    Conversation, ConversationContext, DeviceSigner, Parties, ProposedChange, seal_commit,
};
use kinline_protocol::day::Day;
use kinline_protocol::envelope::{self, Kind, Payload};
use kinline_protocol::identity::FamilyLog;
use kinline_protocol::ids::{ConversationId, DeviceId, MailboxId, MessageId};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire;
use rand_chacha::ChaCha20Rng;

use super::device::Device;
use super::honest::Honest;

/// A device's state in the hands of somebody who means harm.
pub struct Outlaw {
    /// Its place in one conversation.
    pub conversation: Conversation,
    /// Its key.
    pub signer: DeviceSigner,
    /// The key of its person, when that is a guardian; another one otherwise.
    pub identity: SecretKey,
    /// The family log as it knows it.
    pub log: FamilyLog,
}

impl Outlaw {
    /// Takes a device's part in a conversation.
    ///
    /// # Panics
    /// When it is not in it.
    #[must_use]
    pub fn of(device: &Device, id: ConversationId) -> Self {
        let keys = device.keys();
        let identity = keys.identity_seed.as_ref().try_into().unwrap_or([1; 32]);
        Self {
            conversation: device.conversation(id).unwrap(),
            signer: DeviceSigner {
                device: DeviceId::try_from(&keys.device).unwrap(),
                key: SecretKey::from_seed(&keys.signature_seed.as_ref().try_into().unwrap()),
            },
            identity: SecretKey::from_seed(&identity),
            log: device.log().unwrap(),
        }
    }

    /// Makes a commit; returns the slot's token, what fills it, and the welcome. It is signed
    /// as offered by `offerer`, with this device's key.
    ///
    /// # Panics
    /// When MLS or this device's own gate refuses.
    pub fn commit(
        &mut self,
        change: ProposedChange,
        offerer: DeviceId,
        rng: &mut ChaCha20Rng,
    ) -> (Vec<u8>, Vec<u8>, Option<Vec<u8>>) {
        let token = self.conversation.slot_token().unwrap();
        let key = self.conversation.commit_key().unwrap();
        let proposed = self.conversation.propose(&self.signer, change);
        let proposed = proposed.unwrap();
        let signer = &self.signer.key;
        let sealed = seal_commit(&proposed.commit, &token, &key, offerer, signer, rng).unwrap();
        (token.as_bytes().to_vec(), sealed, proposed.welcome)
    }

    /// The change of a conversation of this family that follows these statements.
    ///
    /// # Panics
    /// When they don't extend the log.
    #[must_use]
    pub fn change(&self, statements: &[wire::SignedStatement], day: Day) -> ProposedChange {
        let context = self.conversation.context().unwrap();
        let before = self.conversation.parties();
        let mut next = self.log.clone();
        for statement in statements {
            next.append(statement).unwrap();
        }
        let after = Parties::from(next);
        ProposedChange {
            context: Some(ConversationContext {
                parties: after.heads(),
                day: day.max(context.day),
                ..context
            }),
            news: before.news(&after),
            ..ProposedChange::default()
        }
    }

    /// Puts a commit into its slot, if that is empty; whether it was.
    pub fn offer(
        &mut self,
        honest: &mut Honest,
        change: ProposedChange,
        rng: &mut ChaCha20Rng,
    ) -> bool {
        let (token, sealed, _) = self.commit(change, self.signer.device, rng);
        let free = !honest.slots.contains_key(&token);
        honest.slots.entry(token).or_insert_with(|| sealed.into());
        free
    }
}

/// Seals something for `to` as any member of the conversation can, and puts it into its mailbox.
///
/// # Panics
/// When it does not fit.
pub fn plant(
    honest: &mut Honest,
    to: (&wire::DeviceRecord, &[u8]),
    kind: Kind,
    payload: Vec<u8>,
    rng: &mut ChaCha20Rng,
) {
    let (record, key) = to;
    let mailbox = MailboxId::try_from(&record.mailbox).unwrap();
    let message = MessageId::random(rng);
    let key = Secret::from_slice(key).unwrap();
    let payload = Payload::Inline(payload);
    let envelope = envelope::seal(&key, &mailbox, &message, kind, &payload, rng).unwrap();
    honest.put(&record.mailbox, message.to_bytes(), envelope);
}
