//! What a connection to an account is for, and what comes of it.

use zeroize::Zeroizing;

use super::{AccountKeys, OpenedVault, RecoveryCode, VaultError};
use crate::ids::AccountId;
use crate::primitives::opaque::OpaqueError;
use crate::primitives::stretching::StretchingError;
use crate::primitives::voprf::VoprfError;
use crate::ticket::Ticket;
use crate::wire::{self, ErrorCode};

/// Name, password, and recovery code where it is at hand.
pub struct Credentials {
    /// Made of the login name by [`super::account_id`].
    pub account: AccountId,
    /// As it was typed.
    pub password: Zeroizing<String>,
    /// The printed code.
    pub code: Option<RecoveryCode>,
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[secret]")
    }
}

/// When a login registers again with the same password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anew {
    /// When the relay asks for it and all of the vault opens.
    Asked,
    /// When all of the vault opens: its owner comes back by the code, and the lost phone has its keys.
    Whole,
    /// In any case: what the vault holds is void ([`crate::engine::Engine::needs_new_account_keys`]).
    Always,
}

/// What is wanted of the relay.
pub enum Wish {
    /// A new account. Its vault is written afterwards by the phone.
    Register {
        /// Admission code or ticket, where the relay asks for one; else empty.
        admission: String,
    },
    /// To log in, fetch the vault, and draw tickets.
    LogIn {
        /// Tickets wanted; as many come as this epoch still allows.
        tickets: usize,
        /// Whether to register again with the same password: what another phone kept of the account
        /// is worth nothing then.
        anew: Anew,
    },
    /// Another password, and with it other keys of the vault.
    ChangePassword {
        /// The new one.
        password: Zeroizing<String>,
        /// The code that goes with it: the old one typed again, or a new one.
        code: Option<RecoveryCode>,
        /// What goes into the vault under the new keys.
        vault: Box<(super::RequestPart, super::RecoveryPart)>,
    },
    /// No account any more.
    Delete,
}

impl core::fmt::Debug for Wish {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Register { .. } => "Register",
            Self::LogIn { .. } => "LogIn",
            Self::ChangePassword { .. } => "ChangePassword",
            Self::Delete => "Delete",
        })
    }
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// There is an account now.
    Registered {
        /// What the phone keeps of it.
        keys: AccountKeys,
    },
    /// The password was right.
    LoggedIn(Box<LoggedIn>),
    /// The password is another one now, and the vault is sealed under it.
    Changed {
        /// What the phone keeps of it.
        keys: AccountKeys,
        /// Of the vault that was written with it.
        version: u64,
    },
    /// There is no such account any more.
    Deleted {
        /// The last day on which a backup of the operator may hold it.
        backups_end_day: u32,
    },
}

/// What a login brings.
#[derive(Debug)]
pub struct LoggedIn {
    /// What the phone keeps of the account.
    pub keys: AccountKeys,
    /// The vault, opened as far as password and code go; or why not.
    pub vault: Result<OpenedVault, VaultError>,
    /// Its version; 0: there is none.
    pub vault_version: u64,
    /// Logins that failed since the last good one.
    pub failed_logins: u32,
    /// The day of the last of these, days since 1970-01-01; 0: there was none.
    pub failed_day: u32,
    /// Tickets drawn.
    pub tickets: Vec<Ticket>,
    /// The key that made them, and its epoch: to be found in the operator's log.
    pub issuer: Option<(u32, [u8; 32])>,
    /// The keys are new: no other device knows them.
    pub renewed: bool,
}

/// Why it did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Wrong password, or no such account: nobody can tell which.
    #[error("the login name or the password is not right")]
    Denied,
    /// The name is taken.
    #[error("somebody has an account under this login name already; log in, or choose another")]
    Taken,
    /// No admission.
    #[error("this relay asks for an admission code, and this one is missing or used up")]
    Admission,
    /// Later.
    #[error("too many logins were tried; again in {} seconds", retry_after_ms.div_ceil(1_000))]
    SlowDown {
        /// When.
        retry_after_ms: u32,
    },
    /// The operator has locked the relay down.
    #[error("the operator has locked this relay down for now: {0}")]
    LockedDown(String),
    /// The relay refused.
    #[error("the relay refused: {0}")]
    Refused(String),
    /// Another relay answers than was dialled.
    #[error("the relay calls itself something else than the address that was dialled")]
    OtherRelay,
    /// It answers nonsense.
    #[error("the relay answered what makes no sense here")]
    Unexpected,
    /// Stretching so cheap that a guess would cost nothing, or dearer than a device can.
    #[error("the relay announces no way to stretch a password that this device accepts")]
    Stretching,
    /// It used another key for these tickets than it says it has.
    #[error("the relay marked the tickets that it gave: they are thrown away")]
    MarkedTickets,
    /// The message of a step is none.
    #[error(transparent)]
    Opaque(OpaqueError),
    /// The vault would become too large.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<OpaqueError> for LoginError {
    fn from(error: OpaqueError) -> Self {
        match error {
            OpaqueError::Denied => Self::Denied,
            other => Self::Opaque(other),
        }
    }
}

impl From<VoprfError> for LoginError {
    fn from(_: VoprfError) -> Self {
        Self::MarkedTickets
    }
}

impl From<StretchingError> for LoginError {
    fn from(_: StretchingError) -> Self {
        Self::Stretching
    }
}

impl From<wire::Error> for LoginError {
    fn from(error: wire::Error) -> Self {
        match error.code() {
            ErrorCode::Denied => Self::Denied,
            ErrorCode::Taken => Self::Taken,
            ErrorCode::Admission => Self::Admission,
            ErrorCode::SlowDown => Self::SlowDown {
                retry_after_ms: error.retry_after_ms,
            },
            ErrorCode::LockedDown => Self::LockedDown(error.sentence),
            _ => Self::Refused(error.sentence),
        }
    }
}
