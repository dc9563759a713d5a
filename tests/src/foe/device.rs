//! A device without a socket: its engine, its store, and what can be read out of that.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kinline_protocol::conversation::{
    Conversation, ConversationContext, ConversationKind, Crypto, Leaf, Parties, StorageEntries,
};
use kinline_protocol::day::{Day, Timestamp};
use kinline_protocol::engine::io::{Input, RecordClass, RecordKey};
use kinline_protocol::engine::{Engine, view};
use kinline_protocol::identity::{
    FamilyLog, Lease, PassEntry, Role, Supervision, read_clock_record,
};
use kinline_protocol::ids::{ContentId, ConversationId, DeviceId};
use kinline_protocol::limits;
use kinline_protocol::wire;
use openmls_libcrux_crypto::CryptoProvider;
use prost::Message as _;

use super::honest::Line;

/// What stories call a device.
pub type Name = &'static str;

/// What keeps a contact's message from being shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    /// Who is whose.
    People,
    /// A family whose guardians were not heard for too long.
    Lease,
    /// No pass that both families hold to.
    Pass,
}

/// A device.
pub struct Device {
    /// Its engine.
    pub engine: Engine,
    /// What it has persisted.
    pub store: BTreeMap<RecordKey, Vec<u8>>,
    /// Whose it is, as the family log says it.
    pub person: &'static str,
    /// Whose house it belongs to: the name of its family.
    pub house: &'static str,
    /// Its connection.
    pub line: Option<Line>,
    /// Hello was said on it.
    pub greeted: bool,
    /// What it has not been told yet.
    pub inputs: VecDeque<Input>,
    /// It lies in a drawer and is never switched on again.
    pub retired: bool,
    /// Logs that were read out of its store already, by their records: that takes signatures.
    pub read: Logs,
    /// Its own clock.
    pub clock: OwnClock,
}

/// A clock that is right, or wrong by so many days.
#[derive(Debug, Default, Clone, Copy)]
pub struct OwnClock {
    /// Days that it is ahead; below zero: behind.
    pub days_ahead: i32,
}

impl OwnClock {
    /// What it shows when it is `now`.
    #[must_use]
    pub fn shows(self, now: Timestamp) -> Timestamp {
        const DAY_MS: i64 = 86_400_000;
        let now = i64::try_from(now.0).unwrap_or(i64::MAX);
        let shown = now.saturating_add(i64::from(self.days_ahead) * DAY_MS);
        Timestamp(u64::try_from(shown).unwrap_or(0))
    }
}

/// Logs by the records that they were read from.
#[derive(Debug, Default)]
pub struct Logs(RefCell<BTreeMap<Vec<u8>, Option<FamilyLog>>>);

impl Logs {
    /// Records whose logs are kept; then it begins anew.
    const MAX: usize = 100;

    fn read(&self, records: Vec<u8>, log: impl FnOnce() -> Option<FamilyLog>) -> Option<FamilyLog> {
        let known = self.0.borrow().get(&records).cloned();
        known.unwrap_or_else(|| {
            let log = log();
            let mut kept = self.0.borrow_mut();
            if kept.len() >= Self::MAX {
                kept.clear();
            }
            kept.insert(records, log.clone());
            log
        })
    }
}

/// What the store of a device says about a conversation.
pub struct Look {
    /// Its epoch.
    pub epoch: u64,
    /// What all members are to agree on.
    pub context: ConversationContext,
    /// Who is in it.
    pub leaves: Vec<Leaf>,
    /// Names the epoch: two pasts have two tokens. Empty for who was taken out.
    pub token: Vec<u8>,
}

/// A cryptography provider of one's own.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn crypto() -> Crypto {
    Arc::new(CryptoProvider::new().unwrap())
}

impl Device {
    /// State records whose names begin so; the rest of the name and the value.
    #[must_use]
    pub fn state(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let state = self
            .store
            .iter()
            .filter(|(key, _)| key.class == RecordClass::State);
        state
            .filter_map(|(key, value)| {
                Some((key.name.strip_prefix(prefix)?.to_vec(), value.clone()))
            })
            .collect()
    }

