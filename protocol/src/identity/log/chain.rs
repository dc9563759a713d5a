//! The chain: every statement in it was verified when it was appended.

use std::collections::{BTreeMap, BTreeSet};

use super::error::LogError;
use super::state::{Place, State};
use crate::day::Day;
use crate::identity::decision::{AddedDevice, AddedMember, Decision, Settings};
use crate::identity::statement::{self, Statement, sign_consent, sign_statement};
use crate::ids::MemberId;
use crate::limits;
use crate::primitives::sign::SecretKey;
use crate::wire;

/// A checked log: every statement in it was verified when it was appended.
///
/// Of another family a device may have a log with entries hidden behind their hashes
/// ([`Self::extract`]); such a log is judged by what is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyLog {
    /// Those shown, in order.
    pub(super) statements: Vec<wire::SignedStatement>,
    /// Leaf hashes of the others, by index.
    pub(super) hidden: BTreeMap<u64, [u8; 32]>,
    /// The head after each entry; never empty.
    pub(super) heads: Vec<[u8; 32]>,
    pub(super) head: [u8; 32],
    salts: BTreeSet<[u8; 16]>,
    /// Who signed, by index; of those shown. A statement may carry more than what counted.
    pub(super) signers: BTreeMap<u64, BTreeSet<MemberId>>,
    pub(super) state: State,
}

impl FamilyLog {
    /// Founds a family: draws a root key, signs the first statement with it, and erases it.
    ///
    /// # Errors
    /// [`LogError::Field`] for a name or setting out of bounds.
    pub fn found(
        family_name: &str,
        guardian: AddedMember,
        device: AddedDevice,
        settings: Settings,
        day: Day,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, LogError> {
        let root = SecretKey::random(rng);
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let statement = Statement {
            family: statement::family_id(&root.public()),
            index: 0,
            previous_head: None,
            day,
            salt,
            decision: Decision::Found {
                root_key: root.public(),
                family_name: family_name.to_owned(),
                guardian,
                device,
                settings,
            },
        };
        Self::from_statements(&[sign_statement(&statement, &[&root])])
    }

    /// Reads and checks a whole log.
    ///
    /// # Errors
    /// [`LogError`] of the first statement that does not hold.
    pub fn from_statements(statements: &[wire::SignedStatement]) -> Result<Self, LogError> {
        let (first, rest) = statements.split_first().ok_or(LogError::Empty)?;
        let mut log = Self::begin(first)?;
        for statement in rest {
            log.append(statement)?;
        }
        Ok(log)
    }

    /// Reads and checks a log in which all but the first entry may be hidden.
    ///
    /// Hidden entries carry no signature: what ends with some is the family's only when a
    /// guardian's head says so ([`crate::identity::SignedHead::vouch`]).
    ///
    /// # Errors
    /// [`LogError`] of the first entry that does not hold.
    pub fn from_entries(entries: &[wire::LogEntry]) -> Result<Self, LogError> {
        let (first, rest) = entries.split_first().ok_or(LogError::Empty)?;
        let EntryIn::Shown(first) = EntryIn::read(first)? else {
            return Err(LogError::Entry);
        };
        let mut log = Self::begin(first)?;
        for entry in rest {
            log.append_entry(entry)?;
        }
        Ok(log)
    }

    fn begin(first: &wire::SignedStatement) -> Result<Self, LogError> {
        let statement = Statement::decode(&first.statement)?;
        let hole = LogError::Hole {
            expected: 0,
            found: statement.index,
        };
        if statement.index != 0 || statement.previous_head.is_some() {
            return Err(hole);
        }
        let Decision::Found {
            root_key,
            family_name,
            guardian,
            device,
            settings,
        } = statement.decision
        else {
            return Err(hole);
        };
        if statement.family != statement::family_id(&root_key) {
            return Err(LogError::Family);
        }
        if first.signatures.len() > limits::STATEMENT_SIGNATURES_MAX {
            return Err(LogError::Field("number of signatures"));
        }
        if !statement::signed_by(first, &root_key) {
            return Err(LogError::Signature);
        }
        let state = State::founded(
            statement.family,
            family_name,
            guardian,
            device,
            settings,
            statement.day,
        )?;
        let head = statement::next_head(None, &statement::leaf_hash(&first.statement));
        Ok(Self {
            statements: vec![first.clone()],
            hidden: BTreeMap::new(),
            heads: vec![head],
            head,
            salts: BTreeSet::from([statement.salt]),
            signers: BTreeMap::new(),
            state,
        })
    }

    /// Checks one more statement and appends it; on an error the log is as it was.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn append(&mut self, signed: &wire::SignedStatement) -> Result<(), LogError> {
        if self.heads.len() >= limits::FAMILY_LOG_STATEMENTS_MAX {
            return Err(LogError::Full);
        }
        let (statement, decision) = Statement::decode_with_decision(&signed.statement)?;
        if statement.family != self.state.family {
            return Err(LogError::Family);
        }
        let expected = self.len();
        if statement.index != expected {
            return Err(LogError::Hole {
                expected,
                found: statement.index,
            });
        }
        if statement.previous_head != Some(self.head) {
            return Err(LogError::Fork);
        }
        if statement.day < self.state.day {
            return Err(LogError::Day {
                newest: self.state.day,
                found: statement.day,
            });
        }
        if self.salts.contains(&statement.salt) {
            return Err(LogError::Salt);
        }
        let takes_away = statement.decision.takes_away();
        let open = limits::FAMILY_LOG_STATEMENTS_MAX - limits::FAMILY_LOG_RESERVED;
        if self.heads.len() >= open && !takes_away {
            return Err(LogError::Full);
        }
        if self.state.has(&statement.decision) {
            return Err(LogError::Unchanged);
        }
        let signers = self.state.judge(signed, &statement, &decision)?;
        let place = Place {
            index: statement.index,
            day: statement.day,
            signers: &signers,
            counts: !takes_away,
        };
        self.state.apply(statement.decision, &place)?;
        self.salts.insert(statement.salt);
        self.signers.insert(statement.index, signers);
        self.statements.push(signed.clone());
        self.advance(&statement::leaf_hash(&signed.statement));
        Ok(())
    }

