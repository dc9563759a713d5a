//! A member who knows the sealing keys of the others, and means harm.

use kinline_protocol::content::Control;
use kinline_protocol::conversation::{
    Conversation, Crypto, DeviceSigner, Parties, ProposedChange, StorageEntries, seal_commit,
};
use kinline_protocol::engine::io::{Event, RecordClass};
use kinline_protocol::envelope::{self, Kind, Payload};
use kinline_protocol::identity::FamilyLog;
use kinline_protocol::ids::{ConversationId, DeviceId, MailboxId, MessageId};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire;
use openmls::prelude::{GroupId, MlsGroup};
use openmls_libcrux_crypto::CryptoProvider;
use openmls_memory_storage::MemoryStorage;
use openmls_traits::OpenMlsProvider;
use prost::Message as _;

use super::world::{Name, World};

/// Puts something into `to`'s mailbox, sealed as any member of the conversation can.
fn forge(world: &mut World, to: Name, conversation: ConversationId, kind: Kind, payload: Vec<u8>) {
    let name = [b"c/".as_slice(), conversation.as_bytes()].concat();
    let record: wire::ConversationRecord = world.record(to, &name);
    let key = Secret::from_slice(&record.addresses.last().unwrap().sealing_key).unwrap();
    let mailbox = world.mailbox(to);
    let message = MessageId::random(&mut world.rng);
    let id = MailboxId::try_from(mailbox.as_slice()).unwrap();
    let envelope = envelope::seal(
        &key,
        &id,
        &message,
        kind,
        &Payload::Inline(payload),
        &mut world.rng,
    )
    .unwrap();
    world.relay.plant(&mailbox, message.to_bytes(), envelope);
    world.run();
}

#[test]
fn a_lying_look_stops_nobody() {
    let mut world = World::new();
    let family = world.family();
    forge(
        &mut world,
        "kid",
        family,
        Kind::Look,
        u64::MAX.to_be_bytes().to_vec(),
    );
    world.self_update("mum", family);
    world.pass(1_000);
    assert_eq!(
        world.epoch("kid", family),
        world.epoch("mum", family),
        "the tablet follows without reconnecting"
    );
}

#[test]
fn a_forged_number_mutes_nobody() {
    let mut world = World::new();
    let family = world.family();
    world.text("dad", family, "one");
    world.settle();
    let dad = world.device("dad").engine.device();
    // A real message, but for its last byte: it does not open.
    let mut mum = outlaw(&mut world, "mum", family);
    let mut message = mum.conversation.encrypt(&mum.signer, b"x").unwrap();
    *message.last_mut().unwrap() ^= 1;
    for sequence in [50, 1_000_000, u64::MAX] {
        let payload = [
            dad.as_bytes().as_slice(),
            &u64::to_be_bytes(sequence),
            &[0; 8],
            &message,
        ]
        .concat();
        forge(&mut world, "kid", family, Kind::Application, payload);
    }
    assert_eq!(
        world.count("kid", |event| matches!(event, Event::Unreadable { .. })),
        3
    );
    for _ in 0..70 {
        world.pass(60_000);
    }
    for n in 2..60 {
        world.text("dad", family, &format!("{n}"));
    }
    world.settle();
    assert_eq!(world.texts("kid").len(), 59);
    assert_eq!(
        world.count("kid", |event| matches!(event, Event::Gap { .. })),
        0,
        "nothing was proven missing"
    );
}

#[test]
fn noise_inside_a_good_seal_is_counted_and_forgotten() {
    let mut world = World::new();
    let family = world.family();
    for kind in [Kind::Application, Kind::Look, Kind::Direct, Kind::Welcome] {
        for length in [0, 1, 16, 24, 40, 900] {
            forge(&mut world, "kid", family, kind, vec![0x5a; length]);
        }
    }
    world.settle();
    world.text("mum", family, "hello");
    world.settle();
    assert_eq!(world.texts("kid"), ["hello"]);
    assert!(world.device("kid").engine.is_settled());
}

