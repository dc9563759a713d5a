//! What a device keeps of its relay's operator: how far the log was read, what it said and who
//! has not read that yet. Only [`super::operator`] changes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::errors::LoadError;
use crate::day::Day;
use crate::operator::{Issuer, OperatorLog, Position};
use crate::primitives::sign::PublicKey;
use crate::wire;

/// What a device knows of the operator.
#[derive(Default)]
pub(super) struct Operating {
    pub(super) log: Option<OperatorLog>,
    /// The newest checkpoint that the log reaches.
    pub(super) checkpoint: Bytes,
    /// The last positions of the log, oldest first.
    pub(super) heads: VecDeque<Position>,
    pub(super) notices: BTreeMap<u64, wire::OperatorNoticeRecord>,
    /// A lockdown wants keys, grants and addresses made anew.
    pub(super) renew_due: bool,
    /// How far the family was told, and when.
    pub(super) told_size: u64,
    pub(super) told_day: u32,
    // Volatile from here on.
    /// What other devices were shown, and this one not yet.
    pub(super) wanted: Vec<Position>,
    pub(super) said: BTreeSet<(bool, u64, [u8; 32])>,
    /// Something forged was said on this connection.
    pub(super) forged: bool,
}

impl Operating {
    pub(super) const fn renews(&self) -> bool {
        self.renew_due
    }

    pub(super) fn position(&self) -> Position {
        let empty = Position {
            size: 0,
            head: [0; 32],
        };
        self.log.as_ref().map_or(empty, OperatorLog::position)
    }

    /// The head at a size, if it is still known.
    pub(super) fn head_at(&self, size: u64) -> Option<[u8; 32]> {
        let mut heads = self.heads.iter();
        heads.find(|at| at.size == size).map(|at| at.head)
    }

    pub(super) fn record(&self) -> wire::OperatorRecord {
        let position = self.position();
        let log = self.log.as_ref();
        let certificate = log.and_then(OperatorLog::certificate);
        let issuers = log.map_or(&[][..], OperatorLog::issuers);
        wire::OperatorRecord {
            size: position.size,
            head: position.head.to_vec().into(),
            day: log.map_or(0, |log| log.day().0),
            certificate: certificate
                .map(|certificate| certificate.as_bytes().to_vec().into())
                .unwrap_or_default(),
            locked_down: log
                .and_then(OperatorLog::lockdown)
                .map_or(0, |index| index.saturating_add(1)),
            issuers: issuers
                .iter()
                .map(|issuer| wire::OperatorIssuer {
                    epoch: issuer.epoch,
                    key: issuer.key.to_vec().into(),
                })
                .collect(),
            terms: log
                .and_then(OperatorLog::terms)
                .map(|hash| hash.to_vec().into())
                .unwrap_or_default(),
            checkpoint: self.checkpoint.clone(),
            heads: self
                .heads
                .iter()
                .map(|at| at.head.to_vec().into())
                .collect(),
            renew_due: self.renew_due,
            told_size: self.told_size,
            told_day: self.told_day,
        }
    }

    /// Takes up what [`Self::record`] kept.
    pub(super) fn load(
        &mut self,
        record: &wire::OperatorRecord,
        key: &[u8],
    ) -> Result<(), LoadError> {
        let damaged = || LoadError::Damaged("what it knows of the operator");
        let hash = |bytes: &Bytes| <[u8; 32]>::try_from(bytes.as_ref()).map_err(|_| damaged());
        let key = PublicKey::from_slice(key).ok_or_else(damaged)?;
        let issuer = |issuer: &wire::OperatorIssuer| {
            let key = hash(&issuer.key)?;
            let epoch = issuer.epoch;
            Ok(Issuer { epoch, key })
        };
        let issuers: Result<Vec<Issuer>, LoadError> = record.issuers.iter().map(issuer).collect();
        let terms = match record.terms.is_empty() {
            true => None,
            false => Some(hash(&record.terms)?),
        };
        let position = Position {
            size: record.size,
            head: hash(&record.head)?,
        };
        let log = OperatorLog::restore(
            key,
            position,
            Day(record.day),
            &record.certificate,
            record.locked_down.checked_sub(1),
            issuers?,
            terms,
        );
        self.log = Some(log.map_err(|_| damaged())?);
        let first = record
            .size
            .saturating_add(1)
            .saturating_sub(record.heads.len() as u64);
        for (size, head) in (first..).zip(&record.heads) {
            let head = hash(head)?;
            self.heads.push_back(Position { size, head });
        }
        self.checkpoint = record.checkpoint.clone();
        self.renew_due = record.renew_due;
        (self.told_size, self.told_day) = (record.told_size, record.told_day);
        Ok(())
    }

    pub(super) fn load_notice(&mut self, index: u64, notice: wire::OperatorNoticeRecord) {
        self.notices.insert(index, notice);
    }
}
