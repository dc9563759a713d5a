//! The handshake between two honest sides, and with what others send.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use proptest::prelude::{any, prop, proptest};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{
    HandshakeCode as _, HandshakeError, Initiator, PLAINTEXT_BYTES_MAX, Responder, Transport,
    TransportError,
};
use crate::ids::RendezvousId;
use crate::limits::RENDEZVOUS_MESSAGE_BYTES_MAX;
use crate::pairing::{PairingCode, PairingRole};
use crate::secrets::Secret;

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn code() -> PairingCode {
    PairingCode {
        relay: "wss://relay.example.org".parse().unwrap(),
        rendezvous: RendezvousId::new([1; 16]),
        secret: Secret::new([2; 16]),
        admission: String::new(),
        role: PairingRole::Child,
        expires_unix_seconds: 1_800_000_000,
    }
}

fn paired() -> (Transport, Transport) {
    let (tablet, first) = Initiator::start(&code(), &mut rng(1)).unwrap();
    let phone = Responder::new(&code(), &mut rng(2)).unwrap();
    let (phone, answer) = phone.answer(&first).unwrap();
    (tablet.finish(&answer).unwrap(), phone)
}

#[test]
fn both_sides_talk_and_see_the_same_pictures() {
    let (mut tablet, mut phone) = paired();
    assert_eq!(tablet.handshake_hash(), phone.handshake_hash());
    assert_eq!(tablet.pictures(), phone.pictures());
    assert_eq!(tablet.pictures().chars().count(), 4);
    for text in [&b"one"[..], b"", b"three"] {
        let message = tablet.seal(text).unwrap();
        assert_eq!(phone.open(&message).unwrap(), text);
        let message = phone.seal(text).unwrap();
        assert_eq!(tablet.open(&message).unwrap(), text);
    }
}

