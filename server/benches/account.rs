//! What logins tell and cost: `cargo bench -p kinline-server --bench account [ANSWERS]`.
//!
//! Prints Welch's t between the times of answers about accounts that are there and about ids that
//! are not, in random order: of so many answers (100,000) to the first message of a login, as many
//! to its last with a wrong proof, and as many to a vault with a bad signature. Once of the times
//! without the slowest hundredth, and once of their ranks among the 64 answers of the same moment,
//! which a machine that does other work meanwhile disturbs little. Below 4.5 a listener in this very
//! process can't tell them apart.
//!
//! A tell is planted among them: of a fifth as many ids that are not there the try is counted twice.
//! By their ranks they must be told from the others. Ends with status 1 when something is told that
//! must not be, or the planted tell is not.
//!
//! And what one guess at a password costs who has the database and the key file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement"
)]

use std::process::ExitCode;
use std::time::Instant;

use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::opaque::Names;
use kinline_protocol::primitives::opaque::device::{Login, Registration};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::primitives::stretching::Stretching;
use kinline_protocol::wire;
use kinline_server::config::Costs;
use kinline_server::measure::Logins;
use kinline_server::{Config, Relay};
use rand::seq::SliceRandom;

/// Tries at one id: no budget is reached.
const EACH: usize = 20;
/// Above it a difference is told: by chance once in 100,000 runs.
const T_MAX: f64 = 4.5;
/// Answers of one moment.
const MOMENT: usize = 64;
/// As many ids without the planted tell as there is one with it.
const PLANTED: usize = 5;
/// Guesses that are timed.
const GUESSES: u32 = 10;

/// What an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Id {
    There,
    Not,
    /// Not there, and its answers cost a little more.
    Planted,
}

/// Seconds of each answer, in the order of the answers.
#[derive(Default)]
struct Times(Vec<(Id, f64)>);

impl Times {
    fn push(&mut self, id: Id, begun: Instant) {
        self.0.push((id, begun.elapsed().as_secs_f64()));
    }

    fn of(&self, id: Id) -> Vec<f64> {
        let these = self.0.iter().filter(|(one, _)| *one == id);
        these.map(|(_, time)| *time).collect()
    }

    /// Without the slowest hundredth of all, in which the machine did something else. One bound for
    /// all kinds: how many slow ones there are of each is chance.
    fn sound(&self, id: Id) -> Vec<f64> {
        let mut all: Vec<f64> = self.0.iter().map(|(_, time)| *time).collect();
        all.sort_by(f64::total_cmp);
        let slowest = all[all.len() - 1 - all.len() / 100];
        let mut times = self.of(id);
        times.retain(|time| *time < slowest);
        times
    }

    /// The rank of each answer among those of its moment.
    fn ranks(&self) -> Self {
        let mut ranks = self.0.clone();
        for moment in ranks.chunks_mut(MOMENT) {
            moment.sort_by(|(_, a), (_, b)| a.total_cmp(b));
            let count = moment.len() as f64;
            for (rank, (_, time)) in moment.iter_mut().enumerate() {
                *time = rank as f64 / count;
            }
        }
        Self(ranks)
    }
}

/// Mean, variance, count.
fn moments(values: &[f64]) -> (f64, f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (mean, squares.sum::<f64>() / (count - 1.0), count)
}

fn welch(a: &[f64], b: &[f64]) -> f64 {
    let ((mean_a, variance_a, count_a), (mean_b, variance_b, count_b)) = (moments(a), moments(b));
    (mean_a - mean_b) / (variance_a / count_a + variance_b / count_b).sqrt()
}

fn guess(costs: Stretching) -> f64 {
    let mut rng = rand::rng();
    let setup = kinline_protocol::primitives::opaque::relay::Setup::generate(&mut rng);
    let account = AccountId::random(&mut rng);
    let names = Names {
        account: &account,
        server: "relay.example",
    };
    let begun = Instant::now();
    for _ in 0..GUESSES {
        let (state, request) = Login::start(b"guess", &mut rng).unwrap();
        let (_, answer) = setup.login(None, names, &request, &mut rng).unwrap();
        assert!(
            state
                .finish(b"guess", &[costs], names, &answer, &mut rng)
                .is_err()
        );
    }
    begun.elapsed().as_secs_f64() / f64::from(GUESSES)
}

/// Prints how far the answers of one kind are from those about ids that are not there: `t` of the
/// times, and of the ranks.
fn compare(what: &str, times: &Times, id: Id) -> [f64; 2] {
    let (these, not, ranks) = (times.sound(id), times.sound(Id::Not), times.ranks());
    let t = welch(&these, &not);
    let ranked = welch(&ranks.of(id), &ranks.of(Id::Not));
    println!(
        "{what}: {} {id:?} {:.2} us, {} Not {:.2} us: t = {t:.2}, of ranks {ranked:.2}",
        these.len(),
        moments(&these).0 * 1e6,
        not.len(),
        moments(&not).0 * 1e6,
    );
    [t, ranked]
}

