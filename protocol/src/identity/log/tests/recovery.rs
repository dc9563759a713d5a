//! A guardian who has lost every device comes back, and nobody else does.

use super::{Family, child, device, guardian, id, key};
use crate::day::Day;
use crate::identity::{
    AddedDevice, Decision, LogError, RecoveryKeys, Return, ReturnWay, sign_consent,
};
use crate::ids::DeviceId;
use crate::primitives::sign::SecretKey;
use crate::wire;

fn request_key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[60 + n; 32])
}

fn recovery_key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[80 + n; 32])
}

fn keys(n: u8) -> RecoveryKeys {
    RecoveryKeys {
        request: request_key(n).public(),
        recovery: recovery_key(n).public(),
    }
}

fn set(n: u8) -> Decision {
    Decision::SetRecovery {
        member: id(n),
        keys: keys(n),
    }
}

/// Guardian `n` with a device of a number of its own.
fn back(n: u8, way: ReturnWay) -> Return {
    Return {
        device: AddedDevice {
            name: "new phone".into(),
            ..device(40 + n, n)
        },
        way,
    }
}

/// Guardians 1 and 2 and child 5; both guardians have said how they would come back.
fn prepared() -> Family {
    let mut family = Family::of_three(1);
    family.good(set(1), 11, &[1]);
    family.good(set(2), 11, &[2]);
    family
}

/// A decision with consents of these keys, signed by these guardians' first devices.
fn wished(
    family: &mut Family,
    decision: Decision,
    day: u32,
    consents: &[&SecretKey],
    by: &[u8],
) -> Result<(), LogError> {
    let salt = family.salt();
    let id = family.log.family();
    let consents: Vec<wire::Consent> = consents
        .iter()
        .map(|key| sign_consent(&id, &decision, &salt, Day(day + 7), key))
        .collect();
    let keys: Vec<SecretKey> = by.iter().map(|n| key(*n)).collect();
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let signed = family
        .log
        .propose_with(decision, salt, consents, &keys, Day(day));
    family.append(&signed)
}

#[test]
fn with_the_code_at_once_and_signed_by_nobody_else() {
    let mut family = prepared();
    let wish = back(1, ReturnWay::Code);
    wished(
        &mut family,
        Decision::Return(wish),
        12,
        &[&recovery_key(1)],
        &[],
    )
    .unwrap();
    let log = &family.log;
    assert!(
        log.certificate(&DeviceId::new([11; 16])).is_none(),
        "the lost one is out"
    );
    let new = log.certificate(&DeviceId::new([41; 16])).unwrap();
    assert_eq!(new.member, id(1));
    assert_eq!(log.came_back(&new.device), Some(ReturnWay::Code));
    assert_eq!(
        log.recovery(&id(1)),
        Some(&keys(1)),
        "until the new device says others: a first try may have broken off"
    );
    assert_eq!(log.owner_ever(&DeviceId::new([11; 16])), Some(id(1)));
    // The lost phone signs nothing more, the new one does.
    assert_eq!(
        family.decide(Decision::AddMember(child(6)), 12, &[1]),
        Err(LogError::Signature)
    );
    let again = Return {
        device: device(42, 1),
        way: ReturnWay::Code,
    };
    let again = Decision::Return(again);
    wished(&mut family, again, 12, &[&recovery_key(1)], &[]).unwrap();
    let now = family.log.certificates().filter(|it| it.member == id(1));
    assert_eq!(
        now.count(),
        1,
        "the second try is in the place of the first"
    );
}

#[test]
fn a_family_of_one_guardian_comes_back_by_the_code_and_never_by_the_password_alone() {
    let mut family = Family::new(1);
    family.good(set(1), 11, &[1]);
    for way in [ReturnWay::Guardian, ReturnWay::Waited] {
        for day in [12, 14, 40] {
            let wish = Decision::Return(back(1, way));
            let result = wished(&mut family, wish, day, &[&request_key(1)], &[]);
            assert_eq!(result, Err(LogError::Signature), "{way:?}");
        }
    }
    let ask = Decision::Ask(back(1, ReturnWay::Waited));
    for by in [&[][..], &[1]] {
        let asked = wished(&mut family, ask.clone(), 40, &[&request_key(1)], by);
        assert_eq!(asked, Err(LogError::Signature));
    }
    let wish = Decision::Return(back(1, ReturnWay::Code));
    wished(&mut family, wish, 40, &[&recovery_key(1)], &[]).unwrap();
}

