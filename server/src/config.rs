//! Configuration: a file, then the environment, then flags; unknown keys are refused.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use kinline_protocol::limits;
use kinline_protocol::primitives::stretching::Stretching;
use kinline_protocol::server_name::{Pin, RelayAddress};
use serde::{Deserialize, Serialize};

use crate::files::is_inside;
use crate::mailbox::MailboxLimits;
use crate::tripwire::{TripwireConfig, WebhookError};

/// Prefix of environment variables; `__` separates a section from its key
/// (`KINLINE_RELAY_LIMITS__HOLD_MS=0`).
pub const ENV_PREFIX: &str = "KINLINE_RELAY_";
/// The variable that names the configuration file, which is not itself a key.
pub const ENV_CONFIG: &str = "KINLINE_RELAY_CONFIG";

/// Why a configuration is refused; each a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An unknown key, a value of a wrong kind, or a file that can't be read.
    #[error("the configuration is refused: {0}")]
    Read(#[source] Box<figment::Error>),
    /// A limit that makes no sense.
    #[error("the limit {0} must be at least 1")]
    Zero(&'static str),
    /// The public address can't be read.
    #[error("public_address must be a host, or host:port: {0}")]
    PublicAddress(String),
    /// Only one of certificate and key.
    #[error(
        "tls.cert and tls.key belong together: give both, or neither for a CA of the relay's own"
    )]
    HalfTls,
    /// Metrics travel without TLS: nobody else may hear them.
    #[error(
        "admin_listen must be a loopback address such as 127.0.0.1:9900, not {0}: metrics are served without TLS"
    )]
    AdminNotLoopback(SocketAddr),
    /// Costs that no device could pay, or not one to four of them.
    #[error(
        "accounts.stretching must hold one to four costs, each at most 1 GiB, 16 passes and 16 lanes"
    )]
    Stretching,
    /// The webhook is none that the relay calls.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The keys of TLS inside the data folder.
    #[error(
        "{path} lies inside the data folder {data}: put the keys of TLS elsewhere, or a stolen data folder brings them along"
    )]
    TlsInsideData {
        /// Where they lie.
        path: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
}

/// Who may open mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// Everybody.
    #[default]
    Open,
    /// Who has an admission code that is not used up.
    Codes,
    /// Who has a code, or a ticket that an account drew.
    Tickets,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For reading.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// And what may.
    Warn,
    /// And what happens seldom.
    #[default]
    Info,
    /// And what helps to find a mistake.
    Debug,
}

impl LogLevel {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The data folder: database and blobs.
    pub data: PathBuf,
    /// The key file; `kinline.key` beside the data folder when not given.
    pub key_file: Option<PathBuf>,
    /// Certificates.
    pub tls: TlsConfig,
    /// The name that devices sign; the pin or the public host when not given.
    pub server_name: Option<String>,
    /// `host` or `host:port` under which devices reach the relay; where it listens when not given.
    pub public_address: Option<String>,
    /// Who may open mailboxes.
    pub admission: Admission,
    /// Where metrics are served, without TLS: a loopback address. Not at all when not given.
    pub admin_listen: Option<SocketAddr>,
    /// How the log looks.
    pub log: LogFormat,
    /// How much the relay logs of its own doings. The libraries beneath it, which would log
    /// headers and frames, never log more than warnings.
    pub log_level: LogLevel,
    /// Accounts.
    pub accounts: AccountsConfig,
    /// What is published about retention.
    pub terms: TermsConfig,
    /// The operator's notice key; `kinline-notice.key` beside the data folder when not given. Only
    /// the operator's commands read it: the relay needs neither it nor permission to.
    pub notice_key: Option<PathBuf>,
    /// Alarms.
    pub tripwire: TripwireConfig,
    /// Limits and quotas.
    pub limits: Limits,
}

/// How accounts are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsConfig {
    /// Costs of stretching a password, the one for new accounts first, at most four: announced
    /// to everybody. One that is taken out locks out the accounts that still have it.
    pub stretching: Vec<Costs>,
    /// Tickets that an account may draw in an epoch of 30 days.
    pub tickets_per_epoch: u32,
}

