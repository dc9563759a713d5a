use std::ptr::NonNull;

use unsafe_libopus::{
    OPUS_APPLICATION_VOIP, OPUS_GET_LOOKAHEAD_REQUEST, OPUS_OK, OPUS_SET_BITRATE_REQUEST,
    OPUS_SET_SIGNAL_REQUEST, OPUS_SIGNAL_VOICE, OpusEncoder, opus_encode_float,
    opus_encoder_create, opus_encoder_ctl_impl, opus_encoder_destroy, varargs,
};

use crate::{FRAME_SAMPLES, OpusError, PACKET_BYTES_MAX};

/// The lowest and highest bitrate that make sense for a mono voice, in bit/s.
const BITRATE: std::ops::RangeInclusive<u32> = 6_000..=128_000;

/// Turns frames of 960 mono samples at 48 kHz into Opus packets, tuned for a voice.
#[derive(Debug)]
pub struct Encoder {
    state: NonNull<OpusEncoder>,
    lookahead_samples: u16,
}

// SAFETY: the state is one block of memory that only this value points at; libopus keeps no
// thread-local and no mutable global state, so the value may move between threads.
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder for speech at about `bits_per_second` (variable bitrate, 6,000 to 128,000).
    ///
    /// # Errors
    /// [`OpusError::Bitrate`] outside those bounds, [`OpusError::Start`] without memory.
    pub fn voice(bits_per_second: u32) -> Result<Self, OpusError> {
        let bitrate = i32::try_from(bits_per_second)
            .ok()
            .filter(|_| BITRATE.contains(&bits_per_second))
            .ok_or(OpusError::Bitrate { bits_per_second })?;
        let mut code = OPUS_OK;
        // SAFETY: `code` outlives the call, which writes one i32 to it; the other arguments are
        // plain numbers.
        let raw = unsafe { opus_encoder_create(48_000, 1, OPUS_APPLICATION_VOIP, &raw mut code) };
        let state = NonNull::new(raw).ok_or(OpusError::Start { code })?;
        // From here on `Drop` frees the state, also where a later step fails.
        let mut encoder = Self {
            state,
            lookahead_samples: 0,
        };
        let mut lookahead = 0_i32;
        for code in [
            // SAFETY: the state is alive and this request takes exactly one i32.
            unsafe { opus_encoder_ctl_impl(raw, OPUS_SET_BITRATE_REQUEST, varargs!(bitrate)) },
            // SAFETY: as above.
            unsafe {
                opus_encoder_ctl_impl(raw, OPUS_SET_SIGNAL_REQUEST, varargs!(OPUS_SIGNAL_VOICE))
            },
            // SAFETY: the state is alive and this request writes exactly one i32.
            unsafe {
                opus_encoder_ctl_impl(raw, OPUS_GET_LOOKAHEAD_REQUEST, varargs!(&mut lookahead))
            },
        ] {
            if code != OPUS_OK {
                return Err(OpusError::Start { code });
            }
        }
        encoder.lookahead_samples =
            u16::try_from(lookahead).map_err(|_| OpusError::Start { code: lookahead })?;
        Ok(encoder)
    }

    /// How many samples a decoder's output lags behind what went in: the pre-skip that an Ogg
    /// header has to announce (RFC 7845 §5.1). 312 at 48 kHz.
    #[must_use]
    pub fn lookahead_samples(&self) -> u16 {
        self.lookahead_samples
    }

    /// Encodes one frame of 960 samples (-1.0 to 1.0) to a packet of 1 to 1,276 bytes.
    ///
    /// # Errors
    /// [`OpusError::FrameLength`] for any other number of samples, [`OpusError::Encode`] when
    /// libopus fails.
    pub fn encode(&mut self, frame: &[f32]) -> Result<Vec<u8>, OpusError> {
        if frame.len() != FRAME_SAMPLES {
            return Err(OpusError::FrameLength {
                samples: frame.len(),
            });
        }
        // libopus wants numbers: a NaN would travel through its filters for good.
        let mut clean = [0.0_f32; FRAME_SAMPLES];
        for (to, from) in clean.iter_mut().zip(frame) {
            *to = if from.is_finite() {
                from.clamp(-1.0, 1.0)
            } else {
                0.0
            };
        }
        let mut packet = vec![0_u8; PACKET_BYTES_MAX];
        // SAFETY: the state is alive and borrowed mutably; `clean` holds 960 samples, which is
        // the frame size given, for the one channel; `packet` holds the 1,276 bytes given as its
        // size, and libopus writes no more than that.
        let len = unsafe {
            opus_encode_float(
                self.state.as_ptr(),
                clean.as_ptr(),
                960,
                packet.as_mut_ptr(),
                1_276,
            )
        };
        let written = usize::try_from(len).map_err(|_| OpusError::Encode { code: len })?;
        packet.truncate(written);
        Ok(packet)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the state came from `opus_encoder_create`, is freed only here, and nothing
        // else points at it.
        unsafe { opus_encoder_destroy(self.state.as_ptr()) };
    }
}