/// Registers an account.
async fn register(logins: &Logins, server: &str, account: &AccountId, costs: Stretching) {
    let (state, message) = Registration::start(b"word", &mut rand::rng()).unwrap();
    let start = wire::RegisterStart {
        account: account.to_bytes(),
        message: message.into(),
    };
    let names = Names { account, server };
    let made = logins.register(start, |answer| {
        let done = state
            .finish(b"word", costs, names, answer, &mut rand::rng())
            .unwrap();
        let key = SecretKey::random(&mut rand::rng()).public();
        wire::RegisterFinish {
            account: account.to_bytes(),
            record: done.record.into(),
            stretching: Some(costs.to_wire()),
            write_key: key.as_bytes().to_vec().into(),
            ..wire::RegisterFinish::default()
        }
    });
    assert!(made.await);
}

/// Times of logins: of their first messages, and of their last.
async fn log_in(logins: &Logins, asked: &[(Id, AccountId)]) -> [Times; 2] {
    let (_, message) = Login::start(b"guess", &mut rand::rng()).unwrap();
    let finish = wire::LoginFinish {
        message: vec![7; 64].into(),
    };
    let [mut first, mut last] = [Times::default(), Times::default()];
    let mut lengths = std::collections::BTreeSet::new();
    for (id, account) in asked {
        let start = wire::LoginStart {
            account: account.to_bytes(),
            message: message.clone().into(),
        };
        let begun = Instant::now();
        let mut login = logins.login(&start).await.expect("within the budget");
        if *id == Id::Planted {
            logins.count_once_more(account);
        }
        first.push(*id, begun);
        let begun = Instant::now();
        let is_good = logins.finish(&mut login, &finish).await;
        last.push(*id, begun);
        assert!(!is_good);
        lengths.insert(login.answer.len());
    }
    assert_eq!(lengths.len(), 1, "{lengths:?}");
    [first, last]
}

/// Times of vaults that nobody has signed.
async fn put(logins: &Logins, asked: &[(Id, AccountId)]) -> Times {
    // A signature of other words: what is none would be refused before it is looked at.
    let signature = SecretKey::random(&mut rand::rng()).sign(b"", &[]);
    let signature: bytes::Bytes = signature.to_vec().into();
    let mut times = Times::default();
    for (id, account) in asked.iter().filter(|(id, _)| *id != Id::Planted) {
        let request = wire::PutVault {
            account: account.to_bytes(),
            vault: Some(wire::Vault {
                version: 1,
                request_part: vec![5; 2_048].into(),
                recovery_part: vec![6; 1_024].into(),
            }),
            signature: signature.clone(),
        };
        let begun = Instant::now();
        let is_taken = logins.put(&[3; 32], request).await;
        times.push(*id, begun);
        assert!(!is_taken);
    }
    times
}

#[tokio::main]
async fn main() -> ExitCode {
    let answers: usize = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(100_000);
    let ids = answers.div_ceil((EACH - 1) * 2).max(PLANTED);
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::embedded(folder.path());
    let cheap = Stretching::cheap_for_tests(8, 1, 1).unwrap();
    config.accounts.stretching = vec![Costs {
        memory_kib: cheap.memory_kib(),
        passes: cheap.passes(),
        lanes: cheap.lanes(),
    }];
    let relay = Relay::start(config).await.unwrap();
    let server = relay.relay_address().server_name();
    let logins = Logins::of(&relay);
    let mut rng = rand::rng();
    let mut asked = Vec::new();
    let planted = ids * 2 / PLANTED;
    let kinds = [(Id::There, ids), (Id::Not, ids), (Id::Planted, planted)];
    for (id, count) in kinds {
        for _ in 0..count {
            let account = AccountId::random(&mut rng);
            if id == Id::There {
                register(&logins, &server, &account, cheap).await;
            }
            // The registration was one try of this account's.
            asked.extend(std::iter::repeat_n((id, account), EACH - 1));
        }
    }
    asked.shuffle(&mut rng);
    let [first, last] = log_in(&logins, &asked).await;
    let vaults = put(&logins, &asked).await;
    relay.shutdown().await;
    let told = [
        compare("LoginStart", &first, Id::There),
        compare("LoginFinish", &last, Id::There),
        compare("PutVault", &vaults, Id::There),
    ];
    let [_, found] = compare("LoginStart", &first, Id::Planted);
    println!(
        "a guess with database and key file: {:.0} ms of one core at 64 MiB and 3 passes",
        guess(Stretching::DEFAULT) * 1e3
    );
    if told.as_flattened().iter().any(|t| t.abs() >= T_MAX) {
        println!("FAILED: answers tell which accounts are there");
        return ExitCode::FAILURE;
    }
    if found < T_MAX {
        println!("FAILED: the planted tell was not found");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
