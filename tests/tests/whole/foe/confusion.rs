//! Every code, signature and ciphertext of one kind in the place of every other, and all of
//! them cut short and drawn out.

use kinline_protocol::attachment::{decrypt_bytes, encrypt_bytes};
use kinline_protocol::content::ContentIn;
use kinline_protocol::conversation::{
    Conversation, Parties, ProposedChange, StorageEntries, check_key_package, message_epoch,
    open_commit, seal_commit,
};
use kinline_protocol::engine::io::Event;
use kinline_protocol::envelope::{self, Kind, Payload};
use kinline_protocol::faults::{Fault, plant as leave_out};
use kinline_protocol::grant::{Grant, GrantIn};
use kinline_protocol::identity::{Decision, SignedHead, sign_head};
use kinline_protocol::ids::{DeviceId, MailboxId, MessageId, SlotToken};
use kinline_protocol::pairing::{
    JoinCode, MeetingCode, PairingRole, ShortCode, ShortMeetCode, sign_card, verify_card,
};
use kinline_protocol::primitives::pake::{Names, Side};
use kinline_protocol::primitives::sign::{PublicKey, SecretKey};
use kinline_protocol::primitives::{aead, dh};
use kinline_protocol::secrets::Secret;
use kinline_protocol::{labels, wire};
use kinline_tests::foe::{Life, Manners, Outlaw, crypto};
use prost::Message as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use super::accomplice::{text, turn_coat, whisper};

/// Labels under which something is signed.
const LABELS: [&[u8]; 13] = [
    labels::SIGN_ATTACH,
    labels::SIGN_OPEN_MAILBOX,
    labels::SIGN_CLOSE_MAILBOX,
    labels::SIGN_RENEW_CLOSE_KEY,
    labels::SIGN_GRANT,
    labels::SIGN_STATEMENT,
    labels::SIGN_CONSENT,
    labels::SIGN_HEAD,
    labels::SIGN_CONTENT,
    labels::SIGN_DIRECT,
    labels::SIGN_COMMIT,
    labels::SIGN_PAIRING,
    labels::SIGN_MEETING,
];

