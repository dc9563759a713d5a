//! Names and secrets of blobs, and their HTTP headers (PROTOCOL §3.6).
//!
//! A blob has no id. Who knows the read secret may read it, who knows the owner secret
//! may upload to it and delete it; the relay stores only their hashes. Secrets travel in
//! headers, never in a path that could be logged:
//!
//! | request | header | answer |
//! |---|---|---|
//! | `HEAD /v1/blob` | owner or read | 200, `content-length` = bytes so far, `kinline-size` = size class |
//! | `PATCH /v1/blob` | owner, `kinline-offset` | 204, `kinline-offset` = bytes so far; 409 when the offset is another |
//! | `GET /v1/blob` | read, optional `range` | 200 or 206; 404 unknown or not yet complete |
//! | `DELETE /v1/blob` | owner | 204 |

use crate::labels;
use crate::primitives::hash;

/// Path of all blob requests.
pub const PATH: &str = "/v1/blob";
/// Header with the read secret, base64url without padding.
pub const READ_HEADER: &str = "kinline-read";
/// Header with the owner secret, base64url without padding.
pub const OWNER_HEADER: &str = "kinline-owner";
/// Header with the upload offset, decimal.
pub const OFFSET_HEADER: &str = "kinline-offset";
/// Header with the blob's full size, decimal.
pub const SIZE_HEADER: &str = "kinline-size";

/// The hash under which the relay knows a read secret.
#[must_use]
pub fn read_hash(secret: &[u8]) -> [u8; 32] {
    hash::labelled(labels::HASH_BLOB_READ, &[secret])
}

/// The hash under which the relay knows an owner secret.
#[must_use]
pub fn owner_hash(secret: &[u8]) -> [u8; 32] {
    hash::labelled(labels::HASH_BLOB_OWNER, &[secret])
}
