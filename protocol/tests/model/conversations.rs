//! Conversations as the gate sees them: logs, leaves, day. Each state is made once, and each
//! change judged once.

use std::collections::{BTreeSet, HashMap};

use kinline_protocol::conversation::{
    Address, Change, ConversationContext, ConversationKind, NewLeaf, OwnAddress, Parties, Refusal,
};
use kinline_protocol::day::Day;
use kinline_protocol::identity::{FamilyLog, Role};
use kinline_protocol::ids::{ConversationId, DeviceId, MailboxId};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire;
use prost::Message as _;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::families::{NAMES, STRANGER, device_id, device_key, family_of, is_guardian};

pub(crate) type Gate = Box<dyn Fn(&Change<'_>, &Parties) -> Result<Parties, Refusal>>;

/// What all members of a conversation share in an epoch.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) kind: ConversationKind,
    pub(crate) parties: Parties,
    pub(crate) leaves: BTreeSet<u8>,
    pub(crate) day: Day,
}

/// What a device proposes.
#[derive(Debug, Clone)]
pub(crate) struct Proposed {
    pub(crate) by: u8,
    pub(crate) add: Vec<u8>,
    pub(crate) remove: Vec<u8>,
    /// The logs that it knows.
    pub(crate) parties: Parties,
    pub(crate) day: Day,
}

/// What became of it.
pub(crate) enum Outcome {
    Refused(Refusal),
    Entered(u16),
    /// The gate let through what it must not.
    Violation(String),
}

pub(crate) struct Conversations {
    gate: Gate,
    shared: Vec<Shared>,
    known: HashMap<Vec<u8>, u16>,
    address: Address,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
}

impl Conversations {
    pub(crate) fn new(gate: Gate) -> Self {
        let (_, address) = OwnAddress::draw(
            MailboxId::new([1; 16]),
            &SecretKey::from_seed(&[2; 32]),
            &Secret::new([3; 32]),
            &ConversationId::new([4; 16]),
            1,
            Day(1),
            &mut ChaCha20Rng::from_seed([5; 32]),
        );
        Self {
            gate,
            shared: vec![],
            known: HashMap::new(),
            address,
            accepted: 0,
            refused: 0,
        }
    }

    pub(crate) fn get(&self, n: u16) -> &Shared {
        &self.shared[usize::from(n)]
    }

    pub(crate) fn intern(&mut self, shared: Shared) -> u16 {
        let mut key: Vec<u8> = shared.leaves.iter().copied().collect();
        key.push(u8::MAX);
        key.extend(shared.day.0.to_be_bytes());
        for news in shared.parties.to_wire() {
            key.extend(news.encode_length_delimited_to_vec());
        }
        let next = u16::try_from(self.shared.len()).unwrap();
        let number = *self.known.entry(key).or_insert(next);
        if number == next {
            self.shared.push(shared);
        }
        number
    }

    /// Judges a proposal, and looks at what the gate lets through with other eyes.
    pub(crate) fn propose(&mut self, at: u16, proposed: &Proposed) -> Outcome {
        let before = self.get(at).clone();
        let news = before.parties.news(&proposed.parties);
        match self.judged(&before, proposed, proposed.parties.heads(), &news) {
            Err(refusal) => {
                self.refused += 1;
                Outcome::Refused(refusal)
            }
            Ok(parties) => {
                self.accepted += 1;
                if let Some(violation) = violation(&before, proposed, &parties) {
                    return Outcome::Violation(violation);
                }
                let mut leaves = before.leaves;
                leaves.retain(|leaf| !proposed.remove.contains(leaf));
                leaves.extend(&proposed.add);
                Outcome::Entered(self.intern(Shared {
                    kind: before.kind,
                    parties,
                    leaves,
                    day: before.day.max(proposed.day),
                }))
            }
        }
    }

    /// Whether the gate would take a log with something at its end that nobody signed.
    pub(crate) fn takes_forged_end(&self, at: u16, by: u8, log: &FamilyLog) -> bool {
        let before = self.get(at);
        let news = wire::PartyNews {
            family: log.family().to_bytes(),
            from: log.len(),
            entries: vec![wire::LogEntry {
                statement: None,
                hash: vec![9; 32].into(),
            }],
        };
        let proposed = Proposed {
            by,
            add: vec![],
            remove: vec![],
            parties: before.parties.clone(),
            day: before.day,
        };
        let mut forged = log.clone();
        forged.append_entry(&news.entries[0]).unwrap();
        let mut heads = before.parties.heads();
        for party in &mut heads {
            if party.family == log.family() {
                party.head = *forged.head();
            }
        }
        self.judged(before, &proposed, heads, &[news]).is_ok()
    }

    fn judged(
        &self,
        before: &Shared,
        proposed: &Proposed,
        heads: Vec<kinline_protocol::conversation::Party>,
        news: &[wire::PartyNews],
    ) -> Result<Parties, Refusal> {
        let context = |parties, day| ConversationContext {
            kind: before.kind,
            title: "T".into(),
            parties,
            day,
            left: vec![],
        };
        let old = context(before.parties.heads(), before.day);
        let new = context(heads, before.day.max(proposed.day));
        let leaf = |n: &u8| NewLeaf {
            device: Some(device_id(*n)),
            signature_key: device_key(*n),
            address: Some(self.address.clone()),
        };
        let devices: Vec<DeviceId> = before.leaves.iter().map(|n| device_id(*n)).collect();
        let change = Change {
            committer: device_id(proposed.by),
            added: proposed.add.iter().map(leaf).collect(),
            removed: proposed.remove.iter().map(|n| device_id(*n)).collect(),
            updated: Some(leaf(&proposed.by)),
            foreign_proposals: false,
            before: &old,
            after: &new,
            news,
            devices: &devices,
            conversation: kinline_protocol::ids::ConversationId::new([1; 16]),
            numbers: &std::collections::BTreeMap::new(),
        };
        (self.gate)(&change, &before.parties)
    }
}

