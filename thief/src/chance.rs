//! Weighs a match against chance.
//!
//! A short needle is somewhere in enough noise. So a match counts only where the expected number
//! of chance matches of that needle in this loot is small: outside readable text by the loot's own
//! byte frequencies, within readable text by how many digits, hex and base64 letters stand there.
//! What is too short for either is counted as such and told.

use crate::encodings::Needle;
use crate::survey::{NoiseShares, Stats};

/// How many chance matches of one needle in one loot may be expected at most.
const CHANCE_MAX: f64 = 1e-6;
/// The same for digits, hex and base64 in readable text, of which there is little, and where a
/// finding is easily judged by eye: a code of six digits counts beside a hundred other numbers.
const CHANCE_IN_TEXT_MAX: f64 = 1e-4;
/// A needle shorter than this must stand alone as a word to count in readable text.
const WORD_BYTES: usize = 6;
/// Needles shorter than this are never counted.
pub(crate) const NEEDLE_BYTES_MIN: usize = 3;

/// How a match stands in its surroundings.
pub(crate) struct Stand {
    /// In a run of readable text.
    pub(crate) readable: bool,
    /// As a word or number of its own.
    pub(crate) alone: bool,
    /// As a whole value.
    pub(crate) whole: bool,
}

/// How many chance matches of one needle are to be expected in this loot.
pub(crate) struct Chances {
    long: bool,
    in_noise: f64,
    in_text: f64,
    in_text_alone: f64,
}

impl Chances {
    pub(crate) fn of(needle: &Needle, stats: &Stats, noise: &NoiseShares) -> Self {
        let bytes = &needle.bytes;
        if bytes.len() < NEEDLE_BYTES_MIN {
            return Self {
                long: false,
                in_noise: f64::MAX,
                in_text: f64::MAX,
                in_text_alone: f64::MAX,
            };
        }
        let mut in_noise = noise.bytes;
        for byte in bytes {
            let mut share = noise.of(*byte);
            if !needle.form.exact && byte.is_ascii_lowercase() {
                share += noise.of(byte.to_ascii_uppercase());
            }
            in_noise *= share;
        }
        let length = bytes.len();
        let power =
            |base: f64, exponent: usize| base.powi(-i32::try_from(exponent).unwrap_or(i32::MAX));
        let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
        let (in_text, in_text_alone) = if digits == length {
            let chance = power(10.0, length);
            (
                stats.digits as f64 * chance,
                Stats::words(&stats.numbers, length) * chance,
            )
        } else if bytes
            .iter()
            .all(|b| b.is_ascii_digit() || b".,-:/+ ".contains(b))
        {
            let chance = stats.digits as f64 * power(10.0, digits);
            (chance, chance)
        } else if bytes.iter().all(u8::is_ascii_hexdigit) {
            let chance = power(16.0, length);
            (
                stats.hexes as f64 * chance,
                Stats::words(&stats.hex_words, length) * chance,
            )
        } else if needle.form.base64 {
            let chance = stats.base64s as f64 * power(64.0, length);
            (chance, chance)
        } else {
            (0.0, 0.0)
        };
        Self {
            long: length >= WORD_BYTES,
            in_noise,
            in_text,
            in_text_alone,
        }
    }

    /// Whether a match that stands so is more than chance.
    pub(crate) fn counts(&self, stand: &Stand) -> bool {
        if !stand.readable {
            return self.fits_noise();
        }
        let expected = if stand.alone {
            self.in_text_alone
        } else {
            self.in_text
        };
        stand.whole || (expected < CHANCE_IN_TEXT_MAX && (self.long || stand.alone))
    }

    /// Whether the needle is long enough to count outside readable text.
    pub(crate) fn fits_noise(&self) -> bool {
        self.in_noise < CHANCE_MAX
    }

    /// Whether it is long enough to count in readable text, standing alone.
    pub(crate) fn fits_text(&self) -> bool {
        self.in_text_alone < CHANCE_IN_TEXT_MAX
    }
}
