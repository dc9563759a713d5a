//! What an enemy tries at accounts.

use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::opaque::Names;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ErrorCode};
use rand::RngExt;

use crate::harness::{Here, Parent, Socket, TODAY, cheap, fetch, noise, vault};

async fn registered(here: &Here, password: &str) -> Parent {
    let mut parent = Parent::random(password);
    let mut socket = here.connect().await;
    parent.register(&mut socket, "", None).await.unwrap();
    parent
}

/// Lengths of all answers that a stranger gets about an account, the codes among them.
async fn looks(here: &Here, account: AccountId) -> Vec<(usize, Option<ErrorCode>)> {
    let mut stranger = Parent::random("guess");
    stranger.id = account;
    let mut socket = here.connect().await;
    let mut seen = Vec::new();
    let mut note = |say: Say| {
        let code = match &say {
            Say::Error(error) => Some(error.code()),
            _ => None,
        };
        let frame = wire::ServerFrame {
            request_id: 1,
            critical: vec![],
            body: Some(say),
        };
        seen.push((wire::encode(&frame).len(), code));
    };
    let (_, start) = stranger.login_start();
    note(socket.ask(Ask::LoginStart(start)).await);
    let finish = wire::LoginFinish {
        message: noise(64).into(),
    };
    note(socket.ask(Ask::LoginFinish(finish)).await);
    let put = stranger.put_request(&socket, vault(7, 7));
    note(socket.ask(Ask::PutVault(put)).await);
    let (_, start) = stranger.login_start();
    let register = wire::RegisterStart {
        account: start.account,
        message: start.message.slice(0..32),
    };
    note(socket.ask(Ask::RegisterStart(register)).await);
    seen
}

#[tokio::test]
async fn an_account_that_is_there_and_one_that_is_not_look_alike() {
    let here = Here::start_with(cheap).await;
    let alice = registered(&here, "word").await;
    let work = || here.relay.as_ref().unwrap().account_work();
    let before = work();
    let there = looks(&here, alice.id).await;
    let between = work();
    let not = looks(&here, AccountId::new([3; 32])).await;
    assert_eq!(there, not);
    assert_eq!(between - before, work() - between, "the same steps");
    assert!(between > before);
    let denied = Some(ErrorCode::Denied);
    let codes: Vec<_> = there.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, [None, denied, denied, None]);
    // Neither is locked before the other.
    let mut counts = Vec::new();
    for account in [alice.id, AccountId::new([3; 32])] {
        let mut foe = Parent::random("guess");
        foe.id = account;
        let mut count = 0;
        let mut socket = here.connect().await;
        while foe.begin(&mut socket).await.is_ok() {
            count += 1;
            assert!(count < 100);
        }
        counts.push(count);
    }
    // Two of them went in the looks.
    assert_eq!(counts, [21 - 1, 21]);
}

#[tokio::test]
async fn guessers_are_stopped_the_owner_is_not_and_is_told() {
    let here = Here::start_with(cheap).await;
    let alice = registered(&here, "correct horse").await;
    // Her home is known from now on.
    alice.log_in(&mut here.connect().await).await.unwrap();
    let mut foe = Parent::random("");
    foe.id = alice.id;
    let mut failed = 0;
    for address in 1..=60_u8 {
        let mut socket = Socket::connect_from(&here.address(), [127, 9, 0, address]).await;
        let refusal = loop {
            foe.password = format!("guess {failed}").into();
            match foe.log_in(&mut socket).await {
                Err(ErrorCode::Denied) => failed += 1,
                other => break other,
            }
        };
        assert_eq!(refusal, Err(ErrorCode::SlowDown), "of {address}");
    }
    // What all have in common, and what one region of the network has; not three for each.
    // Two of the common ones were hers, and one more comes each three minutes.
    assert!((20 + 100 - 2..125).contains(&failed), "{failed}");
    // The owner comes in at home, and from another place, and hears of it.
    let told = alice.log_in(&mut here.connect().await).await.unwrap();
    assert_eq!((told.failed_logins, told.failed_day), (failed, TODAY));
    let mut elsewhere = Socket::connect_from(&here.address(), [127, 5, 0, 1]).await;
    alice.log_in(&mut elsewhere).await.unwrap();
}

#[tokio::test]
async fn tries_that_end_before_the_proof_count_too() {
    let here = Here::start_with(cheap).await;
    let alice = registered(&here, "correct horse").await;
    let mut foe = Parent::random("guess");
    foe.id = alice.id;
    let mut socket = here.connect().await;
    for _ in 0..3 {
        foe.begin(&mut socket).await.unwrap();
    }
    // One answer to a login, and as many registrations as one likes, would be as good.
    for _ in 0..2 {
        foe.registration(&mut socket, "", None).await.unwrap();
    }
    let told = alice.log_in(&mut here.connect().await).await.unwrap();
    assert_eq!(told.failed_logins, 5);
    let told = alice.log_in(&mut here.connect().await).await.unwrap();
    assert_eq!((told.failed_logins, told.failed_day), (0, 0));
}

