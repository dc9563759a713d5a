//! What a staged commit would change, put before the gate.

use openmls::prelude::{LeafNode, Proposal, Sender, StagedCommit};

use super::gate::{Change, NewLeaf, Refusal, judge};
use super::group::{Conversation, ConversationError, Incoming, context_of};
use super::mls;
use crate::ids::DeviceId;
use crate::primitives::sign::PublicKey;
use crate::wire;

impl Conversation {
    pub(super) fn judge_staged(
        &self,
        staged: &StagedCommit,
        committer: DeviceId,
        news: &[wire::PartyNews],
    ) -> Result<Incoming, ConversationError> {
        let before = self.context()?;
        let after = context_of(staged.group_context().extensions()).ok_or(Refusal::Context)?;
        if !same_but_context(self.group.extensions(), staged.group_context().extensions()) {
            return Err(Refusal::Context.into());
        }
        let mut added = Vec::new();
        for proposal in staged.add_proposals() {
            added.push(new_leaf(proposal.add_proposal().key_package().leaf_node())?);
        }
        let mut removed = Vec::new();
        for proposal in staged.remove_proposals() {
            let index = proposal.remove_proposal().removed();
            let leaf = self
                .group
                .public_group()
                .leaf(index)
                .ok_or(ConversationError::NoLeaf)?;
            removed.push(mls::leaf_device(leaf).ok_or(Refusal::Stranger)?);
        }
        let foreign_proposals = staged.queued_proposals().any(|queued| {
            !matches!(queued.sender(), Sender::Member(_))
                || !matches!(
                    queued.proposal(),
                    Proposal::Add(_) | Proposal::Remove(_) | Proposal::GroupContextExtensions(_)
                )
        });
        let updated = match staged.update_path_leaf_node() {
            Some(leaf) => Some(new_leaf(leaf)?),
            None => return Err(Refusal::Proposal.into()),
        };
        let devices = self.devices();
        let numbers = self
            .leaves()
            .into_iter()
            .map(|leaf| (leaf.device, leaf.address.number))
            .collect();
        let change = Change {
            committer,
            added,
            removed,
            updated,
            foreign_proposals,
            before: &before,
            after: &after,
            news,
            devices: &devices,
            conversation: self.id(),
            numbers: &numbers,
        };
        let parties = judge(&change, &self.parties)?;
        Ok(Incoming {
            parties,
            context: after.clone(),
            left_before: before.left.clone(),
            added: change.added.iter().filter_map(|leaf| leaf.device).collect(),
            self_removed: staged.self_removed(),
            removed: change.removed,
        })
    }
}

/// A change of the context extensions replaces the whole list: everything but ours has to stay,
/// or a member could let strangers propose.
fn same_but_context(
    before: &openmls::prelude::Extensions<openmls::prelude::GroupContext>,
    after: &openmls::prelude::Extensions<openmls::prelude::GroupContext>,
) -> bool {
    let ours = openmls::prelude::ExtensionType::Unknown(mls::CONTEXT_EXTENSION);
    let others = |extension: &&openmls::prelude::Extension| extension.extension_type() != ours;
    before.iter().filter(others).eq(after.iter().filter(others))
}

