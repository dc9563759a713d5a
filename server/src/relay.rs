//! The relay as a whole: starts its parts, knows when they failed, stops them in order.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::available_parallelism;
use std::time::Duration;

use kinline_protocol::day::Day;
use kinline_protocol::server_name::{RelayAddress, pinned_name};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::Accounts;
use crate::admin;
use crate::blob::BlobFiles;
use crate::clock::Clock;
use crate::config::{Admission, Config, ConfigError, RunLimits};
use crate::keys::{AtRest, Held, KeyFile, KeyFileError};
use crate::listener::{self, Visitors};
use crate::mailbox::{self, Grants, Mailboxes};
use crate::operator::{self, Operator};
use crate::rendezvous::Rendezvous;
use crate::storage::{
    self, EmbeddedStorage, GROUP_WRITES_MAX, OpenError, Settled, SqliteOptions, SqliteStorage,
    Step, Storage, Write, lock,
};
use crate::ticket::Issuer;
use crate::tls::{self, Tls, TlsError};
use crate::tripwire::{self, Tripwire};
use crate::{retention, terms};

/// How long connections may take to end when the relay stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Why the relay does not start; each a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key file can't be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The database can't be opened.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener can't be opened.
    #[error("the relay can't listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A change of the at-rest key broke off.
    #[error("a change of the at-rest key broke off: start the relay, which ends it, and try again")]
    Changing,
    /// The database takes nothing.
    #[error("the database takes nothing: the disk, or the room given to it, is full")]
    NoRoom,
    /// The blob folder can't be used.
    #[error("the folder of blobs can't be used: {0}")]
    Blobs(#[source] io::Error),
}

/// Counters that are counted at every message: to look one up by its name costs as much as the
/// counting.
pub(crate) struct Meters {
    pub(crate) sends: metrics::Counter,
    pub(crate) delivered: metrics::Counter,
}

impl Meters {
    fn new() -> Self {
        Self {
            sends: metrics::counter!("kinline_sends_total"),
            delivered: metrics::counter!("kinline_envelopes_delivered_total"),
        }
    }
}

/// What every part of a running relay sees.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) grants: Grants,
    pub(crate) rendezvous: Rendezvous,
    pub(crate) operator: Operator,
    pub(crate) tripwire: Tripwire,
    pub(crate) blobs: BlobFiles,
    /// Envelopes in memory: one permit each.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) limits: RunLimits,
    pub(crate) admission: Admission,
    pub(crate) accounts: Accounts,
    pub(crate) issuer: Issuer,
    /// What devices sign.
    pub(crate) server_name: String,
    /// How long this relay keeps what.
    pub(crate) terms: bytes::Bytes,
    /// Turns of handshakes: as many at a time as there are cores.
    pub(crate) turns: Semaphore,
    /// What is counted at every message.
    pub(crate) meters: Meters,
    /// Numbers connections.
    pub(crate) connections: AtomicU64,
    /// Every task that must end before the storage is closed.
    pub(crate) tracker: TaskTracker,
    /// The relay stops.
    pub(crate) stopping: CancellationToken,
}

impl Shared {
    /// A day on which the operator's backups hold nothing any more of what goes today.
    pub(crate) fn backups_end_day(&self) -> u32 {
        self.clock.day().plus(self.accounts.backup_days).0
    }

    /// Whether a request now would be served.
    pub(crate) async fn is_ready(&self) -> bool {
        !self.stopping.is_cancelled()
            && !self.storage.failed().is_cancelled()
            && self.storage.is_revoked([0; 32]).await.is_ok()
    }
}

/// Starts relays.
#[derive(Debug)]
pub struct Relay;

/// A relay that runs until [`RunningRelay::shutdown`].
pub struct RunningRelay {
    address: SocketAddr,
    relay_address: RelayAddress,
    admin_address: Option<SocketAddr>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for RunningRelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningRelay")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts a relay with the system's clock.
    ///
    /// # Errors
    /// [`StartError`]; nothing was changed in an existing data folder.
    pub async fn start(config: Config) -> Result<RunningRelay, StartError> {
        Self::start_with_clock(config, Clock::system()).await
    }

