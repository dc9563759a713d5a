//! Governing a family: decisions that one guardian makes, those that need another's yes, and
//! the objection of one who was removed (PROTOCOL §7.3, §7.4).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::content::{Control, Proposal};
use crate::day::Day;
use crate::identity::{Decision, FamilyLog, LogError, Role, Settings, Standing};
use crate::ids::{ConversationId, DeviceId, MemberId};
use crate::limits;
use crate::wire;

/// Days that a guardian's yes to another's proposal holds.
const CONSENT_DAYS: u32 = 7;
/// Before the text of an objection.
const OBJECTION_PREFIX: &str = "kinline:object:1:";

impl Engine {
    /// Makes decisions for the family: at once when this guardian's signature is enough, else
    /// by asking the other guardians.
    ///
    /// # Errors
    /// [`CommandError::Log`] when the log would not take them, whoever signs.
    pub(super) fn decide(
        &mut self,
        decisions: &[Decision],
        key_packages: Vec<Bytes>,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let family = self.family_conversation().ok_or(CommandError::NoFamily)?;
        let key = self.identity_key().ok_or(CommandError::NotGuardian)?;
        let own = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        let day = self.deciding_day(cx.now);
        let mut log = own.clone();
        for decision in decisions {
            let salt = cx.random16();
            let signed = log.propose_with(decision.clone(), salt, vec![], &[&key], day);
            match log.append(&signed) {
                Ok(()) => {}
                Err(LogError::Signatures { .. }) => {
                    return self.propose(family, decisions, key_packages, cx);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.queue_decisions(family, decisions, key_packages, cx);
        Ok(())
    }

    /// Asks the other guardians for their yes.
    fn propose(
        &mut self,
        family: ConversationId,
        decisions: &[Decision],
        mut key_packages: Vec<Bytes>,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let key = self.identity_key().ok_or(CommandError::NotGuardian)?;
        let last_day = self.today(cx.now).plus(CONSENT_DAYS);
        let last = decisions.len().saturating_sub(1);
        for (at, decision) in decisions.iter().enumerate() {
            let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
            let salt = cx.random16();
            let consent = log.consent(decision, &salt, last_day, &key);
            let proposal = Proposal {
                decision: decision.encode().into(),
                salt,
                consent: consent.encode_to_vec().into(),
                // They belong to the decision that names their device.
                key_packages: if at == last {
                    core::mem::take(&mut key_packages)
                } else {
                    vec![]
                },
            };
            if let Some(own) = self.member() {
                self.keep_proposal(&proposal, own, cx);
            }
            self.say(family, Control::Proposal(proposal), cx);
        }
        cx.event(Event::Proposed {
            decisions: decisions.to_vec(),
        });
        Ok(())
    }

    /// Another guardian asks for this one's yes.
    pub(super) fn proposed(
        &mut self,
        id: ConversationId,
        sender: DeviceId,
        proposal: &Proposal,
        cx: &mut Cx<'_>,
    ) {
        if self.identity_key().is_none() || self.family_conversation() != Some(id) {
            return;
        }
        let by = self.guardian_of(sender);
        let (Some(by), Ok(decision)) = (by, Decision::decode(&proposal.decision)) else {
            return self.unreadable("a proposal is damaged or not of a guardian", cx);
        };
        if Some(by) == self.member() {
            // Our own, said by our other device.
            return;
        }
        self.keep_proposal(proposal, by, cx);
        cx.event(Event::Proposal {
            proposal: proposal.salt,
            by,
            decision,
        });
    }

    fn keep_proposal(&mut self, proposal: &Proposal, by: MemberId, cx: &mut Cx<'_>) {
        let record = wire::ProposalRecord {
            proposal: Some(wire::Proposal {
                decision: proposal.decision.clone(),
                salt: proposal.salt.to_vec().into(),
                consent: proposal.consent.clone(),
                key_packages: proposal.key_packages.clone(),
            }),
            by: by.to_bytes(),
        };
        cx.put_message(
            records::state(records::PROPOSAL, &[&proposal.salt]),
            &record,
        );
        self.proposals.insert(proposal.salt, record);
    }

    fn drop_proposal(&mut self, salt: [u8; 16], cx: &mut Cx<'_>) {
        self.proposals.remove(&salt);
        cx.erase(records::state(records::PROPOSAL, &[&salt]));
    }

    /// What was decided waits for nobody any more, nor does what was asked too long ago.
    fn drop_decided(&mut self, decided: &[Bytes], cx: &mut Cx<'_>) {
        let today = self.today(cx.now);
        let over: Vec<[u8; 16]> = self
            .proposals
            .iter()
            .filter(|(_, record)| {
                let proposal = record.proposal.as_ref();
                let same = proposal.is_some_and(|it| decided.contains(&it.decision));
                same || consented_until(record).is_some_and(|last| last < today)
            })
            .map(|(salt, _)| *salt)
            .collect();
        for salt in over {
            self.drop_proposal(salt, cx);
        }
    }

    /// The guardian whose device this is, by the newest log.
    pub(super) fn guardian_of(&self, device: DeviceId) -> Option<MemberId> {
        let certificate = self.log.as_ref()?.certificate(&device)?;
        (certificate.role == Role::Guardian).then_some(certificate.member)
    }

    /// Says yes or no to another guardian's proposal.
    ///
    /// # Errors
    /// [`CommandError::NoProposal`], or what the log says.
    pub(super) fn answer_proposal(
        &mut self,
        salt: [u8; 16],
        accept: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let record = self
            .proposals
            .get(&salt)
            // Nobody says yes to what they asked themselves.
            .filter(|record| self.member().is_none_or(|own| record.by != own.to_bytes()))
            .cloned()
            .ok_or(CommandError::NoProposal)?;
        let proposal = record.proposal.unwrap_or_default();
        if accept {
            let family = self.family_conversation().ok_or(CommandError::NoFamily)?;
            let key = self.identity_key().ok_or(CommandError::NotGuardian)?;
            let decision = Decision::decode(&proposal.decision)?;
            let consent = wire::Consent::decode(proposal.consent.clone())
                .map_err(|_| CommandError::NoProposal)?;
            let day = self.deciding_day(cx.now);
            let mut log = self.log.clone().ok_or(CommandError::NoFamily)?;
            let consents = vec![consent];
            let signed = log.propose_with(decision, salt, consents.clone(), &[&key], day);
            log.append(&signed)?;
            let operation = wire::OperationRecord {
                conversation: family.to_bytes(),
                decisions: vec![wire::DecisionRecord {
                    decision: proposal.decision,
                    salt: salt.to_vec().into(),
                    consents,
                }],
                key_packages: proposal.key_packages,
                ..wire::OperationRecord::default()
            };
            self.queue_operation(operation, cx);
        }
        self.drop_proposal(salt, cx);
        Ok(())
    }

    // ---- commands

    pub(super) fn remove_member(
        &mut self,
        member: MemberId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.decide(&[Decision::RemoveMember(member)], vec![], cx)
    }

    /// A device is lost: it goes out of the family, and its mailbox is closed where a child's
    /// device has entrusted it to this one.
    pub(super) fn remove_device(
        &mut self,
        device: DeviceId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.decide(&[Decision::RemoveDevice(device)], vec![], cx)?;
        if self.wards.contains_key(&device) {
            self.close_mailbox(device, false, cx)?;
        }
        Ok(())
    }

    pub(super) fn change_settings(
        &mut self,
        settings: Settings,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.decide(&[Decision::Settings(settings)], vec![], cx)
    }

    /// The words of a removed guardian's objection: any device of the family can carry them
    /// into the log.
    ///
    /// # Errors
    /// [`CommandError::NothingToObject`].
    pub fn objection(&self, today: Day) -> Result<String, CommandError> {
        let key = self.identity_key().ok_or(CommandError::NotGuardian)?;
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        let removal = log
            .removals()
            .values()
            .find(|removal| {
                removal.standing == Standing::Open && removal.devices.contains(&self.device())
            })
            .ok_or(CommandError::NothingToObject)?;
        let decision = Decision::Object {
            removal: removal.index,
        };
        let mut salt = [0; 16];
        let hash = crate::primitives::hash::labelled(crate::labels::HASH_STATEMENT, &[log.head()]);
        salt.copy_from_slice(hash.first_chunk::<16>().unwrap_or(&[0; 16]));
        let signed = log.propose_with(decision, salt, vec![], &[&key], today);
        let text = URL_SAFE_NO_PAD.encode(signed.encode_to_vec());
        Ok(format!("{OBJECTION_PREFIX}{text}"))
    }

    /// Carries a removed guardian's objection into the log.
    ///
    /// # Errors
    /// [`CommandError::Objection`], or what the log says.
    pub(super) fn carry_objection(
        &mut self,
        text: &str,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let family = self.family_conversation().ok_or(CommandError::NoFamily)?;
        let bytes = text
            .trim()
            .strip_prefix(OBJECTION_PREFIX)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .filter(|bytes| bytes.len() <= limits::NAME_BYTES_MAX * 8)
            .ok_or(CommandError::Objection)?;
        let signed =
            wire::SignedStatement::decode(bytes.as_slice()).map_err(|_| CommandError::Objection)?;
        let mut log = self.log.clone().ok_or(CommandError::NoFamily)?;
        log.append(&signed)?;
        let operation = wire::OperationRecord {
            conversation: family.to_bytes(),
            statements: vec![signed],
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
        Ok(())
    }

    /// Ends a removal's freeze: the removed guardian gives in, or whoever removed takes it back.
    pub(super) fn withdraw(&mut self, removal: u64, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        self.decide(&[Decision::Withdraw { removal }], vec![], cx)
    }

    /// A guardian whose removal was taken back says that it is there again: until then nothing
    /// widens, or who removed it could let it come back in the log alone.
    pub(super) fn tend_return(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        let own = self.member();
        let awaits = self.log.as_ref().and_then(|log| {
            let mut removals = log.removals().values();
            removals.find(|it| it.standing == Standing::Undone && Some(it.member) == own)
        });
        let Some(removal) = awaits.map(|removal| removal.index) else {
            return;
        };
        let family = self.family_conversation();
        let room = family.and_then(|id| self.rooms.get(&id));
        let waits = self.operations.values().any(|operation| {
            let family = family.map(ConversationId::to_bytes);
            Some(&operation.conversation) == family.as_ref()
        });
        if waits || !room.is_some_and(|room| room.can_talk() && room.stuck().is_none()) {
            return;
        }
        // Who has decided as much as a day takes says it the day after.
        let _ = self.decide(&[Decision::Withdraw { removal }], vec![], cx);
    }

    /// Whether a decision says that this guardian is there again, and its other phone has.
    pub(super) fn is_returned(&self, decision: &Decision, log: &FamilyLog) -> bool {
        let Decision::Withdraw { removal } = decision else {
            return false;
        };
        log.removals()
            .get(removal)
            .is_some_and(|it| it.standing == Standing::Returned && Some(it.member) == self.member())
    }

    // ---- what follows from the log

    /// The log says more than before: tells the family's devices, and draws what a removed
    /// guardian knew anew.
    pub(super) fn log_moved(&mut self, before: Option<&FamilyLog>, cx: &mut Cx<'_>) {
        let Some(log) = self.log.clone() else { return };
        let known = before.map_or(0, FamilyLog::len);
        if before.is_none() {
            return;
        }
        let removed: Vec<_> = log
            .removals()
            .values()
            .filter(|removal| removal.index >= known)
            .cloned()
            .collect();
        let own = log.certificate(&self.device());
        for removal in &removed {
            cx.event(Event::MemberRemoved {
                member: removal.member,
                name: removal.person.name.clone(),
                frozen: removal.freezes(removal.day),
            });
        }
        let mut decided = Vec::new();
        for (index, decision, by) in log.decisions_from(known) {
            decided.push(Bytes::from(decision.encode()));
            let by = by.into_iter().collect();
            match &decision {
                Decision::ApprovePass(pass) => self.watch_pass(pass, cx),
                Decision::Return(back) => self.tell_rolled_back(back.member(), cx),
                Decision::Veto { .. } => self.return_vetoed(cx),
                _ => {}
            }
            cx.event(Event::Decided {
                index,
                decision,
                by,
            });
        }
        self.drop_decided(&decided, cx);
        let guardian_gone = before.is_some_and(|before| {
            before
                .certificates()
                .any(|it| it.role == Role::Guardian && log.certificate(&it.device).is_none())
        }) || removed
            .iter()
            .any(|removal| removal.person.role == Role::Guardian);
        self.forget_strangers(&log, cx);
        let child = own.is_some_and(|certificate| certificate.role == Role::Child);
        if guardian_gone && child {
            self.renew_secrets(cx);
        }
        self.news_due = true;
    }

    /// Key packages made for devices that are not in the family any more open nothing now.
    fn forget_strangers(&mut self, log: &FamilyLog, cx: &mut Cx<'_>) {
        let gone: Vec<Vec<u8>> = self
            .key_packages
            .iter()
            .filter(|(_, record)| {
                DeviceId::try_from(&record.for_device)
                    .is_ok_and(|device| log.certificate(&device).is_none())
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.forget_key_package(&id, cx);
        }
        let gone: Vec<DeviceId> = self
            .wards
            .keys()
            .filter(|device| log.certificate(device).is_none())
            .copied()
            .collect();
        for device in gone {
            // Its mailbox may still have to be closed: that is queued by itself.
            let ward = self.wards.remove(&device);
            cx.erase(records::state(records::WARD, &[device.as_bytes()]));
            if let Some(ward) = ward {
                self.contacts_lost(device, &ward, cx);
            }
        }
    }
}

/// The last day on which the yes of whoever proposed it holds.
pub(super) fn consented_until(record: &wire::ProposalRecord) -> Option<Day> {
    let consent = record.proposal.as_ref()?.consent.clone();
    Some(Day(wire::Consent::decode(consent).ok()?.last_day))
}
