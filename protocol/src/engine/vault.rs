//! The vault of a guardian's account (PROTOCOL §15): what it should hold now, when the shell is asked
//! to write it, and which version each guardian's has, as the family knows it.

use super::command::VaultOutcome;
use super::device::Engine;
use super::io::Event;
use super::records;
use super::state::{Cx, Room};
use crate::account::{
    RecoveryPart, RequestPart, VAULT_LINK_ADDRESSES_MAX, VAULT_LINKS_MAX, VaultKeys, seal_vault,
    vault_digest,
};
use crate::content::Control;
use crate::conversation::{ConversationKind, Leaf};
use crate::day::{Day, Timestamp};
use crate::identity::FamilyLog;
use crate::ids::{AccountId, DeviceId, MemberId};
use crate::secrets::Secret;
use crate::wire;

/// A vault that nothing has changed is written again after so many days, with newer grants.
const REFRESH_DAYS: u32 = 28;
/// A writing that was not answered, or not possible, is tried again after this.
const AGAIN_MS: u64 = 60_000;
/// What was denied is tried again after a day.
const DENIED_MS: u64 = 24 * 3_600_000;
/// Versions that are passed over when the relay has a newer one than this phone knows.
const VERSIONS_PASSED: u64 = 64;

/// A vault to be written at the relay, on a connection that is not attached.
#[derive(Clone, PartialEq)]
pub struct VaultWrite {
    /// Whose.
    pub account: AccountId,
    /// Sealed.
    pub vault: wire::Vault,
    /// Seed of the key that signs the writing ([`crate::account::sign_put_vault`]).
    pub write_seed: Secret<32>,
}

impl Eq for VaultWrite {}

impl core::fmt::Debug for VaultWrite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("VaultWrite")
            .field("version", &self.vault.version)
            .finish_non_exhaustive()
    }
}

/// A writing that the shell was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct VaultAsked {
    at: Timestamp,
    version: u64,
    digest: [u8; 32],
}

impl VaultAsked {
    pub(super) const fn again_at(self) -> Timestamp {
        self.at.plus_ms(AGAIN_MS)
    }
}

impl Engine {
    /// Asks for the vault to be written when what it should hold has changed, or is old.
    pub(super) fn write_vault(&mut self, cx: &mut Cx<'_>) {
        let today = self.today(cx.now);
        let Some((account, keys, request, recovery)) = self.vault_contents(today) else {
            return;
        };
        let digest = vault_digest(&keys, &request, &recovery);
        let denied = self.denied_until();
        let Some(record) = &mut self.record.account else {
            return;
        };
        let current = record.written_digest.as_ref() == digest;
        let fresh = today.0 < record.written_day.saturating_add(REFRESH_DAYS);
        if current && fresh {
            return;
        }
        if self.vault_asked.is_some() || denied.is_some_and(|until| until > cx.now) {
            return;
        }
        let version = record.vault_version.saturating_add(1);
        let sealed = seal_vault(&account, version, &keys, &request, &recovery, &mut cx.rng);
        let (Ok(vault), Some(write_seed)) = (sealed, Secret::from_slice(&record.write_seed)) else {
            return;
        };
        record.vault_version = version;
        self.vault_asked = Some(VaultAsked {
            at: cx.now,
            version,
            digest,
        });
        self.save_device(cx);
        cx.event(Event::VaultDue(Box::new(VaultWrite {
            account,
            vault,
            write_seed,
        })));
    }

    /// When a writing that the relay denied is tried again.
    fn denied_until(&self) -> Option<Timestamp> {
        let account = self.record.account.as_ref().filter(|it| !it.void)?;
        (account.denied_at_ms > 0).then(|| Timestamp(account.denied_at_ms).plus_ms(DENIED_MS))
    }

    /// What would be put by now.
    fn vault_contents(
        &self,
        today: Day,
    ) -> Option<(AccountId, VaultKeys, RequestPart, RecoveryPart)> {
        let account = self.record.account.as_ref()?;
        let log = self.log.as_ref()?;
        let member = self.member()?;
        let room = self.rooms.get(&self.family_conversation()?)?;
        let keys = VaultKeys {
            request: Secret::from_slice(&account.request_key)?,
            recovery: Secret::from_slice(&account.recovery_key),
        };
        let leaves = room.conversation.leaves();
        let request = RequestPart {
            version: 1,
            family: log.family().to_bytes(),
            member: member.to_bytes(),
            head: log.head().to_vec().into(),
            request_seed: account.request_seed.clone(),
            addresses: leaves
                .iter()
                .map(|leaf| {
                    let own = log.certificate(&leaf.device);
                    let own = own.is_some_and(|certificate| certificate.member == member);
                    wire::VaultAddress { own, ..known(leaf) }
                })
                .collect(),
            day: today.0,
            code: keys.recovery.is_some(),
            alone: log.guardians().count() == 1,
            links: self.vault_links(),
        };
        let recovery = RecoveryPart {
            version: 1,
            family: log.family().to_bytes(),
            member: member.to_bytes(),
            recovery_seed: account.recovery_seed.clone(),
            request_digest: bytes::Bytes::new(), // when it is sealed
        };
        let id = AccountId::try_from(&account.account).ok()?;
        Some((id, keys, request, recovery))
    }

