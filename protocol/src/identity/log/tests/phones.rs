//! Guardians with several phones: who signs with which, who lets them in and takes them out.

use super::rules::{careful, few, frozen, phone, settings};
use super::{Family, child, device, guardian, id, key, key_on};
use crate::day::Day;
use crate::identity::{AddedDevice, Decision, LogError, Standing};
use crate::ids::PassId;
use crate::primitives::sign::SecretKey;

/// Whether a statement by exactly these keys is taken.
fn by_keys(
    family: &mut Family,
    decision: Decision,
    day: u32,
    keys: &[&SecretKey],
) -> Result<(), LogError> {
    let salt = family.salt();
    let signed = family
        .log
        .propose_with(decision, salt, vec![], keys, Day(day));
    family.append(&signed)
}

#[test]
fn every_phone_of_a_guardian_signs_for_them_and_they_count_once() {
    let mut family = careful();
    family.good(Decision::AddDevice(device(23, 2)), 11, &[1, 2]);
    let (first, second) = (key(2), key_on(23, 2));
    let add = || Decision::AddMember(child(6));
    assert_eq!(
        by_keys(&mut family, add(), 12, &[&first, &second]),
        few(2, 1),
        "two phones are one guardian"
    );
    assert_eq!(by_keys(&mut family, add(), 12, &[&key(1), &second]), Ok(()));
    assert_eq!(family.log.required_signatures(&add(), Day(12)), 2);
    // A lost phone says nothing any more, the other goes on.
    by_keys(
        &mut family,
        Decision::RemoveDevice(phone(22)),
        13,
        &[&second],
    )
    .unwrap();
    let next = || Decision::RevokePass(PassId::new([7; 16]));
    let lost = by_keys(&mut family, next(), 13, &[&first]);
    assert_eq!(lost, Err(LogError::Signature));
    assert_eq!(by_keys(&mut family, next(), 13, &[&second]), Ok(()));
    let by: Vec<_> = family.log.decisions_from(family.log.len() - 1);
    assert_eq!(by[0].2, [id(2)].into());
}

#[test]
fn a_guardians_further_phone_is_let_in_by_that_guardian() {
    for signatures in [1, 2] {
        let mut family = Family::of_three(signatures);
        let phone = || Decision::AddDevice(device(23, 2));
        assert_eq!(family.decide(phone(), 11, &[1]), Err(LogError::OwnDevice));
        if signatures == 2 {
            assert_eq!(family.decide(phone(), 11, &[2]), few(2, 1));
        }
        family.good(
            phone(),
            11,
            &[1, 2][2 - usize::try_from(signatures).unwrap()..],
        );
    }
    // A consent is theirs as well.
    let mut family = Family::of_three(1);
    let (decision, salt) = (Decision::AddDevice(device(23, 2)), [3; 16]);
    let consent = family.log.consent(&decision, &salt, Day(12), &key(2));
    let signed = family
        .log
        .propose_with(decision, salt, vec![consent], &[&key(1)], Day(12));
    family.append(&signed).unwrap();
}

#[test]
fn the_only_phone_of_a_guardian_goes_with_its_guardian() {
    let mut family = Family::of_three(1);
    for by in [1, 2] {
        let only = family.decide(Decision::RemoveDevice(phone(22)), 11, &[by]);
        assert_eq!(only, Err(LogError::LastDevice));
    }
    family.good(Decision::AddDevice(device(23, 2)), 11, &[2]);
    // All but one that lies in a lake would be the same.
    let others = family.decide(Decision::RemoveDevice(phone(22)), 11, &[1]);
    assert_eq!(others, Err(LogError::OwnDevice));
    family.good(Decision::RemoveDevice(phone(22)), 11, &[2]);
    let only = family.decide(Decision::RemoveDevice(phone(23)), 11, &[1]);
    assert_eq!(only, Err(LogError::LastDevice));
    let again = Decision::AddDevice(device(22, 2));
    let back = by_keys(&mut family, again, 11, &[&key_on(23, 2)]);
    assert!(matches!(back, Err(LogError::Contradiction(_))), "{back:?}");
}