/// Costs of Argon2id. Devices accept 64 MiB and three passes at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        let costs = Stretching::DEFAULT;
        Self {
            stretching: vec![Costs {
                memory_kib: costs.memory_kib(),
                passes: costs.passes(),
                lanes: costs.lanes(),
            }],
            tickets_per_epoch: 96,
        }
    }
}

/// Costs announced at most: a device tries them one after the other.
const STRETCHING_MAX: usize = 4;

impl AccountsConfig {
    /// The costs, checked.
    pub(crate) fn stretching(&self) -> Result<Vec<Stretching>, ConfigError> {
        if !(1..=STRETCHING_MAX).contains(&self.stretching.len()) {
            return Err(ConfigError::Stretching);
        }
        self.stretching
            .iter()
            .map(|costs| {
                // Devices refuse what is too cheap for a password, but tests have devices too.
                Stretching::cheap_for_tests(costs.memory_kib, costs.passes, costs.lanes)
                    .map_err(|_| ConfigError::Stretching)
            })
            .collect()
    }
}

/// What the operator says in the published terms; everything else in them is not configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TermsConfig {
    /// Days that a backup of the data is kept at most; 0 for none.
    pub backup_days: u32,
    /// Whom to write to about data.
    pub contact: String,
}

impl Default for TermsConfig {
    fn default() -> Self {
        Self {
            backup_days: limits::ENVELOPE_RETENTION_DAYS,
            contact: String::new(),
        }
    }
}

/// Where the certificates come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The folder of the relay's own CA; `tls` beside the data folder when not given.
    pub folder: Option<PathBuf>,
    /// Further names and addresses in the relay's own certificate.
    pub names: Vec<String>,
    /// A certificate chain (PEM) instead of the relay's own.
    pub cert: Option<PathBuf>,
    /// The key (PEM) of `cert`.
    pub key: Option<PathBuf>,
    /// Devices pin the chain's last certificate: an own CA whose key is kept offline.
    pub pinned: bool,
}

/// Limits and quotas. What the protocol fixes is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// Connections at a time from one IPv4 address or IPv6 /56: a school behind one address fits in.
    pub connections_per_network: u32,
    /// Frames per second and attached connection, in the long run; acknowledgements are free.
    pub frames_per_second: u32,
    /// Frames at once: 2,000 envelopes are what a phone that was away sends.
    pub frames_burst: u32,
    /// The same before a connection is attached.
    pub unattached_frames_per_second: u32,
    /// The same before a connection is attached.
    pub unattached_frames_burst: u32,
    /// Deliveries per second into one mailbox, in the long run.
    pub mailbox_deliveries_per_second: u32,
    /// Deliveries at once into one mailbox.
    pub mailbox_deliveries_burst: u32,
    /// Envelopes that a mailbox holds.
    pub mailbox_envelopes: u32,
    /// Mailboxes kept in memory: 50,000 of about 1 KiB are 50 MB.
    pub mailboxes_loaded: u32,
    /// A blob's size.
    pub blob_bytes: u64,
    /// Bytes of blobs and commits that a mailbox may upload in a day.
    pub blob_bytes_per_day: u64,
    /// The same where admission is by tickets, for a mailbox that spends none.
    pub free_blob_bytes: u64,
    /// Envelopes in memory, in bytes; beyond it the relay says that it has no room.
    pub envelopes_in_memory_bytes: u64,
    /// How long an envelope for an attached device waits for its acknowledgement before it is written.
    pub hold_ms: u64,
    /// Envelopes that wait so, in bytes; beyond it they are written at once.
    pub hold_bytes: u64,
    /// What the database, and the spool beside it, may each take on disk; 0 for whatever the disk has.
    pub database_bytes: u64,
    /// Idle time after which the database's log is folded in and cut.
    pub checkpoint_after_ms: u64,
    /// Silence after which a connection is given up.
    pub idle_seconds: u64,
    /// Time without a frame after which a connection that is not attached is ended.
    pub unattached_idle_seconds: u64,
    /// Time for the TLS handshake.
    pub handshake_seconds: u64,
    /// Time for a request's headers.
    pub header_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            data: "kinline-state/data".into(),
            key_file: None,
            tls: TlsConfig::default(),
            server_name: None,
            public_address: None,
            admission: Admission::Open,
            admin_listen: None,
            log: LogFormat::Human,
            log_level: LogLevel::Info,
            accounts: AccountsConfig::default(),
            terms: TermsConfig::default(),
            notice_key: None,
            tripwire: TripwireConfig::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_network: 1_024,
            frames_per_second: 200,
            frames_burst: 2_000,
            unattached_frames_per_second: 20,
            unattached_frames_burst: 400,
            mailbox_deliveries_per_second: 100,
            mailbox_deliveries_burst: 4_000,
            mailbox_envelopes: limits::MAILBOX_ENVELOPES_MAX,
            mailboxes_loaded: 50_000,
            blob_bytes: limits::BLOB_BYTES_MAX,
            blob_bytes_per_day: limits::MAILBOX_BLOB_BYTES_PER_DAY_MAX,
            free_blob_bytes: 64 * 1_024 * 1_024,
            envelopes_in_memory_bytes: 64 * 1_024 * 1_024,
            hold_ms: 250,
            hold_bytes: 16 * 1_024 * 1_024,
            database_bytes: 0,
            checkpoint_after_ms: 1_000,
            idle_seconds: 90,
            unattached_idle_seconds: 600,
            handshake_seconds: 10,
            header_seconds: 10,
        }
    }
}

