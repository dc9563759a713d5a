//! The engine itself: its state, and the calls into it.

use std::collections::{BTreeMap, BTreeSet};

use super::blobs::{Garbage, Transfers};
use super::contents::Contents;
use super::errors::CommandError;
use super::inbox::Inbox;
use super::io::{Command, Input, Output};
use super::meeting::Meeting;
use super::noticing::Noticed;
use super::operating::Operating;
use super::pairing::PairingState;
use super::past::Past;
use super::past_giving::Giving;
use super::policing::Policing;
use super::receive::{Ask, Held};
use super::records;
use super::session::{Request, Session};
use super::state::{Cx, Room};
use super::vault::VaultAsked;
use crate::conversation::{Crypto, DeviceSigner};
use crate::day::{Day, Timestamp};
use crate::identity::{Clock, FamilyLog, Lease};
use crate::ids::{
    ContentId, ConversationId, DeviceId, FamilyId, MailboxId, MemberId, PassId, RendezvousId,
};
use crate::limits;
use crate::primitives::sign::SecretKey;
use crate::server_name::RelayAddress;
use crate::wire::{self, client_frame::Body as ClientBody};

/// What was counted since the engine was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Envelopes that could not be opened.
    pub unreadable: u64,
    /// Contents that came again and were not shown again.
    pub duplicates: u64,
    /// Changes that the gate or MLS refused.
    pub refused: u64,
    /// Contents that a child's policy keeps from its screen for good.
    pub withheld: u64,
    /// Words said to be the operator's that are not.
    pub forged: u64,
    /// Gaps that were shown.
    pub gaps: u64,
    /// Contents that wait for some device's confirmation.
    pub unconfirmed: u64,
}

