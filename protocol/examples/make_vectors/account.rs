//! Vectors of accounts: the id that a login name becomes, and logins by OPAQUE.

use kinline_protocol::account::account_id;
use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::opaque::device::{Login, Registration};
use kinline_protocol::primitives::opaque::relay::{Record, Setup};
use kinline_protocol::primitives::opaque::{Names, OpaqueError};
use kinline_protocol::primitives::stretching::Stretching;
use serde_json::{Value, json};

use super::{file, flipped, rng, with};

const SERVER: &str = "pin:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

pub(super) fn ids() -> Value {
    let named = |name: &str, login: &str| {
        let id = account_id(login, SERVER, Stretching::DEFAULT).unwrap();
        json!({
            "name": name, "outcome": "ok", "login": login, "server": SERVER,
            "account": hex::encode(id.as_bytes()),
        })
    };
    let refused = |name: &str, outcome: &str, login: &str| json!({ "name": name, "outcome": outcome, "login": login, "server": SERVER });
    file(
        "15.1",
        vec![
            named("composed, in capitals, with spaces around", " MÜLLER  Anna"),
            named("decomposed, in small letters", "mu\u{308}ller anna"),
            named("one letter less", "müler anna"),
            refused("spaces alone", "empty", " \t\u{3000}"),
            refused("257 bytes", "too long", &"a".repeat(257)),
        ],
    )
}

/// A registration and logins whose randomness is ChaCha20 from seeds of one byte 32 times: 50 the
/// setup, 51 and 52 the device's two messages of a registration, 53 to 55 KE1, KE2 and KE3.
pub(super) fn logins() -> Value {
    let account = AccountId::new([0x0a; 32]);
    let names = Names {
        account: &account,
        server: SERVER,
    };
    let password = "neunzehn Kieselsteine springen weiter";
    let setup = Setup::generate(&mut rng(50));
    let (state, request) = Registration::start(password.as_bytes(), &mut rng(51)).unwrap();
    let answer = setup.register(&account, &request).unwrap();
    let costs = Stretching::DEFAULT;
    let registered = state
        .finish(password.as_bytes(), costs, names, &answer, &mut rng(52))
        .unwrap();
    let record = Record::from_bytes(&registered.record).unwrap();
    let (_, ke1) = Login::start(password.as_bytes(), &mut rng(53)).unwrap();
    let (_, ke2) = setup
        .login(Some(&record), names, &ke1, &mut rng(54))
        .unwrap();
    let proof = |password: &str, ke2: &[u8]| -> Result<Vec<u8>, OpaqueError> {
        let (state, _) = Login::start(password.as_bytes(), &mut rng(53)).unwrap();
        let done = state.finish(password.as_bytes(), &[costs], names, ke2, &mut rng(55))?;
        assert_eq!(done.export_key.expose(), registered.export_key.expose());
        Ok(done.proof)
    };
    let base = json!({
        "account": hex::encode(account.as_bytes()),
        "server": SERVER,
        "setup": hex::encode(setup.to_bytes().expose()),
        "registration_request": hex::encode(&request),
        "registration_answer": hex::encode(&answer),
        "record": hex::encode(&registered.record),
        "export_key": hex::encode(registered.export_key.expose()),
        "password": password,
        "ke1": hex::encode(&ke1),
        "ke2": hex::encode(&ke2),
    });
    let right = json!({
        "name": "the right password", "outcome": "ok",
        "ke3": hex::encode(proof(password, &ke2).unwrap()),
    });
    let refused = |name: &str, changes: Value| {
        with(
            &with(&base, json!({ "name": name, "outcome": "denied" })),
            changes,
        )
    };
    file(
        "15.2",
        vec![
            with(&base, right),
            refused(
                "another password",
                json!({ "password": "elf Kieselsteine" }),
            ),
            refused(
                "a changed record",
                json!({ "record": hex::encode(flipped(&registered.record, 191)) }),
            ),
            refused(
                "another account's id",
                json!({ "account": hex::encode([0x0b; 32]) }),
            ),
        ],
    )
}
