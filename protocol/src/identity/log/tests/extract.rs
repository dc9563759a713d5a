use std::collections::BTreeSet;

use super::{Family, child, device, guardian, id, policy};
use crate::identity::{Decision, FamilyLog, LogError, Shown, Statement};
use crate::ids::{DeviceId, PassId};
use crate::wire::LogEntry;

fn shown(children: &[u8], passes: &[u8]) -> Shown {
    Shown {
        children: children.iter().map(|n| id(*n)).collect(),
        passes: passes.iter().map(|n| PassId::new([*n; 16])).collect(),
    }
}

/// Guardians 1, 2 and 3 (removed, objected, back), children 5 and 6, a pass and a policy for each.
fn family() -> Family {
    let mut family = Family::of_three(1);
    let pass_5 = family.pass(7, 5, &[1]);
    let pass_6 = family.pass(8, 6, &[2]);
    let policy_of = |n| Decision::SetPolicy {
        child: id(n),
        policy: policy(9),
    };
    let removal = 5 + 8;
    let decisions = [
        Decision::AddMember(child(6)),                   // 5
        Decision::AddDevice(device(66, 6)),              // 6
        Decision::ApprovePass(pass_5),                   // 7
        Decision::ApprovePass(pass_6),                   // 8
        policy_of(5),                                    // 9
        policy_of(6),                                    // 10
        Decision::AddMember(guardian(3)),                // 11
        Decision::AddDevice(device(33, 3)),              // 12
        Decision::RemoveMember(id(3)),                   // 13
        Decision::Withdraw { removal },                  // 14
        Decision::Withdraw { removal },                  // 15
        Decision::RemoveDevice(DeviceId::new([66; 16])), // 16
        Decision::RevokePass(PassId::new([7; 16])),      // 17
        Decision::RemoveMember(id(6)),                   // 18
    ];
    for (index, decision) in (5..).zip(decisions) {
        family.good(decision, 11, if index == 15 { &[3] } else { &[1] });
    }
    family
}

fn open(entries: &[LogEntry]) -> Vec<u64> {
    (0..)
        .zip(entries)
        .filter(|(_, entry)| entry.statement.is_some())
        .map(|(index, _)| index)
        .collect()
}

#[test]
fn an_extract_opens_exactly_what_it_must() {
    let log = family().log;
    let cases: [(Shown, &[u64]); 5] = [
        (Shown::default(), &[0, 1, 2, 11, 12, 13, 14, 15]),
        (shown(&[5], &[]), &[0, 1, 2, 3, 4, 11, 12, 13, 14, 15]),
        // A pass opens its own child: without it the log would contradict itself.
        (
            shown(&[], &[7]),
            &[0, 1, 2, 3, 4, 7, 11, 12, 13, 14, 15, 17],
        ),
        (
            shown(&[6], &[8]),
            &[0, 1, 2, 5, 6, 8, 11, 12, 13, 14, 15, 16, 18],
        ),
        (shown(&[9], &[9]), &[0, 1, 2, 11, 12, 13, 14, 15]),
    ];
    for (shown, expected) in cases {
        let entries = log.extract(&shown);
        assert_eq!(open(&entries), expected, "{shown:?}");
        let read = FamilyLog::from_entries(&entries).unwrap();
        assert_eq!((read.head(), read.len()), (log.head(), log.len()));
        assert!(!read.is_whole());
        assert_eq!(read.entries(), entries);
        assert_eq!(read.extract(&shown), entries, "an extract of an extract");
        let all: BTreeSet<DeviceId> = log.certificates().map(|c| c.device).collect();
        assert!(read.certificates().all(|c| all.contains(&c.device)));
        assert!(read.policy(&id(5)).is_none(), "policies stay at home");
        let middle = *log.head_at(9).unwrap();
        assert_eq!(*read.up_to(&middle).unwrap().head(), middle);
    }
    let whole = FamilyLog::from_entries(&log.entries()).unwrap();
    assert_eq!(whole, log);
}

#[test]
fn an_extract_grows_by_entries() {
    let mut family = family();
    let mut friend = FamilyLog::from_entries(&family.log.extract(&shown(&[5], &[]))).unwrap();
    family.good(Decision::AddMember(child(8)), 12, &[1]);
    family.good(Decision::RemoveMember(id(2)), 12, &[1]);
    for entry in family.log.extract(&shown(&[5], &[])).iter().skip(19) {
        friend.append_entry(entry).unwrap();
    }
    assert_eq!(friend.head(), family.log.head());
    assert!(!friend.members().contains_key(&id(8)), "hidden");
    assert!(!friend.members().contains_key(&id(2)), "removed");
    // What a friend is shown is judged like what the family sees.
    let mut log = friend.clone();
    let unsigned = family.signed(Decision::AddMember(guardian(9)), 12, &[9]);
    assert_eq!(log.append(&unsigned), Err(LogError::Signature));
    assert_eq!(log, friend);
}

