//! How often a password may be tried, so that nobody guesses and nobody is locked out.
//!
//! | share | of | at once | then |
//! |---|---|---|---|
//! | known | an account, from a network from which it logged in or wrote its vault before | 20 | 20 an hour |
//! | network | all accounts, from one network | 60 | 60 an hour |
//! | common | an account, from all other networks together | 20 | 20 an hour |
//! | floor | an account, from one network, when the common share is empty | 3 | 3 a day |
//! | region | an account, from one region, of its networks' floors | 100 | 100 a day |
//!
//! A stranger can empty the common share of an account, from one address or from many. The owner
//! does not need it: at home the known share is the household's own, which no stranger draws
//! from, and anywhere else each network has three tries a day that are nobody else's. The price
//! is that a guesser with many networks has three tries a day from each; a region (an IPv4 /16,
//! an IPv6 /32: what one provider has many of for nothing) gives a hundred together. A guessed
//! password alone brings a request that the family sees, no history and no authority.
//!
//! Everything is in memory under keyed hashes, like [`Visitors`](crate::listener::Visitors):
//! what is known goes with the relay's end, and then the floor is there.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kinline_protocol::ids::AccountId;
use quick_cache::unsync::Cache;

use crate::errors::Refusal;
use crate::listener::Origin;
use crate::sync::lock;

/// Shares that are remembered, of either kind: 100,000 of some 40 bytes are 4 MB.
const SHARES_MAX: usize = 100_000;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;

/// Tries at once, and seconds until there are as many again.
#[derive(Debug, Clone, Copy)]
struct Measure {
    tries: f64,
    seconds: f64,
}

impl Measure {
    const fn per_hour(tries: f64) -> Self {
        let seconds = HOUR;
        Self { tries, seconds }
    }

    const fn per_day(tries: f64) -> Self {
        let seconds = DAY;
        Self { tries, seconds }
    }
}

const KNOWN: Measure = Measure::per_hour(20.0);
const NETWORK: Measure = Measure::per_hour(60.0);
const COMMON: Measure = Measure::per_hour(20.0);
const FLOOR: Measure = Measure::per_day(3.0);
const REGION: Measure = Measure::per_day(100.0);
/// Writings of one vault.
const VAULT: Measure = Measure::per_hour(60.0);

#[derive(Debug, Clone, Copy)]
struct Share {
    left: f64,
    at: Instant,
}

/// What is left of all shares.
pub(crate) struct Budget {
    key: RandomState,
    shares: Mutex<Cache<u64, Share>>,
    /// Apart, so that a flood of others pushes none of them out: only who logs in comes in here.
    known: Mutex<Cache<u64, Share>>,
}

impl Budget {
    /// Nothing used.
    pub(crate) fn new() -> Self {
        Self {
            key: RandomState::new(),
            shares: Mutex::new(Cache::new(SHARES_MAX)),
            known: Mutex::new(Cache::new(SHARES_MAX)),
        }
    }

    /// Takes one try at `account`'s password, whether or not there is such an account.
    ///
    /// # Errors
    /// [`Refusal::SlowDown`].
    pub(crate) fn attempt(
        &self,
        account: &AccountId,
        origin: Origin,
        now: Instant,
    ) -> Result<(), Refusal> {
        let key = self.known_key(account, origin);
        let mut known = lock(&self.known);
        if known.contains_key(&key) {
            return take(&mut known, &[(key, KNOWN)], now);
        }
        drop(known);
        let mut shares = lock(&self.shares);
        let network = (self.key(("network", origin.network)), NETWORK);
        let common = (self.key(("common", account)), COMMON);
        if take(&mut shares, &[network, common], now).is_ok() {
            return Ok(());
        }
        // The floor: a stranger elsewhere can't take it away.
        let region = (self.key(("region", account, origin.region)), REGION);
        let floor = (self.key(("floor", account, origin.network)), FLOOR);
        take(&mut shares, &[network, region, floor], now)
    }

    /// The account's owner was here: this network has a share of its own from now on, full.
    pub(crate) fn welcome(&self, account: &AccountId, origin: Origin, now: Instant) {
        let full = Share {
            left: KNOWN.tries,
            at: now,
        };
        lock(&self.known).insert(self.known_key(account, origin), full);
    }

    /// The account's vault was written from here: this network has a share of its own from now
    /// on. One that it has already is not filled: the write key of a stolen phone could else buy
    /// 20 more tries with each of 60 writings an hour, and no password stands before them.
    pub(crate) fn make_known(&self, account: &AccountId, origin: Origin, now: Instant) {
        let is_known = lock(&self.known).contains_key(&self.known_key(account, origin));
        if !is_known {
            self.welcome(account, origin, now);
        }
    }

    /// Takes one writing of an account's vault.
    ///
    /// # Errors
    /// [`Refusal::SlowDown`].
    pub(crate) fn write(&self, account: &AccountId, now: Instant) -> Result<(), Refusal> {
        let key = self.key(("vault", account));
        take(&mut lock(&self.shares), &[(key, VAULT)], now)
    }