    /// Starts a relay whose day `clock` tells.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with_clock(
        config: Config,
        clock: Clock,
    ) -> Result<RunningRelay, StartError> {
        let limits = config.limits.check(config.admission)?;
        let stretching = config.accounts.stretching()?;
        config.check_places()?;
        let webhook = config.tripwire.webhook().map_err(ConfigError::from)?;
        let (storage, key_file) = open_storage(&config, &clock).await?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let accounts = Accounts::new(
            key_file.accounts,
            stretching,
            config.accounts.tickets_per_epoch,
            config.terms.backup_days,
        );
        if accounts.prepare(&*storage).await.is_err() {
            storage.close().await;
            return Err(StartError::NoRoom);
        }
        let tls = load_tls(&config)?;
        let listener = listen(config.listen).await?;
        let admin_listener = match config.admin_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        if config.listen.ip().is_unspecified() && config.public_address.is_none() {
            tracing::warn!(
                "no public_address is configured: pairing codes will say localhost, which no other machine reaches"
            );
        }
        let local = |listener: &TcpListener, address| {
            listener
                .local_addr()
                .map_err(|source| StartError::Listen { address, source })
        };
        let address = local(&listener, config.listen)?;
        let admin_address = admin_listener
            .as_ref()
            .zip(config.admin_listen)
            .map(|(listener, at)| local(listener, at))
            .transpose()?;
        let mut relay_address = config.relay_address(address, tls.pin)?;
        let hold_time = limits.mailbox.hold;
        let (holds, looks) = mailbox::Holds::new(hold_time, limits.held_max);
        if admin_listener.is_some() {
            let _ = admin::recorder();
        }
        let server_name = config
            .server_name
            .clone()
            .or_else(|| tls.pin.as_ref().map(pinned_name))
            .unwrap_or_else(|| relay_address.host.clone());
        let shared = Arc::new(Shared {
            terms: terms::document(&config, &server_name),
            server_name,
            mailboxes: Mailboxes::new(Arc::clone(&storage), limits.mailbox, holds),
            grants: Grants::new(Arc::clone(&storage)),
            rendezvous: Rendezvous::default(),
            operator: Operator::default(),
            tripwire: Tripwire::start(&config.tripwire, webhook, clock.clone()),
            blobs: BlobFiles::open(&config.data).map_err(StartError::Blobs)?,
            room: Arc::new(Semaphore::new(limits.envelopes_in_memory)),
            admission: config.admission,
            accounts,
            issuer: Issuer::new(key_file.tickets),
            turns: Semaphore::new(available_parallelism().map_or(1, NonZeroUsize::get)),
            meters: Meters::new(),
            connections: AtomicU64::new(1),
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            storage,
            clock,
            limits,
        });
        tokio::spawn(mailbox::hold(looks, hold_time, Arc::clone(&shared.storage)));
        // Before the first hello: it tells where the log stands.
        operator::look(&shared).await;
        relay_address.operator = shared.operator.offline();
        tokio::spawn(operator::run(Arc::clone(&shared)));
        tokio::spawn(retention::run(Arc::clone(&shared)));
        if let Some(listener) = admin_listener {
            tokio::spawn(admin::serve(listener, Arc::clone(&shared)));
        }
        let visitors = Arc::new(Visitors::new(
            config.limits.connections,
            config.limits.connections_per_network,
        ));
        tokio::spawn(listener::serve(
            listener,
            tls.config,
            visitors,
            Arc::clone(&shared),
        ));
        Ok(RunningRelay {
            address,
            relay_address,
            admin_address,
            shared,
        })
    }
}

/// Opens what a relay keeps.
pub(crate) async fn open_storage(
    config: &Config,
    clock: &Clock,
) -> Result<(EmbeddedStorage, KeyFile), StartError> {
    let (options, mut key_file) = storage_options(config, true)?;
    if key_file.is_changing() {
        let held = Held::take(&config.key_file())?;
        key_file = held.read()?;
        settle_at_rest(config, &options, &mut key_file, &held).await?;
    }
    let keys = AtRest::new(key_file.at_rest());
    let storage = EmbeddedStorage::open(options, keys, clock.clone()).await?;
    Ok((storage, key_file))
}

/// Ends a change of the at-rest key that broke off.
async fn settle_at_rest(
    config: &Config,
    options: &SqliteOptions,
    key_file: &mut KeyFile,
    held: &Held,
) -> Result<(), StartError> {
    if key_file.is_changing() {
        let _lock = lock(&config.data)?;
        let new = AtRest::new(key_file.at_rest());
        let settled = storage::settle(options, &new).await?;
        key_file.settle_at_rest(settled == Settled::New);
        key_file.replace(held)?;
    }
    Ok(())
}