/// A device.
pub struct Engine {
    pub(super) crypto: Crypto,
    pub(super) record: wire::DeviceRecord,
    pub(super) relay: RelayAddress,
    pub(super) signer: DeviceSigner,
    pub(super) mailbox: MailboxId,
    pub(super) generation: u64,
    pub(super) log: Option<FamilyLog>,
    /// Other families' logs, as far as this device was ever shown them.
    pub(super) friends: BTreeMap<FamilyId, FamilyLog>,
    /// Volatile: our family may not have heard what other families' logs and heads say.
    pub(super) news_due: bool,
    /// Volatile: leaves and heads may differ from what the logs say.
    pub(super) reconcile_due: bool,
    pub(super) rooms: BTreeMap<ConversationId, Room>,
    pub(super) key_packages: BTreeMap<Vec<u8>, wire::KeyPackageRecord>,
    pub(super) peer_key_packages: BTreeMap<Vec<u8>, wire::PeerKeyPackageRecord>,
    pub(super) outbox: Contents,
    pub(super) sends: BTreeMap<u64, wire::PendingSendRecord>,
    pub(super) next_send: u64,
    pub(super) operations: BTreeMap<u64, wire::OperationRecord>,
    pub(super) next_operation: u64,
    pub(super) held: BTreeMap<(ConversationId, DeviceId, u64), Held>,
    pub(super) held_bytes: usize,
    pub(super) index: BTreeMap<ContentId, wire::IndexRecord>,
    pub(super) garbage: BTreeMap<Vec<u8>, Garbage>,
    pub(super) fetched_contents: BTreeMap<(ConversationId, DeviceId), Vec<ContentId>>,
    /// At a guardian: what children's devices have entrusted to this one.
    pub(super) wards: BTreeMap<DeviceId, wire::MailboxHandover>,
    pub(super) revocations: BTreeMap<Vec<u8>, wire::RevocationRecord>,
    pub(super) closings: BTreeMap<bytes::Bytes, wire::ClosingRecord>,
    /// Other guardians' proposals that wait for this one's yes, by salt.
    pub(super) proposals: BTreeMap<[u8; 16], wire::ProposalRecord>,
    /// Guardians' wishes to come back that this device has heard of.
    pub(super) returns: BTreeMap<DeviceId, wire::ReturnAskedRecord>,
    /// The newest versions of guardians' vaults that were said in the family.
    pub(super) vaults: BTreeMap<MemberId, u64>,
    /// Contact passes on their way.
    pub(super) passes: BTreeMap<PassId, wire::PassRecord>,
    /// What was last told about a family, and where.
    pub(super) told: BTreeMap<(ConversationId, FamilyId), [u8; 32]>,
    pub(super) clock: Option<Clock>,
    pub(super) lease: Lease,
    pub(super) noticed: Noticed,
    pub(super) operator: Operating,
    /// The newest signed head of each family.
    pub(super) heads: BTreeMap<FamilyId, bytes::Bytes>,
    /// While loading: until the family is known.
    pub(super) clock_record: Option<wire::ClockRecord>,
    /// Groups of children of several families on their way.
    pub(super) groups: BTreeMap<[u8; 16], wire::GroupRecord>,
    /// Pictures of which the family gets copies.
    pub(super) copies: BTreeMap<ContentId, wire::CopyRecord>,
    pub(super) policing: Policing,
    /// History that is coming in.
    pub(super) pasts: BTreeMap<ConversationId, Past>,
    /// Erasures that this guardian's device asked for; `None`: of the family.
    pub(super) erasures: BTreeMap<Option<MemberId>, wire::EraseRecord>,
    /// History and attachments that other devices asked for.
    pub(super) giving: Giving,
    /// Attachments that other devices were asked for.
    pub(super) sought: BTreeMap<(ConversationId, ContentId), wire::MediaSoughtRecord>,
    // Volatile from here on: made anew from the records, or gone with the connection.
    pub(super) own_contents: BTreeMap<(ConversationId, u64), ContentId>,
    pub(super) disappearing: BTreeSet<(Timestamp, ContentId)>,
    pub(super) session: Session,
    pub(super) inbox: Inbox,
    pub(super) transfers: Transfers,
    pub(super) pairing: Option<PairingState>,
    pub(super) meeting: Option<Meeting>,
    /// How often this device tried which short code: the relay must not guess without end by
    /// saying each time that the digits were wrong.
    pub(super) short_tries: Option<(RendezvousId, u8)>,
    pub(super) confirm_at: Option<Timestamp>,
    /// The shell was asked to write the vault, and when.
    pub(super) vault_asked: Option<VaultAsked>,
    /// When the family's devices are asked again to let this one come back.
    pub(super) returning_at: Option<Timestamp>,
    /// Volatile: devices that were asked at addresses which are not good any more.
    pub(super) returning_refused: BTreeSet<bytes::Bytes>,
    /// Guardians who ask to come back with an older vault than was said in the family.
    pub(super) rolled_back: BTreeSet<MemberId>,
    /// When other families' guardians are asked again to let this device into their links.
    pub(super) links_at: Option<Timestamp>,
    /// Key packages with which that is asked, by conversation.
    pub(super) link_packages: BTreeMap<Vec<u8>, bytes::Bytes>,
    /// When to look again at who asks to come back.
    pub(super) asked_at: Option<Timestamp>,
    /// Whose contents are missing, and when it is time to ask (again).
    pub(super) asks: BTreeMap<(ConversationId, DeviceId), Ask>,
    pub(super) counters: Counters,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("device", &self.signer.device)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Takes in what happened.
    pub fn input(
        &mut self,
        input: Input,
        now: Timestamp,
        rng: &mut dyn rand_core::CryptoRng,
    ) -> Output {
        let mut cx = Cx {
            now,
            rng,
            out: Output::default(),
        };
        match input {
            Input::Connected(hello) => self.connected(hello, &mut cx),
            Input::Disconnected => self.disconnected(&mut cx),
            Input::Frames(frames) => {
                for frame in frames {
                    self.frame(frame, &mut cx);
                }
            }
            Input::Uploaded { handle, outcome } => self.uploaded(handle, outcome, &mut cx),
            Input::Fetched {
                read_secret,
                outcome,
            } => self.fetched(&read_secret, outcome, &mut cx),
            Input::Read { number, records } => self.history_read(number, records, &mut cx),
            Input::Tick => self.tick(&mut cx),
        }
        self.settle(&mut cx);
        self.finish(cx)
    }