    /// Checks one more entry, shown or hidden, and appends it; on an error the log is as it was.
    /// Of hidden ones see [`Self::from_entries`].
    ///
    /// # Errors
    /// [`LogError`].
    pub fn append_entry(&mut self, entry: &wire::LogEntry) -> Result<(), LogError> {
        match EntryIn::read(entry)? {
            EntryIn::Shown(statement) => self.append(statement),
            EntryIn::Hidden(hash) => {
                if self.heads.len() >= limits::FAMILY_LOG_STATEMENTS_MAX {
                    return Err(LogError::Full);
                }
                self.hidden.insert(self.len(), hash);
                self.advance(&hash);
                Ok(())
            }
        }
    }

    fn advance(&mut self, leaf: &[u8; 32]) {
        self.head = statement::next_head(Some(&self.head), leaf);
        self.heads.push(self.head);
    }

    /// The statements that append `decisions` to this log, signed by one guardian. A log whose
    /// newest day is later gives them its day.
    #[must_use]
    pub fn propose(
        &self,
        decisions: Vec<Decision>,
        key: &SecretKey,
        day: Day,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Vec<wire::SignedStatement> {
        let mut head = self.head;
        let mut index = self.len();
        let mut statements = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let mut salt = [0; 16];
            rng.fill_bytes(&mut salt);
            let statement = Statement {
                family: self.state.family,
                index,
                previous_head: Some(head),
                day: day.max(self.state.day),
                salt,
                decision,
            };
            let signed = sign_statement(&statement, &[key]);
            head = statement::next_head(Some(&head), &statement::leaf_hash(&signed.statement));
            index = index.saturating_add(1);
            statements.push(signed);
        }
        statements
    }

