//! Blobs: anything encrypted that is larger than an envelope, over HTTPS (PROTOCOL §3.6).
//!
//! Room is asked for on an attached connection ([`create`]), bytes come and go over HTTPS
//! ([`http`]). A blob's row is the truth: bytes of its file beyond the row's offset were
//! never acknowledged, a file without a row is swept away. It holds sums of the file, too: what
//! was damaged on disk is not handed out ([`sums`]).

mod create;
mod download;
mod files;
mod http;
mod sums;
mod upload;

pub(crate) use create::create;
pub(crate) use files::BlobFiles;
pub(crate) use http::routes;
