//! Padmé size classes: a length leaks O(log log n) bits and padding costs at most 12 %.
//!
//! Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
//! Communication with PURBs", PETS 2019, §4.

/// The smallest class of anything padded: tiny things look alike.
pub const CLASS_BYTES_MIN: u64 = 1_024;

/// The size class of `len` bytes: the next length whose low bits are zero, at least
/// [`CLASS_BYTES_MIN`]. Saturates at the largest class a `u64` holds.
#[must_use]
pub const fn class(len: u64) -> u64 {
    if len <= CLASS_BYTES_MIN {
        return CLASS_BYTES_MIN;
    }
    let exponent = len.ilog2();
    let mantissa_bits = exponent.ilog2() + 1;
    let mask = (1_u64 << (exponent - mantissa_bits)) - 1;
    match len.checked_add(mask) {
        Some(sum) => sum & !mask,
        None => !mask,
    }
}

/// Whether `len` is a size class.
#[must_use]
pub const fn is_class(len: u64) -> bool {
    len == class(len)
}

#[cfg(test)]
mod tests {
    use super::{class, is_class};
    use proptest::prelude::{any, proptest};

    #[test]
    fn known_classes() {
        // By hand: 5,000 = 2^12.3: exponent 12, 4 mantissa bits, 8 low bits zero.
        for (len, expected) in [
            (0, 1_024),
            (1_024, 1_024),
            (1_025, 1_088),
            (5_000, 5_120),
            (1 << 20, 1 << 20),
        ] {
            assert_eq!(class(len), expected, "{len}");
        }
    }

    proptest! {
        #[test]
        fn a_class_holds_its_length_and_costs_little(len in any::<u32>()) {
            let len = u64::from(len);
            let padded = class(len);
            assert!(padded >= len && is_class(padded));
            assert!(padded <= 1_024 || (padded - len) * 100 <= len * 12);
        }
    }
}