#[test]
fn two_copies_opened_differently_make_one() {
    let log = family().log;
    let five = log.extract(&shown(&[5], &[7]));
    let six = log.extract(&shown(&[6], &[8]));
    let friend = FamilyLog::from_entries(&five).unwrap();
    let merged = friend.merged(&six).unwrap();
    assert_eq!(merged.entries(), log.extract(&shown(&[5, 6], &[7, 8])));
    assert_eq!(
        merged,
        FamilyLog::from_entries(&six)
            .unwrap()
            .merged(&five)
            .unwrap()
    );
    assert_eq!(log.merged(&five).unwrap(), log);
    assert_eq!(friend.merged(&log.entries()).unwrap(), log);
    // One of them older, or opened further only where it is old.
    assert_eq!(friend.merged(&five[..10]).unwrap(), friend);
    let young = FamilyLog::from_entries(&five[..10]).unwrap();
    assert_eq!(young.merged(&five).unwrap(), friend);
    let old_six = friend.merged(&six[..9]).unwrap();
    assert_eq!(open(&old_six.entries()).len(), open(&five).len() + 3);
    assert_eq!(friend.merged(&[]).unwrap(), friend);

    let mut other = family();
    other.good(Decision::AddMember(child(9)), 12, &[1]);
    let mut fork = family();
    fork.good(Decision::AddMember(child(10)), 12, &[1]);
    let forked = other.log.merged(&fork.log.entries());
    assert_eq!(forked, Err(LogError::Fork));
}

#[test]
fn holes_and_tampered_hashes_are_refused() {
    let log = family().log;
    let entries = log.extract(&shown(&[5], &[7]));
    for at in 0..entries.len() - 1 {
        let mut hole = entries.clone();
        hole.remove(at);
        // Hidden ones at the end lead to another head, which nobody signed.
        let read = FamilyLog::from_entries(&hole);
        assert!(
            read.is_err() || (at == 17 && read.unwrap().head() != log.head()),
            "without {at}"
        );
    }
    let hidden = 5;
    assert!(entries[hidden].statement.is_none());
    for byte in 0..32 {
        let mut tampered = entries.clone();
        let mut hash = tampered[hidden].hash.to_vec();
        hash[byte] ^= 1;
        tampered[hidden].hash = hash.into();
        let read = FamilyLog::from_entries(&tampered);
        assert_eq!(read, Err(LogError::Fork), "byte {byte}");
        assert_eq!(log.merged(&tampered), Err(LogError::Fork));
    }
    // A tampered last entry is seen by its head.
    let mut tail = entries.clone();
    *tail.last_mut().unwrap() = LogEntry {
        statement: None,
        hash: vec![1; 32].into(),
    };
    assert_eq!(log.merged(&tail), Err(LogError::Fork));

    let bad = |change: fn(&mut LogEntry)| {
        let mut bad = entries.clone();
        change(&mut bad[hidden]);
        FamilyLog::from_entries(&bad).unwrap_err()
    };
    assert_eq!(bad(|e| e.hash.clear()), LogError::Entry);
    assert_eq!(bad(|e| e.hash = vec![0; 31].into()), LogError::Entry);
    let mut both = entries.clone();
    both[1].hash = vec![0; 32].into();
    assert_eq!(FamilyLog::from_entries(&both), Err(LogError::Entry));
    assert_eq!(
        FamilyLog::from_entries(&entries[hidden..]),
        Err(LogError::Entry),
        "the founding can't be hidden"
    );
    assert_eq!(FamilyLog::from_entries(&[]), Err(LogError::Empty));
}

#[test]
fn an_opened_entry_must_have_been_signed() {
    let log = family().log;
    let mut entries = log.extract(&shown(&[5], &[]));
    let friend = FamilyLog::from_entries(&entries).unwrap();
    entries[5] = log.entries()[5].clone();
    entries[5].statement.as_mut().unwrap().signatures.clear();
    assert_eq!(friend.merged(&entries), Err(LogError::Signature));
    assert!(Statement::decode(&log.statements()[5].statement).is_ok());
}