/// [`Limits`], checked and in the types that are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunLimits {
    pub(crate) frames_per_second: NonZeroU32,
    pub(crate) frames_burst: NonZeroU32,
    pub(crate) unattached_frames_per_second: NonZeroU32,
    pub(crate) unattached_frames_burst: NonZeroU32,
    pub(crate) mailbox: MailboxLimits,
    pub(crate) mailbox_envelopes: u32,
    pub(crate) blob_bytes: u64,
    pub(crate) blob_bytes_per_day: u64,
    pub(crate) envelopes_in_memory: usize,
    pub(crate) held_max: usize,
    pub(crate) idle: Duration,
    pub(crate) unattached_idle: Duration,
    pub(crate) handshake: Duration,
    pub(crate) header: Duration,
}

impl Limits {
    pub(crate) fn check(&self, admission: Admission) -> Result<RunLimits, ConfigError> {
        let rate = |value, name| NonZeroU32::new(value).ok_or(ConfigError::Zero(name));
        let seconds = |value, name| match value {
            0 => Err(ConfigError::Zero(name)),
            value => Ok(Duration::from_secs(value)),
        };
        let envelopes = |bytes: u64| {
            usize::try_from(bytes / limits::ENVELOPE_BYTES as u64).unwrap_or(usize::MAX)
        };
        rate(self.mailbox_envelopes, "mailbox_envelopes")?;
        Ok(RunLimits {
            frames_per_second: rate(self.frames_per_second, "frames_per_second")?,
            frames_burst: rate(self.frames_burst, "frames_burst")?,
            unattached_frames_per_second: rate(
                self.unattached_frames_per_second,
                "unattached_frames_per_second",
            )?,
            unattached_frames_burst: rate(self.unattached_frames_burst, "unattached_frames_burst")?,
            mailbox: MailboxLimits {
                envelopes_max: self.mailbox_envelopes,
                deliveries_per_second: rate(
                    self.mailbox_deliveries_per_second,
                    "mailbox_deliveries_per_second",
                )?,
                deliveries_burst: rate(self.mailbox_deliveries_burst, "mailbox_deliveries_burst")?,
                hold: Duration::from_millis(self.hold_ms),
                loaded_max: usize::try_from(self.mailboxes_loaded).unwrap_or(usize::MAX),
            },
            mailbox_envelopes: self.mailbox_envelopes,
            blob_bytes: self.blob_bytes.min(limits::BLOB_BYTES_MAX),
            blob_bytes_per_day: match admission {
                Admission::Tickets => self.blob_bytes_per_day.min(self.free_blob_bytes),
                Admission::Open | Admission::Codes => self.blob_bytes_per_day,
            },
            // A semaphore counts at most 2^61; nobody has that many envelopes.
            envelopes_in_memory: envelopes(self.envelopes_in_memory_bytes).clamp(1, 1 << 40),
            held_max: envelopes(self.hold_bytes).clamp(1, 1 << 40),
            idle: seconds(self.idle_seconds, "idle_seconds")?,
            unattached_idle: seconds(self.unattached_idle_seconds, "unattached_idle_seconds")?,
            handshake: seconds(self.handshake_seconds, "handshake_seconds")?,
            header: seconds(self.header_seconds, "header_seconds")?,
        })
    }
}