#[test]
fn room_after_room_is_formed_with_key_packages_that_are_renewed() {
    let mut world = World::new();
    world.family();
    let first = world.room("dad", &["kid"], "first");
    let second = world.room("dad", &["kid"], "second");
    let third = world.room("dad", &["kid"], "third");
    for room in [first, second, third] {
        world.text("dad", room, "hi");
    }
    world.settle();
    assert_eq!(world.texts("kid"), ["hi", "hi", "hi"]);
    let kept = world
        .device("kid")
        .store
        .keys()
        .filter(|key| key.name.starts_with(b"k/"))
        .count();
    assert!(kept <= 8, "{kept} key packages of its own");
}

#[test]
fn a_replayed_key_package_is_not_used_again() {
    let mut world = World::new();
    // A relay that forgets nothing says everything again that it ever brought.
    world.relay.keeps_blobs = true;
    world.family();
    for title in ["first", "second"] {
        world.room("mum", &["kid"], title);
    }
    let mum = world.mailbox("mum");
    for (mailbox, id, envelope) in world.relay.seen.clone() {
        if mailbox == mum {
            world.relay.plant(&mum, id, envelope);
            world.run();
        }
    }
    world.settle();
    for title in ["third", "fourth", "fifth", "sixth"] {
        let room = world.room("mum", &["kid"], title);
        world.text("mum", room, title);
        world.settle();
    }
    let mut read = world.texts("kid");
    read.sort();
    assert_eq!(read, ["fifth", "fourth", "sixth", "third"]);
}

/// What a device could do that follows no rules: its MLS state, taken out of its store.
struct Outlaw {
    conversation: Conversation,
    signer: DeviceSigner,
}

/// Where a device without a gate keeps what MLS remembers.
struct Ungated {
    crypto: CryptoProvider,
    storage: MemoryStorage,
}

impl OpenMlsProvider for Ungated {
    type CryptoProvider = CryptoProvider;
    type RandProvider = CryptoProvider;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        &self.storage
    }

    fn crypto(&self) -> &CryptoProvider {
        &self.crypto
    }

    fn rand(&self) -> &CryptoProvider {
        &self.crypto
    }
}

/// State records of a device whose names begin so, without that beginning.
fn state(world: &World, name: Name, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let store = world.devices[name].store.iter();
    store
        .filter(|(key, _)| key.class == RecordClass::State)
        .filter_map(|(key, value)| Some((key.name.strip_prefix(prefix)?.to_vec(), value.clone())))
        .collect()
}

/// The MLS state of a conversation, out of a device's store.
fn mls_state(world: &World, name: Name, id: ConversationId) -> StorageEntries {
    let prefix = [b"g/".as_slice(), id.as_bytes()].concat();
    state(world, name, &prefix).into_iter().collect()
}

fn outlaw(world: &mut World, name: Name, id: ConversationId) -> Outlaw {
    let device: wire::DeviceRecord = world.record(name, b"device");
    let state = |prefix: &[u8]| state(world, name, prefix);
    let entries = mls_state(world, name, id);
    let log: Vec<wire::LogEntry> = state(b"l/")
        .iter()
        .map(|(_, value)| wire::LogEntry::decode(value.as_slice()).unwrap())
        .collect();
    let log = FamilyLog::from_entries(&log).unwrap();
    let seen: Vec<wire::PartyNews> = state(&[b"a/".as_slice(), id.as_bytes()].concat())
        .iter()
        .map(|(_, value)| wire::PartyNews::decode(value.as_slice()).unwrap())
        .collect();
    let parties = if seen.is_empty() {
        Parties::from(log.clone())
    } else {
        Parties::from_wire(&seen).unwrap()
    };
    let crypto = Crypto::new(CryptoProvider::new().unwrap());
    Outlaw {
        conversation: Conversation::load(&crypto, id, entries, parties).unwrap(),
        signer: DeviceSigner {
            device: DeviceId::try_from(&device.device).unwrap(),
            key: SecretKey::from_seed(&device.signature_seed.as_ref().try_into().unwrap()),
        },
    }
}

