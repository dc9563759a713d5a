//! A new phone in place of all that its guardian has lost: asks the family's devices to let it in
//! (PROTOCOL §7.10). From the moment it is in it is a device like others.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;

use super::asked::return_pictures;
use super::device::Engine;
use super::errors::{CommandError, named};
use super::io::Event;
use super::recovery::account_record;
use super::sends::Recipient;
use super::state::Cx;
use crate::account::{AccountKeys, OpenedVault};
use crate::conversation::Address;
use crate::day::Day;
use crate::envelope::Kind;
use crate::identity::{AddedDevice, Decision, Return, ReturnWay, sign_consent};
use crate::ids::{DeviceId, FamilyId, MemberId};
use crate::primitives::sign::SecretKey;
use crate::wire;

/// Days that a wish to come back holds: another guardian may be on a journey.
pub(super) const WISH_DAYS: u32 = 7;
/// Days after which other families' guardians are asked no more to be let into links again.
const LINKS_DAYS: u32 = 60;
/// Whoever was asked may be off: they are asked again so often.
const AGAIN_MS: u64 = 600_000;

impl Engine {
    pub(super) fn start_return(
        &mut self,
        vault: &OpenedVault,
        keys: &AccountKeys,
        renewed: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        if self.log.is_some() {
            return Err(CommandError::InFamily);
        }
        if self.pairing.is_some() {
            return Err(CommandError::PairingUnderWay);
        }
        if self.record.identity_seed.is_empty() {
            self.record.identity_seed = SecretKey::random(&mut cx.rng).seed().to_vec().into();
        }
        let request = &vault.request;
        let recovery = vault.recovery.as_ref();
        // The welcome has to lead into this family, and into a log that goes on from there.
        self.record.family = request.family.clone();
        self.record.pairing_head = request.head.clone();
        self.record.account = Some(wire::AccountRecord {
            vault_version: vault.version,
            void: !renewed,
            ..account_record(keys)
        });
        self.record.returning = Some(wire::ReturningRecord {
            member: request.member.clone(),
            addresses: request.addresses.clone(),
            request_seed: request.request_seed.clone(),
            recovery_seed: recovery
                .map(|part| part.recovery_seed.clone())
                .unwrap_or_default(),
            request: None,
            last_day: 0,
            vault_version: vault.version,
        });
        self.record.lost_links = request.links.clone();
        self.record.lost_links_until_day = self.today(cx.now).plus(LINKS_DAYS).0;
        self.returning_at = None;
        self.returning_refused.clear();
        self.save_device(cx);
        Ok(())
    }

    /// One of the addresses that a wish went to took it, or does not any more. When none does but
    /// those of lost phones, whoever waits is told.
    pub(super) fn return_answered(&mut self, device: &Bytes, taken: bool, cx: &mut Cx<'_>) {
        let Some(returning) = &self.record.returning else {
            return;
        };
        let others = returning.addresses.iter().filter(|known| !known.own);
        let others: BTreeSet<&Bytes> = others.map(|known| &known.device).collect();
        if !others.contains(device) {
            return;
        }
        if taken {
            self.returning_refused.clear();
        } else if self.returning_refused.insert(device.clone())
            && self.returning_refused.len() == others.len()
        {
            cx.event(Event::ReturnUnheard);
        }
    }

    /// Whether this device waits for its family to let it in again.
    #[must_use]
    pub const fn is_returning(&self) -> bool {
        self.record.returning.is_some()
    }

    /// The four pictures that guardians are shown of this device's wish to come back; `None` when it
    /// has none.
    #[must_use]
    pub fn return_pictures(&self) -> Option<String> {
        let returning = self.record.returning.as_ref()?;
        Some(return_pictures(&self.returning_device(returning)?))
    }

    fn returning_device(&self, returning: &wire::ReturningRecord) -> Option<AddedDevice> {
        Some(AddedDevice {
            member: MemberId::try_from(&returning.member).ok()?,
            device: self.signer.device,
            signature_key: self.signer.key.public(),
            name: named(&self.record.device_name),
            identity_key: Some(self.identity_key()?.public()),
        })
    }

    pub(super) fn tend_returning(&mut self, cx: &mut Cx<'_>) {
        let Some(returning) = self.record.returning.clone() else {
            return;
        };
        if self.member().is_some() {
            self.record.returning = None;
            self.returning_at = None;
            self.save_device(cx);
            return;
        }
        let attached = self.session.is_attached() && self.session.is_caught_up();
        if !attached || self.returning_at.is_some_and(|at| at > cx.now) {
            return;
        }
        self.returning_at = Some(cx.now.plus_ms(AGAIN_MS));
        let today = self.today(cx.now);
        let request = match returning.request.clone() {
            Some(request) if today.0 < returning.last_day => request,
            _ => {
                let Some(request) = self.wish(&returning, today, cx) else {
                    return;
                };
                if let Some(record) = &mut self.record.returning {
                    record.request = Some(request.clone());
                    record.last_day = today.plus(WISH_DAYS).0;
                }
                self.save_device(cx);
                request
            }
        };
        self.ask_to_return(&returning.addresses, request.encode_to_vec(), cx);
    }

    /// Sends a wish to come back to all addresses that the vault kept.
    pub(super) fn ask_to_return(
        &mut self,
        known: &[wire::VaultAddress],
        payload: Vec<u8>,
        cx: &mut Cx<'_>,
    ) {
        let recipients: Vec<Recipient> = known
            .iter()
            .filter_map(|known| {
                let address = known.address.as_ref()?.encode_to_vec();
                Some(Recipient {
                    device: DeviceId::try_from(&known.device).ok()?,
                    address: Address::decode(&address).ok()?,
                })
            })
            .collect();
        let mut send = wire::PendingSendRecord::default();
        let sealed = self.seal_for(&recipients, Kind::Return, payload, &mut send, cx);
        if sealed.is_ok() && !send.deliveries.is_empty() {
            self.queue_send(send, cx);
        }
    }

    /// The wish in words that the log takes: by the recovery code alone when it is there, else in
    /// each way that the password opens.
    fn wish(
        &mut self,
        returning: &wire::ReturningRecord,
        today: Day,
        cx: &mut Cx<'_>,
    ) -> Option<wire::ReturnRequest> {
        let family = FamilyId::try_from(&self.record.family).ok()?;
        let device = self.returning_device(returning)?;
        let back = |way| Return {
            device: device.clone(),
            way,
        };
        let (key, decisions) = if returning.recovery_seed.is_empty() {
            let decisions = vec![
                Decision::Return(back(ReturnWay::Guardian)),
                Decision::Ask(back(ReturnWay::Waited)),
                Decision::Return(back(ReturnWay::Waited)),
            ];
            (Self::secret_key(&returning.request_seed), decisions)
        } else {
            let decisions = vec![Decision::Return(back(ReturnWay::Code))];
            (Self::secret_key(&returning.recovery_seed), decisions)
        };
        let wishes = decisions
            .iter()
            .map(|decision| {
                let salt = cx.random16();
                let consent = sign_consent(&family, decision, &salt, today.plus(WISH_DAYS), &key);
                wire::ReturnWish {
                    decision: decision.encode().into(),
                    salt: salt.to_vec().into(),
                    consent: consent.encode_to_vec().into(),
                }
            })
            .collect();
        // Those before it still open a welcome that is late.
        let key_package = self.new_key_package(None, cx).ok()?;
        Some(wire::ReturnRequest {
            family: family.to_bytes(),
            wishes,
            key_package: Bytes::from(key_package),
            vault_version: returning.vault_version,
        })
    }
}
