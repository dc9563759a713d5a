//! Tickets: drawn blindly, spent once, by whoever has them.

use kinline_protocol::attach;
use kinline_protocol::blob;
use kinline_protocol::primitives::voprf::VoprfError;
use kinline_protocol::secrets::Secret;
use kinline_protocol::ticket::{Draw, Ticket, epoch_of, issuer_key};
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ErrorCode};
use kinline_server::config::Admission;

use crate::harness::{Device, Here, Mailbox, Parent, Socket, TODAY, cheap, draw, noise, run};

pub(super) async fn start() -> (Here, String) {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut kinline_server::Config)) -> (Here, String) {
    let here = Here::start_with(|config| {
        cheap(config);
        config.admission = Admission::Tickets;
        change(config);
    })
    .await;
    let output = run(&["admit", "--uses", "9"], here.folder.path(), &[]);
    let code = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    (here, code)
}

/// An account that is logged in.
pub(super) async fn parent(here: &Here, code: &str) -> (Parent, Socket, wire::LoggedIn) {
    let mut parent = Parent::random("word");
    let mut socket = here.connect().await;
    parent.register(&mut socket, code, None).await.unwrap();
    let logged_in = parent.log_in(&mut socket).await.unwrap();
    (parent, socket, logged_in)
}

pub(super) async fn opens(here: &Here, admission: &str, mailbox: &Mailbox) -> bool {
    let mut socket = here.connect().await;
    let request = wire::OpenMailbox {
        admission_code: admission.into(),
        ..socket.open_request(mailbox, 1)
    };
    match socket.ask(Ask::OpenMailbox(request)).await {
        Say::MailboxOpened(_) => true,
        Say::Error(error) => {
            assert_eq!(error.code(), ErrorCode::Admission);
            false
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_opens_one_mailbox_once_also_after_a_restart() {
    let (mut here, code) = start().await;
    let (_, mut socket, logged_in) = parent(&here, &code).await;
    let tickets = draw(&mut socket, &logged_in, 3).await.unwrap();
    let texts: Vec<String> = tickets.iter().map(Ticket::to_text).collect();
    let first = Mailbox::random();
    assert!(opens(&here, &texts[0], &first).await);
    assert!(opens(&here, &texts[0], &first).await, "again: as it was");
    assert!(!opens(&here, &texts[0], &Mailbox::random()).await);
    here.stop().await;
    here.restart().await;
    assert!(!opens(&here, &texts[0], &Mailbox::random()).await);
    // Good in its epoch and the next, and forgotten after that.
    here.clock.advance(30 + 29 - TODAY % 30);
    assert!(opens(&here, &texts[1], &Mailbox::random()).await);
    here.clock.advance(1);
    assert!(!opens(&here, &texts[2], &Mailbox::random()).await);
    here.relay.as_ref().unwrap().run_retention().await;
    here.stop().await;
    assert_eq!(here.count("spent_ticket"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_tickets_open_nothing() {
    let (here, code) = start().await;
    let (_, mut socket, logged_in) = parent(&here, &code).await;
    let good = draw(&mut socket, &logged_in, 1).await.unwrap().remove(0);
    // Of another issuer, of another epoch, with another nonce, and no tickets at all.
    let mut rng = rand::rng();
    let epoch = epoch_of(TODAY);
    let foe = issuer_key(&Secret::new([9; 32]), epoch).unwrap();
    let (state, blinded) = Draw::start(epoch, 1, &mut rng).unwrap();
    let done = foe.evaluate(&blinded, &mut rng).unwrap();
    let key = foe.public();
    let forged = state.finish(&done.elements, &done.proof, &key).unwrap();
    let changed = |at: usize| {
        let mut bytes = good.to_bytes();
        bytes[at] ^= 1;
        Ticket::from_bytes(&bytes).unwrap().to_text()
    };
    for text in [
        forged[0].to_text(),
        changed(4),
        changed(5),
        changed(37),
        changed(100),
        "ticket:".into(),
        format!("{}A", good.to_text()),
    ] {
        assert!(!opens(&here, &text, &Mailbox::random()).await, "{text}");
    }
    assert!(opens(&here, &good.to_text(), &Mailbox::random()).await);
}

/// A relay that uses a key of its own for one account would know its tickets again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_ones_own_is_noticed_before_a_ticket_is_spent() {
    let mut rng = rand::rng();
    let epoch = epoch_of(TODAY);
    let known = issuer_key(&Secret::new([1; 32]), epoch).unwrap().public();
    let tagging = issuer_key(&Secret::new([2; 32]), epoch).unwrap();
    let (state, blinded) = Draw::start(epoch, 4, &mut rng).unwrap();
    let done = tagging.evaluate(&blinded, &mut rng).unwrap();
    let tickets = state.finish(&done.elements, &done.proof, &known);
    assert_eq!(tickets.unwrap_err(), VoprfError::Proof);
    // The relay has one key for everybody in an epoch, and another in the next.
    let (here, code) = start().await;
    let (alice, _, first) = parent(&here, &code).await;
    let (_, _, second) = parent(&here, &code).await;
    assert_eq!(first.issuer_key, second.issuer_key);
    here.clock.advance(30);
    let mut socket = here.connect().await;
    let later = alice.log_in(&mut socket).await.unwrap();
    assert_eq!(later.ticket_epoch, first.ticket_epoch + 1);
    assert_ne!(later.issuer_key, first.issuer_key);
    assert_eq!(draw(&mut socket, &later, 2).await.unwrap().len(), 2);
    // Of an epoch that is over nothing is drawn.
    let refused = draw(&mut socket, &first, 1).await;
    assert_eq!(refused.unwrap_err(), ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_draws_as_many_as_it_has() {
    let (here, code) = start_with(|config| config.accounts.tickets_per_epoch = 5).await;
    let (alice, mut socket, logged_in) = parent(&here, &code).await;
    assert_eq!(logged_in.tickets_left, 5);
    assert_eq!(draw(&mut socket, &logged_in, 4).await.unwrap().len(), 4);
    let refused = draw(&mut socket, &logged_in, 2).await;
    assert_eq!(refused.unwrap_err(), ErrorCode::Quota);
    assert_eq!(draw(&mut socket, &logged_in, 1).await.unwrap().len(), 1);
    let mut socket = here.connect().await;
    assert_eq!(alice.log_in(&mut socket).await.unwrap().tickets_left, 0);
    here.clock.advance(30);
    assert_eq!(alice.log_in(&mut socket).await.unwrap().tickets_left, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_no_tickets_has_none_left_to_draw() {
    for (admission, left) in [
        (Admission::Open, 0),
        (Admission::Codes, 0),
        (Admission::Tickets, 96),
    ] {
        let (here, code) = start_with(|config| config.admission = admission).await;
        let (_, _, logged_in) = parent(&here, &code).await;
        assert_eq!(logged_in.tickets_left, left, "{admission:?}");
        assert_eq!(logged_in.ticket_epoch, TODAY / 30);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_changed_in_an_epoch_count_from_the_next_and_old_tickets_stay_good() {
    let (mut here, code) = start().await;
    let (alice, mut socket, logged_in) = parent(&here, &code).await;
    let ticket = draw(&mut socket, &logged_in, 1).await.unwrap().remove(0);
    let key = logged_in.issuer_key;
    here.stop().await;
    // The command's day is the system's: far beyond this clock's.
    let rotated = run(&["keys", "rotate", "tickets"], here.folder.path(), &[]);
    assert!(rotated.status.success());
    let shown = String::from_utf8(rotated.stdout).unwrap();
    assert!(shown.contains("tickets 2: from epoch"), "{shown}");
    here.restart().await;
    let mut socket = here.connect().await;
    let logged_in = alice.log_in(&mut socket).await.unwrap();
    assert_eq!(logged_in.issuer_key, key);
    assert!(opens(&here, &ticket.to_text(), &Mailbox::random()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_uploads_little_and_with_a_ticket_more() {
    const SIZE: u64 = 1 << 20;
    let (here, code) = start_with(|config| config.limits.free_blob_bytes = SIZE).await;
    let (_, mut socket, logged_in) = parent(&here, &code).await;
    let tickets = draw(&mut socket, &logged_in, 2).await.unwrap();
    let mailbox = Mailbox::random();
    assert!(opens(&here, &code, &mailbox).await);
    let mut socket = here.connect().await;
    socket.attach(&mailbox, 1, 8).await;
    assert_eq!(
        socket
            .hello
            .limits
            .as_ref()
            .unwrap()
            .mailbox_blob_bytes_per_day_max,
        SIZE
    );
    let create = |ticket: &str| {
        Ask::CreateBlob(wire::CreateBlob {
            read_hash: blob::read_hash(&noise(32)).to_vec().into(),
            owner_hash: blob::owner_hash(&noise(32)).to_vec().into(),
            size: SIZE,
            ticket: ticket.into(),
        })
    };
    let made = |say: Say| matches!(say, Say::BlobCreated(_));
    let text = tickets[0].to_text();
    // There is room without it: it is not spent.
    assert!(made(socket.ask(create(&text)).await));
    assert_eq!(socket.refused(create("")).await, ErrorCode::Quota);
    let forged = socket.refused(create("ticket:AAAA")).await;
    assert_eq!(forged, ErrorCode::Admission);
    assert!(made(socket.ask(create(&text)).await));
    assert!(made(socket.ask(create("")).await), "room of 512 MiB");
    assert!(!opens(&here, &text, &Mailbox::random()).await, "spent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_is_erased_with_everything_in_it() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    // Some on the disk, some held in memory.
    bob.socket = here.connect().await;
    let sent = alice.socket.send(vec![bob.mailbox.delivery("waits")]).await;
    assert_eq!(sent, [wire::RecipientStatus::Ok]);
    bob.again(&here.address()).await;
    let erase = |socket: &Socket, mailbox: &Mailbox, key| {
        let signature = attach::sign_erase(key, &socket.challenge(), &mailbox.id);
        Ask::EraseMailbox(wire::EraseMailbox {
            signature: signature.to_vec().into(),
        })
    };
    let forged = erase(&bob.socket, &bob.mailbox, &bob.mailbox.close);
    assert_eq!(bob.socket.refused(forged).await, ErrorCode::Denied);
    let replayed = erase(&alice.socket, &bob.mailbox, &bob.mailbox.authentication);
    assert_eq!(bob.socket.refused(replayed).await, ErrorCode::Denied);
    let good = erase(&bob.socket, &bob.mailbox, &bob.mailbox.authentication);
    match bob.socket.ask(good).await {
        Say::MailboxErased(erased) => assert_eq!(erased.backups_end_day, TODAY + 30),
        other => panic!("{other:?}"),
    }
    let sent = alice.socket.send(vec![bob.mailbox.delivery("late")]).await;
    assert_eq!(sent, [wire::RecipientStatus::Gone]);
    let mut socket = here.connect().await;
    let attach = Ask::Attach(socket.attach_request(&bob.mailbox, 9, 8));
    assert_eq!(socket.refused(attach).await, ErrorCode::Denied);
    here.stop().await;
    assert_eq!((here.count("mailbox"), here.envelopes()), (1, 0));
}
