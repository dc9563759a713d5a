//! Founding a family, forming conversations, and the log that comes with them.

use super::device::Engine;
use super::errors::{CommandError, check_name, named};
use super::io::Event;
use super::records;
use super::state::{Cx, Room};
use crate::conversation::{
    Address, Conversation, ConversationContext, ConversationKind, OwnAddress, Parties,
};
use crate::day::Day;
use crate::identity::{AddedDevice, AddedMember, FamilyLog, Role, Settings};
use crate::ids::{ConversationId, MemberId};
use crate::primitives::sign::SecretKey;
use crate::secrets::Secret;

impl Engine {
    /// Draws an address whose grant is new: its serial is never used twice.
    pub(super) fn draw_address(
        &mut self,
        scope: ConversationId,
        cx: &mut Cx<'_>,
    ) -> (OwnAddress, Address) {
        self.record.address_serial = self.record.address_serial.saturating_add(1);
        self.save_device(cx);
        let seed = Secret::from_slice(&self.record.revocation_seed)
            .unwrap_or_else(|| Secret::new([0; 32]));
        OwnAddress::draw(
            self.mailbox,
            &Self::secret_key(&self.record.grant_seed),
            &seed,
            &scope,
            self.record.address_serial,
            cx.now.day(),
            &mut cx.rng,
        )
    }

    pub(super) fn create_family(
        &mut self,
        family_name: &str,
        guardian_name: &str,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        if self.log.is_some() || !self.record.family.is_empty() {
            return Err(CommandError::InFamily);
        }
        check_name(family_name)?;
        check_name(guardian_name)?;
        let identity = SecretKey::random(&mut cx.rng);
        let member = MemberId::new(cx.random16());
        let log = FamilyLog::found(
            family_name,
            AddedMember {
                member,
                role: Role::Guardian,
                name: guardian_name.to_owned(),
            },
            AddedDevice {
                member,
                device: self.signer.device,
                signature_key: self.signer.key.public(),
                name: named(&self.record.device_name),
                identity_key: Some(identity.public()),
            },
            Settings::default(),
            cx.now.day(),
            &mut cx.rng,
        )?;
        let id = ConversationId::new(cx.random16());
        let parties = Parties::from(log.clone());
        self.form(id, ConversationKind::Family, family_name, parties, cx)?;
        self.record.identity_seed = identity.seed().to_vec().into();
        self.record.family = log.family().to_bytes();
        self.record.member = member.to_bytes();
        self.record.family_conversation = id.to_bytes();
        self.save_device(cx);
        self.replace_log(log, cx);
        Ok(())
    }

    /// Forms a conversation with this device alone in it.
    pub(super) fn form(
        &mut self,
        id: ConversationId,
        kind: ConversationKind,
        title: &str,
        parties: Parties,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let context = ConversationContext {
            kind,
            title: title.to_owned(),
            parties: parties.heads(),
            day: parties
                .logs()
                .map(FamilyLog::day)
                .fold(self.today(cx.now), Day::max),
            left: vec![],
        };
        let (own, address) = self.draw_address(id, cx);
        let conversation =
            Conversation::create(&self.crypto, &self.signer, id, &context, parties, &address)?;
        let mut room = Room::new(conversation, kind, title.to_owned(), own);
        // Nobody else can have offered a commit for an epoch that only we have.
        room.synced = true;
        self.rooms.insert(id, room);
        cx.event(Event::Joined {
            conversation: id,
            title: title.to_owned(),
        });
        Ok(())
    }

    /// Takes over a log that extends ours, and persists the new entries.
    pub(super) fn replace_log(&mut self, log: FamilyLog, cx: &mut Cx<'_>) {
        let known = self.log.as_ref().map_or(0, FamilyLog::len);
        for (index, entry) in (0_u64..)
            .zip(&log.entries())
            .skip_while(|(index, _)| *index < known)
        {
            cx.put_message(records::number(records::LOG, index), entry);
        }
        let moved = log.len() > known;
        self.reconcile_due |= moved;
        self.tell_policies(&log, cx);
        let before = self.log.replace(log);
        if moved {
            self.log_moved(before.as_ref(), cx);
        }
    }
}
