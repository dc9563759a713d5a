//! What the benchmarks need to reach the group-commit path without a socket.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::limits::ENVELOPE_BYTES;
use kinline_protocol::secrets::Secret;

use crate::clock::Clock;
use crate::keys::AtRest;
use crate::storage::sqlite::{SqliteOptions, SqliteStorage};
use crate::storage::{NewEnvelope, OpenError, Storage, Write, reply};

/// The storage's writer over a database of its own.
pub struct GroupCommit(SqliteStorage);

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
            SqliteStorage::open(options, keys, Clock::system()).await?,
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