    fn known_key(&self, account: &AccountId, origin: Origin) -> u64 {
        self.key(("known", account, origin.network))
    }

    fn key(&self, of: impl std::hash::Hash) -> u64 {
        self.key.hash_one(of)
    }
}

/// Takes one of each share, or none of any.
fn take(
    shares: &mut Cache<u64, Share>,
    wanted: &[(u64, Measure)],
    now: Instant,
) -> Result<(), Refusal> {
    let left = |key: u64, measure: Measure| {
        shares.get(&key).map_or(measure.tries, |share| {
            let passed = now.saturating_duration_since(share.at).as_secs_f64();
            (share.left + passed * measure.tries / measure.seconds).min(measure.tries)
        })
    };
    let wait = wanted
        .iter()
        .map(|(key, measure)| (1.0 - left(*key, *measure)) * measure.seconds / measure.tries)
        .fold(0.0, f64::max);
    if wait > 0.0 {
        let retry = Duration::from_secs_f64(wait).as_millis();
        return Err(Refusal::SlowDown {
            retry_after_ms: u32::try_from(retry).unwrap_or(u32::MAX).max(1),
        });
    }
    let taken: Vec<_> = wanted
        .iter()
        .map(|(key, measure)| (*key, left(*key, *measure) - 1.0))
        .collect();
    for (key, left) in taken {
        shares.insert(key, Share { left, at: now });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Budget;
    use crate::errors::Refusal;
    use crate::listener::Origin;
    use kinline_protocol::ids::AccountId;
    use std::time::{Duration, Instant};

    const ALICE: AccountId = AccountId::new([1; 32]);
    const BOB: AccountId = AccountId::new([2; 32]);

    fn at(network: u64, region: u64) -> Origin {
        Origin { network, region }
    }

    fn tries(budget: &Budget, account: &AccountId, origin: Origin, now: Instant) -> usize {
        (0..1_000)
            .take_while(|_| budget.attempt(account, origin, now).is_ok())
            .count()
    }

    #[test]
    fn one_address_has_twenty_three_and_then_one_each_three_minutes() {
        let (budget, now) = (Budget::new(), Instant::now());
        let foe = at(1, 1);
        assert_eq!(tries(&budget, &ALICE, foe, now), 23);
        let later = now + Duration::from_secs(180);
        assert_eq!(tries(&budget, &ALICE, foe, later), 1);
        let refused = budget.attempt(&ALICE, foe, later);
        assert!(
            matches!(refused, Err(Refusal::SlowDown { retry_after_ms }) if retry_after_ms > 1_000)
        );
        // Other accounts have shares of their own, up to what one network has.
        assert_eq!(tries(&budget, &BOB, foe, later), 23);
        let carol = AccountId::new([3; 32]);
        assert_eq!(tries(&budget, &carol, foe, later), 60 + 3 - 24 - 23);
    }

    #[test]
    fn many_addresses_lock_nobody_out() {
        let (budget, now) = (Budget::new(), Instant::now());
        let home = at(7, 7);
        budget.welcome(&ALICE, home, now);
        let guesses: usize = (1_000..2_000)
            .map(|network| tries(&budget, &ALICE, at(network, 50), now))
            .sum();
        // The common share, and what one region has.
        assert_eq!(guesses, 20 + 100);
        assert_eq!(tries(&budget, &ALICE, at(3_000, 50), now), 0);
        // At home there are as many as ever; on the way, three.
        assert_eq!(tries(&budget, &ALICE, home, now), 20);
        assert_eq!(tries(&budget, &ALICE, at(8, 8), now), 3);
        assert_eq!(tries(&budget, &ALICE, at(9, 9), now), 3);
        let tomorrow = now + Duration::from_secs(24 * 3_600);
        assert!(tries(&budget, &ALICE, at(8, 8), tomorrow) >= 3);
    }

    #[test]
    fn writing_the_vault_makes_a_network_known_and_fills_nothing() {
        let (budget, now) = (Budget::new(), Instant::now());
        let thief = at(1, 1);
        budget.make_known(&ALICE, thief, now);
        assert_eq!(tries(&budget, &ALICE, thief, now), 20);
        for _ in 0..60 {
            budget.make_known(&ALICE, thief, now);
            assert_eq!(tries(&budget, &ALICE, thief, now), 0);
        }
        let later = now + Duration::from_secs(1_800);
        budget.make_known(&ALICE, thief, later);
        assert_eq!(tries(&budget, &ALICE, thief, later), 10);
        // A login, which proves the password, does.
        budget.welcome(&ALICE, thief, later);
        assert_eq!(tries(&budget, &ALICE, thief, later), 20);
    }

    #[test]
    fn a_vault_is_written_sixty_times_at_once() {
        let (budget, now) = (Budget::new(), Instant::now());
        let written = (0..100)
            .take_while(|_| budget.write(&ALICE, now).is_ok())
            .count();
        assert_eq!(written, 60);
        assert!(budget.write(&BOB, now).is_ok());
    }
}
