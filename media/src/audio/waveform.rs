//! What a voice message looks like while it isn't played: a row of bars. And, from the same
//! measure, how loud a recording is over time.

use super::resample::{RATE_OUT, Resampler};

/// Bars of a waveform.
pub const WAVEFORM_BARS: usize = 64;

/// Samples of one step of loudness: 20 ms.
const STEP_SAMPLES: usize = 960;

/// The loudness (root mean square) of each 20 ms of a recording at 48 kHz.
#[derive(Debug, Default)]
pub(super) struct Loudness {
    steps: Vec<f32>,
    sum: f32,
    count: usize,
}

impl Loudness {
    pub(super) fn push(&mut self, samples: &[f32]) {
        for sample in samples {
            self.sum += sample * sample;
            self.count += 1;
            if self.count == STEP_SAMPLES {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let count = u16::try_from(self.count).unwrap_or(u16::MAX).max(1);
        self.steps.push((self.sum / f32::from(count)).sqrt());
        (self.sum, self.count) = (0.0, 0);
    }

    /// All steps, the last one perhaps shorter.
    pub(super) fn finish(mut self) -> Vec<f32> {
        if self.count > 0 {
            self.close();
        }
        self.steps
    }
}

/// The loudest step within each of 64 equal parts, 255 for the loudest of all; all 0 for silence.
pub(super) fn bars(steps: &[f32]) -> [u8; WAVEFORM_BARS] {
    let loudest = steps.iter().copied().fold(0.0_f32, f32::max);
    let mut bars = [0; WAVEFORM_BARS];
    if loudest < 1e-5 {
        return bars;
    }
    for (number, bar) in bars.iter_mut().enumerate() {
        let from = number * steps.len() / WAVEFORM_BARS;
        let to = ((number + 1) * steps.len() / WAVEFORM_BARS).max(from + 1);
        let part = steps.get(from..to.min(steps.len())).unwrap_or_default();
        *bar = to_byte(part.iter().copied().fold(0.0_f32, f32::max) / loudest * 255.0);
    }
    bars
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped"
)]
fn to_byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// Samples at any rate, brought to 48 kHz in blocks.
#[derive(Debug, Default)]
pub(super) struct To48 {
    resampler: Option<Resampler>,
    block: Vec<f32>,
}

impl To48 {
    /// The block at 48 kHz, or what of it can be computed so far.
    pub(super) fn push(&mut self, rate: u32, samples: &[f32]) -> &[f32] {
        self.block.clear();
        if rate == RATE_OUT {
            self.block.extend_from_slice(samples);
        } else {
            self.resampler
                .get_or_insert_with(|| Resampler::new(rate))
                .push(samples, &mut self.block);
        }
        &self.block
    }

    /// The rest.
    pub(super) fn finish(mut self) -> Vec<f32> {
        self.block.clear();
        if let Some(resampler) = self.resampler {
            resampler.finish(&mut self.block);
        }
        self.block
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::bars;

    #[test]
    fn bars_follow_the_loudness() {
        let steps: Vec<f32> = (0..128).map(|i| if i < 64 { 0.1 } else { 0.4 }).collect();
        let bars = bars(&steps);
        assert_eq!((bars[0], bars[31], bars[32], bars[63]), (64, 64, 255, 255));
    }

    #[test]
    fn short_and_silent_recordings_have_bars_too() {
        assert_eq!(bars(&[0.3]), [255; 64]);
        assert_eq!(bars(&[0.0; 100]), [0; 64]);
        assert_eq!(bars(&[]), [0; 64]);
    }
}
