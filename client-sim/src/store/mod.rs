//! The encrypted store of a device: one state folder, one process at a time.
//!
//! ```text
//! DIR/lock        held (flock) by the process that uses the folder
//! DIR/store.key   the store's key: wrapped by a passphrase (Argon2id), or bare with mode 0600
//! DIR/device.db   SQLite, WAL, synchronous=FULL, secure_delete: hashed names, sealed values
//! DIR/blobs/      encrypted attachments on their way out, named by handle
//! DIR/media/      received attachments that somebody asked to see, decrypted
//! ```
//!
//! A stolen folder whose key is wrapped shows how many records there are and how long each
//! is, and nothing else: names are keyed hashes, values are XChaCha20-Poly1305 with the
//! record's class and hash as associated data, so none can be moved to another place.
//!
//! Everything here blocks: an async caller runs it where blocking is allowed.

mod database;
mod error;
mod files;
mod folder;
mod key_file;
mod seal;

pub use database::{Records, Store, StoreOptions};
pub use error::StoreError;
pub use files::{
    blob_path, find_media, media_path, put_blob, remove_blob, remove_media, sweep_blobs,
    sync_folder,
};
pub(crate) use folder::{write_checked, write_whole};
pub use key_file::{Argon2Cost, Passphrase, Protection};
