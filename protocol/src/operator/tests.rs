#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use super::{
    CERTIFICATE_BYTES, CHECKPOINT_BYTES, Checkpoint, CheckpointError, Continuation, Entry,
    EntryError, Language, LogError, NoticeCertificate, OperatorLog, Severity, Statement,
    continue_log,
};
use crate::day::Day;
use crate::limits::{OPERATOR_ISSUERS_MAX, OPERATOR_TEXT_CHARACTERS_MAX};
use crate::primitives::sign::SecretKey;
use proptest::prelude::{ProptestConfig, any, proptest};

const TODAY: Day = Day(20_779);

fn offline() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn notice_key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

fn certified(serial: u32, key: &SecretKey) -> NoticeCertificate {
    NoticeCertificate::sign(&offline(), serial, key.public(), TODAY, TODAY.plus(90))
}

fn first(certificate: &NoticeCertificate) -> Statement {
    Statement::Certificate {
        offline: offline().public(),
        certificate: *certificate.as_bytes(),
    }
}

fn notice(text: &str) -> Statement {
    Statement::Notice {
        severity: Severity::Alarm,
        language: Language::new("en").unwrap(),
        text: text.into(),
    }
}

fn lockdown() -> Statement {
    Statement::Lockdown {
        reason: "the relay was broken into".into(),
        renew: true,
    }
}

/// A log, and its entries.
struct Book {
    log: OperatorLog,
    entries: Vec<Vec<u8>>,
}

impl Book {
    fn new() -> Self {
        let mut book = Self {
            log: OperatorLog::new(offline().public()),
            entries: Vec::new(),
        };
        book.write(first(&certified(1, &notice_key())));
        book
    }

    fn write(&mut self, statement: Statement) {
        let entry = self.log.write(statement, TODAY, &notice_key()).unwrap();
        self.entries.push(entry);
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::sign(&self.log, TODAY, &notice_key()).unwrap()
    }
}

#[test]
fn a_log_is_read_as_it_was_written() {
    let mut book = Book::new();
    let said = [
        notice("good morning"),
        lockdown(),
        Statement::IssuerKey {
            epoch: 692,
            key: [7; 32],
        },
        Statement::Terms { hash: [8; 32] },
        Statement::Unknown {
            kind: 200,
            body: vec![1, 2, 3],
        },
    ];
    for statement in &said {
        book.write(statement.clone());
    }
    assert_eq!(book.log.lockdown(), Some(2));
    book.write(Statement::Lift);
    assert_eq!(book.log.lockdown(), None);
    assert_eq!(book.log.issuer(692), Some([7; 32]));
    assert_eq!(book.log.issuer(691), None);
    assert_eq!(book.log.terms(), Some([8; 32]));

    let offline = OperatorLog::offline_of(&book.entries[0]).unwrap();
    let empty = OperatorLog::new(offline);
    let checkpoint = Checkpoint::verify(book.checkpoint().as_bytes(), &offline).unwrap();
    let Ok(Continuation::Continued { log, entries }) =
        continue_log(&empty, &book.entries, &checkpoint)
    else {
        panic!("it does not continue");
    };
    assert_eq!(log, book.log);
    let read: Vec<_> = entries[1..6].iter().map(|e| e.statement.clone()).collect();
    assert_eq!(read, said);

    let restored = OperatorLog::restore(
        offline,
        log.position(),
        log.day(),
        log.certificate().unwrap().as_bytes(),
        log.lockdown(),
        log.issuers().to_vec(),
        log.terms(),
    );
    assert_eq!(restored, Ok(log));
}

#[test]
fn the_newest_keys_of_tickets_are_kept() {
    let mut book = Book::new();
    for epoch in 0..OPERATOR_ISSUERS_MAX as u32 + 3 {
        book.write(Statement::IssuerKey {
            epoch,
            key: [epoch as u8; 32],
        });
    }
    book.write(Statement::IssuerKey {
        epoch: 10,
        key: [99; 32],
    });
    assert_eq!(book.log.issuers().len(), OPERATOR_ISSUERS_MAX);
    assert_eq!(book.log.issuer(2), None);
    assert_eq!(book.log.issuer(10), Some([99; 32]));
}

#[test]
fn every_changed_byte_is_refused() {
    let mut book = Book::new();
    book.write(notice("good morning"));
    book.write(lockdown());
    let mut log = OperatorLog::new(offline().public());
    for entry in &book.entries {
        for at in 0..entry.len() {
            let mut changed = entry.clone();
            changed[at] ^= 1;
            assert!(log.clone().append(&changed).is_err(), "byte {at}");
            assert!(log.clone().append(&entry[..at]).is_err(), "cut at {at}");
        }
        let mut longer = entry.clone();
        longer.push(0);
        assert!(log.clone().append(&longer).is_err());
        log.append(entry).unwrap();
    }
    let checkpoint = book.checkpoint();
    let bytes = checkpoint.as_bytes();
    assert_eq!(bytes.len(), CHECKPOINT_BYTES);
    assert_eq!(
        certified(1, &notice_key()).as_bytes().len(),
        CERTIFICATE_BYTES
    );
    for at in 0..bytes.len() {
        let mut changed = *bytes;
        changed[at] ^= 1;
        assert!(
            Checkpoint::verify(&changed, &offline().public()).is_err(),
            "byte {at}"
        );
        assert!(Checkpoint::verify(&bytes[..at], &offline().public()).is_err());
    }
}

