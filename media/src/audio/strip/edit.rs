/// The part of the sound that is to be played, by the container: encoders put a few
/// milliseconds of lead-in before it and padding behind it.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::audio) struct Edit {
    /// Where it starts.
    pub(in crate::audio) start: Option<Ticks>,
    /// How long it is.
    pub(in crate::audio) length: Option<Ticks>,
}

/// A time as a count and how many of them are a second.
#[derive(Debug, Clone, Copy)]
pub(in crate::audio) struct Ticks {
    count: u64,
    per_second: u32,
}

impl Ticks {
    pub(in crate::audio) fn new(count: u64, per_second: u32) -> Self {
        Self { count, per_second }
    }

    /// The same time counted in samples, rounded.
    pub(in crate::audio) fn in_samples(self, rate: u32) -> u64 {
        let per_second = u128::from(self.per_second.max(1));
        let samples = (u128::from(self.count) * u128::from(rate) + per_second / 2) / per_second;
        u64::try_from(samples).unwrap_or(u64::MAX)
    }
}
