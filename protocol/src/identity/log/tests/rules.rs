use super::{Family, child, device, guardian, id, key, pass, policy};
use crate::day::Day;
use crate::identity::{
    AddedDevice, ContactPass, Decision, LogError, PassTerms, Role, Settings, Standing,
};
use crate::ids::{DeviceId, FamilyId, PassId};
use crate::{limits, wire};

pub(super) const fn few(needed: usize, found: usize) -> Result<(), LogError> {
    Err(LogError::Signatures { needed, found })
}

pub(super) const fn frozen(until: Option<Day>) -> Result<(), LogError> {
    Err(LogError::Frozen { until })
}

pub(super) const fn settings(signatures: u32, lease_days: u32) -> Decision {
    Decision::Settings(Settings {
        signatures,
        lease_days,
    })
}

fn set_policy(messages: u32) -> Decision {
    Decision::SetPolicy {
        child: id(5),
        policy: policy(messages),
    }
}

/// Two guardians who chose two signatures, a pass, and a policy of fifty messages.
pub(super) fn careful() -> Family {
    let mut family = Family::of_three(2);
    let approved = family.pass(7, 5, &[1, 2]);
    family.good(Decision::ApprovePass(approved), 10, &[1, 2]);
    family.good(set_policy(50), 10, &[1]);
    family
}

/// Guardians 1, 2 and 3; guardian 2 removed by 1 on day 20 at this index.
fn removed(signatures: u32) -> (Family, u64) {
    let mut family = Family::of_three(signatures);
    family.good(Decision::AddMember(guardian(3)), 10, &[1, 2]);
    family.good(Decision::AddDevice(device(33, 3)), 10, &[1, 2]);
    let removal = family.log.len();
    family.good(Decision::RemoveMember(id(2)), 20, &[1]);
    (family, removal)
}

pub(super) const fn phone(n: u8) -> DeviceId {
    DeviceId::new([n; 16])
}

#[test]
fn what_narrows_needs_one_and_what_widens_as_many_as_chosen() {
    let family = careful().log.family();
    let cases = [
        ("a child", Decision::AddMember(child(6)), 2),
        ("a guardian", Decision::AddMember(guardian(3)), 2),
        ("a device", Decision::AddDevice(device(56, 5)), 2),
        ("a pass", Decision::ApprovePass(pass(8, family, 5, &[])), 2),
        ("a looser policy", set_policy(51), 2),
        ("no limit", set_policy(0), 2),
        ("fewer signatures", settings(1, 7), 2),
        ("a longer lease", settings(2, 8), 2),
        ("a child less", Decision::RemoveMember(id(5)), 1),
        ("a guardian less", Decision::RemoveMember(id(2)), 1),
        (
            "a device less",
            Decision::RemoveDevice(DeviceId::new([55; 16])),
            1,
        ),
        ("a pass less", Decision::RevokePass(PassId::new([7; 16])), 1),
        ("a stricter policy", set_policy(49), 1),
        ("a shorter lease", settings(2, 3), 1),
    ];
    for (name, decision, needed) in cases {
        let mut family = careful();
        let required = family.log.required_signatures(&decision, Day(10));
        assert_eq!(required, needed, "{name}");
        let expected = if needed == 1 { Ok(()) } else { few(2, 1) };
        assert_eq!(
            family.decide(decision.clone(), 10, &[1]),
            expected,
            "{name}"
        );
        let nobody = careful().decide(decision.clone(), 10, &[]);
        assert_eq!(nobody, Err(LogError::Signature), "{name}");
        let strangers = careful().decide(decision.clone(), 10, &[8, 9]);
        assert_eq!(strangers, Err(LogError::Signature), "{name}");
        let twice = careful().decide(decision.clone(), 10, &[1, 1]);
        assert_eq!(twice, expected, "{name}");
        careful().good(decision, 10, &[1, 2]);
    }
}

#[test]
fn more_signatures_narrow_and_one_guardian_alone_is_enough_where_there_is_one() {
    let mut family = Family::of_three(1);
    family.good(settings(2, 7), 11, &[1]);
    assert_eq!(family.log.settings().signatures, 2);
    let alone = family.decide(Decision::AddMember(child(6)), 11, &[2]);
    assert_eq!(alone, few(2, 1));
    let mut single = Family::new(2);
    single.good(Decision::AddMember(child(5)), 10, &[1]);
}