    /// The statement that appends `decision` to this log, signed by `keys`, with the consents
    /// of others; `salt` is the one that they consented to.
    #[must_use]
    pub fn propose_with(
        &self,
        decision: Decision,
        salt: [u8; 16],
        consents: Vec<wire::Consent>,
        keys: &[&SecretKey],
        day: Day,
    ) -> wire::SignedStatement {
        let statement = Statement {
            family: self.state.family,
            index: self.len(),
            previous_head: Some(self.head),
            day: day.max(self.state.day),
            salt,
            decision,
        };
        wire::SignedStatement {
            consents,
            ..sign_statement(&statement, keys)
        }
    }

    /// A guardian's yes to a decision that another will put into this log under `salt`, in a
    /// statement of `last_day` at the latest.
    #[must_use]
    pub fn consent(
        &self,
        decision: &Decision,
        salt: &[u8; 16],
        last_day: Day,
        key: &SecretKey,
    ) -> wire::Consent {
        sign_consent(&self.state.family, decision, salt, last_day, key)
    }

    /// Whether this log's past begins with exactly `head`: used while pairing.
    #[must_use]
    pub fn contains_head(&self, wanted: &[u8; 32]) -> bool {
        self.heads.contains(wanted)
    }

    /// Whether a statement that is shown was made under this salt: the decision that was drawn
    /// with it has come about.
    #[must_use]
    pub fn contains_salt(&self, salt: &[u8; 16]) -> bool {
        self.salts.contains(salt)
    }

    /// The head after so many entries; `None` for none, or more than there are.
    #[must_use]
    pub fn head_at(&self, statements: u64) -> Option<&[u8; 32]> {
        let at = usize::try_from(statements).ok()?.checked_sub(1)?;
        self.heads.get(at)
    }

    /// This log as it was when `wanted` was its head; `None` when it never was.
    #[must_use]
    pub fn up_to(&self, wanted: &[u8; 32]) -> Option<Self> {
        if *wanted == self.head {
            return Some(self.clone());
        }
        let at = self.heads.iter().position(|head| head == wanted)?;
        // They were checked before, so this finds them good again.
        Self::from_entries(self.entries().get(..=at)?).ok()
    }

    /// All entries, as they came: shown or hidden.
    #[must_use]
    pub fn entries(&self) -> Vec<wire::LogEntry> {
        let mut shown = self.statements.iter();
        (0..self.len())
            .map(|index| match self.hidden.get(&index) {
                Some(hash) => hidden(hash),
                None => wire::LogEntry {
                    statement: shown.next().cloned(),
                    hash: bytes::Bytes::new(),
                },
            })
            .collect()
    }
}

/// An entry with exactly one of its two fields.
pub(super) enum EntryIn<'a> {
    Shown(&'a wire::SignedStatement),
    Hidden([u8; 32]),
}

impl<'a> EntryIn<'a> {
    pub(super) fn read(entry: &'a wire::LogEntry) -> Result<Self, LogError> {
        match (&entry.statement, entry.hash.as_ref()) {
            (Some(statement), []) => Ok(Self::Shown(statement)),
            (None, hash) => hash
                .try_into()
                .map(Self::Hidden)
                .map_err(|_| LogError::Entry),
            (Some(_), _) => Err(LogError::Entry),
        }
    }

    /// What it is in the chain.
    pub(super) fn leaf(&self) -> [u8; 32] {
        match self {
            Self::Shown(signed) => statement::leaf_hash(&signed.statement),
            Self::Hidden(hash) => *hash,
        }
    }
}

/// An entry behind its hash.
pub(super) fn hidden(hash: &[u8; 32]) -> wire::LogEntry {
    wire::LogEntry {
        statement: None,
        hash: hash.to_vec().into(),
    }
}
