use super::{Family, child, device, guardian, id, key, policy, rng};
use crate::day::Day;
use crate::identity::{Decision, FamilyLog, LogError, Role, Settings, Statement, sign_statement};
use crate::ids::DeviceId;
use crate::wire;
use prost::Message;

#[test]
fn a_family_grows_and_its_log_reads_back() {
    let mut log = Family::new(1).log;
    let statements = log.propose(
        vec![
            Decision::AddMember(child(6)),
            Decision::AddDevice(device(66, 6)),
        ],
        &key(1),
        Day(12),
        &mut rng(1),
    );
    let before = *log.head();
    for statement in &statements {
        log.append(statement).unwrap();
    }
    let certificate = log.certificate(&DeviceId::new([66; 16])).unwrap();
    assert_eq!((certificate.member, certificate.role), (id(6), Role::Child));
    assert_eq!(FamilyLog::from_statements(log.statements()).unwrap(), log);
    assert!(log.contains_head(&before) && !log.contains_head(&[0; 32]));
    assert_eq!(log.up_to(&before).unwrap(), Family::new(1).log);
    assert_eq!(log.up_to(log.head()).unwrap(), log);
    assert!(log.up_to(&[0; 32]).is_none());
    assert_eq!(log.head_at(1), Some(&before));
    assert_eq!((log.head_at(0), log.head_at(4)), (None, None));
    assert_eq!((log.len(), log.day(), log.is_whole()), (3, Day(12), true));
}

#[test]
fn holes_forks_and_days_that_go_back_are_refused() {
    let mut log = Family::new(1).log;
    let two = log.propose(
        vec![Decision::AddMember(child(2)), Decision::AddMember(child(3))],
        &key(1),
        Day(12),
        &mut rng(1),
    );
    let hole = |expected, found| Err(LogError::Hole { expected, found });
    assert_eq!(log.append(&two[1]), hole(1, 2));
    let other = log.propose(
        vec![Decision::AddMember(child(4))],
        &key(1),
        Day(12),
        &mut rng(2),
    );
    log.append(&two[0]).unwrap();
    assert_eq!(log.append(&other[0]), hole(2, 1));
    let mut fork = Family::new(1).log;
    fork.append(&other[0]).unwrap();
    assert_eq!(fork.append(&two[1]), Err(LogError::Fork));
    let mut back = Statement::decode(&two[1].statement).unwrap();
    back.day = Day(11);
    let expected = LogError::Day {
        newest: Day(12),
        found: Day(11),
    };
    assert_eq!(
        log.append(&sign_statement(&back, &[&key(1)])),
        Err(expected)
    );
    // What is proposed on a clock that is behind gets the log's day.
    let behind = log.propose(
        vec![Decision::AddMember(child(6))],
        &key(1),
        Day(1),
        &mut rng(3),
    );
    log.append(&behind[0]).unwrap();
}

#[test]
fn first_statements_are_checked_too() {
    let good = Family::new(1).log.statements()[0].clone();
    let statement = Statement::decode(&good.statement).unwrap();
    let with = |change: &dyn Fn(&mut Statement)| {
        let mut changed = statement.clone();
        change(&mut changed);
        FamilyLog::from_statements(&[sign_statement(&changed, &[&key(1)])]).unwrap_err()
    };
    assert_eq!(FamilyLog::from_statements(&[]), Err(LogError::Empty));
    assert_eq!(with(&|_| ()), LogError::Signature);
    assert_eq!(with(&|s| s.family = super::FOREIGN), LogError::Family);
    let hole = LogError::Hole {
        expected: 0,
        found: 1,
    };
    assert_eq!(with(&|s| s.index = 1), hole);
    let added = |s: &mut Statement| s.decision = Decision::AddMember(child(2));
    assert!(matches!(with(&added), LogError::Hole { .. }));
    let by_child = FamilyLog::found(
        "F",
        child(1),
        device(11, 1),
        Settings::default(),
        Day(1),
        &mut rng(1),
    );
    assert!(matches!(by_child, Err(LogError::Contradiction(_))));
    for (signatures, lease_days) in [(0, 7), (3, 7), (1, 2), (1, 15)] {
        let settings = Settings {
            signatures,
            lease_days,
        };
        let founded = FamilyLog::found(
            "F",
            guardian(1),
            device(11, 1),
            settings,
            Day(1),
            &mut rng(1),
        );
        assert!(matches!(founded, Err(LogError::Field(_))), "{settings:?}");
    }
    let mut again = Family::new(1);
    let twice = again.decide(statement.decision, 10, &[1]);
    assert_eq!(
        twice,
        Err(LogError::Contradiction("a family is founded once"))
    );
}

