//! A guardian who has lost every device asks to come back: what the family's devices do about it
//! (PROTOCOL §7.10).
//!
//! With the recovery code any device carries it into the log, the child's tablet too. With the
//! password alone it is shown to the guardians, who say yes, veto, or let a day pass.

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::content::Control;
use crate::conversation::{ConversationKind, check_key_package};
use crate::day::Timestamp;
use crate::identity::{AddedDevice, Decision, FamilyLog, RecoveryKeys, Return, ReturnWay};
use crate::ids::{ConversationId, MemberId};
use crate::limits;
use crate::wire;

/// Ways in one request: another guardian's yes, showing it, and a day later.
const WISHES_MAX: usize = 3;
/// What could not be decided yet is looked at again after this.
const AGAIN_MS: u64 = 600_000;

/// A request as far as its keys hold.
struct Asking {
    member: MemberId,
    device: AddedDevice,
    by_code: bool,
}

impl Engine {
    // ---- hearing of it

    /// Something came to this device's address that only its members and a vault know.
    pub(super) fn someone_returns(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) {
        let kind = self.rooms.get(&id).map(|room| room.kind);
        if self.family_conversation() == Some(id) {
            self.hear_return(payload, false, cx);
        } else if kind == Some(ConversationKind::Link) {
            self.link_return(id, payload, cx);
        } else {
            self.unreadable("it came to an address that is not for its kind", cx);
        }
    }

    /// Another device of the family was asked.
    pub(super) fn return_told(&mut self, payload: &[u8], cx: &mut Cx<'_>) {
        self.hear_return(payload, true, cx);
    }

    fn hear_return(&mut self, payload: &[u8], told: bool, cx: &mut Cx<'_>) {
        let request = wire::ReturnRequest::decode(payload).ok();
        let asking = request
            .as_ref()
            .and_then(|request| self.check_asking(request));
        let (Some(request), Some(asking)) = (request, asking) else {
            return self.unreadable("a wish to come back is not signed by who may ask", cx);
        };
        let in_family = |log: &FamilyLog| log.certificate(&asking.device.device).is_some();
        if self.log.as_ref().is_some_and(in_family) {
            return;
        }
        self.compare_vault(asking.member, request.vault_version, cx);
        if asking.by_code {
            return self.carry_wish(&request, ReturnWay::Code, false, cx);
        }
        let known = self.returns.get(&asking.member);
        if known.is_some_and(|known| known.request.as_ref() == Some(&request)) {
            return;
        }
        let record = wire::ReturnAskedRecord {
            request: Some(request),
            shown_at_ms: 0,
        };
        self.save_return(asking.member, record, cx);
        if !told && let Some(family) = self.family_conversation() {
            // The vault may know this device alone.
            let said = Control::ReturnRequest(Bytes::copy_from_slice(payload));
            self.say(family, said, cx);
        }
        if self.own_guardian().is_some() {
            cx.event(Event::ReturnAsked {
                member: asking.member,
                device_name: asking.device.name,
                own: self.member() == Some(asking.member),
            });
        }
    }

    /// Reads a request, and whether the keys in the log have signed all of it.
    fn check_asking(&self, request: &wire::ReturnRequest) -> Option<Asking> {
        let log = self.log.as_ref()?;
        if request.family.as_ref() != log.family().as_bytes()
            || request.wishes.is_empty()
            || request.wishes.len() > WISHES_MAX
        {
            return None;
        }
        let mut asking: Option<Asking> = None;
        for wish in &request.wishes {
            let (back, by_code) = match Decision::decode(&wish.decision).ok()? {
                Decision::Return(back) => {
                    let by_code = back.way == ReturnWay::Code;
                    (back, by_code)
                }
                Decision::Ask(back) => (back, false),
                _ => return None,
            };
            let keys = log.recovery(&back.member())?;
            is_consented(log, keys, &back, wish)?;
            let same = asking
                .as_ref()
                .is_none_or(|known| known.device == back.device && known.by_code == by_code);
            if !same {
                return None;
            }
            asking = Some(Asking {
                member: back.member(),
                device: back.device,
                by_code,
            });
        }
        let asking = asking?;
        let package = check_key_package(&self.crypto, &request.key_package).ok()?;
        let own = package.device == asking.device.device
            && package.signature_key == asking.device.signature_key;
        own.then_some(asking)
    }

