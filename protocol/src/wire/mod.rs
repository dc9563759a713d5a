//! Frames as protobuf, and the one place that decodes them.

pub mod codec;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::indexing_slicing,
    reason = "generated; the .proto file carries the documentation"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/kinline.v1.rs"));
}

pub use codec::{FrameError, decode_client, decode_server, encode, encode_within};
pub use generated::*;

/// WebSocket subprotocol of this version.
pub const SUBPROTOCOL: &str = "kinline.v1";
/// Path of the WebSocket endpoint.
pub const PATH: &str = "/v1/connect";
