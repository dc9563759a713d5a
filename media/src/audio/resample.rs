//! Any sample rate to 48 kHz: a windowed sinc, evaluated at exact positions.
//!
//! Our own, because the whole need is one channel, one target rate and an output whose length
//! and alignment are exact; a library would bring a design for variable ratios and many channels.
//! The filter has 32 zero crossings under a Kaiser window (stop band about -80 dB); going down in
//! rate it is stretched, so that nothing above the new Nyquist frequency folds back. Its table
//! holds 256 positions between two samples, with straight lines between them (error below
//! -100 dB).

/// The rate that comes out.
pub(super) const RATE_OUT: u32 = kinline_opus::SAMPLE_RATE_HZ;

/// Zero crossings on each side.
const CROSSINGS: u16 = 16;

/// Table rows from one sample to the next.
const PHASES: u16 = 256;

/// Kaiser's shape parameter: 8 gives about 80 dB.
const BETA: f64 = 8.0;

/// A resampler of one channel; samples go in and come out in blocks of any size.
#[derive(Debug)]
pub(super) struct Resampler {
    rate_in: u64,
    /// Taps on each side of a position.
    half: usize,
    /// `PHASES + 1` rows of `2 * half` coefficients.
    table: Vec<f32>,
    /// Input that is still needed, after `half` zeros at the very beginning.
    pending: Vec<f32>,
    /// Index, counted with those zeros, of the first sample of `pending`.
    dropped: u64,
    samples_in: u64,
    samples_out: u64,
}

impl Resampler {
    /// From `rate_in` (above zero) to 48 kHz.
    pub(super) fn new(rate_in: u32) -> Self {
        let stretch = (f64::from(rate_in) / f64::from(RATE_OUT)).max(1.0);
        let half = ceil_to_usize(f64::from(CROSSINGS) * stretch);
        let table = if rate_in == RATE_OUT {
            Vec::new()
        } else {
            table(half, stretch)
        };
        Self {
            rate_in: u64::from(rate_in.max(1)),
            half,
            table,
            pending: vec![0.0; half],
            dropped: 0,
            samples_in: 0,
            samples_out: 0,
        }
    }

    /// Takes a block and appends what can be computed so far to `out`.
    pub(super) fn push(&mut self, block: &[f32], out: &mut Vec<f32>) {
        if self.table.is_empty() {
            out.extend_from_slice(block);
            return;
        }
        self.samples_in += u64::try_from(block.len()).unwrap_or(0);
        self.pending.extend_from_slice(block);
        self.produce(u64::MAX, out);
    }

    /// Appends the rest: in all, the input's length times the quotient of the rates, rounded.
    pub(super) fn finish(mut self, out: &mut Vec<f32>) {
        if self.table.is_empty() {
            return;
        }
        let total = (self.samples_in * u64::from(RATE_OUT) + self.rate_in / 2) / self.rate_in;
        self.pending
            .extend(std::iter::repeat_n(0.0, 2 * self.half + 2));
        self.produce(total, out);
    }

    fn produce(&mut self, total: u64, out: &mut Vec<f32>) {
        let rate_out = u64::from(RATE_OUT);
        while self.samples_out < total {
            let position = self.samples_out * self.rate_in;
            let (whole, fraction) = (position / rate_out, position % rate_out);
            // The taps are the `half` samples up to the position and the `half` after it. With
            // the zeros in front, the first of them has the index `whole + 1`.
            let Ok(first) = usize::try_from(whole + 1 - self.dropped) else {
                return;
            };
            let Some(taps) = self.pending.get(first..first + 2 * self.half) else {
                break;
            };
            let scaled = fraction * u64::from(PHASES);
            let row = usize::try_from(scaled / rate_out).unwrap_or(0);
            let between = fraction_of(scaled % rate_out);
            let width = 2 * self.half;
            let rows = self
                .table
                .get(row * width..(row + 2) * width)
                .unwrap_or_default();
            let (near, far) = rows.split_at(width.min(rows.len()));
            let mut sum = 0.0_f32;
            for ((tap, a), b) in taps.iter().zip(near).zip(far) {
                sum += tap * (a + (b - a) * between);
            }
            out.push(sum);
            self.samples_out += 1;
        }
        // Forget what no later position needs, in large steps.
        let next = self.samples_out * self.rate_in / rate_out;
        let unneeded = usize::try_from((next + 1).saturating_sub(self.dropped)).unwrap_or(0);
        if unneeded > 4_096 {
            let unneeded = unneeded.min(self.pending.len());
            self.pending.drain(..unneeded);
            self.dropped += u64::try_from(unneeded).unwrap_or(0);
        }
    }
}