    /// A state record.
    ///
    /// # Panics
    /// When it is missing or damaged.
    #[must_use]
    pub fn record<M: prost::Message + Default>(&self, name: &[u8]) -> M {
        let key = RecordKey {
            class: RecordClass::State,
            name: name.to_vec(),
        };
        M::decode(self.store[&key].as_slice()).unwrap()
    }

    /// The mailbox and the keys.
    #[must_use]
    pub fn keys(&self) -> wire::DeviceRecord {
        self.record(b"device")
    }

    /// The MLS state of a conversation, taken out of the store.
    #[must_use]
    pub fn conversation(&self, id: ConversationId) -> Option<Conversation> {
        let prefix = [b"g/".as_slice(), id.as_bytes()].concat();
        let entries: StorageEntries = self.state(&prefix).into_iter().collect();
        Conversation::load(&crypto(), id, entries, self.parties(id)?).ok()
    }

    /// The families' logs as a conversation sees them, taken out of the store.
    #[must_use]
    pub fn parties(&self, id: ConversationId) -> Option<Parties> {
        let name = [b"c/".as_slice(), id.as_bytes()].concat();
        let (_, record) = self.state(&name).pop()?;
        let record = wire::ConversationRecord::decode(record.as_slice()).ok()?;
        if record.kind() == wire::ConversationKind::Family {
            return Some(Parties::from(self.log()?));
        }
        let prefix = [b"a/".as_slice(), id.as_bytes()].concat();
        let news: Option<Vec<wire::PartyNews>> = self
            .state(&prefix)
            .iter()
            .map(|(_, value)| wire::PartyNews::decode(value.as_slice()).ok())
            .collect();
        Parties::from_wire(&news?).ok()
    }

    /// The log of its family, taken out of the store.
    #[must_use]
    pub fn log(&self) -> Option<FamilyLog> {
        let stored = self.state(b"l/");
        let records: Vec<u8> = stored.iter().flat_map(|(_, value)| value.clone()).collect();
        self.read.read(records, || {
            let entries: Option<Vec<wire::LogEntry>> = stored
                .iter()
                .map(|(_, value)| wire::LogEntry::decode(value.as_slice()).ok())
                .collect();
            FamilyLog::from_entries(&entries?).ok()
        })
    }

    /// Looks into a conversation from outside.
    #[must_use]
    pub fn look(&self, id: ConversationId) -> Option<Look> {
        let conversation = self.conversation(id)?;
        let token = conversation.slot_token();
        Some(Look {
            epoch: conversation.epoch(),
            context: conversation.context().ok()?,
            leaves: conversation.leaves(),
            token: token.map_or(vec![], |token| token.as_bytes().to_vec()),
        })
    }

    /// The logs of other families that it keeps, as they are anywhere in its store.
    #[must_use]
    pub fn other_logs(&self) -> Vec<FamilyLog> {
        let kept = [self.state(b"y/"), self.state(b"a/")].concat();
        let own = self.log().map(|log| log.family());
        let logs = kept.iter().filter_map(|(_, value)| {
            self.read.read(value.clone(), || {
                let news = wire::PartyNews::decode(value.as_slice()).ok()?;
                FamilyLog::from_entries(&news.entries).ok()
            })
        });
        logs.filter(|log| Some(log.family()) != own).collect()
    }

    /// What day it is by its own clock and what it heard, and the newest days that guardians of
    /// families told it.
    #[must_use]
    pub fn calendar(&self, own: Day) -> (Day, Lease) {
        let stored = self.state(b"clock").pop();
        let record = stored.and_then(|(_, it)| wire::ClockRecord::decode(it.as_slice()).ok());
        let family = self.log().map(|log| log.family());
        match record.zip(family) {
            Some((record, family)) => {
                let (clock, lease) = read_clock_record(&record, family, limits::BUILD_DAY);
                (clock.today(own), lease)
            }
            None => (own, Lease::default()),
        }
    }

