//! What a relay can do only with the help of a member: contents and changes from inside, by
//! somebody whose own checks are switched off.

use kinline_protocol::attachment::encrypt_bytes;
use kinline_protocol::blob::{owner_hash, read_hash};
use kinline_protocol::content::{Body, Content};
use kinline_protocol::conversation::{
    CheckedKeyPackage, DeviceSigner, OwnAddress, ProposedChange, check_key_package,
    make_key_package,
};
use kinline_protocol::engine::io::Command;
use kinline_protocol::envelope::{self, Kind, Payload};
use kinline_protocol::faults::{Fault, plant as leave_out};
use kinline_protocol::ids::{ContentId, ConversationId, DeviceId, MailboxId, MessageId};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire;
use kinline_tests::foe::{Life, Name, Outlaw, crypto, plant};
use prost::Message as _;
use rand_chacha::ChaCha20Rng;

/// The child's tablet changes sides: it is put away, and its state is the enemy's. What it had
/// said is confirmed before.
pub(crate) fn turn_coat(life: &mut Life, name: Name, id: ConversationId) -> Outlaw {
    life.settle();
    let outlaw = Outlaw::of(&life.devices[name], id);
    let device = life.id(name);
    life.oracle.retire(device);
    life.disconnect(name);
    life.device(name).retired = true;
    outlaw
}

/// A room of the founder's with these, in which somebody has spoken.
pub(crate) fn room(life: &mut Life, with: &[Name]) -> ConversationId {
    let members = with
        .iter()
        .map(|name| life.devices[name].engine.member().unwrap())
        .collect();
    let title = "some of us".to_owned();
    life.settle();
    let create = Command::CreateConversation {
        title: title.clone(),
        members,
    };
    life.command("mum", create);
    life.settle();
    let all = life.devices["mum"].engine.conversations();
    let id = all.iter().find(|it| it.title == title).unwrap().id;
    life.text("mum", id, "hello, some of us").unwrap();
    life.settle();
    id
}

/// The newest sealing key of a device in a conversation, which every member knows.
fn sealing_key(life: &Life, name: Name, id: ConversationId) -> Vec<u8> {
    let record = [b"c/".as_slice(), id.as_bytes()].concat();
    let record: wire::ConversationRecord = life.devices[name].record(&record);
    record.addresses.last().unwrap().sealing_key.to_vec()
}

/// Seals something for a device as a member can, and has it delivered.
pub(crate) fn whisper(life: &mut Life, to: Name, id: ConversationId, kind: Kind, payload: Vec<u8>) {
    let key = sealing_key(life, to, id);
    let record = life.devices[to].keys();
    let (honest, rng) = (&mut life.liar.honest, &mut life.rng);
    plant(honest, (&record, &key), kind, payload, rng);
    // What the honest relay has to say goes out with the next frame.
    let line = life.devices[to].line;
    if let Some(line) = line {
        life.liar.hear(line, wire::ClientFrame::default());
    }
    life.pump();
}

/// A text as it is signed.
pub(crate) fn text(
    sender: DeviceId,
    conversation: ConversationId,
    sequence: u64,
    text: &str,
) -> Content {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&sequence.to_be_bytes());
    id[8] = text.len() as u8;
    Content {
        id: ContentId::new(id),
        conversation,
        sender,
        sequence,
        sent_at: kinline_protocol::day::Timestamp(1),
        keep_until: kinline_protocol::day::Day(30_000),
        disappear_seconds: 0,
        reply_to: None,
        body: Body::Text { text: text.into() },
    }
}

/// Says a content through the accomplice's place in `id`, signed by `key`, to one device.
pub(crate) fn utter(
    life: &mut Life,
    by: &mut Outlaw,
    to: Name,
    id: ConversationId,
    content: &Content,
    key: &SecretKey,
) {
    let message = by
        .conversation
        .encrypt(&by.signer, &content.sign(key))
        .unwrap();
    let payload = [
        by.signer.device.as_bytes().as_slice(),
        &content.sequence.to_be_bytes(),
        &0_u64.to_be_bytes(),
        &message,
    ]
    .concat();
    whisper(life, to, id, Kind::Application, payload);
}

/// A key package of a device that this id and key claim to be.
pub(crate) fn key_package(device: DeviceId, key: u8, rng: &mut ChaCha20Rng) -> CheckedKeyPackage {
    let signer = DeviceSigner {
        device,
        key: SecretKey::from_seed(&[key; 32]),
    };
    let (own, address) = OwnAddress::draw(
        MailboxId::new([key; 16]),
        &SecretKey::from_seed(&[key; 32]),
        &Secret::new([key; 32]),
        &ConversationId::new([0; 16]),
        1,
        kinline_protocol::day::Day(20_833),
        rng,
    );
    let made = make_key_package(&crypto(), &signer, own, &address).unwrap();
    check_key_package(&crypto(), &made.public).unwrap()
}

/// Makes a change with the accomplice's own check left out, and puts it into its slot.
pub(crate) fn force(life: &mut Life, by: &mut Outlaw, blind: Fault, change: ProposedChange) {
    let _blind = leave_out(Some(blind));
    assert!(by.offer(&mut life.liar.honest, change, &mut life.rng));
}

/// The others move on in a conversation, and so find what is in its slot.
pub(crate) fn move_on(life: &mut Life, names: &[Name], id: ConversationId) {
    for name in names {
        let update = Command::SelfUpdate { conversation: id };
        drop(life.try_command(name, update));
        life.settle();
    }
}

/// Seals a welcome for whoever holds this key package; it is too long for an envelope.
pub(crate) fn send_welcome(
    life: &mut Life,
    to: &CheckedKeyPackage,
    package: &wire::WelcomePackage,
) {
    let address = (&to.address.sealing_key, &to.address.mailbox);
    send_long(life, address, Kind::Welcome, &package.encode_to_vec());
}

/// As [`whisper`], for what is too long for an envelope.
pub(crate) fn whisper_long(
    life: &mut Life,
    to: Name,
    id: ConversationId,
    kind: Kind,
    payload: &[u8],
) {
    let key = Secret::from_slice(&sealing_key(life, to, id)).unwrap();
    let mailbox = MailboxId::try_from(&life.devices[to].keys().mailbox).unwrap();
    send_long(life, (&key, &mailbox), kind, payload);
    if let Some(line) = life.devices[to].line {
        life.liar.hear(line, wire::ClientFrame::default());
    }
    life.pump();
}

fn send_long(life: &mut Life, to: (&Secret<32>, &MailboxId), kind: Kind, payload: &[u8]) {
    let (pointer, stored) = encrypt_bytes(payload, &mut life.rng).unwrap();
    let blob = kinline_tests::foe::Blob {
        owner_hash: owner_hash(&[5; 32]).to_vec(),
        size: stored.len() as u64,
        bytes: stored.to_vec(),
    };
    let name = read_hash(pointer.read_secret.expose()).to_vec();
    life.liar.honest.blobs.insert(name, blob);
    let message = MessageId::random(&mut life.rng);
    let payload = Payload::Pointer(pointer.to_wire());
    let (key, mailbox) = to;
    let envelope = envelope::seal(key, mailbox, &message, kind, &payload, &mut life.rng).unwrap();
    let honest = &mut life.liar.honest;
    honest.put(&mailbox.to_bytes(), message.to_bytes(), envelope);
}
