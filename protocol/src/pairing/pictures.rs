//! Four pictures that both screens show: 24 bits that a child can compare.

/// Sixty-four things that a child tells apart, each one code point that every font has.
const PICTURES: [&str; 64] = [
    "🐶", "🐱", "🐭", "🐰", "🦊", "🐻", "🐼", "🐨", "🐯", "🦁", "🐮", "🐷", "🐸", "🐵", "🐔", "🐧",
    "🦆", "🦉", "🐴", "🦄", "🐝", "🐛", "🦋", "🐌", "🐞", "🐢", "🐍", "🐙", "🦀", "🐠", "🐳", "🐘",
    "🍎", "🍐", "🍊", "🍋", "🍌", "🍉", "🍇", "🍓", "🍒", "🍍", "🥕", "🌽", "🍄", "🍕", "🍪", "🎂",
    "⚽", "🏀", "🎈", "🎁", "🚗", "🚌", "🚜", "🚲", "🚀", "⛵", "🏠", "🌈", "🌙", "⭐", "🔑", "🎸",
];

/// The first 24 bits of `hash` as four pictures, six bits each.
pub(crate) fn of(hash: &[u8; 32]) -> String {
    let [a, b, c, ..] = *hash;
    let bits = u32::from_be_bytes([0, a, b, c]);
    [18, 12, 6, 0]
        .into_iter()
        .filter_map(|shift| PICTURES.get(usize::try_from((bits >> shift) & 63).ok()?))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{PICTURES, of};

    #[test]
    fn all_pictures_differ_and_are_one_code_point() {
        assert_eq!(PICTURES.iter().collect::<HashSet<_>>().len(), 64);
        assert!(PICTURES.iter().all(|picture| picture.chars().count() == 1));
    }

    #[test]
    fn six_bits_choose_each() {
        let mut hash = [0; 32];
        assert_eq!(of(&hash), "🐶🐶🐶🐶");
        // 000000 000001 111111 000010
        (hash[0], hash[1], hash[2]) = (0b0000_0000, 0b0001_1111, 0b1100_0010);
        assert_eq!(of(&hash), "🐶🐱🎸🐭");
    }
}
