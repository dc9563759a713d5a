//! Short codes: fourteen digits for a device without a camera, or for a voice on the phone.
//!
//! ```text
//! 2 82136-9047-7163
//! purpose 1 digit (1 a guardian's device, 2 a child's device, 3 meet a family)
//! public  5 digits: finds the meeting point, and the relay sees which
//! secret  7 digits: log2(10^7) = 23.2 bits that go into SPAKE2 and nowhere else
//! check   1 digit (Damm) over the thirteen before it: finds every single wrong digit and
//!         every two neighbours in each other's place
//! rendezvous = first 16 bytes of H("kinline v1 hash rendezvous\0", purpose, public), as ASCII
//! ```
//! Spaces and dashes may stand anywhere between the digits. No relay address is inside: the
//! device that types it uses its own.

use core::fmt;
use core::str::FromStr;

use zeroize::Zeroizing;

use super::code::PairingRole;
use super::text::{CODE_TEXT_BYTES_MAX, CodeError, Purpose};
use crate::ids::RendezvousId;
use crate::labels;
use crate::primitives::hash;
use crate::secrets::Secret;

/// Digits of a short code, all in all.
pub const SHORT_CODE_DIGITS: usize = 1 + PUBLIC_DIGITS + SECRET_DIGITS + 1;
const PUBLIC_DIGITS: usize = 5;
const SECRET_DIGITS: usize = 7;

/// A short code to pair a device with.
#[derive(Clone, PartialEq, Eq)]
pub struct ShortCode {
    role: PairingRole,
    digits: Digits,
}

impl ShortCode {
    /// Draws one. Its meeting point may be taken: then another one is drawn.
    pub fn random(role: PairingRole, rng: &mut impl rand_core::CryptoRng) -> Self {
        let purpose = match role {
            PairingRole::Guardian => b'1',
            PairingRole::Child => b'2',
        };
        Self {
            role,
            digits: Digits::random(purpose, rng),
        }
    }

    /// As what the typing device joins.
    #[must_use]
    pub const fn role(&self) -> PairingRole {
        self.role
    }

    /// The meeting point.
    #[must_use]
    pub fn rendezvous(&self) -> RendezvousId {
        self.digits.rendezvous()
    }

    /// The text to show: `2 82136-9047-7163`; as secret as the screen that shows it.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.digits.to_text()
    }
}

impl FromStr for ShortCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let digits: Digits = Digits::read(text, Purpose::Pair)?;
        let role = match digits.purpose {
            b'1' => PairingRole::Guardian,
            _ => PairingRole::Child,
        };
        Ok(Self { role, digits })
    }
}

/// A short code with which two families meet.
#[derive(Clone, PartialEq, Eq)]
pub struct ShortMeetCode(Digits);

impl ShortMeetCode {
    /// Draws one. Its meeting point may be taken: then another one is drawn.
    pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(Digits::random(b'3', rng))
    }

    /// The meeting point.
    #[must_use]
    pub fn rendezvous(&self) -> RendezvousId {
        self.0.rendezvous()
    }

    /// The text to show or to read out.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.to_text()
    }
}

impl FromStr for ShortMeetCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        Digits::read(text, Purpose::Meet).map(Self)
    }
}

impl fmt::Debug for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShortCode")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ShortMeetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShortMeetCode").finish_non_exhaustive()
    }
}

/// Whether a text is meant as a short code.
pub(super) fn looks_short(text: &str) -> bool {
    text.trim_start().starts_with(|c: char| c.is_ascii_digit())
}

/// The digits of either type, as ASCII.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Digits {
    pub(super) purpose: u8,
    public: [u8; PUBLIC_DIGITS],
    pub(super) secret: Secret<SECRET_DIGITS>,
}

/// Both types of short code have digits.
pub(super) trait HasDigits {
    fn digits(&self) -> &Digits;
}

impl HasDigits for ShortCode {
    fn digits(&self) -> &Digits {
        &self.digits
    }
}

impl HasDigits for ShortMeetCode {
    fn digits(&self) -> &Digits {
        &self.0
    }
}

impl Digits {
    fn random(purpose: u8, rng: &mut impl rand_core::CryptoRng) -> Self {
        Self {
            purpose,
            public: draw(rng),
            secret: Secret::new(draw(rng)),
        }
    }

    pub(super) fn rendezvous(&self) -> RendezvousId {
        let hash = hash::labelled(labels::HASH_RENDEZVOUS, &[&[self.purpose], &self.public]);
        let mut id = [0; 16];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        RendezvousId::new(id)
    }

    fn to_text(&self) -> String {
        let mut digits = Zeroizing::new(Vec::with_capacity(SHORT_CODE_DIGITS));
        digits.push(self.purpose);
        digits.extend_from_slice(&self.public);
        digits.extend_from_slice(self.secret.expose());
        let check = damm(&digits);
        digits.push(check);
        let mut text = String::with_capacity(SHORT_CODE_DIGITS + 3);
        for (at, digit) in digits.iter().enumerate() {
            match at {
                1 => text.push(' '),
                6 | 10 => text.push('-'),
                _ => {}
            }
            text.push(char::from(*digit));
        }
        text
    }