#[tokio::test]
async fn messages_of_a_login_are_good_once_and_on_their_connection() {
    let here = Here::start_with(cheap).await;
    let alice = registered(&here, "word").await;
    let mut socket = here.connect().await;
    let (state, start) = alice.login_start();
    let Say::LoginAnswer(answer) = socket.ask(Ask::LoginStart(start.clone())).await else {
        panic!()
    };
    let proof = alice.login_proof(&socket, &state, &answer.message).unwrap();
    // KE1 on another connection: another answer, and the proof is none there.
    let mut thief = here.connect().await;
    let Say::LoginAnswer(other) = thief.ask(Ask::LoginStart(start)).await else {
        panic!()
    };
    assert_ne!(answer.message, other.message);
    let denied = Parent::finish(&mut thief, proof.clone()).await;
    assert_eq!(denied, Err(ErrorCode::Denied));
    assert!(Parent::finish(&mut socket, proof.clone()).await.is_ok());
    // KE3 again on its own connection: the login that it ended is gone.
    let finish = wire::LoginFinish {
        message: proof.into(),
    };
    socket.tell(Ask::LoginFinish(finish)).await;
    socket.ends_with_any(ErrorCode::OutOfOrder).await;
}

#[tokio::test]
async fn an_older_vault_is_refused_and_a_written_one_is_its_writers() {
    let here = Here::start_with(cheap).await;
    let alice = registered(&here, "word").await;
    let bob = registered(&here, "word").await;
    let mut socket = here.connect().await;
    alice.put(&mut socket, vault(5, 1)).await.unwrap();
    for version in [4, 5, u64::MAX] {
        let refused = alice.put(&mut socket, vault(version, 2)).await;
        assert_eq!(refused, Err(ErrorCode::StaleGeneration));
    }
    // By another key, for another account, on another connection.
    let mut forged = bob.put_request(&socket, vault(6, 3));
    forged.account = alice.id.to_bytes();
    let denied = socket.refused(Ask::PutVault(forged)).await;
    assert_eq!(denied, ErrorCode::Denied);
    let replayed = alice.put_request(&here.connect().await, vault(6, 3));
    let denied = socket.refused(Ask::PutVault(replayed)).await;
    assert_eq!(denied, ErrorCode::Denied);
    let mut changed = alice.put_request(&socket, vault(6, 3));
    changed.vault.as_mut().unwrap().request_part = noise(2_048).into();
    let denied = socket.refused(Ask::PutVault(changed)).await;
    assert_eq!(denied, ErrorCode::Denied);
    // Of no size class, or without a version.
    for (version, bytes) in [(6, 1_000), (6, 1_025), (6, 65_537), (0, 1_024)] {
        let mut socket = here.connect().await;
        let mut vault = vault(version, 1);
        vault.request_part = vec![1; bytes].into();
        socket
            .tell(Ask::PutVault(alice.put_request(&socket, vault)))
            .await;
        socket.ends_with_any(ErrorCode::Malformed).await;
    }
    let mut socket = here.connect().await;
    alice.log_in(&mut socket).await.unwrap();
    assert_eq!(fetch(&mut socket).await, Some(vault(5, 1)));
}

