//! The families' logs as all members of one conversation see them.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Party;
use crate::faults::{Fault, planted};
use crate::identity::{Certificate, FamilyLog, LogError};
use crate::ids::{DeviceId, FamilyId};
use crate::wire;

/// A log for each family in a conversation: the same for all its members in an epoch, so
/// that all judge alike. A device may know more elsewhere.
///
/// Each log ends with an entry that is shown: its signature speaks for all before it. What is
/// hidden at the end nobody has signed, so anyone could have made it up to cut a family off
/// from its own log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parties(BTreeMap<FamilyId, FamilyLog>);

impl From<FamilyLog> for Parties {
    fn from(log: FamilyLog) -> Self {
        Self::from_iter([log])
    }
}

impl FromIterator<FamilyLog> for Parties {
    fn from_iter<T: IntoIterator<Item = FamilyLog>>(logs: T) -> Self {
        let logs = logs.into_iter().map(vouched);
        Self(logs.map(|log| (log.family(), log)).collect())
    }
}

impl Parties {
    /// The log of a family.
    #[must_use]
    pub fn log(&self, family: &FamilyId) -> Option<&FamilyLog> {
        self.0.get(family)
    }

    /// All logs.
    pub fn logs(&self) -> impl Iterator<Item = &FamilyLog> {
        self.0.values()
    }

    /// How the context names them.
    #[must_use]
    pub fn heads(&self) -> Vec<Party> {
        self.logs()
            .map(|log| Party {
                family: log.family(),
                head: *log.head(),
            })
            .collect()
    }

    /// The certificate of a device; none when two families claim it.
    #[must_use]
    pub fn certificate(&self, device: &DeviceId) -> Option<Certificate> {
        let mut found = self.logs().filter_map(|log| log.certificate(device));
        let certificate = found.next()?;
        found.next().is_none().then_some(certificate)
    }

    /// All of it, as a joiner gets it.
    #[must_use]
    pub fn to_wire(&self) -> Vec<wire::PartyNews> {
        self.logs().map(whole).collect()
    }

    /// Reads and checks what a joiner got.
    ///
    /// # Errors
    /// [`LogError`] of the first log that does not hold.
    pub fn from_wire(news: &[wire::PartyNews]) -> Result<Self, LogError> {
        Self::default().after(news)
    }

    /// Whether nobody and no device belongs to two of the families.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.disjoint().is_ok()
    }

    /// Nobody may bear the name of somebody in another family, nor may a device: who claimed
    /// another's would take its certificate away.
    fn disjoint(&self) -> Result<(), LogError> {
        let mut devices = BTreeSet::new();
        for certificate in self.logs().flat_map(FamilyLog::certificates) {
            if !devices.insert(certificate.device) {
                return Err(LogError::Contradiction("a device belongs to two families"));
            }
        }
        let mut members = BTreeSet::new();
        let all = self.logs().flat_map(|log| log.members().keys());
        for member in all {
            if !members.insert(member) {
                return Err(LogError::Contradiction("somebody belongs to two families"));
            }
        }
        Ok(())
    }

    /// What leads from here to `newer`.
    #[must_use]
    pub fn news(&self, newer: &Self) -> Vec<wire::PartyNews> {
        let mut news = Vec::new();
        for log in newer.logs() {
            let known = self.log(&log.family());
            if known == Some(log) {
                continue;
            }
            let known = known.map(FamilyLog::entries).unwrap_or_default();
            let mut entries = log.entries();
            // With more of the past shown, all of it is said again.
            let grown = entries.starts_with(&known);
            let from = if grown { known.len() } else { 0 };
            news.push(wire::PartyNews {
                family: log.family().to_bytes(),
                from: from as u64,
                entries: entries.split_off(from),
            });
        }
        news
    }

    /// The logs after `news`.
    ///
    /// # Errors
    /// [`LogError`] of the first entry that does not hold; [`LogError::Signature`] for a log
    /// that ends with hidden entries; [`LogError::Contradiction`] for a family named twice.
    pub fn after(&self, news: &[wire::PartyNews]) -> Result<Self, LogError> {
        let mut after = self.clone();
        let mut named = BTreeSet::new();
        for news in news {
            let family = FamilyId::try_from(&news.family)?;
            if !named.insert(family) {
                return Err(LogError::Contradiction("a family is named twice"));
            }
            let log = match after.0.get(&family) {
                None => FamilyLog::from_entries(&news.entries)?,
                Some(known) if news.from == 0 => known.merged(&news.entries)?,
                Some(known) => {
                    let expected = known.len();
                    if news.from != expected {
                        return Err(LogError::Hole {
                            expected,
                            found: news.from,
                        });
                    }
                    let mut log = known.clone();
                    for entry in &news.entries {
                        log.append_entry(entry)?;
                    }
                    log
                }
            };
            if log.family() != family {
                return Err(LogError::Family);
            }
            if shown_len(&log) != log.len() && !planted(Fault::HiddenTail) {
                return Err(LogError::Signature);
            }
            after.0.insert(family, log);
        }
        after.disjoint()?;
        Ok(after)
    }
}

/// Entries up to the last one that is shown.
fn shown_len(log: &FamilyLog) -> u64 {
    let entries = log.entries();
    let hidden = entries.iter().rev();
    let hidden = hidden.take_while(|entry| entry.statement.is_none()).count();
    log.len().saturating_sub(hidden as u64)
}

/// A log without what is hidden at its end.
fn vouched(log: FamilyLog) -> FamilyLog {
    let shown = shown_len(&log);
    if shown == log.len() {
        return log;
    }
    let cut = log.head_at(shown).and_then(|head| log.up_to(head));
    cut.unwrap_or(log)
}

fn whole(log: &FamilyLog) -> wire::PartyNews {
    wire::PartyNews {
        family: log.family().to_bytes(),
        from: 0,
        entries: log.entries(),
    }
}
