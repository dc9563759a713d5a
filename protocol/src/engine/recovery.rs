//! What a guardian's phone puts by, so that its guardian can come back without it: keys in the
//! family log, and a vault at the relay ([`super::vault`]; PROTOCOL §15); and whether that would work
//! today.
//!
//! The shell logs in and writes; this engine knows neither login name nor password, only what
//! seals a vault and what signs for it.

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::state::Cx;
use super::vault::VaultAsked;
use crate::account::{AccountKeys, OpenedVault};
use crate::day::{Day, Timestamp};
use crate::identity::{Decision, RecoveryKeys, Role};
use crate::ids::{ConversationId, MemberId};
use crate::primitives::sign::SecretKey;
use crate::wire;

/// Whether this device's guardian could come back today if every phone were lost, and if not,
/// why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// By password and recovery code, at once.
    pub by_code: bool,
    /// By password and another guardian's yes, at once.
    pub by_guardian: bool,
    /// By the password alone, after a day in which nobody vetoes.
    pub by_waiting: bool,
    /// What is missing; empty when everything is there.
    pub gaps: Vec<RecoveryGap>,
    /// The day on which the vault was last written.
    pub written: Option<Day>,
}

/// Why a way back is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryGap {
    /// No account.
    #[error("there is no account: make one, or nothing brings you back when every phone is lost")]
    NoAccount,
    /// The keys are not in the log.
    #[error(
        "the family has not taken your recovery keys yet: another guardian's yes is missing, or this phone was not online since"
    )]
    KeysWait,
    /// No vault.
    #[error("nothing has been put by at the relay yet")]
    NotWritten,
    /// What this phone keeps is known to one that was put out.
    #[error(
        "a phone of yours that was put out knew what leads back, or somebody asked in your name: log in again with your recovery code, or change the password"
    )]
    Void,
    /// The relay denied the last writing.
    #[error(
        "the relay takes nothing more for this account from this phone: the password was changed elsewhere, or the account was deleted; log in again"
    )]
    Denied,
    /// The vault is behind.
    #[error(
        "what was put by at the relay is older than the family is now: this phone writes it again as soon as it is online"
    )]
    Outdated,
    /// No code.
    #[error("there is no recovery code: print one")]
    NoCode,
    /// One guardian, no code.
    #[error(
        "you are the only guardian: without a recovery code the password alone never brings you back"
    )]
    OnlyGuardian,
    /// Nobody would let a new phone in.
    #[error(
        "no other device of the family is left that could let you in again: pair a tablet, or invite a second guardian"
    )]
    NobodyElse,
}

impl Engine {
    // ---- commands

    pub(super) fn keep_account(
        &mut self,
        keys: &AccountKeys,
        vault: Option<&OpenedVault>,
        (fresh, renewed): (bool, bool),
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let own = self.own_guardian().ok_or(CommandError::NotGuardian)?;
        let before = self.record.account.take().unwrap_or_default();
        let same = before.account.as_ref() == keys.account.as_bytes();
        let mut account = account_record(keys);
        let sealed_alike = same && before.request_key == account.request_key;
        // What a vault holds that was sealed before is void, and so are keys that what was put out
        // knows, too.
        let is_void = self
            .log
            .as_ref()
            .is_some_and(|log| log.is_recovery_void(&own));
        account.void = is_void && !renewed;
        if account.recovery_key.is_empty() && sealed_alike {
            account.recovery_key = before.recovery_key.clone();
        }
        if same && !fresh {
            account.request_seed = before.request_seed.clone();
            account.recovery_seed = before.recovery_seed.clone();
        }
        if same {
            account.vault_version = before.vault_version;
        }
        if let Some(vault) = vault {
            account.vault_version = account.vault_version.max(vault.version);
            if account.request_seed.is_empty()
                && !fresh
                && !is_void
                && vault.request.member.as_ref() == own.as_bytes()
            {
                // Another phone of this guardian has put it by: both know the same keys from now on.
                match &vault.recovery {
                    Some(recovery) => account.recovery_seed = recovery.recovery_seed.clone(),
                    None if vault.request.code => {
                        self.record.account = (!before.account.is_empty()).then_some(before);
                        return Err(CommandError::RecoveryCode);
                    }
                    None => {}
                }
                account.request_seed = vault.request.request_seed.clone();
            }
        }
        self.record.account = Some(account);
        self.draw_recovery_seeds(cx);
        self.vault_asked = None;
        self.save_device(cx);
        Ok(())
    }