    /// A vault of an older version than was said in the family: the relay has handed out an old
    /// one, or its backup.
    fn compare_vault(&mut self, member: MemberId, given: u64, cx: &mut Cx<'_>) {
        let Some(newest) = self.vaults.get(&member).copied().filter(|it| *it > given) else {
            return;
        };
        cx.event(Event::VaultRolledBack {
            member,
            given,
            newest,
        });
        // Whoever comes back is told as soon as it can hear.
        self.rolled_back.insert(member);
    }

    /// A guardian is back: hears which version its vault has, if it came with an older one.
    pub(super) fn tell_rolled_back(&mut self, member: MemberId, cx: &mut Cx<'_>) {
        let version = self.vaults.get(&member).copied();
        let (true, Some(version), Some(family)) = (
            self.rolled_back.remove(&member),
            version,
            self.family_conversation(),
        ) else {
            return;
        };
        self.say(family, Control::VaultNote { member, version }, cx);
    }

    fn save_return(&mut self, member: MemberId, record: wire::ReturnAskedRecord, cx: &mut Cx<'_>) {
        cx.put_message(
            records::state(records::RETURN, &[member.as_bytes()]),
            &record,
        );
        self.returns.insert(member, record);
    }

    fn drop_return(&mut self, member: MemberId, cx: &mut Cx<'_>) {
        cx.erase(records::state(records::RETURN, &[member.as_bytes()]));
        self.returns.remove(&member);
    }

    // ---- what a guardian does

    /// Who asks to come back by the password, as far as this device knows: the member, and what
    /// the new device calls itself.
    pub fn returns(&self) -> impl Iterator<Item = (MemberId, String)> {
        self.returns.iter().filter_map(|(member, record)| {
            let wish = record.request.as_ref()?.wishes.first()?;
            match Decision::decode(&wish.decision).ok()? {
                Decision::Return(back) | Decision::Ask(back) => Some((*member, back.device.name)),
                _ => None,
            }
        })
    }

    /// It is on this guardian's screen: the day for a veto begins.
    pub(super) fn return_shown(
        &mut self,
        member: MemberId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let own = self.own_guardian().ok_or(CommandError::NotGuardian)?;
        let record = self.returns.get(&member).ok_or(CommandError::NoReturn)?;
        if own == member || record.shown_at_ms > 0 {
            return Ok(());
        }
        let record = wire::ReturnAskedRecord {
            shown_at_ms: cx.now.0.max(1),
            ..record.clone()
        };
        if let Some(request) = record.request.clone() {
            self.carry_wish(&request, ReturnWay::Waited, true, cx);
        }
        self.save_return(member, record, cx);
        Ok(())
    }

    pub(super) fn answer_return(
        &mut self,
        member: MemberId,
        accept: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let own = self.own_guardian().ok_or(CommandError::NotGuardian)?;
        let record = self.returns.get(&member).ok_or(CommandError::NoReturn)?;
        let request = record.request.clone().unwrap_or_default();
        if !accept {
            self.decide(&[Decision::Veto { member }], vec![], cx)?;
            self.drop_return(member, cx);
            return Ok(());
        }
        if own == member {
            // Whoever still has a phone lets a further one in from it.
            return Err(CommandError::OwnReturn);
        }
        if let Some(freeze) = self
            .log
            .as_ref()
            .and_then(|log| log.is_frozen(self.today(cx.now)))
        {
            let until = freeze.until;
            return Err(crate::identity::LogError::Frozen { until }.into());
        }
        self.carry_wish(&request, ReturnWay::Guardian, false, cx);
        Ok(())
    }

    // ---- carrying it into the log