#[test]
fn a_consent_counts_for_its_decision_its_family_its_salt_and_its_days() {
    let decision = Decision::AddMember(child(6));
    let salt = [3; 16];
    let good = |family: &Family| family.log.consent(&decision, &salt, Day(15), &key(2));
    let append = |family: &mut Family, consent, day| {
        let signed =
            family
                .log
                .propose_with(decision.clone(), salt, vec![consent], &[&key(1)], Day(day));
        family.append(&signed)
    };
    let mut family = careful();
    let consent = good(&family);
    assert_eq!(append(&mut family, consent.clone(), 15), Ok(()));
    // Used twice: the salt is taken, and another salt is not the one consented to.
    family.good(Decision::RemoveMember(id(6)), 15, &[1]);
    assert_eq!(append(&mut family, consent, 15), Err(LogError::Salt));

    let other_family = Family::new(1).log;
    let elsewhere =
        crate::identity::sign_consent(&FamilyId::new([1; 16]), &decision, &salt, Day(15), &key(2));
    assert_ne!(other_family.family(), FamilyId::new([1; 16]));
    let log = careful().log;
    let mut stretched = good(&careful());
    stretched.last_day = 20;
    let mut renamed = good(&careful());
    renamed.key = key(1).public().as_bytes().to_vec().into();
    let cases = [
        ("expired", good(&careful()), 16),
        ("stretched", stretched, 16),
        ("another's name", renamed, 15),
        ("another family", elsewhere, 15),
        (
            "another decision",
            log.consent(&Decision::AddMember(child(8)), &salt, Day(15), &key(2)),
            15,
        ),
        (
            "another salt",
            log.consent(&decision, &[4; 16], Day(15), &key(2)),
            15,
        ),
        (
            "a stranger",
            log.consent(&decision, &salt, Day(15), &key(9)),
            15,
        ),
        (
            "one's own",
            log.consent(&decision, &salt, Day(15), &key(1)),
            15,
        ),
    ];
    for (name, consent, day) in cases {
        assert_eq!(append(&mut careful(), consent, day), few(2, 1), "{name}");
    }
    let consent = good(&careful());
    for at in 0..consent.signature.len() {
        let mut bad = consent.clone();
        let mut bytes = bad.signature.to_vec();
        bytes[at] ^= 1;
        bad.signature = bytes.into();
        assert_eq!(append(&mut careful(), bad, 15), few(2, 1), "byte {at}");
    }
    // Consents alone put nothing into the log: nobody signed its place.
    let mut family = careful();
    let consents = vec![
        good(&family),
        family.log.consent(&decision, &salt, Day(15), &key(1)),
    ];
    let unsigned = family
        .log
        .propose_with(decision, salt, consents, &[], Day(15));
    assert_eq!(family.append(&unsigned), Err(LogError::Signature));
}

#[test]
fn removing_a_guardian_freezes_what_widens_for_three_days() {
    let (mut family, removal) = removed(1);
    let add = || Decision::AddMember(child(6));
    let freeze = family.log.is_frozen(Day(22)).unwrap();
    assert_eq!(
        (freeze.removal, freeze.member, freeze.until),
        (removal, id(2), Some(Day(23)))
    );
    assert!(family.log.is_frozen(Day(23)).is_none());
    assert_eq!(family.decide(add(), 20, &[1, 3]), frozen(Some(Day(23))));
    assert_eq!(family.decide(add(), 22, &[1, 3]), frozen(Some(Day(23))));
    assert_eq!(family.decide(add(), 22, &[2]), Err(LogError::Signature));
    family.good(set_policy(1), 22, &[1]);
    assert_eq!(
        family.decide(set_policy(2), 22, &[1, 3]),
        frozen(Some(Day(23)))
    );
    family.good(add(), 23, &[1]);
}

#[test]
fn a_removed_guardian_is_gone_with_its_devices() {
    let (mut family, _) = removed(1);
    assert!(!family.log.members().contains_key(&id(2)));
    assert!(family.log.certificate(&DeviceId::new([22; 16])).is_none());
    assert_eq!(family.log.removed_members().count(), 1);
    assert_eq!(family.log.guardians().count(), 2);
    let narrow = family.decide(Decision::RemoveMember(id(5)), 21, &[2]);
    assert_eq!(narrow, Err(LogError::Signature));
    for (again, by) in [(guardian(2), "id"), (child(2), "id")] {
        let result = family.decide(Decision::AddMember(again), 40, &[1, 3]);
        assert!(matches!(result, Err(LogError::Contradiction(_))), "{by}");
    }
    family.good(Decision::AddMember(guardian(4)), 40, &[1]);
    let old_key = AddedDevice {
        identity_key: Some(key(2).public()),
        ..device(44, 4)
    };
    let result = family.decide(Decision::AddDevice(old_key), 40, &[1, 3]);
    assert!(matches!(result, Err(LogError::Contradiction(_))), "key");
}

