//! A safe Opus encoder and decoder (RFC 6716) for voice messages.
//!
//! The codec is `unsafe-libopus`, libopus 1.3 translated to Rust: cargo builds it alone, without
//! cmake and without a C compiler. Its functions take raw pointers, so this crate, and no other
//! of Kinline, contains `unsafe`. It is kept as small as it can be: one encoder shape (48 kHz,
//! mono, 20 ms), one decoder shape (48 kHz, mono or stereo), every length checked before a
//! pointer is made.

mod decoder;
mod encoder;
mod error;

pub use decoder::{Channels, Decoder};
pub use encoder::Encoder;
pub use error::OpusError;

/// Samples per second and channel on both sides of this crate: 48,000, Opus's own clock.
pub const SAMPLE_RATE_HZ: u32 = 48_000;

/// Samples that one call of [`Encoder::encode`] takes: 20 ms x 48 kHz = 960.
pub const FRAME_SAMPLES: usize = 960;

/// Samples per channel that one packet can hold at most: 120 ms x 48 kHz = 5,760 (RFC 6716 §3.2.5).
pub const PACKET_SAMPLES_MAX: usize = 5_760;

/// Bytes that one 20 ms packet of ours can have at most: a frame is at most 1,275 bytes and the
/// table of contents is one more (RFC 6716 §3.2.1).
pub const PACKET_BYTES_MAX: usize = 1_276;

#[cfg(test)]
mod tests {
    use super::{
        Channels, Decoder, Encoder, FRAME_SAMPLES, OpusError, PACKET_BYTES_MAX, PACKET_SAMPLES_MAX,
    };
    use proptest::prelude::{any, proptest};

    fn tone(frame: usize) -> Vec<f32> {
        (0..FRAME_SAMPLES)
            .map(|i| {
                ((frame * FRAME_SAMPLES + i) as f32 * 440.0 * 6.283_185_5 / 48_000.0).sin() * 0.5
            })
            .collect()
    }

    fn energy(samples: &[f32]) -> f32 {
        samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32
    }

    #[test]
    fn a_tone_survives_in_mono_and_in_stereo() {
        for channels in [Channels::Mono, Channels::Stereo] {
            let mut encoder = Encoder::voice(24_000).unwrap();
            let mut decoder = Decoder::new(channels).unwrap();
            let mut heard = Vec::new();
            for frame in 0..20 {
                let packet = encoder.encode(&tone(frame)).unwrap();
                assert!(!packet.is_empty() && packet.len() <= PACKET_BYTES_MAX);
                let pcm = decoder.decode(&packet).unwrap();
                assert_eq!(pcm.len(), FRAME_SAMPLES * channels.count());
                heard.extend_from_slice(pcm);
            }
            let loud = energy(&heard[heard.len() / 2..]);
            assert!(
                (0.08..0.18).contains(&loud),
                "a sine of 0.5 has energy 0.125, heard {loud}"
            );
        }
    }

    #[test]
    fn lookahead_is_what_libopus_documents_for_voip() {
        assert_eq!(Encoder::voice(24_000).unwrap().lookahead_samples(), 312);
    }

    #[test]
    fn wrong_lengths_and_bitrates_are_refused() {
        let mut encoder = Encoder::voice(24_000).unwrap();
        for len in [0, 1, FRAME_SAMPLES - 1, FRAME_SAMPLES + 1] {
            assert_eq!(
                encoder.encode(&vec![0.0; len]),
                Err(OpusError::FrameLength { samples: len })
            );
        }
        assert!(matches!(
            Encoder::voice(10),
            Err(OpusError::Bitrate {
                bits_per_second: 10
            })
        ));
        let mut decoder = Decoder::new(Channels::Mono).unwrap();
        assert_eq!(decoder.decode(&[]), Err(OpusError::EmptyPacket));
    }

    #[test]
    fn samples_that_are_no_numbers_do_no_harm() {
        let mut encoder = Encoder::voice(24_000).unwrap();
        for value in [f32::NAN, f32::INFINITY, f32::MAX] {
            encoder.encode(&[value; FRAME_SAMPLES]).unwrap();
        }
    }

    proptest! {
        /// Any bytes are either decoded to at most 120 ms or refused.
        #[test]
        fn any_bytes_are_decoded_or_refused(packets in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..300), 1..8), stereo: bool) {
            let channels = if stereo { Channels::Stereo } else { Channels::Mono };
            let mut decoder = Decoder::new(channels).unwrap();
            for packet in packets {
                if let Ok(pcm) = decoder.decode(&packet) {
                    assert!(pcm.len() <= PACKET_SAMPLES_MAX * channels.count());
                }
            }
        }
    }
}