    /// Does what a person wants.
    ///
    /// # Errors
    /// [`CommandError`]: a sentence for that person; nothing was changed.
    pub fn command(
        &mut self,
        command: Command,
        now: Timestamp,
        rng: &mut dyn rand_core::CryptoRng,
    ) -> Result<Output, CommandError> {
        let mut cx = Cx {
            now,
            rng,
            out: Output::default(),
        };
        match command {
            Command::CreateFamily {
                family_name,
                guardian_name,
            } => {
                self.create_family(&family_name, &guardian_name, &mut cx)?;
            }
            Command::StartPairing { role, name, by } => {
                self.start_pairing(role, &name, by, &mut cx)?;
            }
            Command::AnswerPairing { accept } => self.answer_pairing(accept, &mut cx)?,
            Command::JoinByCode { code } => self.join_by_code(&code, &mut cx)?,
            Command::CreateConversation { title, members } => {
                self.create_room(&title, &members, &mut cx)?
            }
            Command::Send {
                conversation,
                body,
                reply_to,
                disappear_seconds,
                blob,
            } => {
                self.write(
                    conversation,
                    body,
                    reply_to,
                    disappear_seconds,
                    blob,
                    &mut cx,
                )?;
            }
            Command::MarkRead { conversation } => self.mark_read(conversation, &mut cx)?,
            Command::Typing { conversation } => self.typing(conversation, &mut cx)?,
            Command::AttachmentFetched { content } => self.attachment_fetched(content, &mut cx)?,
            Command::SelfUpdate { conversation } => self.self_update(conversation, &mut cx)?,
            Command::RemoveMember { member } => self.remove_member(member, &mut cx)?,
            Command::RemoveDevice { device } => self.remove_device(device, &mut cx)?,
            Command::ChangeSettings { settings } => self.change_settings(settings, &mut cx)?,
            Command::AnswerProposal { proposal, accept } => {
                self.answer_proposal(proposal, accept, &mut cx)?;
            }
            Command::CarryObjection { text } => self.carry_objection(&text, &mut cx)?,
            Command::Withdraw { removal } => self.withdraw(removal, &mut cx)?,
            Command::StartMeeting { child, by } => self.start_meeting(child, by, &mut cx)?,
            Command::JoinMeeting { code, child } => self.join_meeting(&code, child, &mut cx)?,
            Command::AnswerMeeting { accept } => self.answer_meeting(accept, &mut cx)?,
            Command::OfferPass {
                link,
                child,
                other_child,
                wish,
            } => self.offer_pass(link, (child, other_child), &wish, &mut cx)?,
            Command::AnswerPass { pass, wish } => {
                self.answer_pass(pass, wish.as_ref(), &mut cx)?;
            }
            Command::OfferGroup { children, title } => {
                self.offer_group(&children, &title, &mut cx)?;
            }
            Command::AnswerGroup { group, accept } => self.answer_group(group, accept, &mut cx)?,
            Command::RevokePass { pass } => self.revoke_pass(pass, &mut cx)?,
            Command::Leave { conversation } => self.leave(conversation, &mut cx)?,
            Command::Block {
                conversation,
                member,
                blocked,
            } => self.block(conversation, member, blocked)?,
            Command::Report {
                content,
                signed,
                words,
            } => self.report(content, &signed, &words, &mut cx)?,
            Command::RequestFriend { code, words } => {
                self.request_friend(&code, &words, &mut cx)?;
            }
            Command::SendCopy { original, copied } => self.send_copy(original, copied, &mut cx)?,
            Command::Reform { conversation } => self.reform(conversation, &mut cx)?,
            Command::CorrectTime { day } => self.correct_time(day, &mut cx)?,
            Command::CloseMailbox { device, undo } => self.close_mailbox(device, undo, &mut cx)?,
            Command::AcknowledgeNotice { index } => self.acknowledge_notice(index, &mut cx)?,
            Command::SetPolicy { child, policy } => self.set_policy(child, policy, &mut cx)?,
            Command::KeepAccount {
                keys,
                vault,
                fresh,
                renewed,
            } => {
                self.keep_account(&keys, vault.as_deref(), (fresh, renewed), &mut cx)?;
            }
            Command::KeepTickets { tickets } => self.keep_tickets(tickets, &mut cx),
            Command::ForgetAccount { account } => {
                let own = self.record.account.as_ref();
                if own.is_some_and(|own| own.account.as_ref() == account.as_bytes()) {
                    self.forget_account(&mut cx);
                }
            }
            Command::VaultWritten { version, outcome } => {
                self.vault_written(version, outcome, &mut cx);
            }
            Command::ComeBack {
                vault,
                keys,
                renewed,
            } => self.start_return(&vault, &keys, renewed, &mut cx)?,
            Command::ReturnShown { device } => self.return_shown(device, &mut cx)?,
            Command::AnswerReturn { device, accept } => {
                self.answer_return(device, accept, &mut cx)?;
            }
            Command::EraseMember { member, messages } => {
                self.erase_member(member, messages, &mut cx)?;
            }
            Command::EraseFamily => self.erase_family(&mut cx)?,
            Command::AskMedia { content } => self.ask_media(content, &mut cx)?,
            Command::RefuseMedia { content, forged } => {
                self.refuse_media(content, forged, &mut cx)?;
            }
            Command::GiveMedia { wish, media } => self.give_media(wish, media, &mut cx)?,
        }
        self.settle(&mut cx);
        Ok(self.finish(cx))
    }

