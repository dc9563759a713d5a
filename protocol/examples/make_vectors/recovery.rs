//! Vectors of coming back: statements of the family log, and vaults.

use kinline_protocol::account::{
    AccountKeys, RecoveryCode, RecoveryPart, RequestPart, VaultKeys, seal_vault,
};
use kinline_protocol::day::Day;
use kinline_protocol::identity::{
    AddedDevice, Decision, RecoveryKeys, Return, ReturnWay, sign_consent,
};
use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire;
use serde_json::{Value, json};

use super::family::{good, refused};
use super::story::{Story, device, id, key, three};
use super::{file, flipped, rng, with};

/// Ben's request key has a seed of 32 times `0xe2`, his recovery key one of 32 times `0xf2`.
fn request_key() -> SecretKey {
    SecretKey::from_seed(&[0xe2; 32])
}

fn recovery_key() -> SecretKey {
    SecretKey::from_seed(&[0xf2; 32])
}

/// Anna and Ben, of whom Ben has said how he would come back.
fn prepared() -> Story {
    let keys = RecoveryKeys {
        request: request_key().public(),
        recovery: recovery_key().public(),
    };
    let member = id(2);
    three().then(Decision::SetRecovery { member, keys }, 20_602, &[1, 2])
}

fn back(way: ReturnWay) -> Return {
    Return {
        device: AddedDevice {
            name: "new phone".into(),
            ..device(0x24, 2)
        },
        way,
    }
}

fn wished(
    story: &Story,
    decision: Decision,
    day: u32,
    consent: &SecretKey,
    by: &[u8],
) -> wire::SignedStatement {
    let salt = [0xa0; 16];
    let last_day = Day(20_609);
    let consent = sign_consent(&story.0.family(), &decision, &salt, last_day, consent);
    let keys: Vec<SecretKey> = by.iter().map(|n| key(*n)).collect();
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let consents = vec![consent];
    story
        .0
        .propose_with(decision, salt, consents, &keys, Day(day))
}

pub(super) fn logs() -> Vec<Value> {
    let story = prepared();
    let come = |way, day, consent: &SecretKey, by: &[u8]| {
        let decision = Decision::Return(back(way));
        story.and(wished(&story, decision, day, consent, by))
    };
    let ask = Decision::Ask(back(ReturnWay::Waited));
    let mut shown = prepared();
    let asked = wished(&shown, ask.clone(), 20_603, &request_key(), &[1]);
    shown.0.append(&asked).unwrap();
    let wait = |day| {
        let decision = Decision::Return(back(ReturnWay::Waited));
        let salt = [0xa1; 16];
        let family = shown.0.family();
        let consent = sign_consent(&family, &decision, &salt, Day(20_609), &request_key());
        let key = key(1);
        let signed = shown
            .0
            .propose_with(decision, salt, vec![consent], &[&key], Day(day));
        shown.and(signed)
    };
    let vetoed = prepared().then(
        Decision::Veto {
            member: id(2),
            device: back(ReturnWay::Waited).device.device,
        },
        20_603,
        &[1],
    );
    let again = wished(&vetoed, ask, 20_605, &request_key(), &[1]);
    vec![
        good(
            "comes back by the recovery code, signed by nobody else",
            &come(ReturnWay::Code, 20_603, &recovery_key(), &[]),
        ),
        refused(
            "comes back by the recovery code after its consent's last day",
            "wish",
            &come(ReturnWay::Code, 20_610, &recovery_key(), &[]),
        ),
        refused(
            "comes back by the recovery code with the request key's consent",
            "wish",
            &come(ReturnWay::Code, 20_603, &request_key(), &[1]),
        ),
        good(
            "comes back by the password and another guardian's signature",
            &come(ReturnWay::Guardian, 20_603, &request_key(), &[1]),
        ),
        refused(
            "comes back by the password and nobody's signature",
            "signature",
            &come(ReturnWay::Guardian, 20_603, &request_key(), &[]),
        ),
        refused(
            "comes back by the password alone, shown to nobody",
            "not shown",
            &come(ReturnWay::Waited, 20_604, &request_key(), &[1]),
        ),
        refused(
            "comes back by the password alone on the day it was shown",
            "return early",
            &wait(20_603),
        ),
        good(
            "comes back by the password alone on the day after",
            &wait(20_604),
        ),
        refused("asks again after a veto", "vetoed", &vetoed.and(again)),
        refused(
            "comes back without recovery keys in the log",
            "no recovery",
            &three().and(wished(
                &three(),
                Decision::Return(back(ReturnWay::Code)),
                20_603,
                &recovery_key(),
                &[],
            )),
        ),
    ]
}