#[test]
fn an_objection_keeps_it_frozen_until_the_removed_guardian_gives_in() {
    let (mut family, removal) = removed(1);
    let object = Decision::Object { removal };
    let add = || Decision::AddMember(child(6));
    for by in [&[1][..], &[3], &[1, 3], &[]] {
        let result = family.decide(object.clone(), 22, by);
        assert_eq!(result, Err(LogError::Signature), "{by:?}");
    }
    family.good(object.clone(), 22, &[2]);
    assert_eq!(family.log.removals()[&removal].standing, Standing::Objected);
    assert_eq!(family.decide(add(), 200, &[1, 3]), frozen(None));
    assert!(matches!(
        family.decide(object.clone(), 22, &[2]),
        Err(LogError::Contradiction(_))
    ));
    let third = family.decide(Decision::Withdraw { removal }, 200, &[3]);
    assert_eq!(third, Err(LogError::Signature), "3 removed nobody");
    family.good(Decision::Withdraw { removal }, 200, &[2]);
    assert_eq!(family.log.removals()[&removal].standing, Standing::Accepted);
    assert!(!family.log.members().contains_key(&id(2)));
    family.good(add(), 200, &[1]);
    for decision in [object, Decision::Withdraw { removal }] {
        assert!(matches!(
            family.decide(decision, 200, &[2]),
            Err(LogError::Contradiction(_))
        ));
    }
}

#[test]
fn an_objection_comes_in_time_or_not_at_all() {
    let (mut family, removal) = removed(1);
    let late = family.decide(Decision::Object { removal }, 23, &[2]);
    assert_eq!(late, Err(LogError::ObjectionLate { until: Day(23) }));
    for decision in [
        Decision::Object { removal: 0 },
        Decision::Withdraw { removal: 99 },
        Decision::Withdraw { removal },
    ] {
        // The last: nothing is frozen any more, so there is nothing to withdraw.
        assert!(matches!(
            family.decide(decision, 23, &[2]),
            Err(LogError::Contradiction(_))
        ));
    }
}

#[test]
fn an_objection_may_be_brought_by_another_guardian() {
    let (mut family, removal) = removed(1);
    let object = Decision::Object { removal };
    let salt = [3; 16];
    let consent = family.log.consent(&object, &salt, Day(22), &key(2));
    let carried = family
        .log
        .propose_with(object, salt, vec![consent], &[&key(3)], Day(22));
    family.append(&carried).unwrap();
    assert!(family.log.is_frozen(Day(99)).is_some());
}

#[test]
fn who_removed_a_guardian_may_take_that_back() {
    for objected in [false, true] {
        let (mut family, removal) = removed(1);
        if objected {
            family.good(Decision::Object { removal }, 21, &[2]);
        }
        family.good(Decision::Withdraw { removal }, 22, &[1]);
        assert_eq!(family.log.removals()[&removal].standing, Standing::Undone);
        assert_eq!(family.log.members()[&id(2)].role, Role::Guardian);
        assert_eq!(family.log.removed_members().count(), 0);
        assert!(family.log.certificate(&phone(22)).is_some(), "as before");
        // Until it is there again, nothing widens: else a removal that is taken back at once
        // would do without the freeze.
        let add = Decision::AddMember(child(6));
        assert_eq!(family.decide(add.clone(), 99, &[1, 3]), frozen(None));
        let again = family.decide(Decision::Withdraw { removal }, 99, &[1]);
        assert!(matches!(again, Err(LogError::Contradiction(_))));
        let third = family.decide(Decision::Withdraw { removal }, 99, &[3]);
        assert_eq!(third, Err(LogError::Signature), "3 removed nobody");
        family.good(Decision::Withdraw { removal }, 99, &[2]);
        assert_eq!(family.log.removals()[&removal].standing, Standing::Returned);
        assert_eq!(family.log.removed_members().count(), 0);
        family.good(add, 99, &[2]);
        // And may be removed again.
        family.good(Decision::RemoveMember(id(2)), 100, &[3]);
        assert!(family.log.is_frozen(Day(102)).is_some());
        assert!(family.log.is_frozen(Day(103)).is_none());
    }
}