impl Config {
    /// A relay on a free loopback port with everything in `state`: `data`, `kinline.key`, `tls`.
    #[must_use]
    pub fn embedded(state: &Path) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: state.join("data"),
            ..Self::default()
        }
    }

    /// Reads `file`, then the environment, then `flags` (anything that serializes to keys of
    /// [`Config`]); later ones win.
    ///
    /// # Errors
    /// [`ConfigError::Read`] naming the unknown key or wrong value, [`ConfigError::HalfTls`].
    pub fn load(file: Option<&Path>, flags: impl Serialize) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        let config_variable = ENV_CONFIG.trim_start_matches(ENV_PREFIX);
        let environment = Env::prefixed(ENV_PREFIX)
            .ignore(&[config_variable])
            .split("__");
        let config: Self = figment
            .merge(environment)
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| ConfigError::Read(Box::new(error)))?;
        if config.tls.cert.is_some() != config.tls.key.is_some() {
            return Err(ConfigError::HalfTls);
        }
        Ok(config)
    }

    /// Refuses keys where a thief of the data would find them.
    pub(crate) fn check_places(&self) -> Result<(), ConfigError> {
        let path = self.tls.key.clone().unwrap_or_else(|| self.tls_folder());
        if is_inside(&path, &self.data) {
            return Err(ConfigError::TlsInsideData {
                path,
                data: self.data.clone(),
            });
        }
        match self.admin_listen {
            Some(address) if !address.ip().is_loopback() => {
                Err(ConfigError::AdminNotLoopback(address))
            }
            _ => Ok(()),
        }
    }

    fn state_folder(&self) -> &Path {
        match self.data.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Where the key file lies.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.key_file
            .clone()
            .unwrap_or_else(|| self.state_folder().join("kinline.key"))
    }

    /// Where the operator's notice key lies.
    #[must_use]
    pub fn notice_key(&self) -> PathBuf {
        self.notice_key
            .clone()
            .unwrap_or_else(|| self.state_folder().join("kinline-notice.key"))
    }

    /// Where the relay's own CA lies.
    #[must_use]
    pub fn tls_folder(&self) -> PathBuf {
        self.tls
            .folder
            .clone()
            .unwrap_or_else(|| self.state_folder().join("tls"))
    }

    /// Names in the relay's own certificate.
    pub(crate) fn certificate_names(&self) -> Vec<String> {
        // "kinline-relay" is for devices that recognise the relay by its pin, whatever it is
        // called where they are (PROTOCOL §3.1).
        let mut names: Vec<String> = ["kinline-relay", "localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec();
        names.push(self.listen.ip().to_string());
        names.extend(self.public_host_port().ok().flatten().map(|(host, _)| host));
        names.extend(self.tls.names.iter().cloned());
        names.sort();
        names.dedup();
        names
    }

    fn public_host_port(&self) -> Result<Option<(String, Option<u16>)>, ConfigError> {
        let Some(text) = &self.public_address else {
            return Ok(None);
        };
        let parsed: RelayAddress = format!("wss://{text}")
            .parse()
            .map_err(|_| ConfigError::PublicAddress(text.clone()))?;
        let has_port = text
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Some((parsed.host, has_port.then_some(parsed.port))))
    }

    /// What devices dial when the relay listens on `local`.
    pub(crate) fn relay_address(
        &self,
        local: SocketAddr,
        pin: Option<Pin>,
    ) -> Result<RelayAddress, ConfigError> {
        let (host, port) = self.public_host_port()?.unwrap_or_else(|| {
            let ip = local.ip();
            (
                if ip.is_unspecified() {
                    "localhost".to_owned()
                } else {
                    ip.to_string()
                },
                None,
            )
        });
        Ok(RelayAddress {
            host,
            port: port.unwrap_or(local.port()),
            pin,
            operator: None,
        })
    }
}