    /// Does everything that has become possible.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        self.refresh_newest();
        self.lease.observe(cx.now);
        self.work_inbox(cx);
        self.refresh_newest();
        self.wake(cx);
        self.check_slots(cx);
        self.renew_ratchets(cx);
        self.tend_return(cx);
        self.tend_recovery(cx);
        self.tend_returning(cx);
        self.tend_links(cx);
        self.tend_asked(cx);
        self.tend_heads(cx);
        self.tend_operator(cx);
        self.tend_erasures(cx);
        self.tell_news(cx);
        self.advance_passes(cx);
        self.advance_groups(cx);
        self.queue_reconciles(cx);
        self.start_operations(cx);
        self.tell_noticed(cx);
        self.carry_over(cx);
        self.flush_outbox(cx);
        self.ask_key_packages(cx);
        self.hand_over(cx);
        self.flush_mailboxes(cx);
        self.tend_past(cx);
        self.tend_giving(cx);
        self.flush_confirmations(cx);
        self.flush_sends(cx);
        self.flush_transfers(cx);
        self.leave_relay(cx);
    }

    /// Collects what is to be persisted, advances the generation, and acknowledges what is
    /// persisted with it.
    pub(super) fn finish(&mut self, mut cx: Cx<'_>) -> Output {
        for room in self.rooms.values_mut().filter(|room| room.dirty) {
            room.save(&mut cx.out.changes);
        }
        if !cx.out.changes.is_empty() {
            self.generation = self.generation.saturating_add(1);
            cx.put(
                records::state(records::GENERATION, &[]),
                self.generation.to_be_bytes().to_vec(),
            );
        }
        for frame in &mut cx.out.frames {
            if let Some(ClientBody::Send(send)) = &mut frame.body {
                send.generation = self.generation;
            }
        }
        self.acknowledge(&mut cx);
        cx.out
    }

    /// When [`Input::Tick`] is wanted next. After that tick it is later, or `None`.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let disappearing = self.disappearing.first().map(|(at, _)| *at);
        let pairing = self.pairing.as_ref().map(PairingState::expires);
        let meeting = self.meeting.as_ref().map(Meeting::expires);
        let deadlines = [
            disappearing,
            pairing,
            meeting,
            self.session_deadline(),
            self.wake_deadline(),
            self.recovery_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        self.disappear(cx);
        self.expire_pairing(cx);
        self.expire_meeting(cx);
        self.session_tick(cx);
        self.give_up_gaps(cx);
    }

    /// Attached, everything that waited is read, the operator's log too, nothing waits for an answer of
    /// the relay, no change, transfer or confirmation is under way. What was refused because a
    /// recipient's address was revoked counts too: it lies in the outbox, not at the relay, until that
    /// recipient has another.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.session.is_attached()
            && self.session.is_caught_up()
            && self.inbox.is_idle()
            && self.sends.is_empty()
            && self.operations.is_empty()
            && self.revocations.is_empty()
            && self.closings.is_empty()
            && !self.operator.renews()
            && !self.session.is_asking(&Request::OperatorLog)
            && self.transfers.is_idle()
            && self.confirm_at.is_none()
            && self.outbox.all_acknowledged()
            && !self.is_being_erased()
    }

    /// Where to connect.
    #[must_use]
    pub const fn relay(&self) -> &RelayAddress {
        &self.relay
    }

    /// This device.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.signer.device
    }

    /// What this device calls itself.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.record.device_name
    }

    /// Whose device this is, once a family has it.
    #[must_use]
    pub fn member(&self) -> Option<MemberId> {
        let certificate = self.log.as_ref()?.certificate(&self.device())?;
        Some(certificate.member)
    }

    /// The log of the family this device belongs to.
    #[must_use]
    pub const fn family_log(&self) -> Option<&FamilyLog> {
        self.log.as_ref()
    }

    /// The family's conversation.
    #[must_use]
    pub fn family_conversation(&self) -> Option<ConversationId> {
        ConversationId::try_from(&self.record.family_conversation).ok()
    }

    /// Number of the last persist transaction.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a connection is attached.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.session.is_attached()
    }

    /// What was counted since the engine was loaded.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let unconfirmed = self
            .outbox
            .iter()
            .filter(|(_, outgoing)| !outgoing.control && !super::outgoing::is_confirmed(outgoing))
            .count();
        Counters {
            unconfirmed: unconfirmed as u64,
            ..self.counters
        }
    }

    // ---- small things that several jobs need

    pub(super) fn identity_key(&self) -> Option<SecretKey> {
        let seed: [u8; 32] = self.record.identity_seed.as_ref().try_into().ok()?;
        Some(SecretKey::from_seed(&seed))
    }

    pub(super) fn secret_key(seed: &[u8]) -> SecretKey {
        // Seeds were drawn by `create` with 32 bytes and are read back authenticated.
        SecretKey::from_seed(&seed.try_into().unwrap_or([0; 32]))
    }

    pub(super) fn save_device(&self, cx: &mut Cx<'_>) {
        cx.put_message(records::state(records::DEVICE, &[]), &self.record);
    }
}

/// The last day a content written today is kept by its sender.
pub(super) fn keep_until(now: Timestamp) -> Day {
    now.day().plus(limits::CONTENT_KEEP_DAYS)
}
