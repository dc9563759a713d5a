//! A guardian who has lost every device asks to come back: what the family's devices do about it
//! (PROTOCOL §7.10).
//!
//! With the recovery code any device carries it into the log, the child's tablet too. With the
//! password alone it is shown to the guardians, who say yes, veto, or let a day pass. Whoever
//! guessed the password may ask beside the one who has it: each wish is its device's, and a yes or
//! a veto is to that device alone.

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::records;
use super::returning::WISH_DAYS;
use super::state::Cx;
use crate::content::Control;
use crate::conversation::{ConversationKind, check_key_package};
use crate::day::{Day, Timestamp};
use crate::identity::{AddedDevice, Decision, FamilyLog, LogError, Return, ReturnWay};
use crate::ids::{ConversationId, DeviceId, MemberId};
use crate::limits;
use crate::pairing::pictures_of;
use crate::primitives::hash;
use crate::{labels, wire};

/// Ways in one request: another guardian's yes, showing it, and a day later.
const WISHES_MAX: usize = 3;
/// A wish holds for a week, by a clock that may be two days ahead of this one.
const WISH_DAYS_MAX: u32 = WISH_DAYS + 2;
/// What could not be decided yet is looked at again after this.
const AGAIN_MS: u64 = 600_000;

/// A request as far as its keys hold.
struct Asking {
    member: MemberId,
    device: AddedDevice,
    by_code: bool,
    /// The last day of its consents.
    last_day: Day,
}

/// Somebody who asks to come back by a password, for a guardian's screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnWish {
    /// As whom.
    pub member: MemberId,
    /// The device that asks: a yes or a veto is to it alone.
    pub device: DeviceId,
    /// What it calls itself: anybody can choose that.
    pub device_name: String,
    /// Four pictures that its own screen shows too: to be compared over the phone.
    pub pictures: String,
    /// The day on which a guardian's device first showed it; `None`: none has.
    pub shown: Option<Day>,
}

