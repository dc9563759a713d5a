//! What a phone puts by for the day on which it is lost: when it is written, by whom, under what.

use kinline_protocol::account::{AccountKeys, RecoveryCode, VaultError, open_vault};
use kinline_protocol::engine::io::{Command, Event, MemberRole, VaultOutcome};
use kinline_protocol::engine::{CommandError, RecoveryGap};
use kinline_protocol::identity::Decision;
use kinline_protocol::ids::AccountId;
use kinline_protocol::secrets::Secret;

use super::recovery::{
    CODE, HOUR_MS, come_back, is_in, keep, keys, last_due, lost, member, opened, recovery,
    told_written, written,
};
use super::world::World;

#[test]
fn the_vault_follows_the_family() {
    let mut world = World::new();
    world.family();
    let status = recovery(&mut world, "mum");
    assert_eq!(status.gaps, [RecoveryGap::NoAccount]);
    keep(&mut world, "mum", keys(1, true));
    let first = last_due(&mut world, "mum").unwrap().vault;
    // The relay could not be reached: it is asked for again, under a newer version.
    let version = first.version;
    let outcome = VaultOutcome::Unreachable;
    world.command("mum", Command::VaultWritten { version, outcome });
    world.settle();
    let second = written(&mut world, "mum");
    assert!(second.version > first.version);
    let status = recovery(&mut world, "mum");
    assert_eq!(status.gaps, []);
    let count = |world: &mut World| world.count("mum", |it| matches!(it, Event::VaultDue(_)));
    let before = count(&mut world);
    world.pass(10 * HOUR_MS);
    world.settle();
    assert_eq!(count(&mut world), before, "nothing has changed");
    for _ in 0..29 {
        world.pass(24 * HOUR_MS);
        world.settle();
    }
    assert!(
        count(&mut world) > before,
        "a month later it is written again"
    );
    // With another password it is sealed anew; what the old one sealed opens no more.
    keep(&mut world, "mum", keys(2, true));
    let third = written(&mut world, "mum");
    let id = AccountId::new([9; 32]);
    let old = open_vault(&id, &keys(1, true).vault, &third).unwrap_err();
    assert_eq!(old, VaultError::Password);
    let denied = last_due(&mut world, "mum").unwrap().vault.version;
    assert_eq!(denied, third.version);
}

#[test]
fn where_two_sign_the_other_guardian_agrees_to_the_keys_first() {
    let mut world = World::new();
    world.family();
    world.signatures("mum", 2);
    keep(&mut world, "mum", keys(1, true));
    assert!(last_due(&mut world, "mum").is_none());
    let status = recovery(&mut world, "mum");
    assert!(status.gaps.contains(&RecoveryGap::KeysWait));
    let events = &world.device("dad").events;
    let proposal = events.iter().rev().find_map(|event| match event {
        Event::Proposal {
            proposal,
            decision: Decision::SetRecovery { .. },
            ..
        } => Some(*proposal),
        _ => None,
    });
    let accept = true;
    let proposal = proposal.expect("dad is asked");
    world.command("dad", Command::AnswerProposal { proposal, accept });
    world.settle();
    written(&mut world, "mum");
    let status = recovery(&mut world, "mum");
    assert!(status.by_code, "{status:?}");
}

#[test]
fn a_second_phone_keeps_the_same_things_and_both_write() {
    let mut world = World::new();
    world.family();
    keep(&mut world, "mum", keys(1, true));
    let vault = written(&mut world, "mum");
    world.add("mum2");
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    world.settle();
    written(&mut world, "mum");
    let without = Command::KeepAccount {
        keys: Box::new(keys(1, false)),
        vault: Some(Box::new(opened(&vault, &keys(1, false)))),
        fresh: false,
        renewed: false,
    };
    let refused = world.try_command("mum2", without);
    assert!(matches!(refused, Err(CommandError::RecoveryCode)));
    let with = Command::KeepAccount {
        keys: Box::new(keys(1, true)),
        vault: Some(Box::new(opened(&vault, &keys(1, true)))),
        fresh: false,
        renewed: false,
    };
    world.command("mum2", with);
    world.settle();
    let second = written(&mut world, "mum2");
    assert!(second.version > vault.version);
    for name in ["mum", "mum2"] {
        let outdated = world.count(name, |it| matches!(it, Event::AccountOutdated));
        assert_eq!(outdated, 0, "{name}");
        let status = recovery(&mut world, name);
        assert!(status.by_code, "{name}: {status:?}");
    }
    world.disconnect("mum");
    world.disconnect("mum2");
    come_back(&mut world, "new", &second, keys(1, true));
    assert!(is_in(&mut world, "new"));
    let mum = member(&mut world, "new");
    let log = world.device("new").engine.family_log().unwrap();
    let own = log.certificates().filter(|it| it.member == mum);
    assert_eq!(own.count(), 1, "both lost phones are out");
}

