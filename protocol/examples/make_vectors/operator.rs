//! The operator's log.

use kinline_protocol::day::Day;
use kinline_protocol::operator::{
    Checkpoint, Language, NoticeCertificate, OperatorLog, Severity, Statement,
};
use kinline_protocol::primitives::sign::SecretKey;
use serde_json::{Value, json};

use super::{file, flipped};

const DAY: Day = Day(20_779);

fn offline() -> SecretKey {
    SecretKey::from_seed(&[0xe0; 32])
}

fn notice() -> SecretKey {
    SecretKey::from_seed(&[0xe1; 32])
}

struct Book {
    log: OperatorLog,
    entries: Vec<Vec<u8>>,
}

impl Book {
    fn new() -> Self {
        let mut book = Self {
            log: OperatorLog::new(offline().public()),
            entries: vec![],
        };
        book.certify(1, &notice());
        book
    }

    fn certify(&mut self, serial: u32, key: &SecretKey) {
        let (first, last) = (DAY, DAY.plus(396));
        let certificate = NoticeCertificate::sign(&offline(), serial, key.public(), first, last);
        let statement = Statement::Certificate {
            offline: offline().public(),
            certificate: *certificate.as_bytes(),
        };
        self.write(statement, key);
    }

    fn write(&mut self, statement: Statement, key: &SecretKey) {
        let entry = self.log.write(statement, DAY, key).unwrap();
        self.entries.push(entry);
    }

    fn says(&mut self, text: &str) {
        let statement = Statement::Notice {
            severity: Severity::Warning,
            language: Language::new("en").unwrap(),
            text: text.into(),
        };
        self.write(statement, &notice());
    }

    fn vector(&self, name: &str, outcome: &str) -> Value {
        let checkpoint = Checkpoint::sign(&self.log, DAY, &notice()).unwrap();
        vector(name, outcome, &self.entries, checkpoint.as_bytes())
    }
}

fn vector(name: &str, outcome: &str, entries: &[Vec<u8>], checkpoint: &[u8]) -> Value {
    json!({
        "name": name, "outcome": outcome,
        "offline_key": hex::encode(offline().public().as_bytes()),
        "entries": entries.iter().map(hex::encode).collect::<Vec<_>>(),
        "checkpoint": hex::encode(checkpoint),
    })
}

pub(super) fn logs() -> Value {
    let mut book = Book::new();
    book.says("We move on Sunday.");
    book.write(
        Statement::Lockdown {
            reason: "Somebody was in the server room.".into(),
            renew: true,
        },
        &notice(),
    );
    book.write(Statement::Lift, &notice());
    book.write(
        Statement::IssuerKey {
            epoch: 692,
            key: [0xe2; 32],
        },
        &notice(),
    );
    book.write(Statement::Terms { hash: [0xe3; 32] }, &notice());
    let unknown = Statement::Unknown {
        kind: 200,
        body: b"of a later version".to_vec(),
    };
    book.write(unknown, &notice());
    let mut all = book.vector("an entry of every kind", "ok");
    all["size"] = book.log.position().size.into();
    all["head"] = hex::encode(book.log.position().head).into();
    let checkpoint = Checkpoint::sign(&book.log, DAY, &notice()).unwrap();
    let checkpoint = checkpoint.as_bytes();
    let changed = |at: usize, byte: usize| {
        let mut entries = book.entries.clone();
        entries[at] = flipped(&entries[at], byte);
        entries
    };
    let mut other = Book::new();
    other.says("Something else.");
    let mut spliced = book.entries.clone();
    spliced[1].clone_from(&other.entries[1]);

    let mut renewed = Book::new();
    let next = SecretKey::from_seed(&[0xe4; 32]);
    renewed.certify(2, &next);
    let mut old = renewed.entries.clone();
    old.push(
        // What the key before would say in its place.
        {
            let entry = kinline_protocol::operator::Entry {
                index: 2,
                previous: renewed.log.position().head,
                day: DAY,
                statement: Statement::Lift,
            };
            entry.sign(&notice()).unwrap()
        },
    );
    renewed.write(Statement::Lift, &next);
    let renewed_checkpoint = Checkpoint::sign(&renewed.log, DAY, &next).unwrap();
    let vectors = vec![
        all,
        vector("a changed text", "signature", &changed(1, 60), checkpoint),
        vector("a changed index", "index", &changed(1, 8), checkpoint),
        vector("a later version", "version", &changed(1, 0), checkpoint),
        vector("the entry of another past", "fork", &spliced, checkpoint),
        vector(
            "the certificate of another key",
            "certificate",
            &changed(0, 90),
            checkpoint,
        ),
        vector(
            "signed by the key before",
            "signature",
            &old,
            renewed_checkpoint.as_bytes(),
        ),
        vector(
            "a changed checkpoint",
            "checkpoint",
            &book.entries,
            &flipped(checkpoint, 8),
        ),
        vector(
            "the checkpoint of another past",
            "elsewhere",
            &book.entries[..2],
            Checkpoint::sign(&other.log, DAY, &notice())
                .unwrap()
                .as_bytes(),
        ),
    ];
    file("16", vectors)
}
