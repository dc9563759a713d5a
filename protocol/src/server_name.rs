//! The name that a device signs when it proves itself to a relay, and the relay's address.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use core::fmt;
use core::str::FromStr;

use crate::primitives::sign::PublicKey;

/// SHA-256 of the SubjectPublicKeyInfo of a relay's own CA certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// Where a relay is and how its certificate is recognised:
/// `wss://host:port` (a public CA) or `wss://host:port#pin=<base64url>` (its own CA). The operator's
/// offline key may follow: `#pin=<base64url>&operator=<base64url>`, or `#operator=<base64url>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayAddress {
    /// Host name, or IP address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Pin of the relay's own CA; `None` trusts the public CAs.
    pub pin: Option<Pin>,
    /// The operator's offline key, for whoever has not pinned it yet.
    pub operator: Option<PublicKey>,
}

/// Why a relay address can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayAddressError {
    /// Not `wss://…`.
    #[error("a relay address starts with wss:// (got {0:?})")]
    Scheme(String),
    /// No usable host.
    #[error("the relay address names no host")]
    Host,
    /// The port is no number between 1 and 65535.
    #[error("the relay address has no usable port: {0:?}")]
    Port(String),
    /// The fragment is not `pin=` and 43 base64url characters.
    #[error("the relay's pin is damaged: it must be pin= and 43 letters, digits, - or _")]
    Pin,
    /// The operator's key is damaged.
    #[error("the operator's key is damaged: it must be operator= and 43 letters, digits, - or _")]
    Operator,
}

impl RelayAddress {
    /// The name both sides use in signatures: the pin when there is one, else the host.
    #[must_use]
    pub fn server_name(&self) -> String {
        match self.pin {
            Some(pin) => pinned_name(&pin),
            None => self.host.clone(),
        }
    }

    /// Whether both name the same relay, whatever they say of its operator.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.host, self.port, self.pin) == (&other.host, other.port, other.pin)
    }

    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The server name of a relay that is recognised by its pin.
#[must_use]
pub fn pinned_name(pin: &Pin) -> String {
    format!("pin:{pin}")
}

/// The text form of an operator's offline key: base64url, 43 characters.
#[must_use]
pub fn operator_text(key: &PublicKey) -> String {
    URL_SAFE_NO_PAD.encode(key.as_bytes())
}

/// 32 bytes of base64url.
fn key(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wss://{}", self.authority())?;
        let mut mark = '#';
        if let Some(pin) = self.pin {
            write!(f, "{mark}pin={pin}")?;
            mark = '&';
        }
        match self.operator {
            Some(key) => write!(f, "{mark}operator={}", operator_text(&key)),
            None => Ok(()),
        }
    }
}

impl FromStr for RelayAddress {
    type Err = RelayAddressError;

    fn from_str(text: &str) -> Result<Self, RelayAddressError> {
        let rest = text
            .trim()
            .strip_prefix("wss://")
            .ok_or_else(|| RelayAddressError::Scheme(text.chars().take(40).collect()))?;
        let (authority, fragment) = match rest.split_once('#') {
            Some((authority, fragment)) => (authority, Some(fragment)),
            None => (rest, None),
        };
        let authority = authority.trim_end_matches('/');
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or(RelayAddressError::Host)?;
                (host, after.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() || host.len() > 253 || host.contains(['/', '@', '?', ' ']) {
            return Err(RelayAddressError::Host);
        }
        let port = match port {
            None => 443,
            Some(port) => match port.parse() {
                Ok(number) if number > 0 => number,
                _ => return Err(RelayAddressError::Port(port.chars().take(12).collect())),
            },
        };
        let (mut pin, mut operator) = (None, None);
        for part in fragment.into_iter().flat_map(|all| all.split('&')) {
            if let Some(text) = part.strip_prefix("operator=") {
                let key = key(text).map(PublicKey::new);
                let key = key.filter(|_| operator.is_none());
                operator = Some(key.ok_or(RelayAddressError::Operator)?);
            } else {
                let text = part.strip_prefix("pin=").ok_or(RelayAddressError::Pin)?;
                let bytes = key(text).filter(|_| pin.is_none());
                pin = Some(Pin(bytes.ok_or(RelayAddressError::Pin)?));
            }
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            pin,
            operator,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Pin, RelayAddress, RelayAddressError};
    use crate::primitives::sign::PublicKey;

    #[test]
    fn round_trip() {
        for host in ["localhost", "relay.example.org", "::1"] {
            for pin in [None, Some(Pin([9; 32]))] {
                for operator in [None, Some(PublicKey::new([8; 32]))] {
                    let address = RelayAddress {
                        host: host.into(),
                        port: 8443,
                        pin,
                        operator,
                    };
                    assert_eq!(address.to_string().parse(), Ok(address));
                }
            }
        }
    }

    #[test]
    fn damaged_addresses_say_what_is_wrong() {
        assert!(matches!(
            "http://x".parse::<RelayAddress>(),
            Err(RelayAddressError::Scheme(_))
        ));
        assert_eq!(
            "wss://:1".parse::<RelayAddress>(),
            Err(RelayAddressError::Host)
        );
        assert!(matches!(
            "wss://h:99999".parse::<RelayAddress>(),
            Err(RelayAddressError::Port(_))
        ));
        assert_eq!(
            "wss://h:1#pin=AAAA".parse::<RelayAddress>(),
            Err(RelayAddressError::Pin)
        );
        assert_eq!(
            "wss://h:1#nip".parse::<RelayAddress>(),
            Err(RelayAddressError::Pin)
        );
        assert_eq!(
            "wss://h:1#operator=AAAA".parse::<RelayAddress>(),
            Err(RelayAddressError::Operator)
        );
        let key = "A".repeat(43);
        assert_eq!(
            format!("wss://h:1#operator={key}&operator={key}").parse::<RelayAddress>(),
            Err(RelayAddressError::Operator)
        );
        assert_eq!(
            format!("wss://h:1#pin={key}&pin={key}").parse::<RelayAddress>(),
            Err(RelayAddressError::Pin)
        );
    }
}
