//! The families' logs as all members of one conversation see them.

use std::collections::BTreeMap;

use super::context::Party;
use crate::identity::{Certificate, FamilyLog, LogError};
use crate::ids::{DeviceId, FamilyId};
use crate::wire;

/// A log for each family in a conversation: the same for all its members in an epoch, so
/// that all judge alike. A device may know more elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parties(BTreeMap<FamilyId, FamilyLog>);

impl From<FamilyLog> for Parties {
    fn from(log: FamilyLog) -> Self {
        Self::from_iter([log])
    }
}

impl FromIterator<FamilyLog> for Parties {
    fn from_iter<T: IntoIterator<Item = FamilyLog>>(logs: T) -> Self {
        Self(logs.into_iter().map(|log| (log.family(), log)).collect())
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

    /// Nobody may bear the name of somebody in another family.
    fn disjoint(&self) -> Result<(), LogError> {
        let mut members = std::collections::BTreeSet::new();
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
                head: bytes::Bytes::new(),
            });
        }
        news
    }

    /// The logs after `news`.
    ///
    /// # Errors
    /// [`LogError`] of the first entry that does not hold.
    pub fn after(&self, news: &[wire::PartyNews]) -> Result<Self, LogError> {
        let mut after = self.clone();
        for news in news {
            let family = FamilyId::try_from(&news.family)?;
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
            after.0.insert(family, log);
        }
        after.disjoint()?;
        Ok(after)
    }
}

fn whole(log: &FamilyLog) -> wire::PartyNews {
    wire::PartyNews {
        family: log.family().to_bytes(),
        from: 0,
        entries: log.entries(),
        head: bytes::Bytes::new(),
    }
}
