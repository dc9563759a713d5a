#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::{any, prop, proptest};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::device::{LoggedIn, Login, Registered, Registration};
use super::relay::{Record, Setup};
use super::{LOGIN_ANSWER_BYTES, LOGIN_REQUEST_BYTES, Names, OpaqueError, RECORD_BYTES};
use crate::ids::AccountId;
use crate::primitives::stretching::Stretching;

const ALICE: AccountId = AccountId::new([1; 32]);
const BOB: AccountId = AccountId::new([2; 32]);
const HERE: &str = "relay.example";

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn cheap() -> Stretching {
    Stretching::cheap_for_tests(8, 1, 1).unwrap()
}

fn names<'a>(account: &'a AccountId, server: &'a str) -> Names<'a> {
    Names { account, server }
}

fn register(setup: &Setup, account: &AccountId, password: &[u8]) -> Registered {
    let (state, request) = Registration::start(password, &mut rng(3)).unwrap();
    let answer = setup.register(account, &request).unwrap();
    let names = names(account, HERE);
    state
        .finish(password, cheap(), names, &answer, &mut rng(4))
        .unwrap()
}

/// The device's end, and what the relay says to its proof.
fn log_in(
    setup: &Setup,
    record: Option<&Record>,
    device: Names<'_>,
    relay: Names<'_>,
    password: &[u8],
    costs: &[Stretching],
) -> Result<LoggedIn, OpaqueError> {
    let (state, request) = Login::start(password, &mut rng(5)).unwrap();
    let (waiting, answer) = setup.login(record, relay, &request, &mut rng(6)).unwrap();
    let done = state.finish(password, costs, device, &answer, &mut rng(7))?;
    waiting.finish(relay, &done.proof)?;
    Ok(done)
}

#[test]
fn the_right_password_opens_and_gives_the_key_of_the_registration() {
    let setup = Setup::generate(&mut rng(1));
    let registered = register(&setup, &ALICE, b"correct horse");
    let record = Record::from_bytes(&registered.record).unwrap();
    let here = names(&ALICE, HERE);
    // The setup comes back from its bytes; costs are found among several.
    let setup = Setup::from_bytes(&setup.to_bytes()).unwrap();
    let dearer = Stretching::cheap_for_tests(16, 1, 1).unwrap();
    let costs = [dearer, cheap()];
    let done = log_in(&setup, Some(&record), here, here, b"correct horse", &costs).unwrap();
    assert!(done.export_key == registered.export_key);
    assert_eq!(done.stretching, cheap());

    let denied = |record, device, relay, password: &[u8], costs: &[Stretching]| {
        log_in(&setup, record, device, relay, password, costs).unwrap_err() == OpaqueError::Denied
    };
    let good = &b"correct horse"[..];
    assert!(denied(Some(&record), here, here, b"correct hors", &costs));
    assert!(denied(Some(&record), here, here, good, &[dearer]));
    assert!(denied(Some(&record), here, here, good, &[]));
    assert!(denied(None, here, here, good, &costs));
    let nobody = setup.record_of_nobody(&mut rng(2));
    assert!(Record::from_bytes(nobody.as_bytes()).unwrap() == nobody);
    assert!(denied(Some(&nobody), here, here, good, &costs));
    // Another account's record, another relay's name.
    let bob = names(&BOB, HERE);
    assert!(denied(Some(&record), bob, bob, good, &costs));
    let elsewhere = names(&ALICE, "foe.example");
    assert!(denied(Some(&record), elsewhere, here, good, &costs));
    // Another setup.
    let other = Setup::generate(&mut rng(9));
    let tried = log_in(&other, Some(&record), here, here, good, &costs);
    assert_eq!(tried.unwrap_err(), OpaqueError::Denied);
}