impl Outlaw {
    /// A device that asks no gate of its own takes another out.
    fn remove_unjudged(&mut self, world: &mut World, entries: StorageEntries, gone: DeviceId) {
        let provider = Ungated {
            crypto: CryptoProvider::new().unwrap(),
            storage: MemoryStorage::default(),
        };
        *provider.storage.values.write().unwrap() = entries.into_iter().collect();
        let id = GroupId::from_slice(self.conversation.id().as_bytes());
        let group = MlsGroup::load(&provider.storage, &id).unwrap();
        let mut group = group.unwrap();
        let of = |content: &[u8]| content.ends_with(gone.as_bytes());
        let mut members = group.members();
        let index = members
            .find(|member| of(member.credential.serialized_content()))
            .unwrap()
            .index;
        drop(members);
        let bundle = group
            .commit_builder()
            .force_self_update(true)
            .propose_removals([index])
            .load_psks(&provider.storage)
            .unwrap()
            .build(&provider.crypto, &provider.crypto, &self.signer, |_| true)
            .unwrap()
            .stage_commit(&provider)
            .unwrap();
        let commit = bundle.into_messages().0.to_bytes().unwrap();
        self.put(world, &commit);
    }

    fn offer(&mut self, world: &mut World, change: ProposedChange) {
        let proposed = self.conversation.propose(&self.signer, change);
        self.put(world, &proposed.unwrap().commit);
    }

    fn put(&mut self, world: &mut World, commit: &[u8]) {
        let token = self.conversation.slot_token().unwrap();
        let key = self.conversation.commit_key().unwrap();
        let sealed = seal_commit(
            commit,
            &token,
            &key,
            self.signer.device,
            &self.signer.key,
            &mut world.rng,
        )
        .unwrap();
        world
            .relay
            .slots
            .insert(token.to_bytes().to_vec(), sealed.into());
    }
}

#[test]
fn a_removed_device_goes_on_with_its_other_conversations() {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["dad", "kid"], "Three");
    world.text("kid", room, "still here");
    world.text("kid", family, "hello");
    world.settle();
    // Dad's phone takes the tablet out of the room; what the tablet wrote there waits.
    let kid = world.device("kid").engine.device();
    let mut dad = outlaw(&mut world, "dad", room);
    world.disconnect("dad");
    world.disconnect("kid");
    world.text("kid", room, "into the void");
    world.self_update("kid", room);
    dad.offer(
        &mut world,
        ProposedChange {
            remove: vec![kid],
            ..ProposedChange::default()
        },
    );
    world.text("kid", family, "can you hear me?");
    world.connect("kid");
    world.settle();
    for _ in 0..3 {
        world.pass(3_600_000);
    }
    assert!(world.texts("mum").contains(&"can you hear me?".to_owned()));
    let removed =
        |event: &Event| matches!(event, Event::DeviceRemoved { device, .. } if *device == kid);
    assert_eq!(world.count("kid", removed), 1);
    let undelivered = |event: &Event| matches!(event, Event::Undelivered { .. });
    assert!(
        world.count("kid", undelivered) >= 1,
        "the tablet is told that its last words did not go out"
    );
    let denied = world.try_command(
        "kid",
        kinline_protocol::engine::io::Command::Typing { conversation: room },
    );
    assert!(denied.is_err());
    world.restart("kid");
    world.connect("kid");
    world.disconnect("mum");
    world.connect("mum");
    world.settle();
    world.text("mum", family, "yes");
    world.settle();
    assert!(world.texts("kid").contains(&"yes".to_owned()));
    assert!(
        world.device("kid").engine.is_settled(),
        "nothing is left to do in a room one was taken out of"
    );
}

#[test]
fn what_was_sealed_for_a_device_stays_when_it_is_removed() {
    let mut world = World::new();
    world.family();
    let room = world.room("mum", &["dad", "kid"], "Three");
    world.text("kid", room, "hi");
    world.settle();
    let kid = world.device("kid").engine.device();
    let mut dad = outlaw(&mut world, "dad", room);
    world.disconnect("dad");
    world.relay.full = Some(world.mailbox("kid"));
    world.text("mum", room, "for all three");
    world.disconnect("mum");
    let sealed = |world: &World| -> Vec<bytes::Bytes> {
        let sends = world.devices["mum"].store.iter();
        sends
            .filter(|(key, _)| key.class == RecordClass::State && key.name.starts_with(b"s/"))
            .map(|(_, value)| wire::PendingSendRecord::decode(value.as_slice()).unwrap())
            .filter(|send| send.conversation.as_ref() == room.as_bytes())
            .flat_map(|send| send.deliveries)
            .map(|delivery| delivery.message_id)
            .collect()
    };
    let waiting = sealed(&world);
    assert!(!waiting.is_empty(), "something waits for the tablet");
    dad.offer(
        &mut world,
        ProposedChange {
            remove: vec![kid],
            ..ProposedChange::default()
        },
    );
    let seen = world.relay.seen.len();
    world.relay.full = None;
    world.connect("mum");
    world.settle();
    let removed =
        |event: &Event| matches!(event, Event::DeviceRemoved { device, .. } if *device == kid);
    assert_eq!(world.count("mum", removed), 1);
    let left = world.relay.seen[seen..].iter();
    let left = left.filter(|(_, id, _)| waiting.contains(id)).count();
    assert_eq!(
        left, 0,
        "nothing leaves for a device that is known to be out"
    );
    assert_eq!(sealed(&world), Vec::<bytes::Bytes>::new());
    assert!(world.device("mum").engine.is_settled());
}