#[test]
fn only_certified_keys_speak_and_on_their_days() {
    let mut book = Book::new();
    let stranger = SecretKey::from_seed(&[9; 32]);
    assert_eq!(
        book.log.write(notice("forged"), TODAY, &stranger),
        Err(LogError::Signature)
    );
    // A certificate that the stranger made for itself.
    let own = NoticeCertificate::sign(&stranger, 2, stranger.public(), TODAY, TODAY.plus(90));
    assert!(matches!(
        book.log.write(first(&own), TODAY, &stranger),
        Err(LogError::Certificate(_))
    ));
    let own_log = Statement::Certificate {
        offline: stranger.public(),
        certificate: *own.as_bytes(),
    };
    assert_eq!(
        book.log.write(own_log, TODAY, &stranger),
        Err(LogError::Offline)
    );
    assert_eq!(
        book.log
            .write(notice("late"), TODAY.plus(91), &notice_key()),
        Err(LogError::Expired)
    );
    book.write(notice("in time"));
    assert_eq!(
        book.log
            .write(notice("back"), Day(TODAY.0 - 1), &notice_key()),
        Err(LogError::Day)
    );
    let late = Checkpoint::sign(&book.log, TODAY.plus(91), &notice_key()).unwrap();
    assert_eq!(
        Checkpoint::verify(late.as_bytes(), &offline().public()),
        Err(CheckpointError::Day)
    );
    let forged = Checkpoint::sign(&book.log, TODAY, &stranger).unwrap();
    assert_eq!(
        Checkpoint::verify(forged.as_bytes(), &offline().public()),
        Err(CheckpointError::Signature)
    );
    assert!(matches!(
        Checkpoint::verify(book.checkpoint().as_bytes(), &stranger.public()),
        Err(CheckpointError::Certificate(_))
    ));
}

#[test]
fn a_stolen_notice_key_ends_with_the_next_certificate() {
    let mut book = Book::new();
    let next = SecretKey::from_seed(&[3; 32]);
    let renewed = first(&certified(2, &next));
    book.log.write(renewed.clone(), TODAY, &next).unwrap();
    assert_eq!(
        book.log.write(notice("forged"), TODAY, &notice_key()),
        Err(LogError::Signature)
    );
    assert_eq!(
        book.log
            .write(first(&certified(1, &notice_key())), TODAY, &notice_key()),
        Err(LogError::OldCertificate)
    );
    assert_eq!(
        book.log.write(renewed, TODAY, &next),
        Err(LogError::OldCertificate)
    );
    book.log.write(notice("ours again"), TODAY, &next).unwrap();
}

#[test]
fn entries_lead_from_one_checkpoint_to_the_next_or_prove_a_fork() {
    let mut book = Book::new();
    let old = book.log.clone();
    let old_checkpoint = book.checkpoint();
    book.write(notice("one"));
    book.write(notice("two"));
    let checkpoint = book.checkpoint();

    let partial = continue_log(&old, &book.entries[1..2], &checkpoint);
    assert!(matches!(partial, Ok(Continuation::Partial { entries, .. }) if entries.len() == 1));
    let whole = continue_log(&old, &book.entries[1..], &checkpoint);
    assert!(matches!(whole, Ok(Continuation::Continued { entries, .. }) if entries.len() == 2));
    assert_eq!(
        continue_log::<Vec<u8>>(&old, &[], &checkpoint),
        Err(LogError::Elsewhere)
    );
    assert_eq!(
        continue_log::<Vec<u8>>(&book.log, &[], &old_checkpoint),
        Err(LogError::Elsewhere)
    );
    // Entries of another place, or damaged, are no proof of anything.
    assert!(continue_log(&old, &book.entries[2..], &checkpoint).is_err());
    let mut damaged = book.entries[1].clone();
    damaged[10] ^= 1;
    assert_eq!(
        continue_log(&old, &[damaged], &checkpoint),
        Err(LogError::Fork)
    );

    // The operator's key signed another second entry.
    let mut other = Book::new();
    other.write(notice("something else"));
    let forked = other.log.clone();
    assert_eq!(
        continue_log(&forked, &book.entries[2..], &checkpoint),
        Ok(Continuation::Forked)
    );
    // At one size.
    other.write(notice("and again"));
    assert_eq!(
        continue_log(&old, &other.entries[1..], &checkpoint),
        Ok(Continuation::Forked)
    );
    assert_eq!(
        other.log.append(&book.entries[2]),
        Err(LogError::Index {
            expected: 3,
            found: 2
        })
    );
}

#[test]
fn texts_and_languages_are_bounded() {
    let mut book = Book::new();
    let longest = "\u{1f98a}".repeat(OPERATOR_TEXT_CHARACTERS_MAX);
    book.write(notice(&longest));
    for text in ["", &format!("{longest}!")] {
        assert_eq!(
            book.log.write(notice(text), TODAY, &notice_key()),
            Err(LogError::Entry(EntryError::Field("text")))
        );
    }
    for tag in ["", "e n", "é", &"a".repeat(36)] {
        assert!(Language::new(tag).is_err(), "{tag:?}");
    }
    Language::new("zh-Hant-TW").unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Entry::parse(&bytes);
        let _ = Checkpoint::verify(&bytes, &offline().public());
        let _ = NoticeCertificate::verify(&bytes, &offline().public());
        assert!(OperatorLog::new(offline().public()).append(&bytes).is_err());
    }
}