    fn read(text: &str, wanted: Purpose) -> Result<Self, CodeError> {
        if text.len() > CODE_TEXT_BYTES_MAX {
            return Err(CodeError::TooLong { bytes: text.len() });
        }
        if text.trim_start().starts_with(super::text::SCHEME) {
            return Err(CodeError::NotADigit);
        }
        if !looks_short(text) {
            return Err(CodeError::Foreign);
        }
        let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
        for c in text.chars() {
            match u8::try_from(c) {
                Ok(digit) if digit.is_ascii_digit() => digits.push(digit),
                _ if is_separator(c) => {}
                _ => return Err(CodeError::NotADigit),
            }
        }
        let (purpose, public, secret, check) = split(&digits).ok_or(CodeError::Digits {
            digits: digits.len(),
        })?;
        let (covered, _) = digits.split_at(SHORT_CODE_DIGITS - 1);
        if damm(covered) != check {
            return Err(CodeError::Mistyped);
        }
        match (purpose, wanted) {
            (b'1' | b'2', Purpose::Pair) | (b'3', Purpose::Meet) => Ok(Self {
                purpose,
                public: *public,
                secret: Secret::new(*secret),
            }),
            (b'1' | b'2', Purpose::Meet) => Err(CodeError::OtherPurpose {
                found: Purpose::Pair,
                wanted,
            }),
            (b'3', Purpose::Pair) => Err(CodeError::OtherPurpose {
                found: Purpose::Meet,
                wanted,
            }),
            _ => Err(CodeError::UnknownPurpose { wanted }),
        }
    }
}

/// Purpose, public part, secret part, check digit.
type Parts<'a> = (u8, &'a [u8; PUBLIC_DIGITS], &'a [u8; SECRET_DIGITS], u8);

fn split(digits: &[u8]) -> Option<Parts<'_>> {
    let (purpose, rest) = digits.split_first()?;
    let (public, rest) = rest.split_first_chunk()?;
    let (secret, rest) = rest.split_first_chunk()?;
    match rest {
        [check] => Some((*purpose, public, secret, *check)),
        _ => None,
    }
}

/// What people and keyboards put between groups of digits.
const fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '.' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}'
        )
}

/// Evenly: of a byte's 256 values the last six are drawn again.
fn draw<const N: usize>(rng: &mut impl rand_core::CryptoRng) -> [u8; N] {
    let mut digits = [0; N];
    for digit in &mut digits {
        let mut byte = [u8::MAX];
        while byte[0] >= 250 {
            rng.fill_bytes(&mut byte);
        }
        *digit = b'0' + byte[0] % 10;
    }
    digits
}