/// What must not have happened: written down a second time, without the rules of `rights`.
fn violation(before: &Shared, proposed: &Proposed, after: &Parties) -> Option<String> {
    let name = |n: u8| NAMES[usize::from(n)];
    let by = name(proposed.by);
    // Who walks, who committed and who joins has the same logs.
    if *after != proposed.parties {
        return Some(format!("{by}'s change led others to other logs"));
    }
    let joins = !proposed.add.is_empty();
    if joins && Parties::from_wire(&after.to_wire()).as_ref() != Ok(after) {
        return Some(format!("a joiner gets other logs after {by}'s change"));
    }
    let day = before.day.max(proposed.day);
    let stays = |n: &&u8| !proposed.remove.contains(n);
    let there: Vec<u8> = before.leaves.iter().filter(stays).copied().collect();
    let all: Vec<u8> = there.iter().chain(&proposed.add).copied().collect();
    let contact = before.kind == ConversationKind::Contact;
    for n in &proposed.add {
        let Some(certificate) = after.certificate(&device_id(*n)).filter(|_| *n != STRANGER) else {
            return Some(format!("{by} brought a stranger: {}", name(*n)));
        };
        if contact && certificate.role == Role::Guardian && !is_named(*n, &all, after, day) {
            return Some(format!("{by} brought {}, whom no pass names", name(*n)));
        }
        let apart = |other: &u8| {
            let child = after.certificate(&device_id(*other)).is_some_and(|other| {
                other.role == Role::Child && other.family != certificate.family
            });
            child && !have_pass(*n, *other, after, day)
        };
        if contact && certificate.role == Role::Child && all.iter().any(apart) {
            return Some(format!("{by} brought {} without a pass", name(*n)));
        }
    }
    if !proposed.add.is_empty() {
        let lingers = there.iter().find(|n| {
            let Some(certificate) = after.certificate(&device_id(**n)) else {
                return true;
            };
            contact && certificate.role == Role::Guardian && !is_named(**n, &all, after, day)
        });
        if let Some(n) = lingers {
            return Some(format!("{} stays with those who come", name(*n)));
        }
    }
    let Some(committer) = before.parties.certificate(&device_id(proposed.by)) else {
        return Some(format!("{by} changed something and is nobody's device"));
    };
    for n in &proposed.remove {
        let Some(removed) = after.certificate(&device_id(*n)) else {
            continue;
        };
        // Those who are somebody's device still.
        let others = before
            .leaves
            .iter()
            .filter(|other| after.certificate(&device_id(**other)).is_some());
        let mut others = others.copied().collect::<Vec<u8>>();
        let in_its_place = !contact
            || match removed.role {
                Role::Guardian => is_named(*n, &others, after, day),
                Role::Child => {
                    others
                        .retain(|other| !is_guardian(*other) && family_of(*other) != family_of(*n));
                    others.iter().all(|other| have_pass(*n, *other, after, day))
                }
            };
        let may = removed.member == committer.member
            || (committer.role == Role::Guardian && committer.family == removed.family);
        if in_its_place && !may {
            return Some(format!("{by} removed {}, who may not", name(*n)));
        }
    }
    None
}

/// Whether both families' logs have one and the same pass for these two children on this day.
fn have_pass(one: u8, other: u8, parties: &Parties, day: Day) -> bool {
    passes(parties, day).any(|pass| {
        let members: Vec<u8> = pass
            .children()
            .iter()
            .map(|(_, member)| member.as_bytes()[0] - 1)
            .collect();
        members.contains(&one) && members.contains(&other)
    })
}

fn is_named(guardian: u8, among: &[u8], parties: &Parties, day: Day) -> bool {
    passes(parties, day).any(|pass| {
        let children = pass.children().map(|(_, member)| member.as_bytes()[0] - 1);
        let named = pass.sides().iter().flat_map(|side| &side.guardians);
        children.iter().all(|child| among.contains(child))
            && named
                .map(|named| named.member.as_bytes()[0] - 1)
                .any(|named| named == guardian)
    })
}

/// Passes that both logs approve and neither revoked, of children who are in their families.
fn passes(
    parties: &Parties,
    day: Day,
) -> impl Iterator<Item = &kinline_protocol::identity::ContactPass> {
    let mut logs = parties.logs();
    let (one, other) = (logs.next(), logs.next());
    let both = one.zip(other).into_iter();
    both.flat_map(move |(one, other)| {
        one.passes().iter().filter_map(move |(id, entry)| {
            let same = other.passes().get(id)?;
            let here = entry.pass.children().iter().all(|(family, member)| {
                [one, other]
                    .iter()
                    .any(|log| log.family() == *family && log.members().contains_key(member))
            });
            let holds = here
                && entry.revoked.is_none()
                && same.revoked.is_none()
                && entry.bytes == same.bytes
                && entry.pass.covers(day);
            holds.then_some(&entry.pass)
        })
    })
}