#[test]
fn each_way_takes_its_own_key_of_its_own_guardian() {
    let mut family = prepared();
    let code = || Decision::Return(back(1, ReturnWay::Code));
    let other = SecretKey::from_seed(&[7; 32]);
    for wrong in [&request_key(1), &recovery_key(2), &other, &key(1), &key(2)] {
        let result = wished(&mut family, code(), 12, &[wrong], &[2]);
        assert_eq!(result, Err(LogError::Wish));
    }
    let yes = || Decision::Return(back(1, ReturnWay::Guardian));
    for wrong in [&recovery_key(1), &request_key(2), &other] {
        let result = wished(&mut family, yes(), 12, &[wrong], &[2]);
        assert_eq!(result, Err(LogError::Wish));
    }
    // A consent to one way is none to another, nor to another device.
    let salt = family.salt();
    let consent = sign_consent(
        &family.log.family(),
        &yes(),
        &salt,
        Day(20),
        &request_key(1),
    );
    for other in [
        Decision::Return(back(1, ReturnWay::Waited)),
        Decision::Ask(back(1, ReturnWay::Waited)),
        Decision::Return(Return {
            device: device(42, 1),
            way: ReturnWay::Guardian,
        }),
    ] {
        let consents = vec![consent.clone()];
        let signed = family
            .log
            .propose_with(other, salt, consents, &[&key(2)], Day(12));
        assert_eq!(family.append(&signed), Err(LogError::Wish));
    }
    // Nor do these keys sign anything else.
    for key in [request_key(1), recovery_key(1)] {
        let salt = family.salt();
        let remove = Decision::RemoveMember(id(5));
        let signed = family
            .log
            .propose_with(remove, salt, vec![], &[&key], Day(12));
        assert_eq!(family.append(&signed), Err(LogError::Signature));
    }
}

#[test]
fn with_the_password_it_takes_another_guardians_own_signature() {
    let mut family = prepared();
    let wish = || Decision::Return(back(1, ReturnWay::Guardian));
    for by in [&[][..], &[1]] {
        let result = wished(&mut family, wish(), 12, &[&request_key(1)], by);
        assert_eq!(result, Err(LogError::Signature));
    }
    // A yes alone names no place in the log.
    let result = wished(&mut family, wish(), 12, &[&request_key(1), &key(2)], &[]);
    assert_eq!(result, Err(LogError::Signature));
    wished(&mut family, wish(), 12, &[&request_key(1)], &[2]).unwrap();
    let device = DeviceId::new([41; 16]);
    assert_eq!(family.log.came_back(&device), Some(ReturnWay::Guardian));
}

#[test]
fn with_the_password_alone_after_a_day_in_which_it_was_shown() {
    let mut family = prepared();
    let wish = || Decision::Return(back(1, ReturnWay::Waited));
    let ask = || Decision::Ask(back(1, ReturnWay::Waited));
    let come = |family: &mut Family, day| wished(family, wish(), day, &[&request_key(1)], &[2]);
    assert_eq!(come(&mut family, 12), Err(LogError::NotShown));
    let own = wished(&mut family, ask(), 12, &[&request_key(1)], &[1]);
    assert_eq!(own, Err(LogError::Signature), "another guardian shows it");
    wished(&mut family, ask(), 12, &[&request_key(1)], &[2]).unwrap();
    let shown: Vec<_> = family.log.asks().map(|asked| asked.back.member()).collect();
    assert_eq!(shown, [id(1)]);
    let again = wished(&mut family, ask(), 13, &[&request_key(1)], &[2]);
    assert_eq!(
        again,
        Err(LogError::Unchanged),
        "the day does not begin anew"
    );
    let early = Err(LogError::ReturnEarly { from: Day(13) });
    assert_eq!(come(&mut family, 12), early);
    let other = Decision::Return(Return {
        device: device(43, 1),
        way: ReturnWay::Waited,
    });
    let other = wished(&mut family, other, 13, &[&request_key(1)], &[2]);
    assert_eq!(other, Err(LogError::NotShown), "another device was shown");
    let alone = wished(&mut family, wish(), 13, &[&request_key(1)], &[]);
    assert_eq!(alone, Err(LogError::Signature));
    come(&mut family, 13).unwrap();
    let device = DeviceId::new([41; 16]);
    assert_eq!(family.log.came_back(&device), Some(ReturnWay::Waited));
}

