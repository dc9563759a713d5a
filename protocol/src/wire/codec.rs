//! Decoding with bounds: a frame is measured before it is read.

use prost::Message;

use super::{ClientFrame, ServerFrame};
use crate::limits;

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Larger than any frame may be.
    #[error("the frame has {actual} bytes; at most {max} are allowed")]
    TooLarge {
        /// Bytes it has.
        actual: usize,
        /// Bytes it may have.
        max: usize,
    },
    /// Not protobuf of this schema.
    #[error("the frame is damaged")]
    Malformed(#[source] prost::DecodeError),
    /// No body that is known here.
    #[error("the frame is of a kind that is not known here")]
    UnknownKind {
        /// Its request id, so that the refusal can name it.
        request_id: u64,
    },
    /// Needs a feature that is not known here.
    #[error("the frame needs feature {feature}, which is not known here")]
    Unsupported {
        /// Its request id.
        request_id: u64,
        /// The first unknown feature.
        feature: u32,
    },
}

/// Features this version understands in `critical`: none yet.
pub const FEATURES: &[u32] = &[];

/// Encodes any message.
pub fn encode(message: &impl Message) -> bytes::Bytes {
    message.encode_to_vec().into()
}

/// Encodes any message into `room`, which is empty before and after: the bytes are a part of it, and
/// it is used again once nobody has them any more.
pub fn encode_within(message: &impl Message, room: &mut bytes::BytesMut) -> bytes::Bytes {
    room.reserve(message.encoded_len());
    message.encode_raw(room);
    room.split().freeze()
}

/// Decodes a frame of a device.
///
/// # Errors
/// [`FrameError`], before anything in the frame is acted on.
pub fn decode_client(bytes: bytes::Bytes) -> Result<ClientFrame, FrameError> {
    let frame: ClientFrame = decode(bytes, limits::CLIENT_FRAME_BYTES_MAX)?;
    check(frame.request_id, &frame.critical, frame.body.is_some())?;
    Ok(frame)
}

/// Decodes a frame of a relay.
///
/// # Errors
/// [`FrameError`], before anything in the frame is acted on.
pub fn decode_server(bytes: bytes::Bytes) -> Result<ServerFrame, FrameError> {
    let frame: ServerFrame = decode(bytes, limits::SERVER_FRAME_BYTES_MAX)?;
    check(frame.request_id, &frame.critical, frame.body.is_some())?;
    Ok(frame)
}

fn decode<M: Message + Default>(bytes: bytes::Bytes, max: usize) -> Result<M, FrameError> {
    if bytes.len() > max {
        return Err(FrameError::TooLarge {
            actual: bytes.len(),
            max,
        });
    }
    M::decode(bytes).map_err(FrameError::Malformed)
}

fn check(request_id: u64, critical: &[u32], known: bool) -> Result<(), FrameError> {
    if let Some(&feature) = critical.iter().find(|feature| !FEATURES.contains(feature)) {
        return Err(FrameError::Unsupported {
            request_id,
            feature,
        });
    }
    if !known {
        return Err(FrameError::UnknownKind { request_id });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{FrameError, decode_client, decode_server, encode};
    use crate::limits;
    use crate::wire::{Acknowledge, ClientFrame, Ping, client_frame::Body};
    use proptest::prelude::{any, prop, proptest};

    fn acknowledge() -> ClientFrame {
        ClientFrame {
            request_id: 5,
            critical: vec![],
            body: Some(Body::Acknowledge(Acknowledge {
                through: 3,
                generation: 9,
            })),
        }
    }

    #[test]
    fn golden_bytes() {
        // request_id (tag 08) 5, acknowledge (field 12: tag 62) of 4 bytes: through 3, generation 9.
        assert_eq!(
            &encode(&acknowledge())[..],
            [0x08, 5, 0x62, 4, 0x08, 3, 0x10, 9]
        );
        assert_eq!(
            decode_client(encode(&acknowledge())).unwrap(),
            acknowledge()
        );
    }

    #[test]
    fn refusals_are_typed() {
        let frame = ClientFrame {
            request_id: 1,
            critical: vec![77],
            body: Some(Body::Ping(Ping {})),
        };
        assert!(matches!(
            decode_client(encode(&frame)),
            Err(FrameError::Unsupported {
                request_id: 1,
                feature: 77
            })
        ));
        let frame = ClientFrame {
            request_id: 4,
            critical: vec![],
            body: None,
        };
        assert!(matches!(
            decode_client(encode(&frame)),
            Err(FrameError::UnknownKind { request_id: 4 })
        ));
        let large = vec![0_u8; limits::CLIENT_FRAME_BYTES_MAX + 1];
        assert!(matches!(
            decode_client(large.into()),
            Err(FrameError::TooLarge { .. })
        ));
        // A body that claims 4 GiB and has none: refused, nothing allocated.
        assert!(matches!(
            decode_client(vec![0x62, 0xff, 0xff, 0xff, 0xff, 0x0f].into()),
            Err(FrameError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode_client(bytes.clone().into());
            let _ = decode_server(bytes.into());
        }
    }
}
