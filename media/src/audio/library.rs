//! The containers and codecs that `symphonia` decodes. It gets only what [`super::strip`] built.

use std::io::Cursor;

use symphonia::core::audio::SampleBuffer;
use symphonia::core::codecs::{CODEC_TYPE_AAC, CODEC_TYPE_ALAC, CodecParameters, DecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::default::formats::{FlacReader, IsoMp4Reader, MpaReader, OggReader, WavReader};

use super::source::{Health, Sink, check_shape};
use super::strip::Edit;
use super::{AudioError, AudioLimits};

/// Samples in one ALAC packet; encoders write 4,096.
const ALAC_FRAME_MAX: u32 = 65_536;

/// How much of what the header announces may be missing.
#[derive(Debug, Clone, Copy)]
enum Announced {
    /// Every sample must be there.
    Exactly,
    /// The header is an estimate.
    Loosely,
}

pub(super) fn wav(
    bytes: Vec<u8>,
    limits: &AudioLimits,
    sink: &mut Sink<'_>,
) -> Result<(), AudioError> {
    let reader = WavReader::try_new(stream(bytes), &options()).map_err(broken)?;
    run(
        Box::new(reader),
        Edit::default(),
        Announced::Exactly,
        limits,
        sink,
    )
}

pub(super) fn flac(
    bytes: Vec<u8>,
    limits: &AudioLimits,
    sink: &mut Sink<'_>,
) -> Result<(), AudioError> {
    let reader = FlacReader::try_new(stream(bytes), &options()).map_err(broken)?;
    run(
        Box::new(reader),
        Edit::default(),
        Announced::Exactly,
        limits,
        sink,
    )
}

pub(super) fn vorbis(
    bytes: Vec<u8>,
    edit: Edit,
    limits: &AudioLimits,
    sink: &mut Sink<'_>,
) -> Result<(), AudioError> {
    // Not gapless: the library takes the end of a stream of one page for its beginning, so the
    // end is cut off here, by `edit`.
    let reader = OggReader::try_new(stream(bytes), &FormatOptions::default()).map_err(broken)?;
    run(Box::new(reader), edit, Announced::Loosely, limits, sink)
}

pub(super) fn mp3(
    bytes: Vec<u8>,
    limits: &AudioLimits,
    sink: &mut Sink<'_>,
) -> Result<(), AudioError> {
    let reader = MpaReader::try_new(stream(bytes), &options()).map_err(broken)?;
    run(
        Box::new(reader),
        Edit::default(),
        Announced::Loosely,
        limits,
        sink,
    )
}

pub(super) fn mp4(
    bytes: Vec<u8>,
    edit: Edit,
    limits: &AudioLimits,
    sink: &mut Sink<'_>,
) -> Result<(), AudioError> {
    let reader = IsoMp4Reader::try_new(stream(bytes), &options()).map_err(broken)?;
    let codec = reader
        .tracks()
        .first()
        .map(|track| track.codec_params.codec);
    if !matches!(codec, Some(CODEC_TYPE_AAC | CODEC_TYPE_ALAC)) {
        return Err(AudioError::Unsupported {
            what: "a sound that is neither AAC nor ALAC",
        });
    }
    run(Box::new(reader), edit, Announced::Exactly, limits, sink)
}

fn stream(bytes: Vec<u8>) -> MediaSourceStream {
    MediaSourceStream::new(
        Box::new(Cursor::new(bytes)),
        MediaSourceStreamOptions::default(),
    )
}

fn options() -> FormatOptions {
    FormatOptions {
        enable_gapless: true,
        ..FormatOptions::default()
    }
}

fn broken(error: Error) -> AudioError {
    match error {
        Error::Unsupported(_) => AudioError::Unsupported {
            what: "a sound in an encoding that is not known here",
        },
        _ => AudioError::Damaged,
    }
}

/// Decodes the first track packet by packet.
fn run(
    mut reader: Box<dyn FormatReader>,
    edit: Edit,
    announced: Announced,
    limits: &AudioLimits,
    sink: &mut Sink<'_>,
) -> Result<(), AudioError> {
    let track = reader.tracks().first().ok_or(AudioError::NoSound)?;
    let (track_id, params) = (track.id, track.codec_params.clone());
    check_params(&params, limits)?;
    let mut decoder = symphonia::default::get_codecs()
        .make(&params, &DecoderOptions::default())
        .map_err(broken)?;

    let mut health = Health::default();
    let mut window: Option<Window> = None;
    let mut rate = 0;
    let mut samples: Option<SampleBuffer<f32>> = None;
    let mut mono = Vec::new();
    loop {
        let packet = match reader.next_packet() {
            Ok(packet) => packet,
            Err(Error::IoError(_) | Error::ResetRequired) => break,
            Err(_) => {
                health.bad()?;
                continue;
            }
        };
        if packet.track_id() != track_id {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(Error::ResetRequired) => break,
            Err(_) => {
                health.bad()?;
                continue;
            }
        };
        let spec = *decoded.spec();
        let channels = spec.channels.count();
        if rate == 0 {
            check_shape(channels, spec.rate, limits)?;
            rate = spec.rate;
        } else if rate != spec.rate {
            return Err(AudioError::Unsupported {
                what: "a sample rate that changes",
            });
        }
        health.good();
        let fits = |buffer: &SampleBuffer<f32>| buffer.capacity() >= decoded.capacity() * channels;
        if !samples.as_ref().is_some_and(fits) {
            let capacity = u64::try_from(decoded.capacity()).unwrap_or(0);
            samples = Some(SampleBuffer::new(capacity, spec));
        }
        let Some(buffer) = samples.as_mut() else {
            continue;
        };
        buffer.copy_interleaved_ref(decoded);
        mono.clear();
        mono.extend(buffer.samples().chunks_exact(channels.max(1)).map(mix));
        let window = window.get_or_insert_with(|| Window::new(edit, rate));
        sink(rate, window.cut(&mono))?;
    }
    health.verdict()?;
    if let (Announced::Exactly, Some(frames), Some(window)) = (announced, params.n_frames, &window)
    {
        // AAC decoders hold back a packet or two, so half a second may be missing there.
        let timescale = params
            .time_base
            .map_or(u64::from(rate), |base| u64::from(base.denom));
        let expected = frames.saturating_mul(u64::from(rate)) / timescale.max(1);
        let slack = if params.codec == CODEC_TYPE_AAC {
            u64::from(rate) / 2
        } else {
            0
        };
        if window.seen.saturating_add(slack) < expected {
            return Err(AudioError::Damaged);
        }
    }
    Ok(())
}

fn check_params(params: &CodecParameters, limits: &AudioLimits) -> Result<(), AudioError> {
    if let (Some(channels), Some(rate)) = (params.channels, params.sample_rate) {
        check_shape(channels.count(), rate, limits)?;
    }
    if params.codec == CODEC_TYPE_ALAC {
        // The decoder allocates what its cookie asks for.
        let cookie = params.extra_data.as_deref().unwrap_or_default();
        let frame = crate::bytes::Walk::new(cookie).be32().unwrap_or(u32::MAX);
        if frame > ALAC_FRAME_MAX {
            return Err(AudioError::Damaged);
        }
    }
    Ok(())
}

/// The mean of all channels.
fn mix(frame: &[f32]) -> f32 {
    let count = u16::try_from(frame.len()).unwrap_or(u16::MAX).max(1);
    let mean = frame.iter().sum::<f32>() / f32::from(count);
    if mean.is_finite() { mean } else { 0.0 }
}

/// The part of a track that is to be heard.
#[derive(Debug)]
struct Window {
    skip: u64,
    left: u64,
    /// Samples that came in.
    seen: u64,
}

impl Window {
    fn new(edit: Edit, rate: u32) -> Self {
        Self {
            skip: edit.start.map_or(0, |start| start.in_samples(rate)),
            left: edit
                .length
                .map_or(u64::MAX, |length| length.in_samples(rate)),
            seen: 0,
        }
    }

    fn cut<'a>(&mut self, block: &'a [f32]) -> &'a [f32] {
        let length = u64::try_from(block.len()).unwrap_or(u64::MAX);
        self.seen = self.seen.saturating_add(length);
        let skip = self.skip.min(length);
        self.skip -= skip;
        let take = (length - skip).min(self.left);
        self.left -= take;
        let at = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        block.get(at(skip)..at(skip + take)).unwrap_or_default()
    }
}
