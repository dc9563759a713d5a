//! A guardian's account (PROTOCOL §15): a login name that never leaves the device, a password that
//! no relay ever sees, and a vault with which a guardian comes back who has lost every phone.
//!
//! What relay and device agree on is here for both: what a device signs to write its vault without
//! the password. The rest is a device's alone: `login` makes a blinded id of a name, `session` talks
//! to the relay on a connection of its own about a `wish`, `keys` follow from password and recovery code, `vault`
//! is what they seal.

#[cfg(feature = "client")]
mod code;
#[cfg(feature = "client")]
mod keys;
#[cfg(feature = "client")]
mod login;
mod put_vault;
#[cfg(feature = "client")]
mod session;
#[cfg(feature = "client")]
mod vault;
#[cfg(feature = "client")]
mod wish;

#[cfg(feature = "client")]
pub use code::{CodeError, RecoveryCode};
#[cfg(feature = "client")]
pub use keys::AccountKeys;
#[cfg(feature = "client")]
pub use login::{LOGIN_NAME_BYTES_MAX, LoginNameError, account_id, normalise};
pub use put_vault::{
    VAULT_PART_BYTES_MAX, VAULT_PART_BYTES_MIN, is_part_size, sign_put_vault, verify_put_vault,
};
#[cfg(feature = "client")]
pub use session::{Costs, Session, Step, announced};
#[cfg(feature = "client")]
pub use vault::{
    OpenedVault, RecoveryPart, RequestPart, VAULT_ADDRESSES_MAX, VAULT_LINK_ADDRESSES_MAX,
    VAULT_LINKS_MAX, VaultError, VaultKeys, open_vault, seal_vault, vault_digest,
};
#[cfg(feature = "client")]
pub use wish::{Anew, Credentials, LoggedIn, LoginError, Outcome, Wish};