#[test]
fn who_never_comes_back_is_waited_for_until_the_next_removal() {
    let (mut family, removal) = removed(1);
    family.good(Decision::Withdraw { removal }, 21, &[1]);
    assert_eq!(family.decide(settings(1, 8), 99, &[1]), frozen(None));
    family.good(Decision::RemoveMember(id(2)), 100, &[1]);
    assert_eq!(
        family.decide(settings(1, 8), 102, &[1]),
        frozen(Some(Day(103)))
    );
    family.good(settings(1, 8), 103, &[1]);
}

#[test]
fn the_number_falls_fourteen_days_after_a_removal_and_not_under_an_objection() {
    let add = || Decision::AddMember(child(6));
    let mut family = careful();
    let removal = family.log.len();
    family.good(Decision::RemoveMember(id(2)), 20, &[1]);
    assert_eq!(family.log.required_signatures(&add(), Day(33)), 2);
    assert_eq!(family.decide(add(), 33, &[1]), few(2, 1));
    assert_eq!(family.decide(settings(1, 7), 33, &[1]), few(2, 1));
    family.good(add(), 34, &[1]);

    let mut family = careful();
    family.good(Decision::RemoveMember(id(2)), 20, &[1]);
    family.good(Decision::Object { removal }, 21, &[2]);
    assert_eq!(family.log.required_signatures(&add(), Day(99)), 2);
    family.good(Decision::Withdraw { removal }, 22, &[2]);
    assert_eq!(family.decide(add(), 33, &[1]), few(2, 1));
    family.good(add(), 34, &[1]);
}

#[test]
fn the_last_guardian_stays_and_one_that_leaves_by_itself_freezes_nothing() {
    let mut family = careful();
    family.good(Decision::RemoveMember(id(2)), 20, &[2]);
    assert!(family.log.is_frozen(Day(20)).is_none());
    family.good(Decision::AddMember(child(6)), 20, &[1]);
    let removal = family.log.removals().values().next().unwrap();
    assert_eq!(removal.standing, Standing::Final);
    let index = removal.index;
    for decision in [
        Decision::Object { removal: index },
        Decision::Withdraw { removal: index },
    ] {
        assert!(matches!(
            family.decide(decision, 20, &[2]),
            Err(LogError::Contradiction(_))
        ));
    }
    let last = family.decide(Decision::RemoveMember(id(1)), 20, &[1]);
    assert_eq!(last, Err(LogError::LastGuardian));
}

#[test]
fn passes_are_for_our_own_child_and_guardians_and_once() {
    let ours = careful().log.family();
    let mut shifted: PassTerms = pass(8, ours, 5, &[]).terms().clone();
    shifted.sides[0].family = FamilyId::new([99; 16]);
    let foreign = ContactPass::new(shifted).unwrap();
    let cases = [
        ("of other families", foreign),
        ("for a stranger", pass(8, ours, 6, &[])),
        ("for a guardian", pass(8, ours, 1, &[])),
        ("with a stranger", pass(8, ours, 5, &[1, 3])),
        ("with a child as guardian", pass(8, ours, 5, &[5])),
        ("again", pass(7, ours, 5, &[])),
    ];
    for (name, bad) in cases {
        let result = careful().decide(Decision::ApprovePass(bad), 11, &[1, 2]);
        assert!(matches!(result, Err(LogError::Contradiction(_))), "{name}");
    }
    let id7 = PassId::new([7; 16]);
    let mut family = careful();
    let days = [(9, false), (10, true), (300, true), (301, false)];
    for (day, valid) in days {
        assert_eq!(family.log.valid_pass(&id7, Day(day)).is_some(), valid);
    }
    assert!(
        family
            .log
            .valid_pass(&PassId::new([8; 16]), Day(20))
            .is_none()
    );
    family.good(Decision::RevokePass(id7), 12, &[2]);
    assert!(family.log.valid_pass(&id7, Day(20)).is_none());
    assert_eq!(family.log.passes()[&id7].revoked, Some(Day(12)));
    let again = Decision::ApprovePass(pass(7, ours, 5, &[]));
    for bad in [again, Decision::RevokePass(id7)] {
        assert!(matches!(
            family.decide(bad, 12, &[1, 2]),
            Err(LogError::Contradiction(_))
        ));
    }
    // The child leaves: its passes are void, its policy gone, its tablet out.
    let mut family = careful();
    family.good(Decision::RemoveMember(id(5)), 12, &[1]);
    assert!(family.log.valid_pass(&id7, Day(20)).is_none());
    assert!(family.log.policy(&id(5)).is_none());
    assert!(family.log.certificate(&DeviceId::new([55; 16])).is_none());
    assert!(family.log.is_frozen(Day(12)).is_none());
}