fn new_leaf(leaf: &LeafNode) -> Result<NewLeaf, Refusal> {
    Ok(NewLeaf {
        device: mls::leaf_device(leaf),
        signature_key: PublicKey::from_slice(leaf.signature_key().as_slice())
            .ok_or(Refusal::Key)?,
        address: mls::leaf_address(leaf).ok(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use openmls::prelude::{
        CredentialType, CredentialWithKey, Extension, ExtensionType, Extensions, ExternalSender,
        GroupContext, RequiredCapabilitiesExtension, UnknownExtension,
    };
    use openmls_libcrux_crypto::CryptoProvider;
    use prost::Message as _;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use crate::conversation::{
        Conversation, ConversationContext, ConversationError, ConversationKind, DeviceSigner,
        OwnAddress, Parties, Refusal, mls,
    };
    use crate::day::Day;
    use crate::identity::{AddedDevice, AddedMember, FamilyLog, Role, Settings};
    use crate::ids::{ConversationId, DeviceId, MailboxId, MemberId};
    use crate::primitives::sign::SecretKey;
    use crate::secrets::Secret;

    fn founded() -> (Conversation, DeviceSigner, ConversationContext) {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let key = SecretKey::from_seed(&[2; 32]);
        let device = DeviceId::new([3; 16]);
        let member = MemberId::new([4; 16]);
        let guardian = AddedMember {
            member,
            role: Role::Guardian,
            name: "g".into(),
        };
        let added = AddedDevice {
            member,
            device,
            signature_key: key.public(),
            name: "d".into(),
            identity_key: Some(SecretKey::from_seed(&[5; 32]).public()),
        };
        let log =
            FamilyLog::found("F", guardian, added, Settings::default(), Day(1), &mut rng).unwrap();
        let parties = Parties::from(log);
        let context = ConversationContext {
            kind: ConversationKind::Family,
            title: "F".into(),
            parties: parties.heads(),
            day: Day(1),
            left: vec![],
        };
        let id = ConversationId::new([6; 16]);
        let (_, address) = OwnAddress::draw(
            MailboxId::new([7; 16]),
            &SecretKey::from_seed(&[8; 32]),
            &Secret::new([9; 32]),
            &id,
            1,
            Day(1),
            &mut rng,
        );
        let crypto = Arc::new(CryptoProvider::new().unwrap());
        let signer = DeviceSigner { device, key };
        let conversation =
            Conversation::create(&crypto, &signer, id, &context, parties, &address).unwrap();
        (conversation, signer, context)
    }

    /// What the gate says to a commit with this list of context extensions.
    fn judged(
        conversation: &mut Conversation,
        signer: &DeviceSigner,
        extensions: Extensions<GroupContext>,
    ) -> Result<(), ConversationError> {
        let provider = &conversation.provider;
        let builder = conversation.group.commit_builder().force_self_update(true);
        builder
            .propose_group_context_extensions(extensions)
            .unwrap()
            .load_psks(&provider.storage)
            .unwrap()
            .build(
                provider.crypto.as_ref(),
                provider.crypto.as_ref(),
                signer,
                |_| true,
            )
            .unwrap()
            .stage_commit(provider)
            .unwrap();
        let staged = conversation.group.pending_commit().unwrap();
        let judged = conversation
            .judge_staged(staged, signer.device, &[])
            .map(|_| ());
        conversation.drop_own().unwrap();
        judged
    }

    #[test]
    fn only_our_own_context_extension_may_change() {
        let (mut conversation, signer, context) = founded();
        let same = mls::context_extensions(&context).unwrap();
        assert!(judged(&mut conversation, &signer, same).is_ok());
        let CredentialWithKey {
            credential,
            signature_key,
        } = signer.credential();
        let ours = Extension::Unknown(
            mls::CONTEXT_EXTENSION,
            UnknownExtension(context.to_wire().encode_to_vec()),
        );
        let both = [mls::ADDRESS_EXTENSION, mls::CONTEXT_EXTENSION].map(ExtensionType::Unknown);
        let required = |credentials: &[CredentialType]| {
            let required = RequiredCapabilitiesExtension::new(&both, &[], credentials);
            Extension::RequiredCapabilities(required)
        };
        let lets_strangers_propose = Extensions::from_vec(vec![
            required(&[CredentialType::Basic]),
            ours.clone(),
            Extension::ExternalSenders(vec![ExternalSender::new(signature_key, credential)]),
        ]);
        let needs_less = Extensions::from_vec(vec![required(&[]), ours]);
        for extensions in [lets_strangers_propose.unwrap(), needs_less.unwrap()] {
            let refused = judged(&mut conversation, &signer, extensions);
            assert!(
                matches!(refused, Err(ConversationError::Refused(Refusal::Context))),
                "{refused:?}"
            );
        }
    }
}
