//! A town of families, and what each does on which day.

use std::path::Path;

use kinline_server::measure::{Families, Visit};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha20Rng;

use super::Plan;

/// The first day.
const DAY: u32 = 20_000;
/// How likely a family that came before is there on a day.
const RETURNS: f64 = 0.3;
/// How likely it writes its vault then.
const RENEWS: f64 = 0.2;

/// A family, as the thief must not know it.
#[derive(Debug, Clone)]
pub(super) struct Family {
    account: [u8; 32],
    mailboxes: Vec<[u8; 16]>,
    /// Bytes of the two parts of its vault.
    vault: [usize; 2],
    visits: u64,
    /// The day it came, from 0.
    pub(super) day: usize,
}

/// Where a family's rows lie on the disk.
#[derive(Debug, Clone)]
pub(super) struct Lies {
    pub(super) account: Vec<u8>,
    pub(super) mailboxes: Vec<Vec<u8>>,
    pub(super) day: usize,
}

impl Family {
    fn new(day: usize, random: &mut ChaCha20Rng) -> Self {
        let mailboxes: Vec<[u8; 16]> = (0..random.random_range(2..=5))
            .map(|_| random.random())
            .collect();
        // Each mailbox is an address in the vault, and the size shows it: the worst case.
        let part = |about: usize| {
            let wanted = (600 + about * mailboxes.len()).max(1_024) as u64;
            kinline_protocol::padme::class(wanted) as usize
        };
        Self {
            account: random.random(),
            vault: [part(220), part(310)],
            mailboxes,
            visits: 0,
            day,
        }
    }

    fn first(&self, random: &mut ChaCha20Rng) -> Vec<Visit> {
        let mut steps: Vec<Visit> = self.mailboxes.iter().copied().map(Visit::Open).collect();
        steps.push(Visit::Register(self.account));
        steps.push(Visit::Vault(self.account, self.vault));
        steps.push(Visit::Upload(random.random()));
        steps.extend(self.mailboxes.iter().map(|id| Visit::Attach(*id, 1)));
        steps
    }

    fn again(&mut self, random: &mut ChaCha20Rng) -> Vec<Visit> {
        self.visits += 1;
        let mut steps: Vec<Visit> = Vec::new();
        if random.random_bool(RENEWS) {
            steps.push(Visit::Vault(self.account, self.vault));
        }
        let generation = self.visits + 1;
        steps.extend(
            self.mailboxes
                .iter()
                .map(|id| Visit::Attach(*id, generation)),
        );
        steps
    }

    fn lies(&self, relay: &Families) -> Lies {
        let at = |id: &[u8; 16]| relay.mailbox_at(*id).to_vec();
        Lies {
            account: relay.account_at(self.account).to_vec(),
            mailboxes: self.mailboxes.iter().map(at).collect(),
            day: self.day,
        }
    }
}

/// Lets the families come and go, and gives the relay as it stands on the evening of the last
/// day, before that day's retention, in the order in which they first came. With `tidied` each
/// evening but the last had one.
pub(super) async fn live(
    data: &Path,
    plan: Plan,
    tidied: bool,
    random: &mut ChaCha20Rng,
) -> (Families, Vec<Lies>) {
    let relay = Families::open(data, DAY).await.expect("a database");
    let mut families: Vec<Family> = Vec::new();
    for day in 0..plan.days {
        let known = families.len();
        let all = plan.families * (day + 1) / plan.days;
        // Who comes today, new or again, in one order.
        let mut today: Vec<usize> = (0..known).filter(|_| random.random_bool(RETURNS)).collect();
        today.extend(known..all);
        families.extend((known..all).map(|_| Family::new(day, random)));
        today.shuffle(random);
        for index in today {
            let family = &mut families[index];
            let steps = if index < known {
                family.again(random)
            } else {
                family.first(random)
            };
            assert!(relay.visit(&steps).await, "a visit was not written");
        }
        if day + 1 < plan.days {
            assert!(relay.next_day(tidied).await, "the retention failed");
        }
    }
    let lies = families.iter().map(|family| family.lies(&relay)).collect();
    (relay, lies)
}