/// Fills the slot of a conversation's epoch with something that leads nowhere.
pub(crate) fn spoil(world: &mut World, name: Name, id: ConversationId) {
    let token = outlaw(world, name, id).conversation.slot_token().unwrap();
    let void = vec![1; 1_024].into();
    world.relay.slots.insert(token.to_bytes().to_vec(), void);
}

#[test]
fn a_void_slot_ends_that_conversation_only() {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["dad", "kid"], "Three");
    let token = outlaw(&mut world, "kid", room)
        .conversation
        .slot_token()
        .unwrap();
    world
        .relay
        .slots
        .insert(token.to_bytes().to_vec(), vec![1; 1_024].into());
    world.self_update("mum", room);
    world.settle();
    for name in ["mum", "dad"] {
        world.restart(name);
        world.connect(name);
        world.settle();
    }
    world.text("mum", family, "elsewhere life goes on");
    world.self_update("mum", family);
    world.settle();
    assert!(
        world
            .texts("dad")
            .contains(&"elsewhere life goes on".to_owned())
    );
    assert_eq!(world.epoch("mum", family), world.epoch("dad", family));
}

/// What a device has stored of the MLS state of a conversation, and of the logs in it.
fn stored(world: &World, name: Name, id: ConversationId) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let parties = [b"a/".as_slice(), id.as_bytes()].concat();
    vec![
        mls_state(world, name, id).into_iter().collect(),
        state(world, name, &parties),
        state(world, name, b"l/"),
    ]
}

#[test]
fn a_refused_change_leaves_every_byte_as_it_was_and_guardians_hear() {
    let mut world = World::new();
    let family = world.family();
    let room = world.room("mum", &["dad", "kid"], "Three");
    let dad = world.device("dad").engine.device();
    for id in [room, family] {
        world.text("kid", id, "before");
        world.settle();
        let mut kid = outlaw(&mut world, "kid", id);
        let before = ["mum", "dad"].map(|name| stored(&world, name, id));
        assert!(before[0][0].len() > 3, "there is something to compare");
        // The tablet takes a guardian's phone out, which it may not.
        let entries = mls_state(&world, "kid", id);
        kid.remove_unjudged(&mut world, entries, dad);
        // Looked at on every connection, and never followed.
        for _ in 0..2 {
            for name in ["mum", "dad"] {
                world.disconnect(name);
                world.restart(name);
                world.connect(name);
            }
        }
        world.settle();
        let refused = |event: &Event| matches!(event, Event::Refused { conversation, sentence } if *conversation == id && sentence.contains("may not remove"));
        let told = |event: &Event| matches!(event, Event::Control { control: Control::Refusal(refusal), .. } if refusal.conversation == id && refusal.sentence.contains("may not remove"));
        for name in ["mum", "dad"] {
            assert!(world.count(name, refused) > 0, "{name} sees it");
            // Of the family's own conversation each hears on their own device.
            assert_eq!(
                world.count(name, told) > 0,
                id == room,
                "{name} hears of it"
            );
        }
        let after = ["mum", "dad"].map(|name| stored(&world, name, id));
        if id == room {
            assert!(before == after, "something has changed");
        }
        let epochs = ["mum", "dad", "kid"].map(|name| world.epoch(name, id));
        assert!(epochs[0] == epochs[1] && epochs[1] == epochs[2]);
    }
    world.text("mum", room, "we still talk");
    world.settle();
    for name in ["dad", "kid"] {
        assert!(
            world.texts(name).contains(&"we still talk".to_owned()),
            "{name}"
        );
    }
}
