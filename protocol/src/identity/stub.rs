//! stub
#![allow(missing_docs)]
use super::{FamilyLog, LogError};
use crate::day::Day;
use crate::ids::*;
use crate::wire;
use std::collections::BTreeMap;
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassGuardian {
    pub member: MemberId,
    pub may_write: bool,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassSide {
    pub family: FamilyId,
    pub child: MemberId,
    pub guardians: Vec<PassGuardian>,
    pub supervision: Supervision,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervision {
    Contacts,
    Pictures,
    Everything,
}
#[derive(Debug, Clone, Default)]
pub struct Shown {
    pub children: std::collections::BTreeSet<MemberId>,
    pub passes: std::collections::BTreeSet<ContentId>,
}
impl Shown {
    pub fn everything(_l: &FamilyLog) -> Self {
        Self::default()
    }
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactPass {
    pub sides: [PassSide; 2],
}
impl ContactPass {
    pub fn names_guardian(&self, _f: FamilyId, _m: MemberId) -> Option<bool> {
        None
    }
    pub fn side_of(&self, f: &FamilyId) -> Option<&PassSide> {
        self.sides.iter().find(|s| s.family == *f)
    }
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassEntry {
    pub bytes: bytes::Bytes,
    pub pass: ContactPass,
}
static EMPTY: BTreeMap<ContentId, PassEntry> = BTreeMap::new();
impl FamilyLog {
    pub fn entries(&self) -> &[wire::LogEntry] {
        &self.entries
    }
    pub fn from_entries(e: &[wire::LogEntry]) -> Result<Self, LogError> {
        let s: Vec<_> = e.iter().filter_map(|e| e.statement.clone()).collect();
        Self::from_statements(&s)
    }
    pub fn append_entry(&mut self, e: &wire::LogEntry) -> Result<(), LogError> {
        self.append(e.statement.as_ref().ok_or(LogError::Empty)?)
    }
    pub fn merged(&self, e: &[wire::LogEntry]) -> Result<Self, LogError> {
        let other = Self::from_entries(e)?;
        if other.contains_head(self.head()) {
            Ok(other)
        } else if self.contains_head(other.head()) {
            Ok(self.clone())
        } else {
            Err(LogError::Fork)
        }
    }
    pub fn passes(&self) -> &BTreeMap<ContentId, PassEntry> {
        &EMPTY
    }
    pub fn valid_pass(&self, _id: &ContentId, _d: Day) -> Option<&ContactPass> {
        None
    }
    pub fn extract(&self, _s: &Shown) -> Vec<wire::LogEntry> {
        self.entries.clone()
    }
    pub fn propose_with(
        &self,
        d: &super::Decision,
        salt: [u8; 16],
        _c: Vec<wire::Consent>,
        keys: &[&crate::primitives::sign::SecretKey],
        day: Day,
    ) -> wire::SignedStatement {
        let st = super::Statement {
            family: self.family(),
            index: self.entries.len() as u64,
            previous_head: Some(*self.head()),
            day,
            salt,
            decision: d.clone(),
        };
        super::sign_statement(&st, keys)
    }
    pub fn is_whole(&self) -> bool {
        true
    }
}

impl super::Decision {
    pub fn encode(&self) -> Vec<u8> {
        super::Statement {
            family: FamilyId::new([0; 16]),
            index: 0,
            previous_head: None,
            day: Day(0),
            salt: [0; 16],
            decision: self.clone(),
        }
        .encode()
    }
    pub fn decode(b: &[u8]) -> Result<Self, LogError> {
        Ok(super::Statement::decode(b)?.decision)
    }
}