    /// Whether what a device of another family says may be shown in a contact conversation, by
    /// all that this one has stored; `guardian_days`: when guardians of a house last were there
    /// to sign a head.
    ///
    /// # Errors
    /// Why not.
    pub fn may_show(
        &self,
        sender: DeviceId,
        now: Day,
        guardian_days: &BTreeMap<&'static str, Day>,
    ) -> Result<(), String> {
        match self.bars(sender, now, guardian_days).into_iter().next() {
            Some((_, why)) => Err(why),
            None => Ok(()),
        }
    }

    /// Everything that keeps this device from showing what `sender` says.
    #[must_use]
    pub fn bars(
        &self,
        sender: DeviceId,
        now: Day,
        guardian_days: &BTreeMap<&'static str, Day>,
    ) -> Vec<(Bar, String)> {
        let people = |why: &str| vec![(Bar::People, why.to_owned())];
        let (today, heard) = self.calendar(now);
        let Some(own) = self.log() else {
            return people("it is in no family");
        };
        let Some(certificate) = own.certificate(&self.engine.device()) else {
            return people("it was removed from its family");
        };
        if own.certificate(&sender).is_some() {
            return vec![];
        }
        let mut others = self.other_logs();
        others.retain(|log| {
            let statements = log.certificate(&sender).is_some();
            let passes = !log.passes().is_empty();
            statements || passes
        });
        let Some(member) = others
            .iter()
            .find_map(|log| log.certificate(&sender))
            .map(|certificate| certificate.member)
        else {
            return people("nobody has let its sender into a family");
        };
        let length = others.iter().map(FamilyLog::len).max().unwrap_or(0);
        others.retain(|log| log.len() == length);
        let Some(newest) = others.iter().find(|log| log.certificate(&sender).is_some()) else {
            return people("its sender was removed");
        };
        let mut bars = Vec::new();
        for log in [&own, newest] {
            let lease = log.settings().lease_days;
            // A day of grace: clocks of devices need not agree.
            let told = heard.newest(&log.family()).map_or(0, |told| told.0);
            // Nobody can have told it what no guardian was there to sign.
            let signed = guardian_days.get(log.family_name());
            let told = signed.map_or(told, |signed| told.min(signed.0));
            if today.0 > told + lease {
                let name = log.family_name();
                let Day(today) = today;
                let why =
                    format!("{name}'s lease is over: {told}, {lease} days, and it is {today}");
                bars.push((Bar::Lease, why));
            }
        }
        let (ours, theirs) = (own.family(), newest.family());
        let holds = own.passes().iter().any(|(id, entry)| {
            let mine = entry.pass.side_of(&ours);
            let child = certificate.role == Role::Guardian
                || mine.is_some_and(|side| side.child == certificate.member);
            let side = entry.pass.side_of(&theirs);
            let named = side.is_some_and(|side| {
                side.child == member || side.guardians.iter().any(|it| it.member == member)
            });
            let other = others.iter().find_map(|log| log.passes().get(id));
            let revoked = |entry: &PassEntry| entry.revoked.is_some();
            child
                && named
                && !revoked(entry)
                && other.is_some_and(|other| !revoked(other))
                && entry.pass.covers(today)
        });
        if !holds {
            let known = |log: &FamilyLog| {
                let passes = log.passes().iter();
                let revoked = passes
                    .map(|(id, entry)| (*id, entry.revoked))
                    .collect::<Vec<_>>();
                (log.len(), revoked)
            };
            let (own, others) = (known(&own), others.iter().map(known).collect::<Vec<_>>());
            let why = format!("no pass holds on {today:?}: {own:?}, {others:?}");
            bars.push((Bar::Pass, why));
        }
        bars
    }

