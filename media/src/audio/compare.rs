//! Whether two recordings sound alike, by how loud they are over time.

use super::source::decode_mono;
use super::waveform::{Loudness, To48};
use super::{AudioError, AudioLimits};

/// How alike two recordings of any accepted kind sound: 1.0 for the same, above 0.95 for a voice
/// before and after Opus, around 0 for another one; 0.0 where their lengths differ by more than
/// 2 % and 0.1 seconds.
///
/// Compared are two curves in steps of 20 ms, each by its correlation: the loudness of the whole,
/// and that of the differences between neighbouring samples, which are the higher tones. The
/// lower of the two counts. Two silent recordings are alike.
///
/// # Errors
/// [`AudioError`] where one of them can't be decoded.
pub fn similarity(a: &[u8], b: &[u8]) -> Result<f64, AudioError> {
    let (a_whole, a_high) = curves(a)?;
    let (b_whole, b_high) = curves(b)?;
    let (shorter, longer) = (
        a_whole.len().min(b_whole.len()),
        a_whole.len().max(b_whole.len()),
    );
    if longer - shorter > 5 && (longer - shorter) * 50 > longer {
        return Ok(0.0);
    }
    Ok(correlation(&a_whole, &b_whole).min(correlation(&a_high, &b_high)))
}

fn curves(bytes: &[u8]) -> Result<(Vec<f32>, Vec<f32>), AudioError> {
    let mut to_48 = To48::default();
    let mut both = Both::default();
    decode_mono(bytes, &AudioLimits::default(), &mut |rate, block| {
        both.push(to_48.push(rate, block));
        Ok(())
    })?;
    both.push(&to_48.finish());
    Ok((both.whole.finish(), both.high.finish()))
}

#[derive(Debug, Default)]
struct Both {
    whole: Loudness,
    high: Loudness,
    previous: f32,
    differences: Vec<f32>,
}

impl Both {
    fn push(&mut self, block: &[f32]) {
        self.whole.push(block);
        self.differences.clear();
        for sample in block {
            self.differences.push(sample - self.previous);
            self.previous = *sample;
        }
        self.high.push(&self.differences);
    }
}

/// Pearson's correlation of two curves over their common length.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let count = pairs().fold(0.0, |count, _| count + 1.0);
    if count == 0.0 {
        return 0.0;
    }
    let (sum_a, sum_b) = pairs().fold((0.0, 0.0), |(sa, sb), (a, b)| (sa + a, sb + b));
    let (mean_a, mean_b) = (sum_a / count, sum_b / count);
    let (mut var_a, mut var_b, mut both) = (0.0, 0.0, 0.0);
    for (a, b) in pairs() {
        var_a += (a - mean_a) * (a - mean_a);
        var_b += (b - mean_b) * (b - mean_b);
        both += (a - mean_a) * (b - mean_b);
    }
    // A curve is flat if it moves by less than a hundredth of itself (or is silence).
    let flat = |var: f64, mean: f64| (var / count).sqrt() <= (mean * 0.01).max(1e-5);
    match (flat(var_a, mean_a), flat(var_b, mean_b)) {
        (false, false) => both / (var_a * var_b).sqrt(),
        (true, true) => {
            let (low, high) = (mean_a.min(mean_b), mean_a.max(mean_b));
            if high < 1e-4 { 1.0 } else { low / high }
        }
        _ => 0.0,
    }
}