#[test]
fn every_pairing_has_keys_of_its_own() {
    let hash = |seed| {
        let (_, first) = Initiator::start(&code(), &mut rng(seed)).unwrap();
        let phone = Responder::new(&code(), &mut rng(9)).unwrap();
        phone.answer(&first).unwrap().0.handshake_hash()
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn whoever_has_another_code_is_refused() {
    type Change = fn(&mut PairingCode);
    let changes: [Change; 6] = [
        |code| code.secret = Secret::new([3; 16]),
        |code| code.rendezvous = RendezvousId::new([3; 16]),
        |code| code.relay.host = "elsewhere.example.org".into(),
        |code| code.role = PairingRole::Guardian,
        |code| code.expires_unix_seconds += 1,
        |code| code.admission = "x".into(),
    ];
    for change in changes {
        let mut other = code();
        change(&mut other);
        let (_, first) = Initiator::start(&other, &mut rng(1)).unwrap();
        let phone = Responder::new(&code(), &mut rng(2)).unwrap();
        let error = phone.answer(&first).unwrap_err();
        assert!(matches!(error, HandshakeError::WrongCode));
        assert!(error.to_string().starts_with("the code does not match"));
    }
}

#[test]
fn an_answer_from_someone_else_is_refused() {
    let (tablet, first) = Initiator::start(&code(), &mut rng(1)).unwrap();
    // The relay answers by itself: with noise, with the first message, with a changed answer.
    let result = tablet.finish(&first);
    assert!(matches!(result, Err(HandshakeError::WrongCode)));
    for at in 0..48 {
        let (tablet, first) = Initiator::start(&code(), &mut rng(1)).unwrap();
        let phone = Responder::new(&code(), &mut rng(2)).unwrap();
        let (_, mut answer) = phone.answer(&first).unwrap();
        answer[at] ^= 1;
        let result = tablet.finish(&answer);
        assert!(matches!(result, Err(HandshakeError::WrongCode)), "{at}");
    }
}

#[test]
fn every_changed_byte_of_the_first_message_is_refused() {
    let (_, first) = Initiator::start(&code(), &mut rng(1)).unwrap();
    assert_eq!(first.len(), 48);
    for at in 0..48 {
        let mut changed = first.clone();
        changed[at] ^= 1;
        let result = Responder::new(&code(), &mut rng(2))
            .unwrap()
            .answer(&changed);
        assert!(matches!(result, Err(HandshakeError::WrongCode)), "{at}");
    }
}

#[test]
fn messages_of_another_length_are_refused() {
    let (_, first) = Initiator::start(&code(), &mut rng(1)).unwrap();
    let longer = [&first[..], &[0]].concat();
    for message in (0..48)
        .map(|len| &first[..len])
        .chain([&longer[..], &[0; 70_000]])
    {
        let result = Responder::new(&code(), &mut rng(2))
            .unwrap()
            .answer(message);
        let Err(HandshakeError::Malformed { bytes }) = result else {
            panic!("{}", message.len());
        };
        assert_eq!(bytes, message.len());
        let (tablet, _) = Initiator::start(&code(), &mut rng(1)).unwrap();
        let result = tablet.finish(message);
        assert!(matches!(result, Err(HandshakeError::Malformed { .. })));
    }
}

/// Every encoding of a point of small order (RFC 7748 §6.1, cr.yp.to/ecdh.html#validate).
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn a_key_of_small_order_is_refused_even_from_someone_with_the_code() {
    for point in SMALL_ORDER {
        let point: [u8; 32] = hex::decode(point).unwrap().try_into().unwrap();
        let first = first_message_with(&point);
        let result = Responder::new(&code(), &mut rng(2)).unwrap().answer(&first);
        assert!(
            matches!(result, Err(HandshakeError::WeakKey)),
            "{point:02x?}"
        );
    }
}

/// The first message of someone who has the code and sends `ephemeral` as its key: the Noise
/// specification written out a second time.
fn first_message_with(ephemeral: &[u8; 32]) -> Vec<u8> {
    use crate::primitives::chacha::MessageKey;
    use crate::primitives::hash::sha256;
    let mix_hash = |h: [u8; 32], data: &[u8]| sha256(&[&h[..], data].concat());
    let hkdf = |ck: &[u8; 32], input: &[u8]| {
        let mut out = [[0_u8; 32]; 3];
        hkdf::Hkdf::<sha2::Sha256>::new(Some(ck), input)
            .expand(&[], out.as_flattened_mut())
            .unwrap();
        out
    };
    let h = sha256(super::PATTERN.as_bytes());
    let ck = h;
    let h = mix_hash(h, &code().body());
    let [ck, temp, _] = hkdf(&ck, code().pre_shared_key().expose());
    let h = mix_hash(h, &temp);
    let h = mix_hash(h, ephemeral);
    let [_, key, _] = hkdf(&ck, ephemeral);
    let mut tag = Vec::new();
    MessageKey::new(&key).seal(&[0; 12], &h, &mut tag).unwrap();
    [&ephemeral[..], &tag].concat()
}

#[test]
fn our_first_message_is_what_the_specification_says() {
    let (_, first) = Initiator::start(&code(), &mut rng(1)).unwrap();
    assert_eq!(first_message_with(first.first_chunk().unwrap()), first);
}

#[test]
fn messages_are_read_once_and_in_order_and_garbage_does_no_harm() {
    let (mut tablet, mut phone) = paired();
    let one = tablet.seal(b"one").unwrap();
    let two = tablet.seal(b"two").unwrap();
    assert_eq!(phone.open(&two), Err(TransportError::Unreadable));
    assert_eq!(phone.open(b"garbage"), Err(TransportError::Unreadable));
    assert_eq!(phone.open(&[]), Err(TransportError::Unreadable));
    assert_eq!(phone.open(&one).unwrap(), b"one");
    assert_eq!(phone.open(&one), Err(TransportError::Unreadable));
    assert_eq!(phone.open(&two).unwrap(), b"two");
    assert_eq!(tablet.open(&two), Err(TransportError::Unreadable));
}

#[test]
fn lengths_are_bounded() {
    let (mut tablet, mut phone) = paired();
    let longest = vec![7; PLAINTEXT_BYTES_MAX];
    let message = tablet.seal(&longest).unwrap();
    assert_eq!(message.len(), RENDEZVOUS_MESSAGE_BYTES_MAX);
    assert_eq!(phone.open(&message).unwrap(), longest);
    let result = tablet.seal(&vec![0; PLAINTEXT_BYTES_MAX + 1]);
    assert!(matches!(result, Err(TransportError::TooLong { .. })));
    let result = phone.open(&vec![0; RENDEZVOUS_MESSAGE_BYTES_MAX + 1]);
    assert!(matches!(result, Err(TransportError::TooLong { .. })));
}

proptest! {
    #[test]
    fn noise_does_not_panic(message in prop::collection::vec(any::<u8>(), 0..100), sealed: Vec<u8>) {
        let phone = Responder::new(&code(), &mut rng(2)).unwrap();
        assert!(phone.answer(&message).is_err());
        let (tablet, _) = Initiator::start(&code(), &mut rng(1)).unwrap();
        assert!(tablet.finish(&message).is_err());
        let (_, mut phone) = paired();
        assert_eq!(phone.open(&sealed), Err(TransportError::Unreadable));
    }
}