#[test]
fn a_proof_is_good_for_the_login_it_was_made_for_and_for_no_other() {
    let setup = Setup::generate(&mut rng(1));
    let registered = register(&setup, &ALICE, b"word");
    let record = Record::from_bytes(&registered.record).unwrap();
    let here = names(&ALICE, HERE);
    let (state, request) = Login::start(b"word", &mut rng(5)).unwrap();
    let answer = |seed| {
        setup
            .login(Some(&record), here, &request, &mut rng(seed))
            .unwrap()
    };
    let (first, ke2) = answer(6);
    let (second, _) = answer(7);
    let proof = state
        .finish(b"word", &[cheap()], here, &ke2, &mut rng(8))
        .unwrap()
        .proof;
    assert_eq!(second.finish(here, &proof), Err(OpaqueError::Denied));
    assert_eq!(first.finish(here, &proof), Ok(()));
}

#[test]
fn answers_have_one_length_and_secrets_are_not_printed() {
    let setup = Setup::generate(&mut rng(1));
    let registered = register(&setup, &ALICE, b"word");
    let record = Record::from_bytes(&registered.record).unwrap();
    let (state, request) = Login::start(b"word", &mut rng(5)).unwrap();
    assert_eq!(request.len(), LOGIN_REQUEST_BYTES);
    for record in [Some(&record), None] {
        let here = names(&ALICE, HERE);
        let (waiting, answer) = setup.login(record, here, &request, &mut rng(6)).unwrap();
        assert_eq!(answer.len(), LOGIN_ANSWER_BYTES);
        assert_eq!(format!("{waiting:?}"), "[secret]");
    }
    assert_eq!(format!("{setup:?}{state:?}"), "[secret][secret]");
    assert_eq!(format!("{record:?}"), "[secret]");
    assert!(!format!("{registered:?}").contains("export_key: Secret"));
}

#[test]
fn what_is_no_message_is_refused_with_and_without_an_account() {
    let setup = Setup::generate(&mut rng(1));
    let registered = register(&setup, &ALICE, b"word");
    let record = Record::from_bytes(&registered.record).unwrap();
    let here = names(&ALICE, HERE);
    let (_, request) = Login::start(b"word", &mut rng(5)).unwrap();
    let longer = [&request[..], &[0]].concat();
    let identity = [&[0; 32][..], &request[32..]].concat();
    for message in [&[][..], &request[..95], &longer, &identity, &[0xff; 96]] {
        for record in [Some(&record), None] {
            assert!(setup.login(record, here, message, &mut rng(6)).is_err());
        }
        assert!(setup.register(&ALICE, message).is_err());
        assert!(Record::from_bytes(message).is_err());
    }
    // The element that we sent, sent back unchanged.
    let (state, request) = Login::start(b"word", &mut rng(5)).unwrap();
    let (_, answer) = setup
        .login(Some(&record), here, &request, &mut rng(6))
        .unwrap();
    let reflected = [&request[..32], &answer[32..]].concat();
    let done = state.finish(b"word", &[cheap()], here, &reflected, &mut rng(7));
    assert_eq!(done.unwrap_err(), OpaqueError::Malformed);
}

proptest! {
    #[test]
    fn noise_does_not_panic(noise in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..320, bit in 0_u8..8) {
        let setup = Setup::generate(&mut rng(1));
        let here = names(&ALICE, HERE);
        let (state, request) = Login::start(b"word", &mut rng(5)).unwrap();
        let (waiting, mut answer) = setup.login(None, here, &request, &mut rng(6)).unwrap();
        answer[at] ^= 1 << bit;
        assert!(state.finish(b"word", &[cheap()], here, &answer, &mut rng(7)).is_err());
        assert!(waiting.finish(here, &noise).is_err());
        let _ = setup.login(None, here, &noise, &mut rng(6));
        let _ = setup.register(&ALICE, &noise);
        let _ = Record::from_bytes(&noise);
        let sized: Vec<u8> = noise.iter().copied().chain([0; RECORD_BYTES]).take(RECORD_BYTES).collect();
        let _ = Record::from_bytes(&sized);
    }
}
