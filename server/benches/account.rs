//! What logins tell and cost: `cargo bench -p kinline-server --bench account [ANSWERS]`.
//!
//! Prints Welch's t between the times of answers about accounts that are there and about ids that
//! are not (100,000 in all, in random order); below 4.5 a listener in this very process can't tell
//! them apart. (With the counting of tries left out for ids that are not there, 20,000 answers gave
//! 5.8.) And what one guess at a password costs who has the database and the key file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement"
)]

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

/// Answers about one id: no budget is reached.
const EACH: usize = 20;
/// Guesses that are timed.
const GUESSES: u32 = 10;

/// Mean, variance, count.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    /// Without the slowest hundredth, in which the machine did something else.
    fn sound(&self) -> (f64, f64, f64) {
        let mut times = self.0.clone();
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() - times.len() / 100);
        let count = f64::from(u32::try_from(times.len()).unwrap());
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance, count)
    }
}

fn welch(a: &Times, b: &Times) -> f64 {
    let ((mean_a, variance_a, count_a), (mean_b, variance_b, count_b)) = (a.sound(), b.sound());
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

#[tokio::main]
async fn main() {
    let answers: usize = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(100_000);
    let ids = answers.div_ceil((EACH - 1) * 2).max(1);
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
    for at in 0..ids * 2 {
        let is_there = at % 2 == 0;
        let account = AccountId::random(&mut rng);
        if is_there {
            let (state, message) = Registration::start(b"word", &mut rng).unwrap();
            let start = wire::RegisterStart {
                account: account.to_bytes(),
                message: message.into(),
            };
            let names = Names {
                account: &account,
                server: &server,
            };
            let made = logins.register(start, |answer| {
                let done = state
                    .finish(b"word", cheap, names, answer, &mut rand::rng())
                    .unwrap();
                let key = SecretKey::random(&mut rand::rng()).public();
                wire::RegisterFinish {
                    account: account.to_bytes(),
                    record: done.record.into(),
                    stretching: Some(cheap.to_wire()),
                    write_key: key.as_bytes().to_vec().into(),
                    ..wire::RegisterFinish::default()
                }
            });
            assert!(made.await);
        }
        // The registration was one try of this account's.
        asked.extend(std::iter::repeat_n((is_there, account), EACH - 1));
    }
    asked.shuffle(&mut rng);
    let (_, message) = Login::start(b"guess", &mut rng).unwrap();
    let mut times = [Times::default(), Times::default()];
    let mut lengths = std::collections::BTreeSet::new();
    for (is_there, account) in asked {
        let start = wire::LoginStart {
            account: account.to_bytes(),
            message: message.clone().into(),
        };
        let begun = Instant::now();
        let answer = logins.login(&start).await.expect("within the budget");
        times[usize::from(is_there)]
            .0
            .push(begun.elapsed().as_secs_f64());
        lengths.insert(answer.len());
    }
    relay.shutdown().await;
    let [not, there] = &times;
    let (count, all) = (there.0.len() + not.0.len(), ids * 2);
    println!("{count} answers about {all} ids: {lengths:?} bytes");
    let micros = |times: &Times| times.sound().0 * 1e6;
    println!(
        "there {:.1} us, not there {:.1} us: t = {:.2}",
        micros(there),
        micros(not),
        welch(there, not)
    );
    println!(
        "a guess with database and key file: {:.0} ms of one core at 64 MiB and 3 passes",
        guess(Stretching::DEFAULT) * 1e3
    );
}