/// Points of small order, and encodings of none.
const BAD_POINTS: [[u8; 32]; 6] = [
    [0; 32],
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    [
        0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
];

/// The handshake hash of the channel that a card came through.
const CHANNEL: [u8; 32] = [10; 32];
const TOKEN: SlotToken = SlotToken::new([2; 16]);
const MAILBOX: MailboxId = MailboxId::new([3; 16]);
const MESSAGE: MessageId = MessageId::new([4; 16]);

fn sealing_key() -> Secret<32> {
    Secret::new([5; 32])
}

/// One of each kind, made by the same device with the same keys, and who takes it.
struct Bench {
    made: Vec<(&'static str, Vec<u8>)>,
    outlaw: Outlaw,
    pointer: kinline_protocol::attachment::Pointer,
    /// The secrets of the key package that the welcome is for.
    joiner: StorageEntries,
    /// The logs that the welcome rests on.
    parties: Parties,
}

impl Bench {
    fn new(life: &mut Life) -> Self {
        let family = life.family();
        let mut outlaw = turn_coat(life, "mum", family);
        let (key, device) = (outlaw.signer.key.clone(), outlaw.signer.device);
        let today = life.now.day();
        let content = text(device, family, 1, "hello").sign(&key);
        let direct = wire::Direct::default().encode_to_vec();
        let signature = key.sign(labels::SIGN_DIRECT, &direct).to_vec();
        let direct = wire::SignedDirect {
            direct: direct.into(),
            signature: signature.into(),
        };
        let decision = Decision::RemoveDevice(life.id("mia"));
        let statements = outlaw.log.propose(
            vec![decision.clone()],
            &outlaw.identity,
            today,
            &mut life.rng,
        );
        let consent = outlaw
            .log
            .consent(&decision, &[6; 16], today, &outlaw.identity);
        let head = sign_head(&outlaw.log, today, false, &outlaw.identity);
        let grant = Grant {
            mailbox: MAILBOX,
            serial: 1,
            last_day: today,
            revocation_hash: [7; 32],
        };
        let message = outlaw.conversation.encrypt(&outlaw.signer, b"hi").unwrap();
        let commit = seal_commit(
            b"commit",
            &TOKEN,
            &sealing_key(),
            device,
            &key,
            &mut life.rng,
        );
        let payload = Payload::Inline(b"hello".to_vec());
        let sealed = envelope::seal(
            &sealing_key(),
            &MAILBOX,
            &MESSAGE,
            Kind::Direct,
            &payload,
            &mut life.rng,
        );
        let (pointer, blob) = encrypt_bytes(b"a picture", &mut life.rng).unwrap();
        let signal = aead::seal(
            &sealing_key(),
            labels::AEAD_SIGNAL,
            b"typing",
            &mut life.rng,
        );
        let (made_package, joiner) = made_package(&mut life.rng);
        let card = card(&outlaw, &made_package);
        let parties = Parties::from(outlaw.log.clone());
        let welcome = {
            let _blind = leave_out(Some(Fault::Stranger));
            let package = check_key_package(&crypto(), &made_package).unwrap();
            let change = ProposedChange {
                add: vec![package],
                ..ProposedChange::default()
            };
            let (_, _, welcome) = outlaw.commit(change, device, &mut life.rng);
            wire::WelcomePackage {
                welcome: welcome.unwrap().into(),
                logs: parties.to_wire(),
            }
        };
        let short = ShortCode::random(PairingRole::Child, &mut life.rng).to_text();
        let meet = ShortMeetCode::random(&mut life.rng).to_text();
        let made = vec![
            ("content", content),
            ("direct", direct.encode_to_vec()),
            ("statement", statements[0].encode_to_vec()),
            ("consent", consent.encode_to_vec()),
            ("head", head.encode_to_vec()),
            ("grant", grant.sign(&key).to_vec()),
            ("key package", made_package),
            ("message", message),
            ("commit", commit.unwrap()),
            ("envelope", sealed.unwrap().to_vec()),
            ("blob", blob.to_vec()),
            ("signal", signal),
            ("short code", short.into_bytes()),
            ("short meeting code", meet.into_bytes()),
            ("card", card.encode_to_vec()),
            ("welcome", welcome.encode_to_vec()),
        ];
        Self {
            made,
            outlaw,
            pointer,
            joiner,
            parties,
        }
    }

    /// Whether the place of this kind takes the bytes.
    fn takes(&mut self, place: &str, bytes: &[u8]) -> bool {
        let key = self.outlaw.signer.key.public();
        let code = || std::str::from_utf8(bytes).ok();
        match place {
            "content" => ContentIn::parse(bytes).is_ok_and(|it| it.verify(&key).is_ok()),
            "direct" => wire::SignedDirect::decode(bytes).is_ok_and(|it| {
                key.verify(labels::SIGN_DIRECT, &it.direct, &it.signature)
                    .is_ok()
            }),
            "statement" => wire::SignedStatement::decode(bytes)
                .is_ok_and(|it| self.outlaw.log.clone().append(&it).is_ok()),
            "consent" => wire::Consent::decode(bytes).is_ok_and(|it| {
                it.key.as_ref() == self.outlaw.identity.public().as_bytes()
                    && it.signature.len() == 64
            }),
            "head" => wire::SignedHead::decode(bytes)
                .ok()
                .and_then(|it| SignedHead::from_wire(&it).ok())
                .is_some_and(|it| it.verify(&self.outlaw.log).is_ok()),
            "card" => wire::FamilyCard::decode(bytes).is_ok_and(|it| {
                let identity = self.outlaw.identity.public();
                verify_card(&it, &key, &identity, &CHANNEL).is_ok()
            }),
            "welcome" => wire::WelcomePackage::decode(bytes).is_ok_and(|it| {
                let (storage, parties) = (self.joiner.clone(), self.parties.clone());
                Parties::from_wire(&it.logs).is_ok()
                    && Conversation::join(
                        &crypto(),
                        storage,
                        &it.welcome,
                        parties,
                        |_, _, _| Ok(()),
                    )
                    .is_ok()
            }),
            "grant" => GrantIn::parse(bytes).is_ok_and(|it| {
                let today = it.last_day();
                it.verify(&key, &MAILBOX, today).is_ok()
            }),
            "key package" => check_key_package(&crypto(), bytes).is_ok(),
            "message" => {
                // Nobody opens what it said itself; it is read as far as that.
                message_epoch(bytes).is_some() || self.outlaw.conversation.decrypt(bytes).is_ok()
            }
            "commit" => open_commit(bytes, &TOKEN, &sealing_key(), |_| Some(key)).is_ok(),
            "envelope" => envelope::open(&sealing_key(), &MAILBOX, &MESSAGE, bytes).is_ok(),
            "blob" => decrypt_bytes(&self.pointer, bytes).is_ok(),
            "signal" => aead::open(&sealing_key(), labels::AEAD_SIGNAL, bytes).is_ok(),
            "short code" => code().is_some_and(|it| it.parse::<JoinCode>().is_ok()),
            "short meeting code" => code().is_some_and(|it| it.parse::<MeetingCode>().is_ok()),
            _ => false,
        }
    }
}

/// What a guardian of the outlaw's family shows another one whom she meets.
fn card(outlaw: &Outlaw, key_package: &[u8]) -> wire::FamilyCard {
    let device = outlaw.signer.device;
    let mut card = wire::FamilyCard {
        family: outlaw.log.family().to_bytes(),
        family_name: "Reed".into(),
        entries: outlaw.log.entries(),
        guardian: outlaw.log.certificate(&device).unwrap().member.to_bytes(),
        device: device.to_bytes(),
        key_packages: vec![key_package.to_vec().into()],
        ..wire::FamilyCard::default()
    };
    sign_card(&mut card, &outlaw.signer.key, &outlaw.identity, &CHANNEL);
    card
}

fn made_package(rng: &mut ChaCha20Rng) -> (Vec<u8>, StorageEntries) {
    use kinline_protocol::conversation::{DeviceSigner, OwnAddress, make_key_package};
    let signer = DeviceSigner {
        device: DeviceId::new([66; 16]),
        key: SecretKey::from_seed(&[66; 32]),
    };
    let (own, address) = OwnAddress::draw(
        MAILBOX,
        &signer.key,
        &Secret::new([66; 32]),
        &kinline_protocol::ids::ConversationId::new([0; 16]),
        1,
        kinline_protocol::day::Day(20_833),
        rng,
    );
    let made = make_key_package(&crypto(), &signer, own, &address).unwrap();
    (made.public, made.storage)
}

#[test]
fn nothing_is_taken_in_the_place_of_another() {
    let mut life = Life::of(2, 11, Manners::BAD);
    life.liar.be_honest(true);
    let mut bench = Bench::new(&mut life);
    let places: Vec<&str> = bench.made.iter().map(|(name, _)| *name).collect();
    let (mut pairs, mut wrong) = (0, Vec::new());
    for (kind, bytes) in bench.made.clone() {
        for place in places.iter().copied() {
            let taken = bench.takes(place, &bytes);
            if taken != (place == kind) {
                wrong.push(format!("{kind} in the place of {place}: {taken}"));
            }
            pairs += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{pairs} pairs of kinds");
}

#[test]
fn no_signature_speaks_for_another_label() {
    let key = SecretKey::from_seed(&[8; 32]);
    for (at, label) in LABELS.iter().enumerate() {
        let signature = key.sign(label, b"the same bytes");
        for (place, other) in LABELS.iter().enumerate() {
            let verified = key.public().verify(other, b"the same bytes", &signature);
            assert_eq!(verified.is_ok(), at == place);
        }
        // Nor raw, nor cut or drawn out.
        for length in 0..128 {
            let mut cut = signature.to_vec();
            cut.resize(length, 0);
            let verified = key.public().verify(label, b"the same bytes", &cut);
            assert_eq!(verified.is_ok(), length == 64, "{length}");
        }
    }
    println!("{} pairs of labels", LABELS.len() * LABELS.len());
}

#[test]
fn what_is_cut_short_or_drawn_out_does_not_open() {
    let mut life = Life::of(1, 11, Manners::BAD);
    life.liar.be_honest(true);
    let mut bench = Bench::new(&mut life);
    let mut tried = 0;
    for kind in ["envelope", "commit", "signal", "blob", "grant"] {
        let (_, whole) = bench
            .made
            .iter()
            .find(|(name, _)| *name == kind)
            .cloned()
            .unwrap();
        for length in 0..whole.len() + 70 {
            let mut bytes = whole.clone();
            bytes.resize(length, 0);
            let taken = bench.takes(kind, &bytes);
            assert_eq!(taken, length == whole.len(), "{kind} of {length} bytes");
            tried += 1;
        }
    }
    println!("{tried} lengths");
}

#[test]
fn points_of_small_order_make_no_key() {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    for point in BAD_POINTS {
        let secret = dh::SecretKey::random(&mut rng);
        assert!(secret.agree(&point).is_err(), "X25519 {point:02x?}");
        let key = SecretKey::from_seed(&[8; 32]);
        for signature in [key.sign(labels::SIGN_HEAD, b"x"), [0; 64]] {
            let verified = PublicKey::new(point).verify(labels::SIGN_HEAD, b"x", &signature);
            assert!(verified.is_err(), "Ed25519 {point:02x?}");
        }
        let names = Names {
            first: b"one",
            second: b"two",
        };
        for side in [b'A', b'B', b'S', 0] {
            let (waiting, _) = Side::first(b"123456", names, &mut rng);
            let message = [&[side][..], &point].concat();
            let small = !matches!(point, [0x5f | 0xe0, ..]);
            // The two others are of small order on X25519's curve only.
            assert!(
                waiting.finish(&message).is_err() || !small,
                "SPAKE2 {point:02x?}"
            );
        }
    }
}

/// What a device says under one envelope kind is nothing under another.
#[test]
fn payloads_of_one_kind_do_nothing_as_another() {
    let mut life = Life::of(3, 11, Manners::BAD);
    life.liar.be_honest(true);
    let family = life.family();
    life.text("mia", family, "hello").unwrap();
    life.settle();
    let bench = Bench::new(&mut life);
    let (screen, epoch) = (
        life.devices["dad"].screen().len(),
        life.devices["dad"].look(family).unwrap().epoch,
    );
    let log = life.devices["dad"].log();
    let mut tried = 0;
    for (name, bytes) in &bench.made {
        for kind in [Kind::Application, Kind::Look, Kind::Welcome, Kind::Direct] {
            if bytes.len() > 900 {
                continue;
            }
            life.events.clear();
            whisper(&mut life, "dad", family, kind, bytes.clone());
            life.pass(3_000);
            let shown = life.events.get("dad").into_iter().flatten().any(|event| {
                matches!(
                    event,
                    Event::Message { .. } | Event::Joined { .. } | Event::Decided { .. }
                )
            });
            assert!(!shown, "{name} as {kind:?}");
            tried += 1;
        }
    }
    let dad = &life.devices["dad"];
    assert_eq!(dad.screen().len(), screen);
    assert_eq!(dad.look(family).unwrap().epoch, epoch);
    assert_eq!(dad.log(), log);
    println!("{tried} payloads under other kinds");
}