/// Row `p` holds the filter for a position `p / PHASES` after a sample; tap `t` lies
/// `t - (half - 1)` samples from that one.
fn table(half: usize, stretch: f64) -> Vec<f32> {
    let mut table = Vec::with_capacity((usize::from(PHASES) + 1) * 2 * half);
    let reach = f64::from(CROSSINGS) * stretch;
    for phase in 0..=PHASES {
        let shift = f64::from(phase) / f64::from(PHASES);
        let first = table.len();
        let mut sum = 0.0;
        for tap in 0..2 * half {
            let distance = to_f64(tap) - to_f64(half - 1) - shift;
            let value = sinc(distance / stretch) * kaiser(distance / reach);
            sum += value;
            table.push(to_f32(value));
        }
        // Each row sums to one, so that a constant stays what it is.
        for value in table.iter_mut().skip(first) {
            *value /= to_f32(sum);
        }
    }
    table
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    if angle.abs() < 1e-9 {
        1.0
    } else {
        angle.sin() / angle
    }
}

/// Kaiser's window for `x` from -1 to 1.
fn kaiser(x: f64) -> f64 {
    let inside = 1.0 - x * x;
    if inside <= 0.0 {
        0.0
    } else {
        bessel(BETA * inside.sqrt()) / bessel(BETA)
    }
}

/// The modified Bessel function of order zero, by its power series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40_u32 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

/// `value / 48,000` for `value` below 48,000.
fn fraction_of(value: u64) -> f32 {
    let value = u16::try_from(value).unwrap_or(0);
    f32::from(value) / 48_000.0
}

fn to_f64(value: usize) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_possible_truncation, reason = "only precision is lost")]
fn to_f32(value: f64) -> f32 {
    value as f32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and below 16 x 192,000 / 8,000"
)]
fn ceil_to_usize(value: f64) -> usize {
    value.ceil() as usize
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]
    use super::Resampler;

    fn tone(rate: u32, hertz: f64, samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|i| (i as f64 / f64::from(rate) * hertz * std::f64::consts::TAU).sin() as f32)
            .collect()
    }

    fn resample(rate: u32, input: &[f32], block: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(rate);
        let mut out = Vec::new();
        for chunk in input.chunks(block) {
            resampler.push(chunk, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn a_tone_keeps_its_pitch_phase_and_loudness() {
        for rate in [8_000, 11_025, 22_050, 44_100, 48_000, 96_000] {
            let samples = rate as usize / 4;
            let out = resample(rate, &tone(rate, 1_000.0, samples), 777);
            let wanted = tone(48_000, 1_000.0, 12_000);
            assert_eq!(out.len(), wanted.len().min(out.len()), "{rate} Hz");
            assert!(out.len() + 1 >= wanted.len(), "{rate} Hz: {}", out.len());
            // Away from the ends, where the filter sees the silence around.
            for i in 300..out.len() - 300 {
                assert!(
                    (out[i] - wanted[i]).abs() < 2e-3,
                    "{rate} Hz at {i}: {} {}",
                    out[i],
                    wanted[i]
                );
            }
        }
    }

    #[test]
    fn what_48_khz_cannot_carry_is_gone_rather_than_folded() {
        let out = resample(96_000, &tone(96_000, 36_000.0, 9_600), 1_000);
        let loudest = out[200..out.len() - 200]
            .iter()
            .fold(0.0_f32, |m, s| m.max(s.abs()));
        assert!(loudest < 1e-3, "{loudest}");
    }

    #[test]
    fn lengths_are_exact_and_blocks_do_not_matter() {
        for (rate, samples, wanted) in [
            (44_100, 44_100, 48_000),
            (8_000, 1, 6),
            (192_000, 7, 2),
            (11_025, 1_000, 4_354),
            (8_001, 8_001, 48_000),
        ] {
            let input = tone(rate, 300.0, samples);
            let whole = resample(rate, &input, samples);
            assert_eq!(whole.len(), wanted, "{rate} Hz, {samples}");
            assert_eq!(whole, resample(rate, &input, 13), "{rate} Hz");
        }
    }
}