    fn draw_recovery_seeds(&mut self, cx: &mut Cx<'_>) {
        if let Some(account) = &mut self.record.account {
            for seed in [&mut account.request_seed, &mut account.recovery_seed] {
                if seed.is_empty() {
                    *seed = SecretKey::random(&mut cx.rng).seed().to_vec().into();
                }
            }
        }
    }

    pub(super) fn forget_account(&mut self, cx: &mut Cx<'_>) {
        self.record.account = None;
        self.vault_asked = None;
        self.save_device(cx);
    }

    // ---- by itself

    /// Puts the keys into the log and asks for the vault to be written, whenever it is time.
    pub(super) fn tend_recovery(&mut self, cx: &mut Cx<'_>) {
        let over = |asked: VaultAsked| asked.again_at() <= cx.now;
        if self.vault_asked.is_some_and(over) {
            self.vault_asked = None;
        }
        if !self.keeps_sound_account() || !self.can_decide() {
            return;
        }
        let Some(own) = self.own_guardian() else {
            return;
        };
        let missing = self
            .record
            .account
            .as_ref()
            .is_some_and(|account| account.request_seed.is_empty());
        if missing {
            self.draw_recovery_seeds(cx);
            self.save_device(cx);
        }
        let (Some(keys), Some(log)) = (self.recovery_keys(), &self.log) else {
            return;
        };
        match log.recovery(&own) {
            Some(known) if *known == keys => {}
            Some(_) if self.is_in_log() => {
                // Another phone of this guardian has made an account of its own.
                self.forget_account(cx);
                cx.event(Event::AccountOutdated);
                return;
            }
            None if self.is_in_log() => {
                // One of this guardian's phones was put out, or they vetoed in their own name. New
                // seeds would not help: whoever has that phone has what seals the vault, too.
                if let Some(account) = &mut self.record.account {
                    account.request_seed.clear();
                    account.recovery_seed.clear();
                    account.in_log = false;
                    account.void = true;
                }
                self.vault_asked = None;
                self.save_device(cx);
                cx.event(Event::AccountOutdated);
                return;
            }
            _ => return self.set_recovery(own, keys, cx),
        }
        if let Some(account) = &mut self.record.account
            && !account.in_log
        {
            account.in_log = true;
            self.save_device(cx);
        }
        self.write_vault(cx);
    }

    fn keeps_sound_account(&self) -> bool {
        let account = self.record.account.as_ref();
        account.is_some_and(|account| !account.void)
    }

    fn is_in_log(&self) -> bool {
        self.record
            .account
            .as_ref()
            .is_some_and(|account| account.in_log)
    }

    fn recovery_keys(&self) -> Option<RecoveryKeys> {
        let account = self.record.account.as_ref()?;
        Some(RecoveryKeys {
            request: Self::secret_key(&account.request_seed).public(),
            recovery: Self::secret_key(&account.recovery_seed).public(),
        })
    }

    fn set_recovery(&mut self, member: MemberId, keys: RecoveryKeys, cx: &mut Cx<'_>) {
        let decision = Decision::SetRecovery { member, keys };
        let bytes = bytes::Bytes::from(decision.encode());
        let queued = self.operations.values().any(|operation| {
            let mut decisions = operation.decisions.iter();
            decisions.any(|record| record.decision == bytes)
        });
        let proposed = self.proposals.values().any(|record| {
            let proposal = record.proposal.as_ref();
            proposal.is_some_and(|proposal| proposal.decision == bytes)
        });
        if !queued && !proposed {
            // While something is frozen it is asked again when that is over.
            let _ = self.decide(&[decision], vec![], cx);
        }
    }

    // ---- what a screen shows