#[test]
fn decisions_that_contradict_the_log_are_refused() {
    let policy_of = |n| Decision::SetPolicy {
        child: id(n),
        policy: policy(1),
    };
    let cases = [
        Decision::AddMember(child(5)),
        Decision::AddMember(guardian(1)),
        Decision::AddDevice(device(55, 5)),
        Decision::AddDevice(device(66, 6)),
        Decision::RemoveDevice(DeviceId::new([66; 16])),
        Decision::RemoveMember(id(6)),
        Decision::RevokePass(PassId::new([6; 16])),
        policy_of(1),
        policy_of(6),
    ];
    for decision in cases {
        let result = careful().decide(decision.clone(), 11, &[1, 2]);
        assert!(
            matches!(result, Err(LogError::Contradiction(_))),
            "{decision:?}"
        );
    }
}

#[test]
fn what_is_decided_already_is_not_decided_again() {
    let mut family = Family::of_three(1);
    let set = |messages| Decision::SetPolicy {
        child: id(5),
        policy: policy(messages),
    };
    family.good(set(3), 11, &[1]);
    assert_eq!(family.decide(set(3), 11, &[1]), Err(LogError::Unchanged));
    family.good(set(2), 11, &[2]);
    family.good(set(3), 11, &[1]);
    let same = Decision::Settings(family.log.settings());
    assert_eq!(family.decide(same, 11, &[1]), Err(LogError::Unchanged));
}

#[test]
fn a_guardian_decides_so_much_in_a_day() {
    let mut family = Family::of_three(1);
    let set = |messages| Decision::SetPolicy {
        child: id(5),
        policy: policy(messages),
    };
    for messages in 0..limits::FAMILY_LOG_DAY_MAX {
        family.good(set(1 + messages), 11, &[1]);
    }
    let often = Err(LogError::Often(Day(11)));
    assert_eq!(family.decide(set(900), 11, &[1]), often);
    assert_eq!(
        family.decide(set(900), 11, &[1, 2]),
        often,
        "nor with another"
    );
    family.good(Decision::RemoveDevice(DeviceId::new([55; 16])), 11, &[1]);
    family.good(set(900), 11, &[2]);
    family.good(set(901), 12, &[1]);
}

#[test]
fn the_last_places_of_a_log_are_for_what_takes_away() {
    let mut family = Family::of_three(1);
    family.good(Decision::ApprovePass(family.pass(1, 5, &[])), 11, &[1]);
    let entry = |n: u64| wire::LogEntry {
        statement: None,
        hash: [n.to_be_bytes(); 4].concat().into(),
    };
    let open = limits::FAMILY_LOG_STATEMENTS_MAX - limits::FAMILY_LOG_RESERVED;
    while family.log.len() < open as u64 - 1 {
        family.log.append_entry(&entry(family.log.len())).unwrap();
    }
    family.good(Decision::AddMember(child(6)), 11, &[1]);
    let full = Err(LogError::Full);
    assert_eq!(family.decide(Decision::AddMember(child(7)), 11, &[1]), full);
    let policy = policy(3);
    let set = Decision::SetPolicy {
        child: id(5),
        policy,
    };
    assert_eq!(family.decide(set, 11, &[1]), full);
    family.good(Decision::RevokePass(PassId::new([1; 16])), 11, &[1]);
    family.good(Decision::RemoveDevice(DeviceId::new([55; 16])), 11, &[1]);
    let removal = family.log.len();
    family.good(Decision::RemoveMember(id(2)), 11, &[1]);
    family.good(Decision::Object { removal }, 12, &[2]);
    // Both could go on for ever.
    let undo = family.decide(Decision::Withdraw { removal }, 12, &[1]);
    assert_eq!(undo, full);
    while family.log.len() < limits::FAMILY_LOG_STATEMENTS_MAX as u64 {
        family.log.append_entry(&entry(family.log.len())).unwrap();
    }
    let last = Decision::RemoveMember(id(6));
    assert_eq!(family.decide(last, 12, &[1]), Err(LogError::Full));
}
