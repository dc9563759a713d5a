//! A code as a person enters it: scanned or typed.

use core::str::FromStr;

use super::code::{PairingCode, PairingRole};
use super::meet::MeetCode;
use super::short::{ShortCode, ShortMeetCode, looks_short};
use super::text::CodeError;
use crate::ids::RendezvousId;

/// How a code is handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CodeKind {
    /// As a picture, or as its text: everything is inside, 128 bits of secret too.
    #[default]
    Qr,
    /// As fourteen digits to type.
    Short,
}

/// A code to pair a device with, in either form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinCode {
    /// Scanned.
    Qr(PairingCode),
    /// Typed.
    Short(ShortCode),
}

impl JoinCode {
    /// The meeting point.
    #[must_use]
    pub fn rendezvous(&self) -> RendezvousId {
        match self {
            Self::Qr(code) => code.rendezvous,
            Self::Short(code) => code.rendezvous(),
        }
    }

    /// As what the new device joins.
    #[must_use]
    pub const fn role(&self) -> PairingRole {
        match self {
            Self::Qr(code) => code.role,
            Self::Short(code) => code.role(),
        }
    }

    /// The text to show.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Qr(code) => code.to_text(),
            Self::Short(code) => code.to_text(),
        }
    }
}

impl FromStr for JoinCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        if looks_short(text) {
            text.parse().map(Self::Short)
        } else {
            text.parse().map(Self::Qr)
        }
    }
}

/// A code with which two families meet, in either form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeetingCode {
    /// Scanned.
    Qr(MeetCode),
    /// Typed, or read out over the phone.
    Short(ShortMeetCode),
}

impl MeetingCode {
    /// The meeting point.
    #[must_use]
    pub fn rendezvous(&self) -> RendezvousId {
        match self {
            Self::Qr(code) => code.rendezvous,
            Self::Short(code) => code.rendezvous(),
        }
    }

    /// The text to show.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Qr(code) => code.to_text(),
            Self::Short(code) => code.to_text(),
        }
    }
}

impl FromStr for MeetingCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        if looks_short(text) {
            text.parse().map(Self::Short)
        } else {
            text.parse().map(Self::Qr)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::{JoinCode, MeetingCode};
    use crate::ids::RendezvousId;
    use crate::pairing::{
        CodeError, MeetCode, PairingCode, PairingRole, Purpose, ShortCode, ShortMeetCode,
    };
    use crate::secrets::Secret;

    /// Every kind of code there is, in its text.
    fn texts() -> ([String; 3], [String; 2]) {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let pairing = PairingCode {
            relay: "wss://relay.example.org".parse().unwrap(),
            rendezvous: RendezvousId::new([1; 16]),
            secret: Secret::new([2; 16]),
            admission: String::new(),
            role: PairingRole::Child,
            expires_unix_seconds: 1,
        };
        let meet = MeetCode {
            relay: pairing.relay.clone(),
            rendezvous: pairing.rendezvous,
            secret: pairing.secret.clone(),
            expires_unix_seconds: 1,
        };
        (
            [
                pairing.to_text(),
                ShortCode::random(PairingRole::Child, &mut rng).to_text(),
                ShortCode::random(PairingRole::Guardian, &mut rng).to_text(),
            ],
            [meet.to_text(), ShortMeetCode::random(&mut rng).to_text()],
        )
    }

    #[test]
    fn each_form_is_read_and_the_other_purpose_refused_in_both() {
        let (pair, meet) = texts();
        for text in pair {
            let code: JoinCode = text.parse().unwrap();
            assert_eq!(code.to_text(), text);
            let (found, wanted) = (Purpose::Pair, Purpose::Meet);
            let refused = Err(CodeError::OtherPurpose { found, wanted });
            assert_eq!(text.parse::<MeetingCode>(), refused);
        }
        for text in meet {
            let code: MeetingCode = text.parse().unwrap();
            assert_eq!(code.to_text(), text);
            let (found, wanted) = (Purpose::Meet, Purpose::Pair);
            let refused = Err(CodeError::OtherPurpose { found, wanted });
            assert_eq!(text.parse::<JoinCode>(), refused);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert_eq!("hello".parse::<JoinCode>(), Err(CodeError::Foreign));
        assert_eq!("".parse::<MeetingCode>(), Err(CodeError::Foreign));
        let few = CodeError::Digits { digits: 1 };
        assert_eq!("7".parse::<JoinCode>(), Err(few));
    }
}