    /// Whether a content may be encrypted in a conversation, by all that this device has stored:
    /// everybody there is certified, in what crosses families under a pass, and the guardian
    /// whom a pass wants there is there.
    ///
    /// # Errors
    /// Why not.
    pub fn may_encrypt(
        &self,
        id: ConversationId,
        now: Day,
        guardian_days: &BTreeMap<&'static str, Day>,
    ) -> Result<(), String> {
        let look = self.look(id).ok_or("there is no such conversation")?;
        let own = self.log().ok_or("it is in no family")?;
        let ours = |leaf: &Leaf| own.certificate(&leaf.device).is_some();
        for leaf in look.leaves.iter().filter(|leaf| !ours(leaf)) {
            match look.context.kind {
                ConversationKind::Contact => self.may_show(leaf.device, now, guardian_days)?,
                ConversationKind::Link => {
                    let mut others = self.other_logs();
                    let length = others.iter().map(FamilyLog::len).max();
                    others.retain(|log| Some(log.len()) == length);
                    let mut certificates = others
                        .iter()
                        .filter_map(|log| log.certificate(&leaf.device));
                    if !certificates.any(|it| it.role == Role::Guardian) {
                        return Err("it is for no guardian of another family".into());
                    }
                }
                _ => return Err("its family does not know who is there".into()),
            }
        }
        if look.context.kind == ConversationKind::Contact && self.lacks_guardian(&own, &look, now) {
            return Err("the guardian whom the pass wants there is not".into());
        }
        Ok(())
    }

    /// Whether a pass of children who are there wants a guardian of ours there, and none is.
    fn lacks_guardian(&self, own: &FamilyLog, look: &Look, now: Day) -> bool {
        let (today, _) = self.calendar(now);
        let others = self.other_logs();
        let members: Vec<_> = (look.leaves.iter())
            .filter_map(|leaf| {
                let logs = [own].into_iter().chain(&others);
                let certificate = logs
                    .into_iter()
                    .find_map(|log| log.certificate(&leaf.device));
                certificate.map(|it| (it.family, it.member))
            })
            .collect();
        let passes = own.passes().values();
        let mut wanting = passes.filter(|entry| {
            let there = entry.pass.children().iter().all(|it| members.contains(it));
            there && entry.revoked.is_none() && entry.pass.covers(today)
        });
        wanting.any(|entry| {
            let side = entry.pass.side_of(&own.family());
            side.is_some_and(|side| {
                let mut named = side.guardians.iter();
                side.supervision == Supervision::Everything
                    && !named.any(|it| members.contains(&(side.family, it.member)))
            })
        })
    }

    /// The place of a new content of its own among what it said there.
    #[must_use]
    pub fn number_of(&self, id: ConversationId, content: ContentId) -> Option<u64> {
        let open = self.open_contents(id);
        let mut found = open.iter().filter(|(known, _)| *known == content);
        found.next().map(|(_, number)| *number)
    }

    /// Contents of its own that somebody has still to confirm, and their places.
    #[must_use]
    pub fn open_contents(&self, id: ConversationId) -> Vec<(ContentId, u64)> {
        let prefix = [b"o/".as_slice(), id.as_bytes()].concat();
        let open = self.state(&prefix).into_iter();
        open.filter_map(|(_, value)| {
            let record = wire::OutgoingRecord::decode(value.as_slice()).ok()?;
            let content = ContentId::try_from(&record.content_id).ok()?;
            Some((content, record.sequence))
        })
        .collect()
    }

    /// What comes next of a device in a conversation, by what was shown.
    #[must_use]
    pub fn next_of(&self, of: DeviceId, id: ConversationId) -> u64 {
        let record = [b"c/".as_slice(), id.as_bytes()].concat();
        let record: wire::ConversationRecord = self.record(&record);
        let peer = record
            .peers
            .iter()
            .find(|peer| peer.device.as_ref() == of.as_bytes());
        peer.map_or(1, |peer| peer.delivered_through + 1)
    }

    /// What is on its screen.
    #[must_use]
    pub fn screen(&self) -> Vec<view::MessageView> {
        let history = self
            .store
            .iter()
            .filter(|(key, _)| key.class == RecordClass::History);
        view::messages(history.map(|(key, value)| (key.name.clone(), value.clone())))
    }

    /// Whether a grown-up who decides holds it.
    #[must_use]
    pub fn is_guardian(&self) -> bool {
        let certificate = self
            .engine
            .family_log()
            .and_then(|log| log.certificate(&self.engine.device()));
        certificate.is_some_and(|it| it.role == Role::Guardian)
    }

    /// Takes its engine up again from what is persisted.
    ///
    /// # Panics
    /// When that does not load.
    pub fn restart(&mut self) {
        self.inputs.clear();
        self.engine = Engine::load(self.state(b"")).unwrap();
    }
}
