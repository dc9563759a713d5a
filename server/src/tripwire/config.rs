//! What can be configured about tripwires.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The section `tripwire`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TripwireConfig {
    /// Where alarms are posted: `http://` and a loopback address with its port, and a path. Nowhere
    /// when not given.
    pub webhook: Option<String>,
    /// Envelopes that may leave in a minute beyond twice those acknowledged in it. 100,000 are ten
    /// full mailboxes, or 400 devices that come back at once with a full window each.
    pub envelopes_unexplained: u64,
    /// Bytes of blobs that may leave in a minute beyond 1 MiB for each envelope acknowledged in it.
    pub blob_bytes_unexplained: u64,
}

impl Default for TripwireConfig {
    fn default() -> Self {
        Self {
            webhook: None,
            envelopes_unexplained: 100_000,
            blob_bytes_unexplained: 4 * 1_024 * 1_024 * 1_024,
        }
    }
}

/// The webhook is none that the relay calls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "tripwire.webhook must be http:// with a loopback address and a port, such as http://127.0.0.1:9901/alarm: it is called without TLS"
)]
pub struct WebhookError;

/// Where alarms go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookAddress {
    /// A loopback address.
    pub(crate) address: SocketAddr,
    /// With its slash.
    pub(crate) path: String,
}

impl TripwireConfig {
    /// The webhook, checked.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub(crate) fn webhook(&self) -> Result<Option<WebhookAddress>, WebhookError> {
        let Some(text) = &self.webhook else {
            return Ok(None);
        };
        let rest = text.strip_prefix("http://").ok_or(WebhookError)?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address: SocketAddr = address.parse().map_err(|_| WebhookError)?;
        let graphic = path.bytes().all(|byte| byte.is_ascii_graphic());
        if !address.ip().is_loopback() || !graphic {
            return Err(WebhookError);
        }
        let path = format!("/{path}");
        Ok(Some(WebhookAddress { address, path }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{TripwireConfig, WebhookError};

    #[test]
    fn a_webhook_is_on_this_machine() {
        let of = |text: &str| {
            let config = TripwireConfig {
                webhook: Some(text.into()),
                ..TripwireConfig::default()
            };
            config.webhook()
        };
        let good = of("http://127.0.0.1:9901/alarm").unwrap().unwrap();
        assert_eq!((good.address.port(), &*good.path), (9_901, "/alarm"));
        assert_eq!(of("http://[::1]:80").unwrap().unwrap().path, "/");
        for bad in [
            "https://127.0.0.1:1/x",
            "http://192.0.2.1:80/",
            "http://localhost:80/",
            "http://127.0.0.1/x",
            "http://127.0.0.1:1/a b",
        ] {
            assert_eq!(of(bad), Err(WebhookError), "{bad}");
        }
    }
}
