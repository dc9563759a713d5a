use std::ptr::NonNull;

use unsafe_libopus::{
    OPUS_OK, OpusDecoder, opus_decode_float, opus_decoder_create, opus_decoder_destroy,
};

use crate::{OpusError, PACKET_SAMPLES_MAX};

/// How many channels a decoder puts out; libopus converts whatever the packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// One channel.
    Mono,
    /// Two channels, interleaved left, right.
    Stereo,
}

impl Channels {
    /// 1 or 2.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
        }
    }
}

/// Turns Opus packets into samples at 48 kHz.
#[derive(Debug)]
pub struct Decoder {
    state: NonNull<OpusDecoder>,
    channels: Channels,
    /// Room for 120 ms, the longest packet there is, on each channel.
    pcm: Box<[f32]>,
}

// SAFETY: the state is one block of memory that only this value points at; libopus keeps no
// thread-local and no mutable global state, so the value may move between threads.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder that puts out one or two channels.
    ///
    /// # Errors
    /// [`OpusError::Start`] without memory.
    pub fn new(channels: Channels) -> Result<Self, OpusError> {
        let mut code = OPUS_OK;
        let count = match channels {
            Channels::Mono => 1,
            Channels::Stereo => 2,
        };
        // SAFETY: `code` outlives the call, which writes one i32 to it; the other arguments are
        // plain numbers.
        let raw = unsafe { opus_decoder_create(48_000, count, &raw mut code) };
        let state = NonNull::new(raw).ok_or(OpusError::Start { code })?;
        let pcm = vec![0.0; PACKET_SAMPLES_MAX * channels.count()].into_boxed_slice();
        Ok(Self {
            state,
            channels,
            pcm,
        })
    }

    /// Decodes one packet to interleaved samples, at most 5,760 per channel. They may exceed
    /// -1.0 to 1.0 a little.
    ///
    /// # Errors
    /// [`OpusError::EmptyPacket`], [`OpusError::PacketTooLong`], or [`OpusError::Packet`] for
    /// bytes that are no Opus packet.
    pub fn decode(&mut self, packet: &[u8]) -> Result<&[f32], OpusError> {
        if packet.is_empty() {
            return Err(OpusError::EmptyPacket);
        }
        let len = i32::try_from(packet.len()).map_err(|_| OpusError::PacketTooLong {
            bytes: packet.len(),
        })?;
        // SAFETY: the state is alive and borrowed mutably; `packet` has `len` readable bytes and
        // at least one; `pcm` has room for 5,760 samples, the frame size given, on each of the
        // channels the state was made for, and libopus refuses a packet that needs more.
        let samples = unsafe {
            opus_decode_float(
                self.state.as_ptr(),
                packet.as_ptr(),
                len,
                self.pcm.as_mut_ptr(),
                5_760,
                0,
            )
        };
        let samples = usize::try_from(samples).map_err(|_| OpusError::Packet { code: samples })?;
        self.pcm
            .get(..samples * self.channels.count())
            .ok_or(OpusError::Packet { code: 0 })
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the state came from `opus_decoder_create`, is freed only here, and nothing
        // else points at it.
        unsafe { opus_decoder_destroy(self.state.as_ptr()) };
    }
}
