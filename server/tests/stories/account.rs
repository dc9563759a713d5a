//! Accounts: made, logged in to, changed, deleted; and what nobody else can do.

use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ErrorCode};
use kinline_server::config::{Admission, Costs};

use crate::harness::{
    Device, Here, Mailbox, Parent, Process, Socket, TODAY, cheap, draw, fetch, run, vault,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_made_logged_in_to_changed_and_deleted() {
    let mut here = Here::start_with(cheap).await;
    let mut alice = Parent::random("correct horse");
    let mut socket = here.connect().await;
    alice.register(&mut socket, "", None).await.unwrap();
    let mut socket = here.connect().await;
    let first = alice.log_in(&mut socket).await.unwrap();
    assert_eq!((first.failed_logins, first.failed_day), (0, 0));
    assert_eq!((first.renew, first.vault_version), (false, 0));
    assert_eq!((first.tickets_left, first.ticket_epoch), (0, TODAY / 30));
    assert_eq!(fetch(&mut socket).await, None);
    // A vault comes without the password and is fetched with it, also after a restart.
    let mut phone = here.connect().await;
    alice.put(&mut phone, vault(3, 1)).await.unwrap();
    here.stop().await;
    here.restart().await;
    let mut socket = here.connect().await;
    let again = alice.log_in(&mut socket).await.unwrap();
    assert_eq!(again.vault_version, 3);
    assert_eq!(fetch(&mut socket).await, Some(vault(3, 1)));
    // Another password: a record, a write key and a vault in place of those before.
    let before = Parent {
        id: alice.id,
        password: alice.password.clone(),
        write_key: alice.write_key.clone(),
        export_key: None,
    };
    let mut stands = here.connect().await;
    before.log_in(&mut stands).await.unwrap();
    alice.password = b"another".to_vec();
    alice.write_key = Parent::random("").write_key;
    alice
        .register(&mut socket, "", Some(vault(4, 2)))
        .await
        .unwrap();
    assert_eq!(fetch(&mut socket).await, Some(vault(4, 2)));
    // Whoever had the old one is out, also where a connection stands.
    for ask in [
        Ask::FetchVault(wire::FetchVault {}),
        Ask::DeleteAccount(wire::DeleteAccount {}),
    ] {
        assert_eq!(stands.refused(ask).await, ErrorCode::Denied);
    }
    let mut other = here.connect().await;
    assert_eq!(before.log_in(&mut other).await, Err(ErrorCode::Denied));
    let refused = before.put(&mut other, vault(9, 9)).await;
    assert_eq!(refused, Err(ErrorCode::Denied));
    // A phone that writes the vault hears of the try, and takes it from nobody else.
    for version in [5, 6] {
        let put = alice.put(&mut other, vault(version, 3)).await.unwrap();
        assert_eq!((put.failed_logins, put.failed_day), (1, TODAY));
    }
    let mut socket = here.connect().await;
    let told = alice.log_in(&mut socket).await.unwrap();
    assert_eq!((told.failed_logins, told.failed_day), (1, TODAY));
    let put = alice.put(&mut other, vault(7, 3)).await.unwrap();
    assert_eq!(put.failed_logins, 0, "none since the good one");
    match socket.ask(Ask::DeleteAccount(wire::DeleteAccount {})).await {
        Say::AccountDeleted(deleted) => assert_eq!(deleted.backups_end_day, TODAY + 30),
        other => panic!("{other:?}"),
    }
    let mut socket = here.connect().await;
    assert_eq!(alice.log_in(&mut socket).await, Err(ErrorCode::Denied));
    here.stop().await;
    assert_eq!(here.count("account"), 1, "nobody's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_for_mailboxes_or_for_an_account() {
    let here = Here::start_with(cheap).await;
    let alice = Parent::random("word");
    let account = || Ask::LoginStart(alice.login_start().1);
    let mut attached = Device::start(&here.address()).await;
    attached.socket.tell(account()).await;
    attached.socket.ends_with_any(ErrorCode::OutOfOrder).await;
    let mut socket = here.connect().await;
    let mailbox = Mailbox::random();
    socket.open(&mailbox).await;
    socket.tell(account()).await;
    socket.ends_with_any(ErrorCode::OutOfOrder).await;
    let mailbox = Mailbox::random();
    for which in 0..3 {
        let mut socket = here.connect().await;
        socket.ask(account()).await;
        socket.ask(Ask::Ping(wire::Ping {})).await;
        let ask = match which {
            0 => Ask::OpenMailbox(socket.open_request(&mailbox, 1)),
            1 => Ask::Attach(socket.attach_request(&mailbox, 1, 1)),
            _ => crate::harness::send(vec![mailbox.delivery("x")]),
        };
        socket.tell(ask).await;
        socket.ends_with_any(ErrorCode::OutOfOrder).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_a_login_or_comes_out_of_its_order_is_refused() {
    let here = Here::start_with(cheap).await;
    let mut alice = Parent::random("word");
    let mut socket = here.connect().await;
    let finish = alice.registration(&mut socket, "", None).await.unwrap();
    alice.register(&mut socket, "", None).await.unwrap();
    let draw = wire::DrawTickets {
        epoch: TODAY / 30,
        blinded: vec![vec![1; 32].into()],
    };
    for ask in [
        Ask::FetchVault(wire::FetchVault {}),
        Ask::DeleteAccount(wire::DeleteAccount {}),
        Ask::DrawTickets(draw),
        Ask::LoginFinish(wire::LoginFinish {
            message: vec![0; 64].into(),
        }),
        Ask::RegisterFinish(finish),
    ] {
        let mut socket = here.connect().await;
        socket.tell(ask).await;
        socket.ends_with_any(ErrorCode::OutOfOrder).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_stays_with_its_owner() {
    let here = Here::start_with(cheap).await;
    let mut alice = Parent::random("hers");
    let mut socket = here.connect().await;
    let finish = alice.registration(&mut socket, "", None).await.unwrap();
    let registered = || Say::Registered(wire::Registered {});
    let answer = socket.ask(Ask::RegisterFinish(finish.clone())).await;
    assert_eq!(answer, registered());
    // The answer was lost, and the device says it again.
    let start = alice.registration(&mut socket, "", None).await;
    start.unwrap();
    let answer = socket.ask(Ask::RegisterFinish(finish)).await;
    assert_eq!(answer, registered());
    let mut foe = Parent::random("another");
    foe.id = alice.id;
    let taken = foe.register(&mut socket, "", Some(vault(9, 9))).await;
    assert_eq!(taken, Err(ErrorCode::Taken));
    alice.export_key = None;
    alice.log_in(&mut here.connect().await).await.unwrap();
    let denied = foe.log_in(&mut here.connect().await).await;
    assert_eq!(denied, Err(ErrorCode::Denied));
    // Who is logged in to one account can't begin the registration of another.
    let mut bob = Parent::random("his");
    bob.register(&mut here.connect().await, "", None)
        .await
        .unwrap();
    let mut socket = here.connect().await;
    bob.log_in(&mut socket).await.unwrap();
    foe.password = b"his".to_vec();
    let denied = foe.registration(&mut socket, "", None).await;
    assert_eq!(denied.unwrap_err(), ErrorCode::Denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_needs_a_code_or_a_ticket_where_the_relay_asks_for_one() {
    for mode in [Admission::Codes, Admission::Tickets] {
        let here = Here::start_with(|config| {
            cheap(config);
            config.admission = mode;
        })
        .await;
        let output = run(&["admit"], here.folder.path(), &[]);
        let code = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let mut alice = Parent::random("word");
        let mut socket = here.connect().await;
        for none in ["", "no code", "ticket:AAAA"] {
            let refused = alice.register(&mut socket, none, None).await;
            assert_eq!(refused, Err(ErrorCode::Admission), "{none}");
        }
        alice.register(&mut socket, &code, None).await.unwrap();
        // Who may not register does not hear who has.
        let mut foe = Parent::random("guess");
        foe.id = alice.id;
        let refused = foe.register(&mut socket, "no code", None).await;
        assert_eq!(refused, Err(ErrorCode::Admission));
        let mut bob = Parent::random("word");
        let used_up = bob.register(&mut socket, &code, None).await;
        assert_eq!(used_up, Err(ErrorCode::Admission));
        let mut socket = here.connect().await;
        let logged_in = alice.log_in(&mut socket).await.unwrap();
        let ticket = draw(&mut socket, &logged_in, 1).await.unwrap()[0].to_text();
        let mut socket = here.connect().await;
        if mode == Admission::Tickets {
            let taken = foe.register(&mut socket, &ticket, None).await;
            assert_eq!(taken, Err(ErrorCode::Taken), "and it is not spent");
        }
        let with_ticket = bob.register(&mut socket, &ticket, None).await;
        assert_eq!(with_ticket.is_ok(), mode == Admission::Tickets);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn costs_that_are_not_announced_are_refused_and_dearer_ones_are_asked_for() {
    let mut here = Here::start_with(cheap).await;
    let mut alice = Parent::random("word");
    let mut socket = here.connect().await;
    let mut finish = alice.registration(&mut socket, "", None).await.unwrap();
    finish.stretching = Some(wire::Stretching {
        memory_kib: 9,
        passes: 1,
        lanes: 1,
    });
    socket.tell(Ask::RegisterFinish(finish)).await;
    socket.ends_with_any(ErrorCode::Malformed).await;
    alice
        .register(&mut here.connect().await, "", None)
        .await
        .unwrap();
    here.stop().await;
    let dearer = Costs {
        memory_kib: 16,
        passes: 1,
        lanes: 1,
    };
    here.config.accounts.stretching.insert(0, dearer);
    here.restart().await;
    let mut socket = here.connect().await;
    assert_eq!(socket.hello.stretching.len(), 2);
    assert!(alice.log_in(&mut socket).await.unwrap().renew);
    alice.register(&mut socket, "", None).await.unwrap();
    let mut socket = here.connect().await;
    assert!(!alice.log_in(&mut socket).await.unwrap().renew);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_key_of_logins_was_changed_everybody_still_comes_in_and_moves() {
    let mut here = Here::start_with(cheap).await;
    let mut alice = Parent::random("word");
    let vaulted = Some(vault(5, 1));
    alice
        .register(&mut here.connect().await, "", vaulted)
        .await
        .unwrap();
    let busy = run(&["keys", "rotate", "accounts"], here.folder.path(), &[]);
    let sentence = String::from_utf8(busy.stderr).unwrap();
    assert!(sentence.contains("in use by another relay"), "{sentence}");
    here.stop().await;
    let rotated = run(&["keys", "rotate", "accounts"], here.folder.path(), &[]);
    assert!(rotated.status.success());
    here.restart().await;
    let mut bob = Parent::random("word");
    bob.register(&mut here.connect().await, "", None)
        .await
        .unwrap();
    let told = bob.log_in(&mut here.connect().await).await.unwrap();
    assert!(!told.renew);
    let mut socket = here.connect().await;
    assert!(alice.log_in(&mut socket).await.unwrap().renew);
    alice.register(&mut socket, "", None).await.unwrap();
    let mut socket = here.connect().await;
    assert!(!alice.log_in(&mut socket).await.unwrap().renew);
    assert_eq!(fetch(&mut socket).await, Some(vault(5, 1)), "moved along");
    alice
        .put(&mut here.connect().await, vault(6, 2))
        .await
        .unwrap();
}

/// A number that nothing is above would be the last vault for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_registration_drives_the_number_of_a_vault_to_its_end() {
    let here = Here::start_with(cheap).await;
    let mut alice = Parent::random("correct horse");
    let far = u64::from(u32::MAX) + 1;
    for version in [far, u64::MAX] {
        let mut socket = here.connect().await;
        let first = alice
            .register(&mut socket, "", Some(vault(version, 1)))
            .await;
        assert_eq!(first, Err(ErrorCode::StaleGeneration));
    }
    let mut socket = here.connect().await;
    let first = Some(vault(far - 1, 1));
    alice.register(&mut socket, "", first).await.unwrap();
    let mut socket = here.connect().await;
    alice.log_in(&mut socket).await.unwrap();
    for version in [1, far - 1, 2 * far - 1, u64::MAX] {
        let next = Some(vault(version, 2));
        let finish = alice.registration(&mut socket, "", next).await.unwrap();
        let refused = socket.refused(Ask::RegisterFinish(finish)).await;
        assert_eq!(refused, ErrorCode::StaleGeneration, "{version}");
    }
    // What was refused changed nothing.
    assert_eq!(fetch(&mut socket).await, Some(vault(far - 1, 1)));
    let next = Some(vault(2 * far - 2, 2));
    alice.register(&mut socket, "", next).await.unwrap();
    assert_eq!(fetch(&mut socket).await, Some(vault(2 * far - 2, 2)));
}

/// Killed in the middle of changes: the password before or the one after, with its vault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_changed_in_a_crash_is_the_old_one_or_the_new_one_never_none() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [(
        "KINLINE_RELAY_ACCOUNTS",
        "{stretching=[{memory_kib=8,passes=1,lanes=1}]}",
    )];
    let mut relay = Process::start_with(folder.path(), &environment);
    let mut alice = Parent::random("0");
    let mut socket = Socket::connect(&relay.address).await;
    let first = Some(vault(1, 0));
    alice.register(&mut socket, "", first).await.unwrap();
    let mut holds = 0_u8;
    for round in 1..=8_u8 {
        let mut socket = Socket::connect(&relay.address).await;
        alice.log_in(&mut socket).await.unwrap();
        let before = alice.export_key.take();
        alice.password = vec![b'0' + round];
        let next = Some(vault(u64::from(round) + 1, round));
        let finish = alice.registration(&mut socket, "", next).await.unwrap();
        let request = socket.tell(Ask::RegisterFinish(finish)).await;
        // In half of the rounds it was acknowledged: then it holds.
        let acknowledged = round % 2 == 0;
        if acknowledged {
            socket.answer(request).await;
        }
        relay.kill();
        relay = Process::start_with(folder.path(), &environment);
        let after = alice.export_key.take();
        let mut works = Vec::new();
        for (number, key) in [(holds, before), (round, after)] {
            alice.password = vec![b'0' + number];
            alice.export_key = key;
            let mut socket = Socket::connect(&relay.address).await;
            if alice.log_in(&mut socket).await.is_ok() {
                let kept = vault(u64::from(number) + 1, number);
                assert_eq!(fetch(&mut socket).await, Some(kept), "with its vault");
                works.push((number, alice.export_key.take()));
            }
        }
        assert_eq!(works.len(), 1, "one of them, and one only");
        let (number, key) = works.pop().unwrap();
        assert!(!acknowledged || number == round);
        holds = number;
        alice.password = vec![b'0' + number];
        alice.export_key = key;
    }
    relay.kill();
}