    /// Where the guardians of other families are reached who are linked with us.
    fn vault_links(&self) -> Vec<wire::VaultLink> {
        let own = self.log.as_ref().map(FamilyLog::family);
        let links = self
            .rooms
            .values()
            .filter(|room| room.kind == ConversationKind::Link && room.conversation.is_active());
        let link = |room: &Room| {
            let others = room.conversation.leaves().into_iter().filter_map(|leaf| {
                let holder = self.certificate_in(room.id(), leaf.device)?;
                (Some(holder.family) != own).then_some((holder.family, leaf))
            });
            let others: Vec<_> = others.take(VAULT_LINK_ADDRESSES_MAX).collect();
            let (family, _) = others.first()?;
            Some(wire::VaultLink {
                conversation: room.id().to_bytes(),
                family: family.to_bytes(),
                addresses: others.iter().map(|(_, leaf)| known(leaf)).collect(),
            })
        };
        links.filter_map(link).take(VAULT_LINKS_MAX).collect()
    }

    /// Whether the vault at the relay holds what it should.
    pub(super) fn is_vault_current(&self, today: Day) -> bool {
        let contents = self.vault_contents(today);
        contents.is_some_and(|(_, keys, request, recovery)| {
            let digest = vault_digest(&keys, &request, &recovery);
            let account = self.record.account.as_ref();
            account.is_some_and(|account| account.written_digest.as_ref() == digest)
        })
    }

    /// What is put by now, for another password to seal: `None` without an account.
    #[must_use]
    pub fn vault_parts(&self, now: Timestamp) -> Option<(RequestPart, RecoveryPart)> {
        let (_, _, request, recovery) = self.vault_contents(self.today(now))?;
        Some((request, recovery))
    }

    // ---- which version there is

    pub(super) fn vault_written(&mut self, version: u64, outcome: VaultOutcome, cx: &mut Cx<'_>) {
        let today = self.today(cx.now).0;
        let Some(asked) = self.vault_asked.filter(|asked| asked.version == version) else {
            return;
        };
        let Some(account) = &mut self.record.account else {
            return;
        };
        match outcome {
            VaultOutcome::Written {
                failed_logins,
                failed_day,
            } => {
                let changed = account.failed_logins != failed_logins;
                account.failed_logins = failed_logins;
                if changed && failed_logins > 0 {
                    cx.event(Event::LoginsFailed {
                        times: failed_logins,
                        day: failed_day,
                    });
                }
                account.written_version = version;
                account.written_digest = asked.digest.to_vec().into();
                account.written_day = today;
                account.denied_at_ms = 0;
                self.vault_asked = None;
                self.save_device(cx);
                self.note_vault(version, cx);
            }
            VaultOutcome::Outdated { newest } => {
                // Whoever does not say how far it is gets there in a few steps, a minute apart.
                let passed = account.vault_version.saturating_add(VERSIONS_PASSED);
                account.vault_version = newest.max(passed);
                self.save_device(cx);
            }
            VaultOutcome::Denied => {
                // With another password other keys seal it, which this phone does not have. Or the
                // relay lies: it is asked again tomorrow.
                account.written_digest = bytes::Bytes::new();
                let first = account.denied_at_ms == 0;
                account.denied_at_ms = cx.now.0;
                self.vault_asked = Some(VaultAsked {
                    at: cx.now.plus_ms(DENIED_MS),
                    ..asked
                });
                self.save_device(cx);
                if first {
                    cx.event(Event::AccountOutdated);
                }
            }
            // It stays asked for until it is time again.
            VaultOutcome::Unreachable => {}
        }
    }

    /// Says in the family which version the vault has, so that a relay that hands out an older
    /// one is noticed.
    fn note_vault(&mut self, version: u64, cx: &mut Cx<'_>) {
        let Some((family, member)) = self.family_conversation().zip(self.member()) else {
            return;
        };
        self.keep_vault_note(member, version, cx);
        self.say(family, Control::VaultNote { member, version }, cx);
    }

    fn keep_vault_note(&mut self, member: MemberId, version: u64, cx: &mut Cx<'_>) {
        let known = self.vaults.entry(member).or_default();
        if version > *known {
            *known = version;
            cx.put(
                records::state(records::VAULT, &[member.as_bytes()]),
                version.to_be_bytes().to_vec(),
            );
        }
    }

    /// A family device says which version somebody's vault has.
    pub(super) fn vault_noted(
        &mut self,
        sender: DeviceId,
        member: MemberId,
        version: u64,
        cx: &mut Cx<'_>,
    ) {
        if self.guardian_of(sender) == Some(member) {
            return self.keep_vault_note(member, version, cx);
        }
        // Of ourselves, by who knew of a newer one than we came back with. It is told and nothing
        // else: whoever made up a number must not make this phone go by it.
        let account = self.record.account.as_ref();
        let came_with = account.map(|account| account.vault_version);
        if self.member() == Some(member)
            && let Some(given) = came_with.filter(|given| *given < version)
        {
            cx.event(Event::VaultRolledBack {
                member,
                given,
                newest: version,
            });
        }
    }
}

/// Where a leaf is reached.
fn known(leaf: &Leaf) -> wire::VaultAddress {
    wire::VaultAddress {
        device: leaf.device.to_bytes(),
        address: Some(leaf.address.to_wire()),
        own: false,
    }
}
