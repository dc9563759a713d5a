//! An account as relay and device agree on it (PROTOCOL §15): what a device signs to write its
//! vault without the password.

mod put_vault;

pub use put_vault::{
    VAULT_PART_BYTES_MAX, VAULT_PART_BYTES_MIN, is_part_size, sign_put_vault, verify_put_vault,
};