#[test]
fn an_identity_key_is_on_guardians_devices_alone_and_on_one() {
    let mut family = Family::of_three(1);
    family.good(Decision::AddMember(child(6)), 11, &[1]);
    let with = |n, of, identity_key| {
        Decision::AddDevice(AddedDevice {
            identity_key,
            ..device(n, of)
        })
    };
    for (case, decision) in [
        ("a child's", with(66, 6, Some(key(9).public()))),
        ("a guardian's without", with(23, 2, None)),
        ("taken", with(23, 2, Some(key(1).public()))),
        ("the same again", with(23, 2, Some(key(2).public()))),
    ] {
        let refused = family.decide(decision, 11, &[2]);
        assert!(matches!(refused, Err(LogError::Contradiction(_))), "{case}");
    }
}

#[test]
fn who_has_no_phone_yet_is_not_waited_for() {
    let mut family = Family::new(2);
    family.good(Decision::AddMember(guardian(2)), 10, &[1]);
    family.good(Decision::AddDevice(device(22, 2)), 10, &[1]);
    let third = Decision::AddMember(child(6));
    assert_eq!(family.decide(third.clone(), 10, &[1]), few(2, 1));
    family.good(third, 10, &[1, 2]);
}

#[test]
fn a_phone_that_is_out_does_not_say_that_its_guardian_is_back() {
    let mut family = Family::of_three(1);
    family.good(Decision::AddDevice(device(23, 2)), 11, &[2]);
    let removal = family.log.len();
    family.good(Decision::RemoveMember(id(2)), 20, &[1]);
    family.good(Decision::Withdraw { removal }, 21, &[1]);
    let lost = phone(22);
    by_keys(
        &mut family,
        Decision::RemoveDevice(lost),
        21,
        &[&key_on(23, 2)],
    )
    .unwrap();
    let back = || Decision::Withdraw { removal };
    let by_lost = by_keys(&mut family, back(), 21, &[&key(2)]);
    assert_eq!(by_lost, Err(LogError::Signature));
    by_keys(&mut family, back(), 21, &[&key_on(23, 2)]).unwrap();
    assert_eq!(family.log.removals()[&removal].standing, Standing::Returned);
}

#[test]
fn a_phone_that_went_before_its_guardian_objects_to_nothing() {
    let mut family = Family::of_three(1);
    family.good(Decision::AddDevice(device(23, 2)), 11, &[2]);
    family.good(Decision::RemoveDevice(phone(22)), 12, &[2]);
    let removal = family.log.len();
    family.good(Decision::RemoveMember(id(2)), 20, &[1]);
    for decision in [Decision::Object { removal }, Decision::Withdraw { removal }] {
        let by_lost = by_keys(&mut family, decision, 20, &[&key(2)]);
        assert_eq!(by_lost, Err(LogError::Signature));
    }
    let object = Decision::Object { removal };
    by_keys(&mut family, object, 20, &[&key_on(23, 2)]).unwrap();
    // Nor when it goes again with those that it had then.
    family.good(Decision::Withdraw { removal }, 20, &[1]);
    let again = family.log.len();
    family.good(Decision::RemoveMember(id(2)), 20, &[1]);
    family.good(Decision::Withdraw { removal: again }, 20, &[1]);
    assert!(family.log.certificate(&phone(22)).is_none());
    assert!(family.log.certificate(&phone(23)).is_some());
    let first = by_keys(
        &mut family,
        Decision::Withdraw { removal },
        20,
        &[&key_on(23, 2)],
    );
    assert!(matches!(first, Err(LogError::Contradiction(_))));
    assert_eq!(family.decide(settings(1, 8), 99, &[1]), frozen(None));
}

#[test]
fn nobody_is_said_to_have_decided_what_they_did_not_sign() {
    let mut family = Family::of_three(1);
    let mut signed = family.signed(settings(1, 8), 11, &[1]);
    let mut forged = signed.signatures[0].clone();
    forged.key = key(2).public().as_bytes().to_vec().into();
    signed.signatures.push(forged);
    let stale = family
        .log
        .consent(&settings(1, 9), &[7; 16], Day(20), &key(2));
    signed.consents.push(stale);
    family.append(&signed).unwrap();
    let decided = family.log.decisions_from(family.log.len() - 1);
    assert_eq!(decided[0].2, [id(1)].into());
    // Nor with the key of a phone that is out.
    family.good(Decision::AddDevice(device(23, 2)), 12, &[2]);
    family.good(Decision::RemoveDevice(phone(22)), 12, &[2]);
    family.good(settings(1, 7), 12, &[1, 2]);
    let decided = family.log.decisions_from(family.log.len() - 3);
    let by: Vec<_> = decided.into_iter().map(|(_, _, by)| by).collect();
    assert_eq!(by, [[id(2)].into(), [id(2)].into(), [id(1)].into()]);
}