/// The four pictures of a device that asks to come back.
pub(super) fn return_pictures(device: &AddedDevice) -> String {
    let key = device.signature_key.as_bytes();
    let parts = [&device.device.as_bytes()[..], key];
    pictures_of(&hash::labelled(labels::HASH_RETURN, &parts))
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
        if let Some(request) = &request
            && self.let_in_again(request, cx)
        {
            return;
        }
        let asking = request
            .as_ref()
            .and_then(|request| self.check_asking(request));
        let (Some(request), Some(asking)) = (request, asking) else {
            return self.unreadable("a wish to come back is not signed by who may ask", cx);
        };
        let device = asking.device.device;
        let log = self.log.as_ref();
        let vetoed = log.is_some_and(|log| log.is_vetoed(&device));
        let today = self.today(cx.now);
        if vetoed || asking.last_day < today {
            return;
        }
        if asking.last_day > today.plus(WISH_DAYS_MAX) {
            // It would keep others from asking for as long as it likes.
            return self.unreadable("a wish to come back holds for a week and no longer", cx);
        }
        self.compare_vault(asking.member, request.vault_version, cx);
        if asking.by_code {
            return self.carry_wish(&request, ReturnWay::Code, false, cx);
        }
        let known = self.returns.get(&device);
        let before = known.and_then(|known| known.request.clone());
        if before.as_ref() == Some(&request) {
            return;
        }
        let shown_at_ms = known.map_or(0, |known| known.shown_at_ms);
        let others = self.returns.values().filter(|record| {
            let asks = record.request.as_ref().and_then(asked_of);
            asks.is_some_and(|(back, _)| back.member() == asking.member)
        });
        if before.is_none() && others.count() >= limits::RETURN_ASKS_MAX {
            return;
        }
        let record = wire::ReturnAskedRecord {
            request: Some(request),
            shown_at_ms,
        };
        self.save_return(device, record, cx);
        self.asked_at = None;
        if before.is_some() {
            // The same device with newer words: its consents hold for so many days.
            return;
        }
        if !told && let Some(family) = self.family_conversation() {
            // The vault may know this device alone.
            let said = Control::ReturnRequest(Bytes::copy_from_slice(payload));
            self.say(family, said, cx);
        }
        if self.own_guardian().is_some() {
            cx.event(Event::ReturnAsked {
                member: asking.member,
                device,
                pictures: return_pictures(&asking.device),
                device_name: asking.device.name,
                own: self.member() == Some(asking.member),
            });
        }
    }

    /// A device that is back in the log and not in the family's conversation: its welcome was lost,
    /// or it came in with a decision that was made otherwise. True when it was one.
    fn let_in_again(&mut self, request: &wire::ReturnRequest, cx: &mut Cx<'_>) -> bool {
        let package = check_key_package(&self.crypto, &request.key_package).ok();
        let (Some(log), Some(family), Some(package)) =
            (&self.log, self.family_conversation(), package)
        else {
            return false;
        };
        let certified = log.certificate(&package.device);
        let own = certified.is_some_and(|holder| holder.signature_key == package.signature_key);
        if !own || log.came_back(&package.device).is_none() {
            return false;
        }
        let there = self
            .rooms
            .get(&family)
            .is_none_or(|room| room.conversation.leaf(package.device).is_some());
        let queued = self.operations.values().any(|operation| {
            operation.conversation.as_ref() == family.as_bytes()
                && operation.key_packages.contains(&request.key_package)
        });
        if !there && !queued {
            let operation = wire::OperationRecord {
                conversation: family.to_bytes(),
                key_packages: vec![request.key_package.clone()],
                reconcile: true,
                ..wire::OperationRecord::default()
            };
            self.queue_operation(operation, cx);
        }
        true
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
            let (back, by_code) = read_wish(wish)?;
            let last_day = consented_until(log, &back, wish)?;
            let same = asking
                .as_ref()
                .is_none_or(|known| known.device == back.device && known.by_code == by_code);
            if !same {
                return None;
            }
            let first = asking.as_ref().map_or(last_day, |known| known.last_day);
            asking = Some(Asking {
                member: back.member(),
                device: back.device,
                by_code,
                last_day: first.min(last_day),
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
        // Whoever comes back is told as soon as it can hear.
        if self.rolled_back.insert(member) {
            cx.event(Event::VaultRolledBack {
                member,
                given,
                newest,
            });
        }
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

    /// A guardian vetoed: whoever asked knows where the family's devices are reached, and shall not
    /// write to them any more.
    pub(super) fn return_vetoed(&mut self, cx: &mut Cx<'_>) {
        if let Some(family) = self.family_conversation() {
            self.replace_address(family, cx);
        }
    }

    fn save_return(&mut self, device: DeviceId, record: wire::ReturnAskedRecord, cx: &mut Cx<'_>) {
        cx.put_message(
            records::state(records::RETURN, &[device.as_bytes()]),
            &record,
        );
        self.returns.insert(device, record);
    }

    fn drop_return(&mut self, device: DeviceId, cx: &mut Cx<'_>) {
        cx.erase(records::state(records::RETURN, &[device.as_bytes()]));
        self.returns.remove(&device);
    }

    // ---- what a guardian does

    /// Who asks to come back by the password, as far as this device knows.
    pub fn returns(&self) -> impl Iterator<Item = ReturnWish> {
        self.returns.values().filter_map(|record| {
            let (back, _) = asked_of(record.request.as_ref()?)?;
            let mut asks = self.log.as_ref()?.asks();
            let shown = asks.find(|it| it.back.device == back.device);
            Some(ReturnWish {
                member: back.member(),
                device: back.device.device,
                pictures: return_pictures(&back.device),
                shown: shown.map(|it| it.day),
                device_name: back.device.name,
            })
        })
    }

    /// It is on this guardian's screen: the day for a veto begins.
    pub(super) fn return_shown(
        &mut self,
        device: DeviceId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let own = self.own_guardian().ok_or(CommandError::NotGuardian)?;
        let (record, member) = self.asked_by(device)?;
        if own == member || record.shown_at_ms > 0 {
            return Ok(());
        }
        let record = wire::ReturnAskedRecord {
            shown_at_ms: cx.now.0.max(1),
            ..record
        };
        self.save_return(device, record, cx);
        self.asked_at = None;
        Ok(())
    }

    fn asked_by(
        &self,
        device: DeviceId,
    ) -> Result<(wire::ReturnAskedRecord, MemberId), CommandError> {
        let record = self.returns.get(&device).ok_or(CommandError::NoReturn)?;
        let asked = record.request.as_ref().and_then(asked_of);
        let (back, _) = asked.ok_or(CommandError::NoReturn)?;
        Ok((record.clone(), back.member()))
    }

    pub(super) fn answer_return(
        &mut self,
        device: DeviceId,
        accept: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let own = self.own_guardian().ok_or(CommandError::NotGuardian)?;
        let (record, member) = self.asked_by(device)?;
        if !accept {
            self.decide(&[Decision::Veto { member, device }], vec![], cx)?;
            self.drop_return(device, cx);
            return Ok(());
        }
        if own == member {
            // Whoever still has a phone lets a further one in from it.
            return Err(CommandError::OwnReturn);
        }
        let frozen = self.log.as_ref();
        if let Some(freeze) = frozen.and_then(|log| log.is_frozen(self.today(cx.now))) {
            let until = freeze.until;
            return Err(LogError::Frozen { until }.into());
        }
        let request = record.request.unwrap_or_default();
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

    /// Shows those in the log that were on this screen, lets those in whose day is over, and
    /// forgets what is settled. What does not come about is tried again later, not at once.
    pub(super) fn tend_asked(&mut self, cx: &mut Cx<'_>) {
        if self.returns.is_empty() || self.asked_at.is_some_and(|at| at > cx.now) {
            return;
        }
        self.asked_at = None;
        let devices: Vec<DeviceId> = self.returns.keys().copied().collect();
        for device in devices {
            self.tend_one(device, cx);
        }
    }

    fn tend_one(&mut self, device: DeviceId, cx: &mut Cx<'_>) {
        let (Some(record), Some(log)) = (self.returns.get(&device), &self.log) else {
            return;
        };
        let request = record.request.clone().unwrap_or_default();
        let shown_at = record.shown_at_ms;
        let today = self.today(cx.now);
        let open = |asking: &Asking| {
            asking.last_day >= today
                && !log.is_vetoed(&device)
                && log.certificate(&device).is_none()
        };
        let Some(asking) = self.check_asking(&request).filter(open) else {
            return self.drop_return(device, cx);
        };
        let own = self.own_guardian();
        if shown_at == 0 || own.is_none() || own == Some(asking.member) || !self.can_decide() {
            return;
        }
        let over = Timestamp(shown_at).plus_ms(limits::RETURN_WAIT_MS);
        let shown = log.asks().find(|it| it.back.device == asking.device);
        let from = shown.map(|it| it.day.plus(limits::RETURN_WAIT_DAYS));
        let frozen = log.is_frozen(today).is_some();
        let mut next = cx.now.plus_ms(AGAIN_MS);
        match from {
            None => self.carry_wish(&request, ReturnWay::Waited, true, cx),
            Some(from) if over <= cx.now && from <= today && !frozen => {
                self.carry_wish(&request, ReturnWay::Waited, false, cx);
            }
            Some(_) if over > cx.now => next = over,
            Some(_) => {}
        }
        self.asked_at = Some(self.asked_at.map_or(next, |at| at.min(next)));
    }

    /// When recovery wants a tick.
    pub(super) fn recovery_deadline(&self) -> Option<Timestamp> {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return None;
        }
        let returning = self.returning_at.filter(|_| self.is_returning());
        let vault = self.vault_asked.map(super::vault::VaultAsked::again_at);
        let asked = self.asked_at.filter(|_| !self.returns.is_empty());
        let links = self.links_at.filter(|_| !self.record.lost_links.is_empty());
        [returning, asked, vault, links].into_iter().flatten().min()
    }
}

/// The return that a wish is about, and whether it is one by the recovery code.
fn read_wish(wish: &wire::ReturnWish) -> Option<(Return, bool)> {
    match Decision::decode(&wish.decision).ok()? {
        Decision::Return(back) => {
            let by_code = back.way == ReturnWay::Code;
            Some((back, by_code))
        }
        Decision::Ask(back) => Some((back, false)),
        _ => None,
    }
}

fn asked_of(request: &wire::ReturnRequest) -> Option<(Return, bool)> {
    read_wish(request.wishes.first()?)
}

/// The last day of the consent to a wish, when it is one of the way's key.
fn consented_until(log: &FamilyLog, back: &Return, wish: &wire::ReturnWish) -> Option<Day> {
    let keys = log.recovery(&back.member())?;
    let key = match back.way {
        ReturnWay::Code => keys.recovery,
        ReturnWay::Guardian | ReturnWay::Waited => keys.request,
    };
    let salt = <[u8; 16]>::try_from(wish.salt.as_ref()).ok()?;
    let consent = wire::Consent::decode(wish.consent.clone()).ok()?;
    crate::identity::verify_consent(&log.family(), &salt, &wish.decision, &consent, &key)?;
    Some(Day(consent.last_day))
}