/// Changes the at-rest key of a data folder that no relay runs on: everything in it is written
/// anew.
pub(crate) async fn rotate_at_rest(config: &Config, today: Day) -> Result<KeyFile, StartError> {
    let (options, _) = storage_options(config, true)?;
    let held = Held::take(&config.key_file())?;
    let mut key_file = held.read()?;
    let exists = EmbeddedStorage::exists(&config.data);
    if exists {
        settle_at_rest(config, &options, &mut key_file, &held).await?;
        // Once as a relay would, for what a program of before left to be moved.
        let keys = AtRest::new(key_file.at_rest());
        let storage = EmbeddedStorage::open(options.clone(), keys, Clock::system()).await?;
        storage.close().await;
    }
    key_file.begin_at_rest().map_err(KeyFileError::from)?;
    if exists && let Some(before) = key_file.at_rest_of_before() {
        let (old, new) = (AtRest::new(before), AtRest::new(key_file.at_rest()));
        let _lock = lock(&config.data)?;
        key_file.replace(&held)?;
        storage::rekey(&options, &old, &new, today, Step::Done).await?;
    }
    key_file.settle_at_rest(true);
    key_file.replace(&held)?;
    Ok(key_file)
}

/// Opens the database alone, beside a relay that may be running.
pub(crate) async fn open_rows(config: &Config, clock: &Clock) -> Result<SqliteStorage, StartError> {
    Ok(open_secrets(config, clock).await?.0)
}

/// [`open_rows`], where accounts lie in it, and whose tickets are good.
pub(crate) async fn open_secrets(
    config: &Config,
    clock: &Clock,
) -> Result<(SqliteStorage, Accounts, Issuer), StartError> {
    let (options, key_file) = storage_options(config, false)?;
    if key_file.is_changing() {
        return Err(StartError::Changing);
    }
    let keys = AtRest::new(key_file.at_rest());
    let storage = SqliteStorage::open(options, keys, clock.clone()).await?;
    let accounts = Accounts::new(key_file.accounts, Vec::new(), 0, 0);
    Ok((storage, accounts, Issuer::new(key_file.tickets)))
}

fn storage_options(
    config: &Config,
    exclusive: bool,
) -> Result<(SqliteOptions, KeyFile), StartError> {
    let exists = EmbeddedStorage::exists(&config.data);
    let key_file = KeyFile::open_or_create(&config.key_file(), &config.data, exists)?;
    let options = SqliteOptions {
        data: config.data.clone(),
        bytes_max: config.limits.database_bytes,
        checkpoint_after: Duration::from_millis(config.limits.checkpoint_after_ms),
        group_max: GROUP_WRITES_MAX,
        exclusive,
    };
    Ok((options, key_file))
}

pub(crate) fn load_tls(config: &Config) -> Result<Tls, StartError> {
    Ok(match (&config.tls.cert, &config.tls.key) {
        (Some(cert), Some(key)) => tls::from_files(cert, key, config.tls.pinned)?,
        _ => tls::own_ca(&config.tls_folder(), &config.certificate_names())?,
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

impl RunningRelay {
    /// Where it listens, with the real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What devices dial, with the pin.
    #[must_use]
    pub const fn relay_address(&self) -> &RelayAddress {
        &self.relay_address
    }

    /// Where the metrics are, if they are served.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Removes now what has expired by the relay's clock; runs by itself once a day.
    pub async fn run_retention(&self) {
        tripwire::tend(&self.shared, true).await;
        retention::sweep(&self.shared).await;
    }

    /// What its parts see, for measurements.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Steps of logins so far that cost something: for a test that one that can't succeed costs as
    /// much as one that can.
    #[doc(hidden)]
    #[must_use]
    pub fn account_work(&self) -> u64 {
        self.shared.accounts.work()
    }

    /// Brings the number of decoys up to `count`, by the relay's own clock. How many there are then.
    pub async fn make_decoys(&self, count: usize) -> usize {
        let storage = &self.shared.storage;
        let Ok(all) = storage.mailboxes().await else {
            return 0;
        };
        let submit = |write| storage.submit(Write::Row(write));
        tripwire::make(&all, self.shared.clock.day(), count, submit).await
    }

    /// Looks at the operator's log now; runs by itself once a second.
    pub async fn look_at_operator_log(&self) {
        operator::look(&self.shared).await;
    }

    /// Resolves when the database or the disk failed: then nothing is acknowledged any more
    /// and the process should end.
    pub async fn failed(&self) {
        self.shared.storage.failed().cancelled().await;
    }

    /// Stops: no new connections, what was accepted is written and answered, every device is
    /// told, the database's log is folded in. `false` when the database or the disk had failed,
    /// or failed in the end.
    pub async fn shutdown(self) -> bool {
        let shared = &self.shared;
        shared.stopping.cancel();
        shared.tracker.close();
        if timeout(STOP_TIMEOUT, shared.tracker.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        shared.storage.close().await;
        !shared.storage.failed().is_cancelled()
    }
}
