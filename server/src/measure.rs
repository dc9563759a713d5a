//! What measurements need of the storage without a socket: the group-commit path alone, and
//! a database that is full already.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kinline_protocol::attach::MailboxKeys;
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::limits::{ENVELOPE_BYTES, MAILBOX_IDLE_DAYS};
use kinline_protocol::secrets::Secret;

use crate::clock::Clock;
use crate::config::Config;
use crate::keys::{AtRest, KeyFile, KeyFileError};
use crate::relay::{StartError, open_rows, open_storage};
use crate::storage::{
    EmbeddedStorage, Entry, MailboxRow, NewEnvelope, NewMailbox, OpenError, RowWrite,
    SqliteOptions, Storage, Write, look, reply,
};

mod families;
mod logins;

pub use crate::storage::Spooled;
pub use families::{Families, Visit};
pub use logins::{Begun, Logins};

/// How often a look at a spool is begun anew because a file was tidied away.
const LOOKS_MAX: u32 = 100;

/// The storage's writer over a database of its own.
pub struct GroupCommit(EmbeddedStorage);

impl std::fmt::Debug for GroupCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupCommit")
    }
}

impl GroupCommit {
    /// Opens `relay.sqlite` in `folder`, with the relay's schema and settings, but at most
    /// `group_max` writes in a group.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(folder: &Path, group_max: usize) -> Result<Self, OpenError> {
        let options = SqliteOptions {
            data: folder.into(),
            bytes_max: 0,
            checkpoint_after: Duration::from_secs(3_600),
            group_max,
            exclusive: true,
        };
        let keys = AtRest::new(&Secret::new([7; 32]));
        Ok(Self(
            EmbeddedStorage::open(options, keys, Clock::system()).await?,
        ))
    }

    /// Stores one envelope of noise as the first of a mailbox; resolves to whether it is durable.
    pub fn store(
        &self,
        mailbox: [u8; 16],
        body: &Bytes,
    ) -> impl Future<Output = bool> + Send + use<> {
        debug_assert_eq!(body.len(), ENVELOPE_BYTES);
        let (done, stored) = reply();
        let envelope = NewEnvelope {
            mailbox: MailboxId::new(mailbox),
            order: 1,
            message: MessageId::new(mailbox),
            body: body.clone(),
        };
        self.0.submit(Write::Accept {
            slot: None,
            envelopes: vec![envelope],
            done,
        });
        async move { stored.await.is_ok() }
    }

    /// Closes the database.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// How much waits in the data folder of a relay that may be running, by its key file. Tried again
/// while files come and go.
///
/// # Errors
/// What the system says, or that the key file can't be read.
pub fn spooled(data: &Path, key_file: &Path) -> io::Result<Spooled> {
    let key_file = KeyFile::open_or_create(key_file, data, true).map_err(io::Error::other)?;
    let keys = AtRest::new(key_file.at_rest());
    let mut tries = 0;
    loop {
        match look(data, &keys) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < LOOKS_MAX => {
                tries += 1;
            }
            looked => return looked,
        }
    }
}

/// Fills the database of a relay that is not running, the way a relay would.
pub struct Seeding {
    storage: EmbeddedStorage,
    clock: Clock,
}

impl std::fmt::Debug for Seeding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seeding")
    }
}

impl Seeding {
    /// Opens the database of the relay that `config` describes.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let clock = Clock::system();
        Ok(Self {
            storage: open_storage(config, &clock).await?.0,
            clock,
        })
    }

    /// The mailbox whose row lies at `place` in the table: opening mailboxes in the order of
    /// their places touches each page once.
    #[must_use]
    pub fn mailbox_at(&self, place: &[u8; 16]) -> MailboxId {
        MailboxId::new(self.storage.keys().mailbox.restore(place))
    }

    /// Opens every mailbox under `keys` and puts an envelope of each body into it, in that
    /// order; whether all of it is durable.
    pub async fn fill(&self, mailboxes: &[MailboxId], keys: MailboxKeys, bodies: &[Bytes]) -> bool {
        let mut opened = Vec::with_capacity(mailboxes.len());
        for id in mailboxes {
            let (done, open) = reply();
            let row = MailboxRow {
                keys,
                generation: 1,
                closed: false,
                decoy: false,
                expires: self.clock.day().plus(MAILBOX_IDLE_DAYS),
            };
            self.storage.submit(Write::Row(RowWrite::OpenMailbox {
                mailbox: NewMailbox { id: *id, row },
                entry: Entry::Open,
                done,
            }));
            opened.push(open);
        }
        let envelopes = mailboxes
            .iter()
            .flat_map(|id| {
                (1..)
                    .zip(bodies)
                    .map(move |(order, body)| (*id, order, body))
            })
            .map(|(mailbox, order, body)| NewEnvelope {
                mailbox,
                order,
                message: message_of(mailbox, order),
                body: body.clone(),
            })
            .collect();
        let (done, stored) = reply();
        self.storage.submit(Write::Accept {
            slot: None,
            envelopes,
            done,
        });
        let mut all = stored.await.is_ok();
        for open in opened {
            all &= open.await.is_ok();
        }
        all
    }

    /// Folds the log in and closes the database.
    pub async fn close(self) {
        self.storage.close().await;
    }
}

/// A message id that no other envelope of this mailbox has.
fn message_of(mailbox: MailboxId, order: u64) -> MessageId {
    let id = u128::from_be_bytes(*mailbox.as_bytes()) ^ u128::from(order);
    MessageId::new(id.to_be_bytes())
}

/// The decoys in a data folder, beside a relay that may be running: for whoever has the key file.
///
/// # Errors
/// A sentence.
pub async fn decoys(data: &Path, key_file: &Path) -> Result<Vec<MailboxId>, String> {
    let config = Config {
        data: data.into(),
        key_file: Some(key_file.into()),
        ..Config::default()
    };
    let storage = open_rows(&config, &Clock::system())
        .await
        .map_err(|error| error.to_string())?;
    let all = storage.mailboxes().await;
    storage.close_all().await;
    let all = all.map_err(|error| error.to_string())?;
    let decoys = all.iter().filter(|mailbox| mailbox.decoy);
    Ok(decoys.map(|mailbox| mailbox.id).collect())
}

/// How mailbox ids stand in the table.
///
/// # Errors
/// [`KeyFileError`].
pub fn permuted(
    key_file: &Path,
    ids: impl Iterator<Item = MailboxId>,
) -> Result<Vec<Vec<u8>>, KeyFileError> {
    let nowhere = Path::new("/nowhere");
    let keys = AtRest::new(KeyFile::open_or_create(key_file, nowhere, true)?.at_rest());
    Ok(ids
        .map(|id| keys.mailbox.permute(id.as_bytes()).to_vec())
        .collect())
}
