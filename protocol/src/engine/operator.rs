//! The operator of this device's relay: whose key is pinned, how far its log was read, and what
//! follows from it (PROTOCOL §16). Devices of a family tell each other how far they were shown it, so
//! that a log that is cut or forked for some of them shows.

use bytes::Bytes;

use super::device::Engine;
use super::errors::CommandError;
use super::event::OperatorNotice;
use super::io::Event;
use super::records;
use super::session::Request;
use super::state::Cx;
use crate::content::Control;
use crate::day::Day;
use crate::identity::Role;
use crate::operator::{
    CHECKPOINT_BYTES, Checkpoint, Continuation, Entry, LogError, OperatorLog, Position, Severity,
    Statement, continue_log, head_of,
};
use crate::primitives::sign::PublicKey;
use crate::server_name::RelayAddress;
use crate::wire::{self, client_frame::Body as ClientBody};

/// Heads that are kept to compare what others say with: a year of an operator who says much.
const HEADS_MAX: usize = 64;
/// Notices that wait for somebody to acknowledge them; older ones give way.
const NOTICES_MAX: usize = 32;
/// What is older when a device reads the log for the first time is not news.
const NEWS_DAYS: u32 = 30;
/// Entries in one answer: 64 KiB of the shortest.
const PART_ENTRIES_MAX: usize = 1_024;
/// Checkpoints of others that this device has not reached: one of each of a large family's devices.
const WANTED_MAX: usize = 32;
/// Complaints that are remembered, to be made once.
const SAID_MAX: usize = 64;

/// What a device knows of its relay's operator, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorStatus {
    /// The offline key.
    pub key: PublicKey,
    /// An address or the family said so; else the relay itself did, when it was first asked.
    pub vouched: bool,
    /// Entries of the log that were read.
    pub entries: u64,
    /// The relay is locked down.
    pub locked_down: bool,
}

/// What the operator's log says of the key under which a relay made tickets (PROTOCOL §15.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerVerdict {
    /// It names this key: everybody's tickets of the epoch are made under it.
    Named,
    /// It names another key: the relay could know these tickets again.
    Other,
    /// An operator is known, and its log names no key for the epoch: the relay may use one for
    /// each account.
    Unnamed,
    /// The relay has never named an operator: its own word is all there is.
    NoOperator,
}

impl IssuerVerdict {
    /// Whether tickets made under the key may be spent.
    #[must_use]
    pub const fn may_spend(self) -> bool {
        matches!(self, Self::Named | Self::NoOperator)
    }
}

impl Engine {
    // ---- whose word counts

    fn operator_key(&self) -> Option<PublicKey> {
        PublicKey::from_slice(&self.record.operator_key)
    }

    /// The relay's address as a pairing code carries it: with the operator's key, once one is pinned.
    pub(super) fn relay_with_operator(&self) -> RelayAddress {
        RelayAddress {
            operator: self.operator_key(),
            ..self.relay.clone()
        }
    }

    /// Somebody of the family, or the relay's address, names the operator's key.
    pub(super) fn vouch_operator(&mut self, key: PublicKey, cx: &mut Cx<'_>) {
        let known = self.operator_key();
        if known == Some(key) && self.record.operator_vouched {
            return;
        }
        if known.is_some_and(|known| known != key) {
            // Another one than the relay named, or than was named before.
            cx.event(Event::OperatorLogForked { entries: 0 });
            if self.record.operator_vouched {
                return;
            }
            for index in std::mem::take(&mut self.operator).notices.into_keys() {
                cx.erase(records::number(records::OPERATOR_NOTICE, index));
            }
            cx.erase(records::state(records::OPERATOR, &[]));
        }
        self.pin_operator(key, true, cx);
        self.fetch_operator_log(cx);
    }

    fn pin_operator(&mut self, key: PublicKey, vouched: bool, cx: &mut Cx<'_>) {
        self.record.operator_key = key.as_bytes().to_vec().into();
        self.record.operator_vouched = vouched;
        self.save_device(cx);
        cx.event(Event::OperatorPinned { key, vouched });
    }

    // ---- the relay's word

    /// A new connection: what was forged on the one before is forgotten.
    pub(super) fn operator_connected(&mut self) {
        self.operator.forged = false;
    }

