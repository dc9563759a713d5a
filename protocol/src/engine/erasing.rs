//! Erasing a child or the family everywhere (PROTOCOL §17.5): a guardian says so, each device
//! that it is about has the relay forget its mailbox and blobs and is wiped by its shell; the
//! child leaves the family's log when its devices have heard of it, or after three days.

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::records;
use super::session::Request;
use super::state::Cx;
use crate::attach::{self, Challenge};
use crate::content::{Body, Content, Control, Erase};
use crate::day::{DAY_MS, Day, Timestamp};
use crate::identity::Role;
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};
use crate::secrets::Secret;
use crate::wire::{self, client_frame::Body as ClientBody};

/// A device that has not heard of it for so long is cut off without its help.
const HEARD_MS: u64 = 3 * DAY_MS;
/// A device that is to be erased says what it still owes for so long, and no longer.
const LAST_WORDS_MS: u64 = 60_000;
/// The relay has so long to say that it erased the mailbox: one that says nothing keeps no tablet
/// from being wiped.
const ANSWER_MS: u64 = 2 * 60_000;

impl Engine {
    // ---- at a guardian

    /// Asks for a child to be erased everywhere.
    ///
    /// # Errors
    /// [`CommandError::NotGuardian`], [`CommandError::NoMember`] for who is no child of this
    /// family, and what a content may be refused for.
    pub(super) fn erase_member(
        &mut self,
        member: MemberId,
        messages: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        let known = log.members().get(&member);
        if known.is_none_or(|known| known.role != Role::Child) {
            return Err(CommandError::NoMember);
        }
        self.ask_erasure(Some(member), messages, cx)?;
        if messages {
            self.erase_words_of(member, cx);
        }
        Ok(())
    }

    /// Asks for the family to be erased: the children's devices and this guardian's own. Other
    /// guardians hear of it and say so themselves.
    ///
    /// # Errors
    /// [`CommandError::NotGuardian`], and what a content may be refused for.
    pub(super) fn erase_family(&mut self, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        self.ask_erasure(None, false, cx)
    }

    fn ask_erasure(
        &mut self,
        member: Option<MemberId>,
        messages: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        if self.guardian_of(self.device()).is_none() {
            return Err(CommandError::NotGuardian);
        }
        let home = self.family_conversation().ok_or(CommandError::NoFamily)?;
        let room = self.rooms.get(&home).ok_or(CommandError::NoConversation)?;
        let key = (home, room.next_sequence);
        let erase = Erase { member, messages };
        self.write(
            home,
            Body::Control(Control::Erase(erase)),
            None,
            0,
            None,
            cx,
        )?;
        // Nobody else is there to hear of it: then it is carried out at once.
        let said = self.outbox.get(&key);
        let record = wire::EraseRecord {
            content: said.map(|said| said.content_id.clone()).unwrap_or_default(),
            since_ms: cx.now.0,
            deciding: false,
        };
        cx.put_message(erase_key(member), &record);
        self.erasures.insert(member, record);
        Ok(())
    }

    /// Whether this guardian has an account at the relay, as far as this device knows: erasing
    /// devices does not delete it.
    #[must_use]
    pub const fn has_account(&self) -> bool {
        self.record.account.is_some()
    }

    /// Erasures that this device asked for and that are not carried out yet; `None` is the
    /// family.
    #[must_use]
    pub fn erasures(&self) -> Vec<Option<MemberId>> {
        self.erasures.keys().copied().collect()
    }

    /// Devices that an erasure is about and that have not heard of it.
    #[must_use]
    pub fn erasure_waits_for(&self, member: Option<MemberId>) -> Vec<DeviceId> {
        let record = self.erasures.get(&member);
        let key = record.and_then(|record| self.outbox.find(&record.content));
        let Some(outgoing) = key.and_then(|key| self.outbox.get(&key)) else {
            return vec![];
        };
        let own = self.member();
        let open = outgoing.peers.iter();
        let open = open.filter(|peer| super::outgoing::is_open(peer.state()));
        open.filter_map(|peer| DeviceId::try_from(&peer.device).ok())
            .filter(|device| {
                let certificate = self.log.as_ref().and_then(|log| log.certificate(device));
                certificate.is_some_and(|certificate| match member {
                    Some(member) => certificate.member == member,
                    None => certificate.role == Role::Child || Some(certificate.member) == own,
                })
            })
            .collect()
    }

