//! What another family sees of a log: guardians, the child it is about, the common passes, and
//! hashes in place of everything else.

use std::collections::BTreeSet;

use super::chain::{EntryIn, FamilyLog, hidden};
use super::error::LogError;
use super::state::State;
use crate::identity::decision::{Decision, Role};
use crate::identity::statement::Statement;
use crate::ids::{MemberId, PassId};
use crate::limits;
use crate::wire;

/// What an extract opens, beside the founding, the settings, and guardians with their devices,
/// removals and objections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// These children and their devices.
    pub children: BTreeSet<MemberId>,
    /// These passes, and with each the own child that it is for.
    pub passes: BTreeSet<PassId>,
}

impl Shown {
    /// The children of passes too: a pass without its child would contradict the log.
    fn complete(&self, state: &State) -> Self {
        let own_children = self.passes.iter().filter_map(|pass| {
            let side = state.passes.get(pass)?.pass.side_of(&state.family)?;
            Some(side.child)
        });
        Self {
            children: self.children.iter().copied().chain(own_children).collect(),
            passes: self.passes.clone(),
        }
    }

    fn member(&self, state: &State, member: &MemberId) -> bool {
        self.children.contains(member) || state.role_ever(member) == Some(Role::Guardian)
    }

    fn opens(&self, state: &State, decision: &Decision) -> bool {
        match decision {
            Decision::Found { .. }
            | Decision::Settings(_)
            | Decision::Object { .. }
            | Decision::Withdraw { .. }
            | Decision::SetRecovery { .. }
            | Decision::Return(_)
            | Decision::Ask(_)
            | Decision::Veto { .. } => true,
            Decision::AddMember(added) => self.member(state, &added.member),
            Decision::RemoveMember(member) => self.member(state, member),
            Decision::AddDevice(added) => self.member(state, &added.member),
            Decision::RemoveDevice(device) => state
                .devices
                .get(device)
                .is_some_and(|entry| self.member(state, &entry.device.member)),
            Decision::ApprovePass(pass) => self.passes.contains(&pass.id()),
            Decision::RevokePass(pass) => self.passes.contains(pass),
            Decision::SetPolicy { .. } => false,
        }
    }
}

impl FamilyLog {
    /// This log with everything hidden that `shown` does not open. It has the same heads.
    #[must_use]
    pub fn extract(&self, shown: &Shown) -> Vec<wire::LogEntry> {
        let shown = shown.complete(&self.state);
        self.entries()
            .into_iter()
            .map(|entry| {
                let Ok(place) = EntryIn::read(&entry) else {
                    return entry;
                };
                let open = match &place {
                    EntryIn::Hidden(_) => true,
                    EntryIn::Shown(signed) => Statement::decode(&signed.statement)
                        .is_ok_and(|statement| shown.opens(&self.state, &statement.decision)),
                };
                let leaf = place.leaf();
                if open { entry } else { hidden(&leaf) }
            })
            .collect()
    }

    /// This log and another copy of it, opened differently: the same past, as long as the
    /// longer one, with everything shown that either shows. When it ends with hidden entries,
    /// see [`Self::from_entries`] before it is kept.
    ///
    /// # Errors
    /// [`LogError::Fork`] when their pasts differ, else of the first entry that does not hold.
    pub fn merged(&self, entries: &[wire::LogEntry]) -> Result<Self, LogError> {
        if entries.len() > limits::FAMILY_LOG_STATEMENTS_MAX {
            return Err(LogError::Full);
        }
        let mut union = self.entries();
        let mut opened = false;
        for (known, entry) in union.iter_mut().zip(entries) {
            let (own, other) = (EntryIn::read(known)?, EntryIn::read(entry)?);
            if own.leaf() != other.leaf() {
                return Err(LogError::Fork);
            }
            if let (EntryIn::Hidden(_), EntryIn::Shown(_)) = (own, other) {
                *known = entry.clone();
                opened = true;
            }
        }
        let more = entries.get(union.len()..).unwrap_or_default();
        // What was checked before needs no second look, unless it is judged by more now.
        let mut log = if opened {
            Self::from_entries(&union)?
        } else {
            self.clone()
        };
        for entry in more {
            log.append_entry(entry)?;
        }
        Ok(log)
    }
}