    /// The relay says where the log stands: in its hello, and whenever that has grown.
    pub(super) fn checkpoint_heard(&mut self, bytes: &Bytes, cx: &mut Cx<'_>) {
        let known = self.operator.position();
        if bytes.is_empty() {
            if known.size > 0 {
                self.log_cut(0, [0; 32], cx);
            }
            return;
        }
        match self.operator_key() {
            // The first word of all: the log itself names the key.
            None => self.fetch_operator_log(cx),
            Some(key) => match Checkpoint::verify(bytes, &key) {
                Err(_) => self.operator_forged(cx),
                Ok(shown) => self.compare_with_relay(shown.position, cx),
            },
        }
    }

    /// A verified checkpoint of the relay's against what is known.
    fn compare_with_relay(&mut self, shown: Position, cx: &mut Cx<'_>) {
        let known = self.operator.position();
        if shown.size > known.size {
            self.fetch_operator_log(cx);
        } else if shown.size < known.size {
            match self.operator.head_at(shown.size) {
                Some(head) if head != shown.head => self.log_forked(shown, cx),
                _ => self.log_cut(shown.size, shown.head, cx),
            }
        } else if shown.head != known.head {
            self.log_forked(shown, cx);
        }
    }

    fn fetch_operator_log(&mut self, cx: &mut Cx<'_>) {
        if self.session.is_attached() && !self.session.is_asking(&Request::OperatorLog) {
            let from = self.operator.position().size;
            let fetch = wire::FetchOperatorLog { from };
            self.request(
                Request::OperatorLog,
                ClientBody::FetchOperatorLog(fetch),
                cx,
            );
        }
    }

    /// Entries that were asked for.
    pub(super) fn operator_log_part(&mut self, part: &wire::OperatorLogPart, cx: &mut Cx<'_>) {
        if part.checkpoint.is_empty() {
            return self.checkpoint_heard(&part.checkpoint, cx);
        }
        if part.entries.len() > PART_ENTRIES_MAX {
            return self.operator_forged(cx);
        }
        match self.read_part(part) {
            Err(_) => self.operator_forged(cx),
            Ok((shown, Continuation::Forked)) => self.log_forked(shown.position, cx),
            Ok((shown, Continuation::Continued { log, entries })) => {
                self.operator.checkpoint = Bytes::copy_from_slice(shown.as_bytes());
                self.take_entries(log, &entries, &part.entries, cx);
                self.meet_wanted(shown.position, cx);
            }
            Ok((_, Continuation::Partial { log, entries })) => {
                self.take_entries(log, &entries, &part.entries, cx);
                self.fetch_operator_log(cx);
            }
        }
    }

    fn read_part(
        &self,
        part: &wire::OperatorLogPart,
    ) -> Result<(Checkpoint, Continuation), LogError> {
        let log = match (&self.operator.log, self.operator_key()) {
            (Some(log), _) => log.clone(),
            (None, Some(key)) => OperatorLog::new(key),
            (None, None) => {
                let first = part.entries.first().ok_or(LogError::Offline)?;
                OperatorLog::new(OperatorLog::offline_of(first)?)
            }
        };
        let shown =
            Checkpoint::verify(&part.checkpoint, log.offline()).map_err(|_| LogError::Signature)?;
        let next = continue_log(&log, &part.entries, &shown)?;
        Ok((shown, next))
    }

    /// What another device was shown must be on the way there, or this relay keeps it back.
    fn meet_wanted(&mut self, shown: Position, cx: &mut Cx<'_>) {
        for wanted in core::mem::take(&mut self.operator.wanted) {
            match self.operator.head_at(wanted.size) {
                Some(head) if head != wanted.head => self.log_forked(wanted, cx),
                None if wanted.size > shown.size => {
                    self.operator.wanted.push(wanted);
                    self.log_cut(shown.size, shown.head, cx);
                }
                _ => {}
            }
        }
    }

    fn log_cut(&mut self, shown: u64, head: [u8; 32], cx: &mut Cx<'_>) {
        let known = self.operator.position().size;
        let wanted = self.operator.wanted.iter().map(|wanted| wanted.size);
        let wanted = wanted.max().unwrap_or(0);
        if self.complains(false, shown, head) {
            cx.event(Event::OperatorLogCut {
                known: known.max(wanted),
                shown,
            });
        }
    }

    fn log_forked(&mut self, at: Position, cx: &mut Cx<'_>) {
        if self.complains(true, at.size, at.head) {
            cx.event(Event::OperatorLogForked { entries: at.size });
        }
    }

    /// Each complaint once.
    fn complains(&mut self, fork: bool, size: u64, head: [u8; 32]) -> bool {
        let said = &mut self.operator.said;
        said.len() < SAID_MAX && said.insert((fork, size, head))
    }

