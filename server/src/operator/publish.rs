//! Adds to the operator's log: signed here, by a command, beside a relay that may be running.

use kinline_protocol::day::Day;
use kinline_protocol::operator::{
    CertificateError, Checkpoint, LogError, OperatorLog, Position, Statement,
};

use super::keys::NoticeKey;
use crate::storage::{OperatorRow, ReadError, RowWrite, SqliteStorage, WriteError, reply};

/// Why nothing was added, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The table could not be read.
    #[error("the operator's log could not be read")]
    Read(#[from] ReadError),
    /// The table could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What is there does not verify, or the entry is not allowed there.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log belongs to another operator.
    #[error(
        "the relay's log begins with another offline key than the one that certified this notice key"
    )]
    OtherOperator,
    /// The notice key is over.
    #[error(
        "the notice key is not certified for today: certify a new one with `kinline-server operator certify`"
    )]
    Expired,
    /// The last checkpoint could not be signed.
    #[error("the log is empty")]
    Empty,
    /// Another command was faster.
    #[error("another command wrote to the log at the same time: run this one again")]
    Taken,
}

impl From<CertificateError> for PublishError {
    fn from(error: CertificateError) -> Self {
        Self::Log(error.into())
    }
}

/// Signs `statements` on `today` and adds them; the certificate of `key` first, when the log does
/// not have it yet. What is in force already is not said again. Returns where the log stands afterwards.
///
/// # Errors
/// [`PublishError`]; statements before the one that failed are there.
pub(crate) async fn publish(
    storage: &SqliteStorage,
    today: Day,
    key: &NoticeKey,
    statements: Vec<Statement>,
) -> Result<Position, PublishError> {
    if !key.certificate.holds_on(today) {
        return Err(PublishError::Expired);
    }
    let mut log = read(storage, key).await?;
    let mut all = Vec::new();
    if log.certificate() != Some(&key.certificate) {
        all.push(Statement::Certificate {
            offline: key.operator,
            certificate: *key.certificate.as_bytes(),
        });
    }
    let known = |statement: &Statement| match statement {
        Statement::IssuerKey { epoch, key } => log.issuer(*epoch) == Some(*key),
        Statement::Terms { hash } => log.terms() == Some(*hash),
        _ => false,
    };
    all.extend(statements.into_iter().filter(|it| !known(it)));
    // A clock that was set back writes into the past of nobody.
    let day = today.max(log.day());
    for statement in all {
        let index = log.position().size;
        let entry = log.write(statement, day, &key.secret)?;
        let checkpoint = Checkpoint::sign(&log, day, &key.secret).ok_or(PublishError::Empty)?;
        let (done, added) = reply();
        storage.submit(RowWrite::AddOperatorEntry {
            index,
            row: OperatorRow {
                entry: entry.into(),
                checkpoint: checkpoint.as_bytes().to_vec().into(),
            },
            done,
        });
        if !added.await? {
            return Err(PublishError::Taken);
        }
    }
    Ok(log.position())
}

async fn read(storage: &SqliteStorage, key: &NoticeKey) -> Result<OperatorLog, PublishError> {
    let mut log = OperatorLog::new(key.operator);
    loop {
        let rows = storage.operator_log(log.position().size).await?;
        if rows.is_empty() {
            return Ok(log);
        }
        for row in rows {
            log.append(&row.entry).map_err(|error| match error {
                LogError::Offline => PublishError::OtherOperator,
                error => error.into(),
            })?;
        }
    }
}