#[test]
fn an_old_vault_still_leads_back_and_is_told() {
    let mut world = World::new();
    let (family, old) = lost(&mut world);
    world.connect("mum");
    // Somebody comes, addresses change, and the vault is written again.
    world.add("sis");
    world.pair("mum", "sis", MemberRole::Child, "Eva");
    world.settle();
    let newer = written(&mut world, "mum");
    assert!(newer.version > old.version);
    world.disconnect("mum");
    come_back(&mut world, "new", &old, keys(1, true));
    assert!(is_in(&mut world, "new"));
    let told = |event: &Event| matches!(event, Event::VaultRolledBack { given, newest, .. } if *given == old.version && *newest == newer.version);
    for name in ["dad", "kid", "new"] {
        assert!(world.count(name, told) >= 1, "{name}");
    }
    world.text("new", family, "hello");
    world.settle();
    assert!(world.texts("sis").contains(&"hello".to_owned()));
}

#[test]
fn a_forgotten_password_while_a_phone_is_left_is_another_account() {
    let mut world = World::new();
    world.family();
    keep(&mut world, "mum", keys(1, true));
    let old = written(&mut world, "mum");
    let export = Secret::new([5; 64]);
    let code: RecoveryCode = CODE.parse().unwrap();
    let other = AccountKeys::derive(AccountId::new([8; 32]), &export, Some(&code));
    let command = Command::KeepAccount {
        keys: Box::new(other.clone()),
        vault: None,
        fresh: true,
        renewed: false,
    };
    world.command("mum", command);
    world.settle();
    let vault = written(&mut world, "mum");
    assert!(recovery(&mut world, "mum").by_code);
    world.disconnect("mum");
    // What the forgotten one leads to leads nowhere any more.
    come_back(&mut world, "late", &old, keys(1, true));
    assert!(!is_in(&mut world, "late"));
    world.add("new");
    world.connect("new");
    let command = Command::ComeBack {
        vault: Box::new(opened(&vault, &other)),
        keys: Box::new(other),
        renewed: true,
    };
    world.command("new", command);
    world.settle();
    assert!(is_in(&mut world, "new"));
}

#[test]
fn what_the_relay_denies_is_no_way_back_and_is_said_once() {
    let mut world = World::new();
    world.family();
    keep(&mut world, "mum", keys(1, true));
    written(&mut world, "mum");
    assert!(recovery(&mut world, "mum").by_code);
    world.add("sis");
    world.pair("mum", "sis", MemberRole::Child, "Eva");
    world.settle();
    let outdated = |world: &mut World| world.count("mum", |it| *it == Event::AccountOutdated);
    for _ in 0..3 {
        let write = last_due(&mut world, "mum").unwrap();
        let denied = Command::VaultWritten {
            version: write.vault.version,
            outcome: VaultOutcome::Denied,
        };
        world.command("mum", denied);
        world.settle();
        world.restart("mum");
        world.connect("mum");
        world.settle();
        assert_eq!(outdated(&mut world), 1);
        let status = recovery(&mut world, "mum");
        assert_eq!(status.gaps, [RecoveryGap::Denied]);
        assert!(!status.by_code && !status.by_guardian && !status.by_waiting);
        let last = last_due(&mut world, "mum").unwrap().vault.version;
        assert_eq!(last, write.vault.version, "not before tomorrow");
        world.pass(25 * HOUR_MS);
        world.settle();
        let next = last_due(&mut world, "mum").unwrap().vault.version;
        assert!(next > last);
    }
    written(&mut world, "mum");
    assert_eq!(recovery(&mut world, "mum").gaps, []);
}

#[test]
fn a_phone_that_was_put_out_opens_nothing_that_is_put_by_later() {
    let mut world = World::new();
    world.family();
    keep(&mut world, "mum", keys(1, true));
    let first = written(&mut world, "mum");
    world.add("mum2");
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    world.settle();
    let second = written(&mut world, "mum");
    let with = |keys: AccountKeys,
                renewed: bool,
                vault: &kinline_protocol::wire::Vault,
                sealed: &AccountKeys| {
        Command::KeepAccount {
            vault: Some(Box::new(opened(vault, sealed))),
            renewed,
            keys: Box::new(keys),
            fresh: false,
        }
    };
    world.command("mum2", with(keys(1, true), false, &first, &keys(1, true)));
    world.settle();
    // It is stolen, with all that it knows.
    let stolen = world.device("mum2").engine.device();
    world.disconnect("mum2");
    world.command("mum", Command::RemoveDevice { device: stolen });
    world.settle();
    let due = |world: &mut World| world.count("mum", |it| matches!(it, Event::VaultDue(_)));
    let before = due(&mut world);
    // The same keys again, from a login that changed nothing.
    world.command("mum", with(keys(1, true), false, &second, &keys(1, true)));
    for _ in 0..30 {
        world.pass(24 * HOUR_MS);
        world.settle();
    }
    assert_eq!(due(&mut world), before, "nothing is sealed that it opens");
    assert_eq!(
        world.count("mum", |it| *it == Event::AccountOutdated),
        1,
        "and its owner is told"
    );
    assert!(world.device("mum").engine.needs_new_account_keys());
    let status = recovery(&mut world, "mum");
    assert_eq!(status.gaps, [RecoveryGap::Void]);
    assert!(!status.by_code && !status.by_guardian && !status.by_waiting);

    let new = keys(2, true);
    world.command("mum", with(new.clone(), true, &second, &keys(1, true)));
    world.settle();
    let third = written(&mut world, "mum");
    assert!(!world.device("mum").engine.needs_new_account_keys());
    assert_eq!(recovery(&mut world, "mum").gaps, []);
    let id = AccountId::new([9; 32]);
    let opened = open_vault(&id, &keys(1, true).vault, &third);
    assert_eq!(opened.unwrap_err(), VaultError::Password);
    world.disconnect("mum");
    come_back(&mut world, "thief", &second, keys(1, true));
    assert!(!is_in(&mut world, "thief"));
    come_back(&mut world, "new", &third, new);
    assert!(is_in(&mut world, "new"));
}