#[test]
fn any_guardian_vetoes_a_device_and_no_other_is_held_up_by_it() {
    let ask = |device: u8| {
        Decision::Ask(Return {
            device: super::device(device, 1),
            way: ReturnWay::Waited,
        })
    };
    let veto = |device: u8| Decision::Veto {
        member: id(1),
        device: DeviceId::new([device; 16]),
    };
    for by in [1, 2] {
        let mut family = prepared();
        let nobody = Decision::Veto {
            member: id(5),
            device: DeviceId::new([41; 16]),
        };
        let mut contradicts = |decision| {
            let refused = family.decide(decision, 12, &[by]);
            assert!(matches!(refused, Err(LogError::Contradiction(_))));
        };
        contradicts(nobody);
        contradicts(veto(11));
        wished(&mut family, ask(41), 12, &[&request_key(1)], &[2]).unwrap();
        wished(&mut family, ask(42), 12, &[&request_key(1)], &[2]).unwrap();
        family.good(veto(41), 12, &[by]);
        assert_eq!(family.decide(veto(41), 12, &[by]), Err(LogError::Unchanged));
        let come = |device: u8, way| {
            Decision::Return(Return {
                device: super::device(device, 1),
                way,
            })
        };
        if by == 1 {
            // They themselves did not ask at all: the keys are void.
            assert_eq!(family.log.recovery(&id(1)), None);
            assert_eq!(family.log.asks().count(), 0);
            let come = come(42, ReturnWay::Waited);
            let come = wished(&mut family, come, 13, &[&request_key(1)], &[2]);
            assert_eq!(come, Err(LogError::NoRecovery));
            continue;
        }
        assert_eq!(family.log.asks().count(), 1, "the other wish is as it was");
        let again = wished(&mut family, ask(41), 30, &[&request_key(1)], &[2]);
        assert_eq!(again, Err(LogError::Vetoed));
        for way in [ReturnWay::Waited, ReturnWay::Guardian] {
            let come = come(41, way);
            let come = wished(&mut family, come, 30, &[&request_key(1)], &[2]);
            assert_eq!(come, Err(LogError::Vetoed));
        }
        let come = come(42, ReturnWay::Waited);
        wished(&mut family, come, 30, &[&request_key(1)], &[2]).unwrap();
    }
}