    pub(super) fn erasing_deadline(&self) -> Option<Timestamp> {
        let asked = self.erasures.values();
        let asked = asked.map(|record| Timestamp(record.since_ms).plus_ms(HEARD_MS));
        let waits = self.is_being_erased() && !self.record.erased;
        let last_words = Timestamp(self.record.erasing_since_ms).plus_ms(LAST_WORDS_MS);
        let own = waits.then(|| self.session.erased_by.unwrap_or(last_words));
        asked.chain(own).min()
    }

    /// What has been heard, or waited for long enough, is carried out.
    pub(super) fn tend_erasures(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        let due: Vec<Option<MemberId>> = self
            .erasures
            .iter()
            .filter(|(member, record)| {
                Timestamp(record.since_ms).plus_ms(HEARD_MS) <= cx.now
                    || (!record.deciding && self.erasure_waits_for(**member).is_empty())
            })
            .map(|(member, _)| *member)
            .collect();
        for member in due {
            self.carry_out_erasure(member, cx);
        }
    }

    fn carry_out_erasure(&mut self, member: Option<MemberId>, cx: &mut Cx<'_>) {
        let unheard = self.erasure_waits_for(member);
        let there = |member: &MemberId| {
            let log = self.log.as_ref();
            log.is_some_and(|log| log.members().contains_key(member))
        };
        match member {
            Some(member) if there(&member) => {
                for device in unheard {
                    // Not all have entrusted it to this phone.
                    let _ = self.close_mailbox(device, false, cx);
                }
                if self.remove_member(member, cx).is_err() {
                    // As much as a day takes was decided already: again later.
                    let record = wire::EraseRecord {
                        deciding: true,
                        since_ms: cx.now.0.saturating_sub(HEARD_MS / 3 * 2),
                        ..wire::EraseRecord::default()
                    };
                    cx.put_message(erase_key(Some(member)), &record);
                    self.erasures.insert(Some(member), record);
                    return;
                }
            }
            Some(_) => {}
            None => self.begin_erasing(cx),
        }
        self.erasures.remove(&member);
        cx.erase(erase_key(member));
    }

    // ---- at everybody

    /// A guardian has said it in the family's conversation.
    pub(super) fn erasure_told(
        &mut self,
        id: ConversationId,
        content: &Content,
        erase: &Erase,
        cx: &mut Cx<'_>,
    ) {
        let sender = self.certificate_in(id, content.sender);
        let Some(sender) = sender.filter(|it| it.role == Role::Guardian) else {
            return self.unreadable("somebody who is no guardian wants something erased", cx);
        };
        let log = self.log.as_ref();
        let own = log.and_then(|log| log.certificate(&self.device()));
        let role = |member: &MemberId| {
            let known = log.and_then(|log| log.members().get(member));
            known.map(|known| known.role)
        };
        match (erase.member, own) {
            (Some(child), _) if role(&child) != Some(Role::Child) => {
                self.unreadable("only children are erased by themselves", cx);
            }
            (Some(child), Some(own)) if own.member == child => self.begin_erasing(cx),
            (Some(child), _) => {
                if erase.messages {
                    self.erase_words_of(child, cx);
                }
                cx.event(Event::EraseAsked {
                    by: sender.member,
                    member: Some(child),
                });
            }
            (None, Some(own)) if own.role == Role::Child || own.member == sender.member => {
                self.begin_erasing(cx);
            }
            // Nobody else's phone is erased at another's word.
            (None, _) => cx.event(Event::EraseAsked {
                by: sender.member,
                member: None,
            }),
        }
    }