/// Ids of all accounts as they lie on the disk, that of nobody among them.
fn stored(database: &rusqlite::Connection) -> Vec<Vec<u8>> {
    let mut statement = database.prepare("SELECT id FROM account").unwrap();
    let ids = statement.query_map([], |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

/// The relay's own operator, or whoever writes to its disk, puts one account's row, or a part of
/// it, where another's is.
#[tokio::test]
async fn columns_swapped_between_accounts_do_not_open() {
    // What is read, and of which of the two; where it is put.
    for (from, other, to) in [
        ("state", true, "state"),
        ("request_part", true, "request_part"),
        ("recovery_part", true, "recovery_part"),
        ("request_part", false, "recovery_part"),
    ] {
        let mut here = Here::start_with(cheap).await;
        here.stop().await;
        let nobody = stored(&here.database());
        here.restart().await;
        let alice = registered(&here, "word").await;
        let bob = registered(&here, "word").await;
        for parent in [&alice, &bob] {
            let mut same = vault(1, 1);
            same.recovery_part = same.request_part.clone();
            parent.put(&mut here.connect().await, same).await.unwrap();
        }
        here.stop().await;
        let database = here.database();
        let mut ids = stored(&database);
        ids.retain(|id| !nobody.contains(id));
        assert_eq!((ids.len(), nobody.len()), (2, 1));
        let read = |id: &Vec<u8>| -> Vec<u8> {
            let query = format!("SELECT {from} FROM account WHERE id = ?1");
            database.query_row(&query, [id], |row| row.get(0)).unwrap()
        };
        let values = [
            read(&ids[usize::from(other)]),
            read(&ids[usize::from(!other)]),
        ];
        for (id, value) in ids.iter().zip(values) {
            let update = format!("UPDATE account SET {to} = ?2 WHERE id = ?1");
            assert_eq!(database.execute(&update, [id, &value]).unwrap(), 1);
        }
        drop(database);
        assert!(here.try_restart().await, "{from} in {to}");
        for parent in [&alice, &bob] {
            let mut socket = here.connect().await;
            if to == "state" {
                let refused = parent.begin(&mut socket).await.map(|_| ());
                assert_eq!(refused, Err(ErrorCode::Internal), "{from} in {to}");
                continue;
            }
            parent.log_in(&mut socket).await.unwrap();
            let refused = socket.refused(Ask::FetchVault(wire::FetchVault {})).await;
            assert_eq!(refused, ErrorCode::Internal, "{from} in {to}");
        }
        // Nobody's row was left alone, and who is not there is answered.
        let stranger = Parent::random("word");
        assert!(stranger.begin(&mut here.connect().await).await.is_ok());
    }
}

/// A guess at a password against what lies in the database, without the key file: whoever tries
/// has to make up a setup, and with it the right password looks like any other.
#[tokio::test]
async fn without_the_key_file_the_right_password_is_one_guess_among_all() {
    use kinline_protocol::primitives::opaque::relay::{Record, Setup};
    use kinline_protocol::secrets::Secret;
    let mut here = Here::start_with(cheap).await;
    let mut alice = Parent::random("correct horse");
    let mut socket = here.connect().await;
    let finish = alice.registration(&mut socket, "", None).await.unwrap();
    socket.ask(Ask::RegisterFinish(finish.clone())).await;
    let name = socket.hello.server_name.clone();
    here.stop().await;
    // More than a thief has: the record itself, as if its seal were broken.
    let record = Record::from_bytes(&finish.record).unwrap();
    let key_file = std::fs::read_to_string(here.config.key_file()).unwrap();
    let line = key_file
        .lines()
        .find(|line| line.starts_with("accounts"))
        .unwrap();
    use base64::Engine as _;
    let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(line.rsplit(' ').next().unwrap())
        .unwrap();
    let real = Setup::from_bytes(&Secret::from_slice(&secret[..128]).unwrap()).unwrap();
    let guess = |setup: &Setup, password: &str| {
        let mut rng = rand::rng();
        let costs = kinline_protocol::primitives::stretching::Stretching::cheap_for_tests(8, 1, 1);
        let names = Names {
            account: &alice.id,
            server: &name,
        };
        let (state, request) = kinline_protocol::primitives::opaque::device::Login::start(
            password.as_bytes(),
            &mut rng,
        )
        .unwrap();
        let (_, answer) = setup
            .login(Some(&record), names, &request, &mut rng)
            .unwrap();
        state
            .finish(
                password.as_bytes(),
                &[costs.unwrap()],
                names,
                &answer,
                &mut rng,
            )
            .is_ok()
    };
    assert!(guess(&real, "correct horse"), "the guess itself works");
    assert!(!guess(&real, "wrong"));
    for _ in 0..50 {
        let made_up = Setup::generate(&mut rand::rng());
        assert!(!guess(&made_up, "correct horse"));
    }
    // And no row of the database holds the record, or anything else that was sent.
    let mut loot = std::fs::read(here.config.data.join("relay.sqlite")).unwrap();
    if let Ok(log) = std::fs::read(here.config.data.join("relay.sqlite-wal")) {
        loot.extend(log);
    }
    let sent = [
        ("record", &finish.record[..32]),
        ("masking key", &finish.record[32..64]),
        ("envelope", &finish.record[96..128]),
        ("write key", &finish.write_key[..]),
        ("account id", alice.id.as_bytes()),
    ];
    for (what, bytes) in sent {
        let found = loot.windows(bytes.len()).any(|window| window == bytes);
        assert!(!found, "{what}");
    }
}

#[tokio::test]
async fn noise_as_messages_of_accounts_breaks_nothing() {
    let here = Here::start_with(cheap).await;
    let alice = registered(&here, "word").await;
    let mut random = rand::rng();
    for _ in 0..60 {
        let mut socket = here.connect().await;
        let bytes = |random: &mut rand::rngs::ThreadRng| {
            let sizes = [0, 31, 32, 64, 96, 192];
            noise(sizes[random.random_range(0..sizes.len())])
        };
        let message = bytes(&mut random);
        let account = match random.random_range(0..3) {
            0 => alice.id.to_bytes(),
            _ => bytes(&mut random).into(),
        };
        let ask = match random.random_range(0..6) {
            0 => Ask::RegisterStart(wire::RegisterStart {
                account,
                message: message.into(),
            }),
            1 => Ask::LoginStart(wire::LoginStart {
                account,
                message: message.into(),
            }),
            2 => Ask::RegisterFinish(wire::RegisterFinish {
                account,
                record: message.into(),
                ..wire::RegisterFinish::default()
            }),
            3 => Ask::LoginFinish(wire::LoginFinish {
                message: message.into(),
            }),
            4 => Ask::PutVault(wire::PutVault {
                account,
                vault: None,
                signature: message.into(),
            }),
            _ => Ask::DrawTickets(wire::DrawTickets {
                epoch: 666,
                blinded: vec![message.into(); 3],
            }),
        };
        socket.tell(ask).await;
        assert!(matches!(socket.next_or_answer().await, Say::Error(_)));
    }
    alice.log_in(&mut here.connect().await).await.unwrap();
}
