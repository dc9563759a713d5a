//! Opus in Ogg (RFC 7845): reading any mono or stereo stream, writing our own.

use std::io::Cursor;

use kinline_opus::{Channels, Decoder, Encoder, FRAME_SAMPLES, SAMPLE_RATE_HZ};
use ogg::{Packet, PacketReader, PacketWriteEndInfo, PacketWriter};

use super::source::{Health, Sink};
use super::{AudioError, AudioLimits};
use crate::bytes::Walk;

/// Who wrote the stream, as OpusTags must say; the same for every device.
pub(super) const VENDOR: &str = "kinline";

/// The stream's number within the file. There is one stream, so it need not be random, and a
/// fixed one says nothing.
const SERIAL: u32 = 1;

/// Packets on one page: 50 x 20 ms are one second.
const PACKETS_PER_PAGE: u64 = 50;

/// What the identification header says (RFC 7845 §5.1).
#[derive(Debug, Clone, Copy)]
struct Head {
    channels: Channels,
    pre_skip: u64,
    gain: f32,
}

impl Head {
    fn read(packet: &[u8]) -> Result<Self, AudioError> {
        let mut walk = Walk::new(
            packet
                .strip_prefix(b"OpusHead")
                .ok_or(AudioError::Damaged)?,
        );
        let mut read = || {
            let (version, channels, pre_skip) = (walk.u8()?, walk.u8()?, walk.le16()?);
            let (_input_rate, gain, family) = (walk.le32()?, walk.le16()?, walk.u8()?);
            Some((version, channels, pre_skip, gain.cast_signed(), family))
        };
        let (version, channels, pre_skip, gain, family) = read().ok_or(AudioError::Damaged)?;
        let channels = match (version >> 4, family, channels) {
            (0, 0, 1) => Channels::Mono,
            (0, 0, 2) => Channels::Stereo,
            (0, 0, _) => return Err(AudioError::Damaged),
            (0, ..) => {
                return Err(AudioError::Unsupported {
                    what: "surround sound in Opus",
                });
            }
            _ => {
                return Err(AudioError::Unsupported {
                    what: "a newer kind of Ogg Opus",
                });
            }
        };
        // Q7.8 decibels.
        let gain = 10_f32.powf(f32::from(gain) / (20.0 * 256.0));
        Ok(Self {
            channels,
            pre_skip: u64::from(pre_skip),
            gain,
        })
    }
}

/// Samples at 48 kHz in a packet, by its table of contents (RFC 6716 §3.1).
fn packet_samples(packet: &[u8]) -> Option<u64> {
    let toc = packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1_920, 2_880]
            .get(usize::from(config % 4))
            .copied()?,
        config @ 12..=15 => [480, 960].get(usize::from(config % 2)).copied()?,
        config => [120, 240, 480, 960].get(usize::from(config % 4)).copied()?,
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 0x3F),
    };
    Some(frame * frames).filter(|&samples| samples <= 5_760)
}

/// The packets of the first stream of a file, up to where it ends or breaks.
struct StreamPackets<'a> {
    reader: PacketReader<Cursor<&'a [u8]>>,
    serial: Option<u32>,
    ended: bool,
}

impl<'a> StreamPackets<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            reader: PacketReader::new(Cursor::new(bytes)),
            serial: None,
            ended: false,
        }
    }
}

impl Iterator for StreamPackets<'_> {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        while !self.ended {
            let packet = self.reader.read_packet().ok().flatten()?;
            let serial = packet.stream_serial();
            if *self.serial.get_or_insert(serial) != serial {
                continue;
            }
            self.ended = packet.last_in_stream();
            return Some(packet);
        }
        None
    }
}

/// How many samples there are to hear, by the granule positions (RFC 7845 §4): the last one, less
/// where the stream starts, less the pre-skip.
fn audible_samples(bytes: &[u8], pre_skip: u64) -> u64 {
    let (mut total, mut start, mut last_granule) = (0_u64, None, None);
    for packet in StreamPackets::of(bytes).skip(2) {
        total += packet_samples(&packet.data).unwrap_or(0);
        if packet.last_in_page() && packet.absgp_page() != u64::MAX {
            let granule = packet.absgp_page();
            // A stream that was recorded from the middle starts above zero. One that is over
            // with its first page may end inside it, and starts at zero.
            let ends = packet.last_in_stream();
            start.get_or_insert(if ends {
                0
            } else {
                granule.saturating_sub(total)
            });
            last_granule = Some(granule);
        }
    }
    let decoded = total.saturating_sub(pre_skip);
    last_granule.map_or(decoded, |granule| {
        let announced = granule
            .saturating_sub(start.unwrap_or(0))
            .saturating_sub(pre_skip);
        announced.min(decoded)
    })
}