#[test]
fn every_decision_reads_back() {
    let family = Family::new(1);
    let first = Statement::decode(&family.log.statements()[0].statement).unwrap();
    let decisions = [
        first.decision,
        Decision::AddMember(guardian(2)),
        Decision::AddMember(child(5)),
        Decision::AddDevice(device(55, 5)),
        Decision::RemoveDevice(DeviceId::new([55; 16])),
        Decision::RemoveMember(id(5)),
        Decision::ApprovePass(family.pass(7, 5, &[1])),
        Decision::RevokePass(family.pass(7, 5, &[1]).id()),
        Decision::SetPolicy {
            child: id(5),
            policy: policy(50),
        },
        Decision::Settings(Settings::default()),
        Decision::Object { removal: 3 },
        Decision::Withdraw { removal: 4 },
    ];
    for decision in decisions {
        let bytes = decision.encode();
        assert_eq!(Decision::decode(&bytes).unwrap(), decision);
        // No change makes it panic, nor read as the same.
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_ne!(Decision::decode(&changed), Ok(decision.clone()));
            }
            let _ = Decision::decode(&bytes[..at]);
        }
    }
    assert_eq!(Decision::decode(&[]), Err(LogError::UnknownDecision));
    let later = [0xf2, 0x01, 0];
    assert_eq!(Decision::decode(&later), Err(LogError::UnknownDecision));
}

#[test]
fn every_changed_byte_of_a_statement_is_refused() {
    let mut family = Family::of_three(2);
    let signed = family.signed(Decision::AddMember(child(6)), 12, &[1, 2]);
    for at in 0..signed.statement.len() {
        let mut bytes = signed.statement.to_vec();
        bytes[at] ^= 1;
        let bad = wire::SignedStatement {
            statement: bytes.into(),
            ..signed.clone()
        };
        assert!(family.append(&bad).is_err(), "byte {at}");
    }
    for which in 0..2 {
        for at in 0..64 {
            let mut bad = signed.clone();
            let mut bytes = bad.signatures[which].signature.to_vec();
            bytes[at] ^= 1;
            bad.signatures[which].signature = bytes.into();
            assert!(family.append(&bad).is_err(), "signature {which}, byte {at}");
        }
    }
    family.append(&signed).unwrap();
}

#[test]
fn damaged_statements_are_refused_by_name() {
    let mut family = Family::of_three(1);
    let signed = family.signed(Decision::AddMember(child(6)), 12, &[1]);
    let statement = wire::Statement::decode(signed.statement.as_ref()).unwrap();
    let mut with = |change: fn(&mut wire::Statement)| {
        let mut changed = statement.clone();
        change(&mut changed);
        let bad = wire::SignedStatement {
            statement: changed.encode_to_vec().into(),
            ..signed.clone()
        };
        family.append(&bad).unwrap_err()
    };
    assert_eq!(with(|s| s.version = 2), LogError::Version(2));
    assert_eq!(with(|s| s.salt.clear()), LogError::Field("salt"));
    assert_eq!(
        with(|s| s.previous_head = vec![0; 31].into()),
        LogError::Field("previous head")
    );
    assert_eq!(with(|s| s.decision.clear()), LogError::UnknownDecision);
    assert!(matches!(with(|s| s.family.clear()), LogError::Id(_)));
    assert_eq!(with(|s| s.family = vec![1; 16].into()), LogError::Family);
    assert_eq!(
        with(|s| s.salt = vec![0; 5_000].into()),
        LogError::Field("length")
    );
    assert!(matches!(
        with(|s| s.decision = vec![0x0a, 5].into()),
        LogError::Malformed(_)
    ));
    let mut crowded = signed.clone();
    crowded.signatures = vec![signed.signatures[0].clone(); 33];
    assert_eq!(
        family.append(&crowded),
        Err(LogError::Field("number of signatures"))
    );
}
