//! Between the devices and the relay: passes everything on, writes down what it means, and lets
//! a test strike at a chosen frame.
//!
//! The tap presents a certificate of the relay's own CA, so that the pin in the pairing codes
//! fits, and speaks to the relay as a device does. Bytes are passed on as they are. While the
//! relay is dead new connections wait for its return instead of failing, which saves the devices
//! their backoff and the tests their time.

mod connection;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use kinline_protocol::ids::MailboxId;
use kinline_protocol::server_name::RelayAddress;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::patience::eventually;
use crate::record::WireRecord;

/// A frame at which something can be made to happen, before it is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A device sends envelopes.
    Send,
    /// The relay answers for one recipient with ok.
    Answer,
    /// The relay delivers an envelope.
    Deliver,
    /// A device acknowledges.
    Acknowledge,
    /// A device attaches.
    Attach,
    /// A device asks for room for a blob.
    Room,
    /// A piece of a blob passes, on its way up.
    Upload,
    /// A piece of a blob passes, on its way down.
    Download,
}

struct Trigger {
    moment: Moment,
    mailbox: Option<MailboxId>,
    left: u32,
    strike: Box<dyn FnOnce() + Send>,
    struck: oneshot::Sender<()>,
}

struct Shared {
    upstream: watch::Sender<Option<RelayAddress>>,
    record: Mutex<WireRecord>,
    trigger: Mutex<Option<Trigger>>,
    muted: Mutex<HashSet<MailboxId>>,
    /// Ends the newest connection of a mailbox.
    cutters: Mutex<HashMap<MailboxId, watch::Sender<bool>>>,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, WireRecord> {
        self.record.lock().unwrap()
    }

    fn is_muted(&self, mailbox: Option<MailboxId>) -> bool {
        mailbox.is_some_and(|mailbox| self.muted.lock().unwrap().contains(&mailbox))
    }

    /// Counts a moment down, and strikes.
    fn pass(&self, moment: Moment, mailbox: Option<MailboxId>) {
        let mut trigger = self.trigger.lock().unwrap();
        let meant = trigger.as_mut().filter(|trigger| {
            trigger.moment == moment && (trigger.mailbox.is_none() || trigger.mailbox == mailbox)
        });
        let Some(counting) = meant else { return };
        counting.left -= 1;
        if counting.left == 0
            && let Some(trigger) = trigger.take()
        {
            (trigger.strike)();
            let _ = trigger.struck.send(());
        }
    }
}

/// The tap; it ends with its owner.
pub struct Tap {
    address: RelayAddress,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Tap {
    /// Opens a tap before the relay whose CA lies in `tls_folder`.
    ///
    /// # Panics
    /// When it can't listen.
    pub async fn open(relay: &RelayAddress, tls_folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = RelayAddress {
            port: listener.local_addr().unwrap().port(),
            ..relay.clone()
        };
        let acceptor = TlsAcceptor::from(server_config(tls_folder));
        let shared = Arc::new(Shared {
            upstream: watch::Sender::new(Some(relay.clone())),
            record: Mutex::default(),
            trigger: Mutex::default(),
            muted: Mutex::default(),
            cutters: Mutex::default(),
        });
        let tapped = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection::carry(
                    stream,
                    acceptor.clone(),
                    Arc::clone(&tapped),
                ));
            }
        });
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Where devices dial, with the relay's own pin.
    #[must_use]
    pub const fn address(&self) -> &RelayAddress {
        &self.address
    }

    /// The relay is gone: connections wait.
    pub fn relay_is_gone(&self) {
        self.shared.upstream.send_replace(None);
    }

    /// The relay is there (again).
    pub fn relay_is_at(&self, relay: &RelayAddress) {
        self.shared.upstream.send_replace(Some(relay.clone()));
    }

    /// What went over the wire so far.
    #[must_use]
    pub fn record(&self) -> WireRecord {
        self.shared.record().clone()
    }

    /// Looks at what went over the wire until it is as wanted.
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn until(&self, what: &str, wanted: impl Fn(&WireRecord) -> bool) {
        eventually(what, async || wanted(&self.shared.record()).then_some(())).await;
    }

    /// Lets `strike` happen at the `count`th such moment from now on, before the frame is passed
    /// on; for `mailbox` only when one is given (its own frames; for answers, its deliveries).
    /// Replaces what was armed before.
    ///
    /// # Panics
    /// When `count` is zero.
    pub fn arm(
        &self,
        moment: Moment,
        count: u32,
        mailbox: Option<MailboxId>,
        strike: impl FnOnce() + Send + 'static,
    ) -> oneshot::Receiver<()> {
        assert!(count > 0);
        let (struck, receiver) = oneshot::channel();
        *self.shared.trigger.lock().unwrap() = Some(Trigger {
            moment,
            mailbox,
            left: count,
            strike: Box::new(strike),
            struck,
        });
        receiver
    }

    /// Nothing strikes any more.
    ///
    /// # Panics
    /// When a strike panicked.
    pub fn disarm(&self) {
        self.shared.trigger.lock().unwrap().take();
    }

    /// From now on the relay hears nothing from this mailbox's connection, which stays open.
    ///
    /// # Panics
    /// When a strike panicked.
    pub fn mute(&self, mailbox: MailboxId) {
        self.shared.muted.lock().unwrap().insert(mailbox);
    }

    /// Cuts the mailbox's connection and ends its muting.
    ///
    /// # Panics
    /// When it has no connection.
    pub fn cut(&self, mailbox: MailboxId) {
        let cutter = self.shared.cutters.lock().unwrap().remove(&mailbox);
        cutter.expect("a connection to cut").send_replace(true);
        self.shared.muted.lock().unwrap().remove(&mailbox);
    }
}

/// A leaf of the relay's own CA, as the relay makes one at each start.
fn server_config(tls_folder: &Path) -> Arc<ServerConfig> {
    let read = |name: &str| std::fs::read_to_string(tls_folder.join(name)).unwrap();
    let ca = CertificateDer::from_pem_slice(read("ca.pem").as_bytes()).unwrap();
    let mut ca_params = CertificateParams::default();
    ca_params
        .distinguished_name
        .push(DnType::CommonName, "Kinline relay CA");
    let issuer = Issuer::new(ca_params, KeyPair::from_pem(&read("ca.key")).unwrap());
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone(), ca], key)
        .unwrap();
    Arc::new(config)
}
