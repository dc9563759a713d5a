//! Accounts: login names and logins.

use kinline_protocol::account::{LoginNameError, account_id};
use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::opaque::device::Login;
use kinline_protocol::primitives::opaque::relay::{Record, Setup};
use kinline_protocol::primitives::opaque::{Names, OpaqueError};
use kinline_protocol::primitives::stretching::Stretching;
use kinline_protocol::secrets::Secret;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{bytes, each, text};

#[test]
fn login_names() {
    each("login_name", |vector| {
        let id = account_id(
            text(vector, "login"),
            text(vector, "server"),
            Stretching::DEFAULT,
        );
        match id {
            Ok(id) => {
                assert_eq!(id.as_bytes()[..], bytes(vector, "account"));
                "ok"
            }
            Err(LoginNameError::Empty) => "empty",
            Err(LoginNameError::TooLong) => "too long",
            Err(LoginNameError::Stretching(_)) => "stretching",
        }
        .into()
    });
}

/// With randomness of our own: what is not random is the record and the export key.
#[test]
fn logins() {
    each("login", |vector| {
        let rng = || ChaCha20Rng::from_seed([99; 32]);
        let account = AccountId::try_from(&bytes(vector, "account")[..]).unwrap();
        let names = Names {
            account: &account,
            server: text(vector, "server"),
        };
        let setup = Secret::from_slice(&bytes(vector, "setup")).unwrap();
        let setup = Setup::from_bytes(&setup).unwrap();
        let Ok(record) = Record::from_bytes(&bytes(vector, "record")) else {
            return "record".into();
        };
        let password = text(vector, "password").as_bytes();
        let (state, ke1) = Login::start(password, &mut rng()).unwrap();
        let answered = setup.login(Some(&record), names, &ke1, &mut rng());
        let (waiting, ke2) = answered.unwrap();
        let costs = [Stretching::DEFAULT];
        match state.finish(password, &costs, names, &ke2, &mut rng()) {
            Ok(done) => {
                waiting.finish(names, &done.proof).unwrap();
                assert_eq!(done.export_key.expose()[..], bytes(vector, "export_key"));
                "ok"
            }
            Err(OpaqueError::Denied) => "denied",
            Err(error) => panic!("{error}"),
        }
        .into()
    });
}
