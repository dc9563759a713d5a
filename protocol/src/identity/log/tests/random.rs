//! Random decisions by random signers: what is accepted reads back, and hides what it hides.

use std::collections::BTreeSet;

use super::{Family, child, device, guardian, id, key_on, policy, rng};
use crate::day::Day;
use crate::identity::{Decision, FamilyLog, Role, Settings, Shown};
use crate::ids::{DeviceId, PassId};
use crate::primitives::sign::SecretKey;
use rand::{Rng, RngExt};

fn decision(family: &Family, rng: &mut impl Rng) -> Decision {
    let n = rng.random_range(1..=9);
    let removal = rng.random_range(0..=family.log.len());
    match rng.random_range(0..11) {
        0 => Decision::AddMember(guardian(n)),
        1 => Decision::AddMember(child(n)),
        2 | 3 => Decision::AddDevice(device(rng.random_range(10..60), n)),
        4 => Decision::RemoveDevice(DeviceId::new([rng.random_range(10..60); 16])),
        5 => Decision::RemoveMember(id(n)),
        6 => Decision::ApprovePass(family.pass(rng.random_range(0..9), n, &[])),
        7 => Decision::RevokePass(PassId::new([n; 16])),
        8 => Decision::SetPolicy {
            child: id(n),
            policy: policy(rng.random_range(0..5)),
        },
        9 => Decision::Settings(Settings {
            signatures: rng.random_range(1..=2),
            lease_days: rng.random_range(3..=14),
        }),
        _ => {
            let removal = family
                .log
                .removals()
                .keys()
                .last()
                .copied()
                .unwrap_or(removal);
            if rng.random_bool(0.5) {
                Decision::Object { removal }
            } else {
                Decision::Withdraw { removal }
            }
        }
    }
}

/// Keys of guardians' phones, in the family or out of it.
fn signers(family: &Family, rng: &mut impl Rng) -> Vec<SecretKey> {
    let phones = family.log.state.devices.values().map(|entry| &entry.device);
    let phones = phones.filter(|device| device.identity_key.is_some());
    let number = |bytes: &[u8]| bytes[0];
    let keys = phones.map(|it| key_on(number(it.device.as_bytes()), number(it.member.as_bytes())));
    keys.filter(|_| rng.random_bool(0.4)).collect()
}

/// Whether an extract without children says everything that such a decision is judged by.
fn is_about_guardians(decision: &Decision, log: &FamilyLog) -> bool {
    let guardian = |member| log.state.role_ever(member) == Some(Role::Guardian);
    match decision {
        Decision::AddDevice(added) => {
            guardian(&added.member) && !log.state.devices.contains_key(&added.device)
        }
        Decision::AddMember(added) => {
            added.role == Role::Guardian && log.state.role_ever(&added.member).is_none()
        }
        Decision::RemoveDevice(device) => {
            let entry = log.state.devices.get(device);
            entry.is_some_and(|entry| guardian(&entry.device.member))
        }
        Decision::RemoveMember(member) => guardian(member),
        Decision::Settings(_) => true,
        Decision::Object { removal } | Decision::Withdraw { removal } => {
            let removal = log.removals().get(removal);
            removal.is_some_and(|removal| guardian(&removal.member))
        }
        _ => false,
    }
}

fn run(seed: u8) -> (usize, usize) {
    let mut rng = rng(seed);
    let mut family = Family::of_three(rng.random_range(1..=2));
    let (mut accepted, mut refused) = (0, 0);
    let mut day = 10;
    for _ in 0..200 {
        day += u32::from(rng.random_bool(0.3)) * rng.random_range(1..5);
        let decision = decision(&family, &mut rng);
        let keys = signers(&family, &mut rng);
        let salt = family.salt();
        let log = &family.log;
        let keys: Vec<&SecretKey> = keys.iter().collect();
        let signed = log.propose_with(decision.clone(), salt, vec![], &keys, Day(day));
        if is_about_guardians(&decision, log) {
            let entries = log.extract(&Shown::default());
            let mut seen = FamilyLog::from_entries(&entries).unwrap();
            let whole = log.clone().append(&signed);
            assert_eq!(seen.append(&signed), whole, "seed {seed}: {decision:?}");
        }
        match family.append(&signed) {
            Ok(()) => accepted += 1,
            Err(_) => refused += 1,
        }
        let guardians = family.log.guardians().count();
        assert!(guardians >= 1, "seed {seed}");
        let signers: Vec<_> = family.log.identity_keys().collect();
        for (key, member) in &signers {
            let person = &family.log.members()[member];
            assert_eq!(person.role, Role::Guardian, "seed {seed}");
            let hands = signers.iter().filter(|(other, _)| other == key).count();
            assert_eq!(hands, 1, "seed {seed}");
        }
    }
    let log = family.log;
    assert_eq!(
        FamilyLog::from_entries(&log.entries()).unwrap(),
        log,
        "seed {seed}"
    );
    let some = |rng: &mut rand_chacha::ChaCha20Rng| Shown {
        children: (1..=9).filter(|_| rng.random_bool(0.3)).map(id).collect(),
        passes: (0..9)
            .filter(|_| rng.random_bool(0.3))
            .map(|n| PassId::new([n; 16]))
            .collect(),
    };
    let whole: BTreeSet<DeviceId> = log.certificates().map(|c| c.device).collect();
    let mut extracts = Vec::new();
    for _ in 0..3 {
        let shown = some(&mut rng);
        let entries = log.extract(&shown);
        let read = FamilyLog::from_entries(&entries)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(read.head(), log.head(), "seed {seed}");
        assert_eq!(
            read.guardians().collect::<Vec<_>>(),
            log.guardians().collect::<Vec<_>>(),
            "seed {seed}"
        );
        for certificate in read.certificates() {
            assert!(whole.contains(&certificate.device), "seed {seed}");
            assert_eq!(log.certificate(&certificate.device), Some(certificate));
        }
        for pass in read.passes().keys() {
            assert_eq!(read.passes()[pass], log.passes()[pass], "seed {seed}");
        }
        extracts.push((shown, read));
    }
    let [(one, first), (two, second), _] = &extracts[..] else {
        panic!("three extracts");
    };
    let both = Shown {
        children: one.children.union(&two.children).copied().collect(),
        passes: one.passes.union(&two.passes).copied().collect(),
    };
    let merged = first.merged(&second.entries()).unwrap();
    assert_eq!(merged.entries(), log.extract(&both), "seed {seed}");
    assert_eq!(log.merged(&merged.entries()).unwrap(), log, "seed {seed}");
    (accepted, refused)
}

#[test]
fn random_decisions_read_back() {
    let seeds = match std::env::var("KINLINE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..12).collect(),
    };
    for seed in seeds {
        let (accepted, refused) = run(seed);
        println!("KINLINE_SEED={seed}: {accepted} accepted, {refused} refused");
        assert!(accepted > 5 && refused > 5, "seed {seed}");
    }
}