#[test]
fn so_many_ask_at_a_time_and_a_day_has_so_many_vetoes() {
    let mut family = prepared();
    let ask = |device: u8| {
        Decision::Ask(Return {
            device: super::device(device, 1),
            way: ReturnWay::Waited,
        })
    };
    for device in 41..45 {
        wished(&mut family, ask(device), 12, &[&request_key(1)], &[2]).unwrap();
    }
    let fifth = wished(&mut family, ask(45), 12, &[&request_key(1)], &[2]);
    assert!(matches!(fifth, Err(LogError::Contradiction(_))));
    let mut vetoed = 0;
    let full = loop {
        let veto = Decision::Veto {
            member: id(1),
            device: DeviceId::new([100 + vetoed; 16]),
        };
        match family.decide(veto, 12, &[2]) {
            Ok(()) => vetoed += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, LogError::Often(Day(12)));
    assert!(vetoed > 50);
}

#[test]
fn whoever_came_by_waiting_stays_marked_until_another_guardian_lets_them_in() {
    let mut family = prepared();
    let ask = Decision::Ask(back(1, ReturnWay::Waited));
    wished(&mut family, ask, 12, &[&request_key(1)], &[2]).unwrap();
    let come = Decision::Return(back(1, ReturnWay::Waited));
    wished(&mut family, come, 13, &[&request_key(1)], &[2]).unwrap();
    assert!(family.log.has_waited(&id(1)));
    assert_eq!(family.log.recovery(&id(1)), None);
    // Keys of its own and a return by them change nothing about that.
    let key_of_new = super::key_on(41, 1);
    let own = RecoveryKeys {
        request: SecretKey::from_seed(&[7; 32]).public(),
        recovery: SecretKey::from_seed(&[8; 32]).public(),
    };
    let set = Decision::SetRecovery {
        member: id(1),
        keys: own,
    };
    let salt = family.salt();
    let signed = family
        .log
        .propose_with(set, salt, vec![], &[&key_of_new], Day(13));
    family.append(&signed).unwrap();
    let code = Decision::Return(Return {
        device: device(42, 1),
        way: ReturnWay::Code,
    });
    let recovery = SecretKey::from_seed(&[8; 32]);
    wished(&mut family, code, 13, &[&recovery], &[]).unwrap();
    assert!(family.log.has_waited(&id(1)));
    let yes = Decision::Return(Return {
        device: device(43, 1),
        way: ReturnWay::Guardian,
    });
    let request = SecretKey::from_seed(&[7; 32]);
    wished(&mut family, yes, 13, &[&request], &[2]).unwrap();
    assert!(!family.log.has_waited(&id(1)));
}

#[test]
fn a_lost_phone_that_is_taken_out_takes_its_keys_along() {
    let mut family = prepared();
    family.good(Decision::AddDevice(device(12, 1)), 12, &[1]);
    family.good(Decision::RemoveDevice(DeviceId::new([12; 16])), 12, &[1]);
    assert_eq!(family.log.recovery(&id(1)), None);
    assert_eq!(family.log.recovery(&id(2)), Some(&keys(2)));
}

#[test]
fn other_keys_in_their_place_need_no_second_signature_and_no_thaw() {
    let mut family = Family::of_three(2);
    family.good(set(1), 11, &[1, 2]);
    family.good(Decision::AddMember(guardian(3)), 11, &[1, 2]);
    family.good(Decision::AddDevice(device(33, 3)), 11, &[1, 2]);
    family.good(Decision::RemoveMember(id(3)), 12, &[2]);
    let others = Decision::SetRecovery {
        member: id(1),
        keys: RecoveryKeys {
            request: SecretKey::from_seed(&[7; 32]).public(),
            recovery: SecretKey::from_seed(&[8; 32]).public(),
        },
    };
    family.good(others, 12, &[1]);
}

#[test]
fn the_keys_are_said_by_their_guardian_and_used_for_nothing_else() {
    let mut family = Family::of_three(1);
    assert_eq!(family.decide(set(1), 11, &[2]), Err(LogError::OwnDevice));
    assert!(matches!(
        family.decide(set(5), 11, &[1]),
        Err(LogError::Contradiction(_))
    ));
    family.good(set(1), 11, &[1]);
    assert_eq!(family.decide(set(1), 12, &[1]), Err(LogError::Unchanged));
    let with = |request: &SecretKey, recovery: &SecretKey| Decision::SetRecovery {
        member: id(2),
        keys: RecoveryKeys {
            request: request.public(),
            recovery: recovery.public(),
        },
    };
    let fresh = SecretKey::from_seed(&[7; 32]);
    for (request, recovery) in [
        (&fresh, &fresh),
        (&request_key(1), &fresh),
        (&fresh, &key(1)),
        (&fresh, &SecretKey::from_seed(&[55; 32])),
    ] {
        assert!(matches!(
            family.decide(with(request, recovery), 12, &[2]),
            Err(LogError::Contradiction(_))
        ));
    }
    // Nor does a device come in with one of them.
    let phone = AddedDevice {
        identity_key: Some(recovery_key(1).public()),
        ..device(23, 2)
    };
    assert!(matches!(
        family.decide(Decision::AddDevice(phone), 12, &[2]),
        Err(LogError::Contradiction(_))
    ));
    // In place of the ones before, which are worth nothing then.
    family.good(
        Decision::SetRecovery {
            member: id(1),
            keys: RecoveryKeys {
                request: fresh.public(),
                recovery: SecretKey::from_seed(&[8; 32]).public(),
            },
        },
        12,
        &[1],
    );
    let wish = Decision::Return(back(1, ReturnWay::Code));
    let old = wished(&mut family, wish, 12, &[&recovery_key(1)], &[2]);
    assert_eq!(old, Err(LogError::Wish));
}

#[test]
fn where_two_sign_two_agree_to_the_keys() {
    let mut family = Family::of_three(2);
    assert_eq!(
        family.decide(set(1), 11, &[1]),
        Err(LogError::Signatures {
            needed: 2,
            found: 1
        })
    );
    family.good(set(1), 11, &[1, 2]);
}

#[test]
fn a_removed_guardian_does_not_come_back_by_a_password() {
    let mut family = prepared();
    family.good(Decision::AddMember(guardian(3)), 11, &[1]);
    family.good(Decision::AddDevice(device(33, 3)), 11, &[1]);
    family.good(Decision::RemoveMember(id(1)), 12, &[2]);
    let wish = Decision::Return(back(1, ReturnWay::Code));
    let out = wished(&mut family, wish, 20, &[&recovery_key(1)], &[2]);
    assert_eq!(out, Err(LogError::NoRecovery));
}

#[test]
fn a_freeze_holds_a_return_by_the_password_and_not_one_by_the_code() {
    let frozen = || {
        let mut family = prepared();
        family.good(Decision::AddMember(guardian(3)), 11, &[1]);
        family.good(Decision::AddDevice(device(33, 3)), 11, &[1]);
        family.good(Decision::RemoveMember(id(3)), 12, &[2]);
        family
    };
    let mut family = frozen();
    let wish = Decision::Return(back(1, ReturnWay::Guardian));
    let held = wished(&mut family, wish, 13, &[&request_key(1)], &[2]);
    assert_eq!(
        held,
        Err(LogError::Frozen {
            until: Some(Day(15))
        })
    );
    let wish = Decision::Return(back(1, ReturnWay::Code));
    wished(&mut family, wish, 13, &[&recovery_key(1)], &[]).unwrap();
}