    /// Everything that a member said goes from this device, in every conversation.
    fn erase_words_of(&mut self, member: MemberId, cx: &mut Cx<'_>) {
        let of = |entry: &wire::IndexRecord| entry.sender_member.as_ref() == member.as_bytes();
        let all: Vec<(ContentId, ConversationId)> = self
            .index
            .iter()
            .filter(|(_, entry)| of(entry))
            .filter_map(|(content, entry)| {
                Some((
                    *content,
                    ConversationId::try_from(&entry.conversation).ok()?,
                ))
            })
            .collect();
        for (content, id) in all {
            self.strip(id, content, cx);
            cx.event(Event::Disappeared {
                conversation: id,
                content,
            });
        }
    }

    // ---- the device that is erased

    /// Its blobs go at once; its mailbox when it has confirmed that it heard.
    fn begin_erasing(&mut self, cx: &mut Cx<'_>) {
        if self.record.erasing_since_ms > 0 {
            return;
        }
        self.record.erasing_since_ms = cx.now.0.max(1);
        self.save_device(cx);
        let outgoing = self.outbox.iter();
        let attachments = outgoing.filter_map(|(_, outgoing)| outgoing.attachment.as_ref());
        let garbage = self.garbage.values().map(|it| &it.record.owner_secret);
        let secrets: Vec<Secret<32>> = attachments
            .map(|upload| &upload.owner_secret)
            .chain(garbage)
            .filter_map(|secret| Secret::from_slice(secret))
            .collect();
        cx.out.blob_deletions.extend(secrets);
    }

    /// The last thing that this device asks of the relay.
    pub(super) fn leave_relay(&mut self, cx: &mut Cx<'_>) {
        if !self.is_being_erased()
            || self.record.erased
            || !self.session.is_attached()
            || !self.session.is_caught_up()
        {
            return;
        }
        if let Some(by) = self.session.erased_by {
            if by <= cx.now {
                self.mailbox_erased(0, cx);
            }
            return;
        }
        let owes = !self.sends.is_empty() || self.confirm_at.is_some();
        let patient = Timestamp(self.record.erasing_since_ms).plus_ms(LAST_WORDS_MS) > cx.now;
        if owes && patient {
            return;
        }
        let overflows = self
            .sends
            .values()
            .filter_map(|send| send.overflow.as_ref());
        let secrets = overflows.filter_map(|upload| Secret::from_slice(&upload.owner_secret));
        cx.out.blob_deletions.extend(secrets);
        let name = self.relay.server_name();
        let challenge = Challenge {
            server_name: &name,
            nonce: self.session.nonce(),
        };
        let key = Self::secret_key(&self.record.authentication_seed);
        let signature = attach::sign_erase(&key, &challenge, &self.mailbox);
        let erase = wire::EraseMailbox {
            signature: signature.to_vec().into(),
        };
        self.session.erased_by = Some(cx.now.plus_ms(ANSWER_MS));
        self.request(Request::EraseMailbox, ClientBody::EraseMailbox(erase), cx);
    }

    /// The relay has nothing of this device any more, does not do it, or does not say: what is
    /// here goes in any case.
    pub(super) fn mailbox_erased(&mut self, backups_end_day: u32, cx: &mut Cx<'_>) {
        self.record.erased = true;
        self.record.backups_end_day = backups_end_day;
        self.save_device(cx);
        self.tell_erased(cx);
    }

    pub(super) const fn is_being_erased(&self) -> bool {
        self.record.erasing_since_ms > 0
    }

    /// Whether this device is over: its shell deletes its folder.
    #[must_use]
    pub const fn is_erased(&self) -> bool {
        self.record.erased
    }

    pub(super) fn tell_erased(&mut self, cx: &mut Cx<'_>) {
        let day = self.record.backups_end_day;
        cx.event(Event::Erased {
            backups_end: (day > 0).then_some(Day(day)),
        });
        self.hang_up(cx);
    }
}

fn erase_key(member: Option<MemberId>) -> super::io::RecordKey {
    let name = member.map_or_else(Vec::new, |member| member.as_bytes().to_vec());
    records::state(records::ERASE, &[&name])
}
