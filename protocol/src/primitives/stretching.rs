//! Argon2id (RFC 9106, version 0x13): what makes each guess at a password cost time and memory.
//!
//! Only devices stretch. The relay keeps the costs beside each account and announces them.

use crate::wire as proto;

/// Least memory that a device accepts: 64 MiB.
pub const MEMORY_KIB_MIN: u32 = 64 * 1024;
/// Most memory that a device accepts: 1 GiB, so that a relay can't fill a tablet's.
pub const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Fewest passes that a device accepts.
pub const PASSES_MIN: u32 = 3;
/// Most passes that a device accepts: at 1 GiB some 16 seconds of a phone.
pub const PASSES_MAX: u32 = 16;
/// Most lanes that a device accepts.
pub const LANES_MAX: u32 = 16;

/// Costs out of bounds: too cheap for a password, or too dear for a tablet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "stretching over {memory_kib} KiB in {passes} passes and {lanes} lanes is not within what a device accepts"
)]
pub struct StretchingError {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// Costs of Argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stretching {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Stretching {
    /// What a new account has: 64 MiB, three passes, one lane (RFC 9106 §4, second choice, but
    /// for one lane: a tablet has one core to spare).
    pub const DEFAULT: Self = Self {
        memory_kib: MEMORY_KIB_MIN,
        passes: PASSES_MIN,
        lanes: 1,
    };

    /// Costs that a device accepts: 64 MiB to 1 GiB, 3 to 16 passes, 1 to 16 lanes.
    ///
    /// # Errors
    /// [`StretchingError`] when they are out of these bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, StretchingError> {
        if memory_kib < MEMORY_KIB_MIN || passes < PASSES_MIN {
            return Err(StretchingError {
                memory_kib,
                passes,
                lanes,
            });
        }
        Self::cheap_for_tests(memory_kib, passes, lanes)
    }

    /// As [`Self::new`], but without the lower bounds: for tests, and for a relay, which
    /// stretches nothing. No device of a family may read an announcement with this.
    ///
    /// # Errors
    /// [`StretchingError`] when they are above the bounds, or nothing that Argon2 knows.
    pub fn cheap_for_tests(
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    ) -> Result<Self, StretchingError> {
        let sound = memory_kib <= MEMORY_KIB_MAX
            && (1..=PASSES_MAX).contains(&passes)
            && (1..=LANES_MAX).contains(&lanes)
            // Argon2 wants two blocks in each quarter of a lane.
            && memory_kib >= lanes.saturating_mul(8);
        if sound {
            Ok(Self {
                memory_kib,
                passes,
                lanes,
            })
        } else {
            Err(StretchingError {
                memory_kib,
                passes,
                lanes,
            })
        }
    }

    /// Memory, in KiB.
    #[must_use]
    pub const fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// Passes over it.
    #[must_use]
    pub const fn passes(&self) -> u32 {
        self.passes
    }

    /// Lanes.
    #[must_use]
    pub const fn lanes(&self) -> u32 {
        self.lanes
    }

    /// As a frame says it.
    #[must_use]
    pub const fn to_wire(&self) -> proto::Stretching {
        proto::Stretching {
            memory_kib: self.memory_kib,
            passes: self.passes,
            lanes: self.lanes,
        }
    }

    /// Fills `out` from `secret` and `salt` (8 bytes at least).
    ///
    /// # Errors
    /// [`StretchingError`] when the salt is too short; nothing else can fail.
    #[cfg(feature = "account")]
    pub fn stretch(
        &self,
        secret: &[u8],
        salt: &[u8],
        out: &mut [u8],
    ) -> Result<(), StretchingError> {
        use argon2::{Algorithm, Argon2, Params, Version};
        let error = |_| StretchingError {
            memory_kib: self.memory_kib,
            passes: self.passes,
            lanes: self.lanes,
        };
        let costs = Params::new(self.memory_kib, self.passes, self.lanes, Some(out.len()))
            .map_err(error)?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, costs)
            .hash_password_into(secret, salt, out)
            .map_err(error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{LANES_MAX, MEMORY_KIB_MAX, MEMORY_KIB_MIN, PASSES_MAX, Stretching};

    #[test]
    fn what_is_too_cheap_or_too_dear_is_refused() {
        let good = Stretching::new(MEMORY_KIB_MIN, 3, 1).unwrap();
        assert_eq!(good, Stretching::DEFAULT);
        assert!(Stretching::new(MEMORY_KIB_MAX, PASSES_MAX, LANES_MAX).is_ok());
        assert!(Stretching::new(MEMORY_KIB_MIN - 1, 3, 1).is_err());
        assert!(Stretching::new(MEMORY_KIB_MIN, 2, 1).is_err());
        for (memory, passes, lanes) in [
            (MEMORY_KIB_MAX + 1, 3, 1),
            (MEMORY_KIB_MIN, PASSES_MAX + 1, 1),
            (MEMORY_KIB_MIN, 3, LANES_MAX + 1),
            (MEMORY_KIB_MIN, 3, 0),
            (7, 1, 1),
            (8, 0, 1),
        ] {
            assert!(Stretching::cheap_for_tests(memory, passes, lanes).is_err());
        }
        assert!(Stretching::cheap_for_tests(8, 1, 1).is_ok());
    }

    #[cfg(feature = "account")]
    #[test]
    fn every_cost_and_the_salt_make_another_output() {
        let stretch = |memory, passes, lanes, salt: &[u8]| {
            let mut out = [0; 32];
            Stretching::cheap_for_tests(memory, passes, lanes)
                .unwrap()
                .stretch(b"word", salt, &mut out)
                .unwrap();
            out
        };
        let all = [
            stretch(16, 1, 1, &[0; 16]),
            stretch(17 * 4, 1, 1, &[0; 16]),
            stretch(16, 2, 1, &[0; 16]),
            stretch(16, 1, 2, &[0; 16]),
            stretch(16, 1, 1, &[1; 16]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|other| other != one));
        }
        // As the reference implementation says: argon2id, v=19, m=64, t=2, p=1.
        let mut out = [0; 16];
        let costs = Stretching::cheap_for_tests(64, 2, 1).unwrap();
        assert!(costs.stretch(b"word", b"short", &mut out).is_err());
    }
}