#[test]
fn failed_logins_are_told_whenever_their_number_has_changed() {
    let mut world = World::new();
    world.family();
    keep(&mut world, "mum", keys(1, true));
    let told = |world: &mut World| -> Vec<u32> {
        let events = world.device("mum").events.iter();
        let times = events.filter_map(|event| match event {
            Event::LoginsFailed { times, .. } => Some(*times),
            _ => None,
        });
        times.collect()
    };
    // None, two, the same two, none after a good login, and two others.
    for (failed, expected) in [(0, &[][..]), (2, &[2]), (2, &[2]), (0, &[2]), (2, &[2, 2])] {
        let version = last_due(&mut world, "mum").unwrap().vault.version;
        world.command("mum", told_written(version, failed));
        world.settle();
        world.restart("mum");
        world.connect("mum");
        world.settle();
        assert_eq!(told(&mut world), expected);
        world.pass(30 * 24 * HOUR_MS);
        world.settle();
    }
}

#[test]
fn only_the_account_that_was_deleted_is_forgotten() {
    let mut world = World::new();
    world.family();
    keep(&mut world, "mum", keys(1, true));
    written(&mut world, "mum");
    let forget = |byte| Command::ForgetAccount {
        account: AccountId::new([byte; 32]),
    };
    world.command("mum", forget(8));
    assert_eq!(recovery(&mut world, "mum").gaps, []);
    world.command("mum", forget(9));
    let gaps = recovery(&mut world, "mum").gaps;
    assert_eq!(gaps, [RecoveryGap::NoAccount]);
}

#[test]
fn a_phone_that_kept_no_account_puts_nothing_by_under_the_keys_of_one_that_was_put_out() {
    let mut world = World::new();
    world.family();
    keep(&mut world, "mum", keys(1, true));
    let vault = written(&mut world, "mum");
    world.add("mum2");
    world.pair("mum", "mum2", MemberRole::Guardian, "Anna");
    world.settle();
    let stolen = world.device("mum").engine.device();
    world.disconnect("mum");
    world.command("mum2", Command::RemoveDevice { device: stolen });
    world.settle();
    let due = |world: &mut World| world.count("mum2", |it| matches!(it, Event::VaultDue(_)));
    // Logged in by the password alone, and nothing was made anew.
    for renewed in [false, true] {
        assert_eq!(due(&mut world), 0);
        assert!(world.device("mum2").engine.needs_new_account_keys());
        let (old, new) = (keys(1, false), keys(2, false));
        let command = Command::KeepAccount {
            vault: Some(Box::new(opened(&vault, &old))),
            keys: Box::new(if renewed { new } else { old }),
            fresh: false,
            renewed,
        };
        world.command("mum2", command);
        world.settle();
        let void = recovery(&mut world, "mum2").gaps == [RecoveryGap::Void];
        assert_eq!(void, !renewed);
    }
    written(&mut world, "mum2");
    assert!(recovery(&mut world, "mum2").by_guardian);
}

#[test]
fn who_comes_back_with_the_keys_of_what_was_lost_puts_nothing_by() {
    let mut world = World::new();
    let (_, vault) = lost(&mut world);
    world.add("new");
    world.connect("new");
    let old = keys(1, false);
    let command = Command::ComeBack {
        vault: Box::new(opened(&vault, &old)),
        keys: Box::new(old),
        renewed: false,
    };
    world.command("new", command);
    world.settle();
    let accept = Command::AnswerReturn {
        device: world.device("new").engine.device(),
        accept: true,
    };
    world.command("dad", accept);
    world.settle();
    assert!(is_in(&mut world, "new"));
    assert_eq!(recovery(&mut world, "new").gaps, [RecoveryGap::Void]);
    assert!(last_due(&mut world, "new").is_none());
    assert!(world.device("new").engine.needs_new_account_keys());
}
