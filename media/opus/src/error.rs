use thiserror::Error;

/// Why a frame could not be encoded or a packet not decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpusError {
    /// The codec's state could not be made (no memory).
    #[error("the Opus codec could not be started (code {code})")]
    Start {
        /// libopus's error number.
        code: i32,
    },
    /// The bitrate lies outside what a voice needs.
    #[error("a bitrate of {bits_per_second} bit/s is outside 6,000 to 128,000")]
    Bitrate {
        /// What was asked for.
        bits_per_second: u32,
    },
    /// A frame has exactly 960 samples.
    #[error("a frame has 960 samples, not {samples}")]
    FrameLength {
        /// What was given.
        samples: usize,
    },
    /// A packet has at least its table of contents.
    #[error("an Opus packet cannot be empty")]
    EmptyPacket,
    /// A packet longer than a signed 32-bit length.
    #[error("an Opus packet of {bytes} bytes is too long")]
    PacketTooLong {
        /// Its length.
        bytes: usize,
    },
    /// libopus refused the bytes.
    #[error("these bytes are no Opus packet (code {code})")]
    Packet {
        /// libopus's error number.
        code: i32,
    },
    /// libopus could not encode the frame.
    #[error("the Opus encoder failed (code {code})")]
    Encode {
        /// libopus's error number.
        code: i32,
    },
}