/// Twelve words of BIP 39's own vectors.
const WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

pub(super) fn vaults() -> Value {
    let account = AccountId::new([0x0a; 32]);
    let export_key = Secret::new([0x0e; 64]);
    let code: RecoveryCode = WORDS.parse().unwrap();
    let keys = AccountKeys::derive(account, &export_key, Some(&code));
    let request = RequestPart {
        version: 1,
        family: vec![0x0f; 16].into(),
        member: vec![2; 16].into(),
        head: vec![0x1e; 32].into(),
        request_seed: vec![0xe2; 32].into(),
        addresses: vec![],
        day: 20_602,
        code: true,
        alone: false,
        links: vec![],
    };
    let recovery = RecoveryPart {
        version: 1,
        family: vec![0x0f; 16].into(),
        member: vec![2; 16].into(),
        recovery_seed: vec![0xf2; 32].into(),
        ..RecoveryPart::default()
    };
    let sealed = |request: &RequestPart, keys: &VaultKeys, seed| {
        seal_vault(&account, 7, keys, request, &recovery, &mut rng(seed)).unwrap()
    };
    let vault = sealed(&request, &keys.vault, 40);
    let vector = |name: &str, outcome: &str, vault: &wire::Vault, words: &str| {
        json!({
            "name": name, "outcome": outcome,
            "account": hex::encode(account.as_bytes()),
            "export_key": hex::encode(export_key.expose()),
            "words": words,
            "version": vault.version,
            "request_part": hex::encode(&vault.request_part),
            "recovery_part": hex::encode(&vault.recovery_part),
        })
    };
    let mut turned = vault.clone();
    turned.request_part = flipped(&vault.request_part, 30).into();
    let mut swapped = vault.clone();
    core::mem::swap(&mut swapped.request_part, &mut swapped.recovery_part);
    let older = wire::Vault {
        version: 6,
        ..vault.clone()
    };
    let other = "letter advice cage absurd amount doctor acoustic avoid letter advice cage above";
    let without = RequestPart {
        code: false,
        ..request.clone()
    };
    let none = sealed(
        &without,
        &VaultKeys {
            recovery: None,
            ..keys.vault.clone()
        },
        41,
    );
    let vectors = vec![
        with(
            &vector("both parts", "ok", &vault, WORDS),
            json!({
                "code": hex::encode(code.expose()),
                "text": code.text(),
                "request_key": hex::encode(keys.vault.request.expose()),
                "recovery_key": hex::encode(keys.vault.recovery.as_ref().unwrap().expose()),
                "write_seed": hex::encode(keys.write_seed.expose()),
                "request_seed": hex::encode(&request.request_seed),
                "recovery_seed": hex::encode(&recovery.recovery_seed),
            }),
        ),
        vector("a changed byte", "password", &turned, WORDS),
        vector(
            "the parts in each other's place",
            "password",
            &swapped,
            WORDS,
        ),
        vector("said to be of another version", "password", &older, WORDS),
        vector("with another code", "code", &vault, other),
        vector("with a code, where none was made", "no code", &none, WORDS),
    ];
    file("vault", vectors)
}