/// Decodes the first stream to mono at 48 kHz.
pub(super) fn decode_mono(
    bytes: &[u8],
    limits: &AudioLimits,
    sink: &mut Sink<'_>,
) -> Result<(), AudioError> {
    let mut packets = StreamPackets::of(bytes);
    let head = Head::read(&packets.next().ok_or(AudioError::Damaged)?.data)?;
    let tags = packets.next().ok_or(AudioError::Damaged)?;
    if !tags.data.starts_with(b"OpusTags") {
        return Err(AudioError::Damaged);
    }
    let mut left = audible_samples(bytes, head.pre_skip);
    if left > u64::from(limits.seconds_max) * u64::from(SAMPLE_RATE_HZ) {
        return Err(AudioError::TooLong {
            seconds_max: limits.seconds_max,
        });
    }
    let mut skip = head.pre_skip;
    let mut decoder = Decoder::new(head.channels)?;
    let mut health = Health::default();
    let mut mono = Vec::new();
    for packet in packets {
        if left == 0 {
            break;
        }
        mono.clear();
        match decoder.decode(&packet.data) {
            Ok(pcm) => {
                health.good();
                mono.extend(
                    pcm.chunks_exact(head.channels.count())
                        .map(|frame| match frame {
                            [left, right] => (left + right) * 0.5 * head.gain,
                            [only] => only * head.gain,
                            _ => 0.0,
                        }),
                );
            }
            Err(_) => {
                health.bad()?;
                let lost = packet_samples(&packet.data).unwrap_or(0);
                mono.resize(usize::try_from(lost).unwrap_or(0), 0.0);
            }
        }
        let length = u64::try_from(mono.len()).unwrap_or(0);
        let skipped = skip.min(length);
        skip -= skipped;
        let taken = (length - skipped).min(left);
        left -= taken;
        let at = |value: u64| usize::try_from(value).unwrap_or(0);
        sink(
            SAMPLE_RATE_HZ,
            mono.get(at(skipped)..at(skipped + taken))
                .unwrap_or_default(),
        )?;
    }
    health.verdict()
}

/// Encodes mono samples at 48 kHz, as they come, to a complete Ogg Opus file.
pub(super) struct Writer {
    encoder: Encoder,
    pages: PacketWriter<'static, Vec<u8>>,
    /// Samples that fill no frame yet.
    pending: Vec<f32>,
    samples_in: u64,
    /// The newest packet waits here, because the last one is written differently.
    waiting: Option<Vec<u8>>,
    packets: u64,
}

impl Writer {
    /// A writer whose headers are written.
    ///
    /// # Errors
    /// [`AudioError::Codec`], [`AudioError::Encode`].
    pub(super) fn new(bits_per_second: u32) -> Result<Self, AudioError> {
        let encoder = Encoder::voice(bits_per_second)?;
        let mut pages = PacketWriter::new(Vec::new());
        let head = [
            b"OpusHead\x01\x01".as_slice(),
            &encoder.lookahead_samples().to_le_bytes(),
            &SAMPLE_RATE_HZ.to_le_bytes(),
            // No gain, mapping family 0.
            &[0, 0, 0],
        ]
        .concat();
        let vendor_length = u32::try_from(VENDOR.len()).unwrap_or(0).to_le_bytes();
        let tags = [
            b"OpusTags".as_slice(),
            &vendor_length,
            VENDOR.as_bytes(),
            &[0, 0, 0, 0],
        ]
        .concat();
        for header in [head, tags] {
            pages
                .write_packet(header, SERIAL, PacketWriteEndInfo::EndPage, 0)
                .map_err(|_| AudioError::Encode)?;
        }
        Ok(Self {
            encoder,
            pages,
            pending: Vec::new(),
            samples_in: 0,
            waiting: None,
            packets: 0,
        })
    }

    /// Takes samples.
    ///
    /// # Errors
    /// [`AudioError::Codec`], [`AudioError::Encode`].
    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        self.samples_in += u64::try_from(samples.len()).unwrap_or(0);
        self.pending.extend_from_slice(samples);
        self.encode_pending()
    }

    fn encode_pending(&mut self) -> Result<(), AudioError> {
        let pending = std::mem::take(&mut self.pending);
        let mut frames = pending.chunks_exact(FRAME_SAMPLES);
        for frame in &mut frames {
            let packet = self.encoder.encode(frame)?;
            if let Some(previous) = self.waiting.replace(packet) {
                self.packets += 1;
                let end = if self.packets.is_multiple_of(PACKETS_PER_PAGE) {
                    PacketWriteEndInfo::EndPage
                } else {
                    PacketWriteEndInfo::NormalPacket
                };
                self.write(previous, end, self.packets * 960)?;
            }
        }
        self.pending = frames.remainder().to_vec();
        Ok(())
    }

    fn write(
        &mut self,
        packet: Vec<u8>,
        end: PacketWriteEndInfo,
        granule: u64,
    ) -> Result<(), AudioError> {
        self.pages
            .write_packet(packet, SERIAL, end, granule)
            .map_err(|_| AudioError::Encode)
    }

    /// The file, and how many samples a player will play: exactly those that went in. The last
    /// granule position says where, within the last packet, they end (RFC 7845 §4.4).
    ///
    /// # Errors
    /// [`AudioError::NoSound`] if nothing went in, [`AudioError::Codec`], [`AudioError::Encode`].
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, u64), AudioError> {
        if self.samples_in == 0 {
            return Err(AudioError::NoSound);
        }
        let samples = self.samples_in;
        let granule = samples + u64::from(self.encoder.lookahead_samples());
        // Silence, until the decoder's delay has let the last sample out.
        let padded = granule.next_multiple_of(960);
        let silence = usize::try_from(padded - samples).unwrap_or(0);
        self.pending.resize(self.pending.len() + silence, 0.0);
        self.encode_pending()?;
        let last = self.waiting.take().ok_or(AudioError::Encode)?;
        self.write(last, PacketWriteEndInfo::EndStream, granule)?;
        Ok((self.pages.into_inner(), samples))
    }
}