    /// Whether this device's guardian could come back today without any of its phones.
    #[must_use]
    pub fn recovery_status(&self, now: Timestamp) -> RecoveryStatus {
        let mut gaps = Vec::new();
        let log = self.log.as_ref();
        let own = self.own_guardian();
        let guardians = log.map_or(0, |log| log.guardians().count());
        let devices = self.other_devices(own);
        let account = self.record.account.as_ref();
        let known = own.and_then(|own| log?.recovery(&own));
        let in_log = known.is_some() && known.copied() == self.recovery_keys();
        let written = account.is_some_and(|account| account.written_version > 0);
        let code = account.is_some_and(|account| !account.recovery_key.is_empty());
        let void = account.is_some_and(|account| account.void);
        let denied = account.is_some_and(|account| account.denied_at_ms > 0);
        if account.is_none() {
            gaps.push(RecoveryGap::NoAccount);
        } else if void {
            gaps.push(RecoveryGap::Void);
        } else {
            if denied {
                gaps.push(RecoveryGap::Denied);
            }
            if !in_log {
                gaps.push(RecoveryGap::KeysWait);
            }
            if !written {
                gaps.push(RecoveryGap::NotWritten);
            } else if !denied && !self.is_vault_current(self.today(now)) {
                gaps.push(RecoveryGap::Outdated);
            }
            if !code && guardians > 1 {
                gaps.push(RecoveryGap::NoCode);
            }
            if !code && guardians == 1 {
                gaps.push(RecoveryGap::OnlyGuardian);
            }
        }
        if devices == 0 {
            gaps.push(RecoveryGap::NobodyElse);
        }
        let ready = in_log && written && !void && !denied && devices > 0;
        let others = ready && guardians > 1;
        RecoveryStatus {
            by_code: ready && code,
            by_guardian: others,
            by_waiting: others,
            gaps,
            written: account
                .filter(|_| written)
                .map(|account| Day(account.written_day)),
        }
    }

    /// Whether the keys of an account that this device's guardian logs in to have to be other ones
    /// than before ([`crate::account::Wish::LogIn`], `anew`): a device that knew those was put out.
    #[must_use]
    pub fn needs_new_account_keys(&self) -> bool {
        let (own, log) = (self.own_guardian(), self.log.as_ref());
        own.is_some_and(|own| log.is_some_and(|log| log.is_recovery_void(&own)))
    }

    /// Devices in the family's conversation that are not this guardian's.
    fn other_devices(&self, own: Option<MemberId>) -> usize {
        let room = self
            .family_conversation()
            .and_then(|id| self.rooms.get(&id));
        let (Some(room), Some(log)) = (room, &self.log) else {
            return 0;
        };
        let devices = room.conversation.devices().into_iter();
        let others = devices.filter_map(|device| log.certificate(&device));
        others.filter(|holder| Some(holder.member) != own).count()
    }

    /// The guardian whose phone this is.
    pub(super) fn own_guardian(&self) -> Option<MemberId> {
        let certificate = self.log.as_ref()?.certificate(&self.device())?;
        (certificate.role == Role::Guardian).then_some(certificate.member)
    }

    /// Attached, caught up, and nothing keeps the family's conversation from being changed.
    pub(super) fn can_decide(&self) -> bool {
        let family = self.family_conversation();
        let room = family.and_then(|id: ConversationId| self.rooms.get(&id));
        self.session.is_attached()
            && self.session.is_caught_up()
            && room.is_some_and(|room| room.can_talk() && room.stuck().is_none())
    }
}

/// What a phone keeps of its account.
pub(super) fn account_record(keys: &AccountKeys) -> wire::AccountRecord {
    let recovery = keys.vault.recovery.as_ref();
    wire::AccountRecord {
        account: keys.account.to_bytes(),
        write_seed: keys.write_seed.expose().to_vec().into(),
        request_key: keys.vault.request.expose().to_vec().into(),
        recovery_key: recovery
            .map(|key| key.expose().to_vec().into())
            .unwrap_or_default(),
        ..wire::AccountRecord::default()
    }
}