    /// Queues the one of a request's decisions that is of this way, with its consent.
    fn carry_wish(
        &mut self,
        request: &wire::ReturnRequest,
        way: ReturnWay,
        asks: bool,
        cx: &mut Cx<'_>,
    ) {
        let wanted = |wish: &&wire::ReturnWish| match Decision::decode(&wish.decision) {
            Ok(Decision::Return(back)) => back.way == way && !asks,
            Ok(Decision::Ask(_)) => asks,
            _ => false,
        };
        let (Some(wish), Some(family)) = (
            request.wishes.iter().find(wanted),
            self.family_conversation(),
        ) else {
            return;
        };
        let queued = self.operations.values().any(|operation| {
            let mut decisions = operation.decisions.iter();
            decisions.any(|record| record.salt == wish.salt)
        });
        let Ok(consent) = wire::Consent::decode(wish.consent.clone()) else {
            return;
        };
        if queued {
            return;
        }
        let operation = wire::OperationRecord {
            conversation: family.to_bytes(),
            decisions: vec![wire::DecisionRecord {
                decision: wish.decision.clone(),
                salt: wish.salt.clone(),
                consents: vec![consent],
            }],
            key_packages: if asks {
                vec![]
            } else {
                vec![request.key_package.clone()]
            },
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
    }

    /// Lets those in whose day is over, and forgets what is settled.
    pub(super) fn tend_asked(&mut self, cx: &mut Cx<'_>) {
        self.asked_at = None;
        let members: Vec<MemberId> = self.returns.keys().copied().collect();
        for member in members {
            self.tend_one(member, cx);
        }
    }

    fn tend_one(&mut self, member: MemberId, cx: &mut Cx<'_>) {
        let (Some(record), Some(log)) = (self.returns.get(&member), &self.log) else {
            return;
        };
        let request = record.request.clone().unwrap_or_default();
        let shown_at = record.shown_at_ms;
        let today = self.today(cx.now);
        let vetoed = log.vetoed_until(&member).is_some_and(|until| today < until);
        let asking = self.check_asking(&request).filter(|_| !vetoed);
        let Some(asking) = asking.filter(|it| log.certificate(&it.device.device).is_none()) else {
            return self.drop_return(member, cx);
        };
        let own = self.own_guardian();
        if shown_at == 0 || own.is_none() || own == Some(member) || !self.can_decide() {
            return;
        }
        let over = Timestamp(shown_at).plus_ms(limits::RETURN_WAIT_MS);
        let shown = log
            .asks()
            .find(|it| it.back.member() == member && it.back.device == asking.device);
        let from = shown.map(|it| it.day.plus(limits::RETURN_WAIT_DAYS));
        let frozen = log.is_frozen(today).is_some();
        if over <= cx.now && from.is_some_and(|from| from <= today) && !frozen {
            self.carry_wish(&request, ReturnWay::Waited, false, cx);
        } else {
            let next = if over > cx.now {
                over
            } else {
                cx.now.plus_ms(AGAIN_MS)
            };
            self.asked_at = Some(self.asked_at.map_or(next, |at| at.min(next)));
        }
    }

    /// When recovery wants a tick.
    pub(super) fn recovery_deadline(&self) -> Option<Timestamp> {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return None;
        }
        let returning = self.returning_at.filter(|_| self.is_returning());
        let vault = self.vault_asked.map(super::recovery::VaultAsked::again_at);
        let links = self.links_at.filter(|_| !self.record.lost_links.is_empty());
        [returning, self.asked_at, vault, links]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Whether the key of a way has consented to a decision.
fn is_consented(
    log: &FamilyLog,
    keys: &RecoveryKeys,
    back: &Return,
    wish: &wire::ReturnWish,
) -> Option<()> {
    let key = match back.way {
        ReturnWay::Code => keys.recovery,
        ReturnWay::Guardian | ReturnWay::Waited => keys.request,
    };
    let salt = <[u8; 16]>::try_from(wish.salt.as_ref()).ok()?;
    let consent = wire::Consent::decode(wish.consent.clone()).ok()?;
    crate::identity::verify_consent(&log.family(), &salt, &wish.decision, &consent, &key)
}