    /// Not the operator's word: counted, and said once on a connection.
    fn operator_forged(&mut self, cx: &mut Cx<'_>) {
        self.counters.forged = self.counters.forged.saturating_add(1);
        if !core::mem::replace(&mut self.operator.forged, true) {
            cx.event(Event::OperatorForged);
        }
    }

    // ---- what follows from it

    fn take_entries(
        &mut self,
        log: OperatorLog,
        entries: &[Entry],
        bytes: &[Bytes],
        cx: &mut Cx<'_>,
    ) {
        let first = self.operator.log.is_none();
        if self.operator_key().is_none() {
            self.pin_operator(*log.offline(), false, cx);
        }
        for (entry, bytes) in entries.iter().zip(bytes) {
            self.operator.heads.push_back(Position {
                size: entry.index.saturating_add(1),
                head: head_of(bytes),
            });
        }
        let over = self.operator.heads.len().saturating_sub(HEADS_MAX);
        self.operator.heads.drain(..over);
        let in_force = log.lockdown();
        self.operator.log = Some(log);
        let oldest = Day(self.today(cx.now).0.saturating_sub(NEWS_DAYS));
        for entry in entries {
            let old = first && entry.day < oldest;
            match &entry.statement {
                Statement::Notice {
                    severity,
                    language,
                    text,
                } if !old => {
                    let notice = notice(entry.day, *severity, language.as_str(), text);
                    self.keep_notice(entry.index, notice, cx);
                }
                Statement::Lockdown { reason, renew } => {
                    // Whoever was not there for one that is over has nothing to renew.
                    if first && in_force != Some(entry.index) {
                        continue;
                    }
                    self.operator.renew_due |= *renew;
                    let notice = notice(entry.day, Severity::Alarm, "", reason);
                    self.keep_notice(entry.index, notice, cx);
                    let is_guardian = self.is_guardian();
                    cx.event(Event::LockedDown {
                        reason: if is_guardian {
                            reason.clone()
                        } else {
                            String::new()
                        },
                        renew: *renew,
                    });
                }
                Statement::Lift if !first => cx.event(Event::LockdownLifted),
                _ => {}
            }
        }
        self.save_operator(cx);
    }

    fn keep_notice(&mut self, index: u64, notice: wire::OperatorNoticeRecord, cx: &mut Cx<'_>) {
        // A child's device shows none, so it keeps none. A device without a family may become a
        // guardian's.
        if self.member().is_some() && !self.is_guardian() {
            return;
        }
        cx.put_message(records::number(records::OPERATOR_NOTICE, index), &notice);
        if self.is_guardian() {
            cx.event(Event::OperatorNotice(shown(index, &notice)));
        }
        self.operator.notices.insert(index, notice);
        if self.operator.notices.len() > NOTICES_MAX
            && let Some((oldest, _)) = self.operator.notices.pop_first()
        {
            cx.erase(records::number(records::OPERATOR_NOTICE, oldest));
        }
    }

    fn is_guardian(&self) -> bool {
        let log = self.log.as_ref();
        log.and_then(|log| log.certificate(&self.device()))
            .is_some_and(|certificate| certificate.role == Role::Guardian)
    }

    fn save_operator(&self, cx: &mut Cx<'_>) {
        let record = self.operator.record();
        cx.put_message(records::state(records::OPERATOR, &[]), &record);
    }

    /// Renews what a lockdown wants renewed, and tells the family how far this device was shown the
    /// log: when that has grown, and once a day.
    pub(super) fn tend_operator(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        // One renewal at a time: the secrets before the last ones are not kept.
        let renews = self.operations.values();
        let renewing = !self.record.next_close_seed.is_empty()
            || renews.into_iter().any(|it| it.self_update && it.revoke_old);
        if self.operator.renew_due && !renewing {
            self.operator.renew_due = false;
            self.save_operator(cx);
            self.renew_secrets(cx);
        }
        self.tell_checkpoint(cx);
    }

    fn tell_checkpoint(&mut self, cx: &mut Cx<'_>) {
        if self.operator.checkpoint.len() != CHECKPOINT_BYTES || self.member().is_none() {
            return;
        }
        let (size, today) = (self.operator.position().size, self.today(cx.now).0);
        if self.operator.told_size >= size && self.operator.told_day >= today {
            return;
        }
        let Some(home) = self.family_conversation() else {
            return;
        };
        let talks = self
            .rooms
            .get(&home)
            .is_some_and(|room| room.can_talk() && room.conversation.devices().len() > 1);
        if talks {
            (self.operator.told_size, self.operator.told_day) = (size, today);
            self.save_operator(cx);
            let checkpoint = self.operator.checkpoint.clone();
            self.say(home, Control::OperatorSeen(checkpoint), cx);
        }
    }

