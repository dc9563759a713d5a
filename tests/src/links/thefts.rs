//! The copies that are stolen: of the relay as it is, between two tidyings, and with tells.

use std::collections::HashMap;
use std::path::Path;

use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use rusqlite::{Connection, params};

use super::Plan;
use super::chance::{Measured, Question};
use super::guess::ranked;
use super::pages::{Pages, Row, root};
use super::report::{Copy, Figures};
use super::town::{Lies, live};

const DATABASE: &str = "relay.sqlite";
const LOG: &str = "relay.sqlite-wal";

/// Lets families come, steals, guesses.
///
/// # Panics
/// When a database can't be made or read.
pub async fn measure(plan: Plan) -> Figures {
    let mut random = ChaCha20Rng::seed_from_u64(plan.seed);
    let folder = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let path = copies.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let mut figures = Figures::new(plan);

    let (relay, lies) = live(&folder.path().join("tidied"), plan, true, &mut random).await;
    let evening = at("evening");
    steal(&folder.path().join("tidied"), &evening);
    relay.close().await;
    let closed = at("closed");
    steal(&folder.path().join("tidied"), &closed);
    let tidied = ask(&closed, &lies);
    figures.add(Copy::Tidied, tidied.account(&mut random));
    figures.add(Copy::TidiedMailboxes, tidied.mailbox(&mut random));
    let evening = ask(&evening, &lies);
    figures.add(Copy::Evening, evening.account(&mut random));
    figures.add(Copy::EveningMailboxes, evening.mailbox(&mut random));

    let (relay, theirs) = live(&folder.path().join("never"), plan, false, &mut random).await;
    let never = at("never");
    steal(&folder.path().join("never"), &never);
    relay.close().await;
    figures.add(Copy::Never, ask(&never, &theirs).account(&mut random));

    let planted = at("order");
    steal(&closed, &planted);
    in_order_of_arrival(&planted.join(DATABASE), &lies);
    figures.add(Copy::Order, ask(&planted, &lies).account(&mut random));
    let planted = at("size");
    steal(&closed, &planted);
    size_tells_the_day(&planted.join(DATABASE), &lies);
    figures.add(Copy::Size, ask(&planted, &lies).account(&mut random));
    figures
}

/// Copies database and log, and folds the copy's log in: the key file is not needed for that.
fn steal(from: &Path, to: &Path) {
    std::fs::copy(from.join(DATABASE), to.join(DATABASE)).unwrap();
    if from.join(LOG).exists() {
        std::fs::copy(from.join(LOG), to.join(LOG)).unwrap();
    }
    let copy = Connection::open(to.join(DATABASE)).unwrap();
    let _: i64 = copy
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
}

/// Everything that shows of both tables, with the truth beside it.
struct Loot {
    accounts: Vec<(usize, Row)>,
    mailboxes: Vec<(usize, Row)>,
    /// Of each family the mailbox that it opened first.
    firsts: Vec<Vec<u8>>,
}

fn ask(folder: &Path, lies: &[Lies]) -> Loot {
    let database = folder.join(DATABASE);
    let pages = Pages::read(&database);
    let mut whose: HashMap<&[u8], usize> = HashMap::new();
    for (family, lies) in lies.iter().enumerate() {
        whose.insert(&lies.account, family);
        for mailbox in &lies.mailboxes {
            whose.insert(mailbox, family);
        }
    }
    let known = |table: &str| -> Vec<(usize, Row)> {
        let rows = pages.rows(root(&database, table));
        let with = |row: Row| Some((*whose.get(row.key.as_slice())?, row));
        rows.into_iter().filter_map(with).collect()
    };
    let loot = Loot {
        accounts: known("account"),
        mailboxes: known("mailbox"),
        firsts: lies.iter().map(|lies| lies.mailboxes[0].clone()).collect(),
    };
    let mailboxes: usize = lies.iter().map(|lies| lies.mailboxes.len()).sum();
    assert_eq!(
        (loot.accounts.len(), loot.mailboxes.len()),
        (lies.len(), mailboxes)
    );
    loot
}

fn borrowed(rows: &[(usize, Row)]) -> Vec<(usize, &Row)> {
    rows.iter().map(|(family, row)| (*family, row)).collect()
}

impl Loot {
    /// Which mailboxes belong to an account.
    fn account(&self, random: &mut ChaCha20Rng) -> Measured {
        let mut subjects = ranked(&borrowed(&self.accounts));
        subjects.sort_by_key(|row| row.family);
        let question = Question {
            classes: vec![0; subjects.len()],
            subjects,
            objects: ranked(&borrowed(&self.mailboxes)),
        };
        question.measure(random)
    }

    /// Which mailboxes belong to one mailbox, among families with the same last day: that day
    /// stands in the row, and whoever has the same may be of one family.
    fn mailbox(&self, random: &mut ChaCha20Rng) -> Measured {
        let mut days = vec![0; self.firsts.len()];
        let all = ranked(&borrowed(&self.mailboxes));
        let (mut subjects, mut objects) = (Vec::new(), Vec::new());
        for ((family, row), ranked) in self.mailboxes.iter().zip(all) {
            if row.key == self.firsts[*family] {
                days[*family] = row.shows.last().map_or(0, |day| *day as i64);
                subjects.push(ranked);
            } else {
                objects.push(ranked);
            }
        }
        subjects.sort_by_key(|row| row.family);
        let question = Question {
            subjects,
            objects,
            classes: days,
        };
        question.measure(random)
    }
}

/// A tell: both tables were filled as families came, and never tidied.
fn in_order_of_arrival(database: &Path, lies: &[Lies]) {
    let mut connection = Connection::open(database).unwrap();
    connection
        .execute_batch(
            "CREATE TEMP TABLE a AS SELECT * FROM account; CREATE INDEX temp.ai ON a (id);
             CREATE TEMP TABLE m AS SELECT * FROM mailbox; CREATE INDEX temp.mi ON m (id);
             DELETE FROM account; DELETE FROM mailbox; VACUUM;",
        )
        .unwrap();
    let all = connection.transaction().unwrap();
    for family in lies {
        let account = "INSERT INTO account SELECT * FROM a WHERE id = ?1";
        all.execute(account, params![family.account]).unwrap();
        for id in &family.mailboxes {
            let mailbox = "INSERT INTO mailbox SELECT * FROM m WHERE id = ?1";
            all.execute(mailbox, params![id]).unwrap();
        }
    }
    all.commit().unwrap();
    let _: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
}

/// A tell: a vault that grows with the day on which its family came, in a tidied database, and
/// mailboxes that keep the day on which they were opened.
fn size_tells_the_day(database: &Path, lies: &[Lies]) {
    let mut connection = Connection::open(database).unwrap();
    let all = connection.transaction().unwrap();
    for family in lies {
        let day = i64::try_from(family.day).unwrap();
        let sql = "UPDATE account SET request_part = zeroblob(?2) WHERE id = ?1";
        all.execute(sql, params![family.account, 1_064 + 64 * day])
            .unwrap();
        for id in &family.mailboxes {
            let sql = "UPDATE mailbox SET expires_day = ?2 WHERE id = ?1";
            all.execute(sql, params![id, 20_090 + day]).unwrap();
        }
    }
    all.commit().unwrap();
    connection.execute_batch("VACUUM").unwrap();
    let _: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
}