/// H. Michael Damm's totally anti-symmetric quasigroup of order ten (2004).
const DAMM: [[u8; 10]; 10] = [
    [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
    [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
    [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
    [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
    [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
    [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
    [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
    [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
    [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
    [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
];

/// The check digit of ASCII digits, as ASCII.
fn damm(digits: &[u8]) -> u8 {
    let interim = digits.iter().fold(0_u8, |interim, digit| {
        DAMM.get(usize::from(interim))
            .and_then(|row| row.get(usize::from(digit.wrapping_sub(b'0'))))
            .copied()
            .unwrap_or_default()
    });
    b'0' + interim
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::prelude::proptest;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::{CodeError, DAMM, Purpose, SHORT_CODE_DIGITS, ShortCode, ShortMeetCode, damm};
    use crate::pairing::PairingRole::{Child, Guardian};

    fn rng(seed: u8) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([seed; 32])
    }

    fn parse(text: &str) -> Result<ShortCode, CodeError> {
        text.parse()
    }

    #[test]
    fn round_trip_however_it_is_typed() {
        for role in [Guardian, Child] {
            for seed in 0..50 {
                let code = ShortCode::random(role, &mut rng(seed));
                let text = code.to_text();
                assert_eq!(text.len(), SHORT_CODE_DIGITS + 3, "{text}");
                let bare: String = text.chars().filter(char::is_ascii_digit).collect();
                let dashed: Vec<String> = bare.chars().map(String::from).collect();
                for typed in [
                    text.clone(),
                    format!("  {text}\n"),
                    text.replace('-', " "),
                    text.replace('-', "–"),
                    dashed.join("-"),
                    bare,
                ] {
                    assert_eq!(parse(&typed), Ok(code.clone()), "{typed}");
                }
            }
        }
        let meet = ShortMeetCode::random(&mut rng(1));
        assert_eq!(meet.to_text().parse(), Ok(meet));
    }

    #[test]
    fn the_check_digit_is_damms() {
        // The example of Wikipedia, and the two properties of the table that the rest follows from.
        assert_eq!(damm(b"572"), b'4');
        let times = |x: u8, y: u8| DAMM[usize::from(x)][usize::from(y)];
        for a in 0..10 {
            assert_eq!(times(a, a), 0);
            for b in 0..10 {
                for c in (0..10).filter(|c| *c != b) {
                    assert_ne!(times(a, b), times(a, c));
                    assert_ne!(times(times(a, b), c), times(times(a, c), b));
                }
            }
        }
    }

    #[test]
    fn every_single_wrong_digit_and_every_swap_of_neighbours_is_caught() {
        for seed in 0..30 {
            let text = ShortCode::random(Child, &mut rng(seed)).to_text();
            let good: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
            for at in 0..SHORT_CODE_DIGITS {
                for digit in (b'0'..=b'9').filter(|digit| *digit != good[at]) {
                    let mut typo = good.clone();
                    typo[at] = digit;
                    let typo = String::from_utf8(typo).unwrap();
                    assert_eq!(parse(&typo), Err(CodeError::Mistyped), "{typo}");
                    let meet = typo.parse::<ShortMeetCode>();
                    assert_eq!(meet, Err(CodeError::Mistyped), "{typo}");
                }
            }
            for at in 1..SHORT_CODE_DIGITS {
                let mut swapped = good.clone();
                swapped.swap(at - 1, at);
                if swapped != good {
                    let swapped = String::from_utf8(swapped).unwrap();
                    assert_eq!(parse(&swapped), Err(CodeError::Mistyped), "{swapped}");
                }
            }
        }
    }

    #[test]
    fn purposes_are_refused_in_each_others_place() {
        let meet = ShortMeetCode::random(&mut rng(1)).to_text();
        assert_eq!(
            parse(&meet).unwrap_err().to_string(),
            "this code is for meeting another family, not for pairing a new device with its family"
        );
        for role in [Guardian, Child] {
            let pair = ShortCode::random(role, &mut rng(1)).to_text();
            assert_eq!(
                pair.parse::<ShortMeetCode>(),
                Err(CodeError::OtherPurpose {
                    found: Purpose::Pair,
                    wanted: Purpose::Meet
                })
            );
        }
        for purpose in [b'0', b'4', b'9'] {
            let mut other = vec![purpose];
            other.extend_from_slice(b"821369047716");
            other.push(damm(&other));
            let other = String::from_utf8(other).unwrap();
            let wanted = Purpose::Pair;
            assert_eq!(parse(&other), Err(CodeError::UnknownPurpose { wanted }));
        }
    }

    #[test]
    fn the_meeting_point_follows_from_purpose_and_public_part_alone() {
        let point = |text: &str| {
            let mut digits: Vec<u8> = text.bytes().collect();
            digits.push(damm(&digits));
            parse(&String::from_utf8(digits).unwrap())
                .unwrap()
                .rendezvous()
        };
        assert_eq!(point("2821360000000"), point("2821369999999"));
        assert_ne!(point("2821360000000"), point("2821370000000"));
        assert_ne!(point("2821360000000"), point("1821360000000"));
    }

    #[test]
    fn what_is_no_short_code_is_refused() {
        let text = ShortCode::random(Child, &mut rng(1)).to_text();
        for (typed, error) in [
            (String::new(), CodeError::Foreign),
            ("hello".into(), CodeError::Foreign),
            ("2".into(), CodeError::Digits { digits: 1 }),
            (format!("{text}0"), CodeError::Digits { digits: 15 }),
            (text[..15].into(), CodeError::Digits { digits: 12 }),
            (format!("{text}x"), CodeError::NotADigit),
            ("1".repeat(1_025), CodeError::TooLong { bytes: 1_025 }),
        ] {
            assert_eq!(parse(&typed), Err(error), "{typed}");
        }
    }

    #[test]
    fn all_digits_come_up_alike() {
        // Each place is even: of 10,000 draws each digit has 1,000 ± 5 standard deviations (30).
        let mut rng = rng(7);
        let mut counts = [[0_u32; 10]; SHORT_CODE_DIGITS - 2];
        for _ in 0..10_000 {
            let text = ShortCode::random(Child, &mut rng).to_text();
            let digits = text.bytes().filter(u8::is_ascii_digit).skip(1);
            for (count, digit) in counts.iter_mut().zip(digits) {
                count[usize::from(digit - b'0')] += 1;
            }
        }
        for count in counts.as_flattened() {
            assert!((850..1_150).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn debug_prints_no_digit() {
        let shown = format!(
            "{:?} {:?}",
            ShortCode::random(Child, &mut rng(1)),
            ShortMeetCode::random(&mut rng(1))
        );
        assert!(!shown.chars().any(|c| c.is_ascii_digit()), "{shown}");
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(text in ".{0,100}", digits in "[0-9 –-]{0,40}") {
            for text in [text, digits] {
                let _ = parse(&text);
                let _ = text.parse::<ShortMeetCode>();
            }
        }
    }
}