    // ---- the family's word

    /// Another device of the family says how far it was shown the log.
    pub(super) fn operator_seen(&mut self, bytes: &Bytes, cx: &mut Cx<'_>) {
        let Some(key) = self.operator_key() else {
            return;
        };
        let Ok(theirs) = Checkpoint::verify(bytes, &key) else {
            return self.operator_forged(cx);
        };
        let theirs = theirs.position;
        let known = self.operator.position();
        if theirs.size <= known.size {
            let ours = self.operator.head_at(theirs.size);
            if ours.is_some_and(|head| head != theirs.head) {
                self.log_forked(theirs, cx);
            }
            return;
        }
        if !self.operator.wanted.contains(&theirs) && self.operator.wanted.len() < WANTED_MAX {
            self.operator.wanted.push(theirs);
        }
        self.fetch_operator_log(cx);
    }

    // ---- people

    /// What the operator said and nobody here has acknowledged yet, oldest first. Empty on a
    /// child's device.
    #[must_use]
    pub fn operator_notices(&self) -> Vec<OperatorNotice> {
        if !self.is_guardian() {
            return Vec::new();
        }
        let notices = self.operator.notices.iter();
        notices.map(|(index, it)| shown(*index, it)).collect()
    }

    /// Somebody has read a notice.
    ///
    /// # Errors
    /// [`CommandError::NoNotice`].
    pub(super) fn acknowledge_notice(
        &mut self,
        index: u64,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let notice = self.operator.notices.remove(&index);
        notice.ok_or(CommandError::NoNotice)?;
        cx.erase(records::number(records::OPERATOR_NOTICE, index));
        Ok(())
    }

    /// Whether secrets are being made anew, or what was before is not yet revoked at the relay.
    #[must_use]
    pub fn is_renewing(&self) -> bool {
        let mut changes = self.operations.values();
        self.operator.renew_due
            || !self.record.next_close_seed.is_empty()
            || !self.revocations.is_empty()
            || changes.any(|it| it.self_update && it.revoke_old)
    }

    /// What this device knows of the operator; `None` when its relay never named one.
    #[must_use]
    pub fn operator(&self) -> Option<OperatorStatus> {
        let log = self.operator.log.as_ref();
        Some(OperatorStatus {
            key: self.operator_key()?,
            vouched: self.record.operator_vouched,
            entries: self.operator.position().size,
            locked_down: log.is_some_and(|log| log.lockdown().is_some()),
        })
    }

    /// The key under which the operator's log says that tickets of `epoch` are issued.
    #[must_use]
    pub fn issuer_key(&self, epoch: u32) -> Option<[u8; 32]> {
        self.operator.log.as_ref()?.issuer(epoch)
    }

    /// What is to be thought of tickets of `epoch` that the relay made under `key`. Asked once
    /// this device has settled, so that it has read the log.
    #[must_use]
    pub fn judge_issuer(&self, epoch: u32, key: &[u8; 32]) -> IssuerVerdict {
        match (self.operator_key(), self.issuer_key(epoch)) {
            (None, _) => IssuerVerdict::NoOperator,
            (Some(_), None) => IssuerVerdict::Unnamed,
            (Some(_), Some(named)) if named == *key => IssuerVerdict::Named,
            (Some(_), Some(_)) => IssuerVerdict::Other,
        }
    }

    /// SHA-256 of the terms of the service, as the operator's log has them.
    #[must_use]
    pub fn terms_hash(&self) -> Option<[u8; 32]> {
        self.operator.log.as_ref()?.terms()
    }
}

fn notice(day: Day, severity: Severity, language: &str, text: &str) -> wire::OperatorNoticeRecord {
    wire::OperatorNoticeRecord {
        day: day.0,
        severity: match severity {
            Severity::Info => 1,
            Severity::Warning => 2,
            Severity::Alarm => 3,
        },
        language: language.to_owned(),
        text: text.to_owned(),
    }
}

fn shown(index: u64, record: &wire::OperatorNoticeRecord) -> OperatorNotice {
    OperatorNotice {
        index,
        day: Day(record.day),
        severity: match record.severity {
            1 => Severity::Info,
            2 => Severity::Warning,
            _ => Severity::Alarm,
        },
        language: record.language.clone(),
        text: record.text.clone(),
    }
}
