//! Blobs over HTTPS: resumable upload, fetch to memory or file, delete (PROTOCOL §3.6).

use std::path::Path;
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use kinline_protocol::blob;
use kinline_protocol::secrets::Secret;
use kinline_protocol::server_name::RelayAddress;
use rustls::ClientConfig;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _, SeekFrom};

use super::TransferError;
use super::https::{Session, broken, drain, next_part, number, refusal};
use super::source::Source;
use super::tries::Tries;

/// Where a relay tells how long it keeps what.
const TERMS_PATH: &str = "/v1/terms";
/// Bytes of that; more is not read.
const TERMS_BYTES_MAX: usize = 64 * 1_024;

/// Moves blobs to and from one relay; cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobClient {
    relay: RelayAddress,
    tls: Arc<ClientConfig>,
}

impl BlobClient {
    /// A client for `relay`, with the configuration of [`super::client_config`].
    #[must_use]
    pub const fn new(relay: RelayAddress, tls: Arc<ClientConfig>) -> Self {
        Self { relay, tls }
    }

    async fn session(&self) -> Result<Session, TransferError> {
        Ok(Session::open(&self.relay, &self.tls).await?)
    }

    /// Uploads `size` bytes, the first `offset` of which the relay has.
    pub(crate) async fn upload(
        &self,
        owner: &Secret<32>,
        offset: u64,
        size: u64,
        mut source: Source,
    ) -> Result<(), TransferError> {
        let owner = URL_SAFE_NO_PAD.encode(owner.expose());
        // After a failure the relay knows best how far it got.
        let mut known = Some(offset);
        let mut tries = Tries::default();
        loop {
            let mut reached = 0;
            let result = self
                .upload_once(&owner, known.take(), size, &mut source, &mut reached)
                .await;
            match result {
                Ok(()) => return Ok(()),
                Err(error) => tries.again(error, reached).await?,
            }
        }
    }

    async fn upload_once(
        &self,
        owner: &str,
        offset: Option<u64>,
        size: u64,
        source: &mut Source,
        reached: &mut u64,
    ) -> Result<(), TransferError> {
        let mut session = self.session().await?;
        let mut here = match offset {
            Some(offset) => offset,
            None => uploaded(&mut session, owner).await?,
        };
        while here < size {
            *reached = here;
            let piece = source
                .piece(here, size)
                .await
                .map_err(|source| TransferError::File {
                    path: "attachment".into(),
                    source,
                })?;
            let headers = [
                (blob::OWNER_HEADER, owner.to_owned()),
                (blob::OFFSET_HEADER, here.to_string()),
                ("content-type", "application/octet-stream".to_owned()),
            ];
            let response = session.ask(Method::PATCH, &headers, piece).await?;
            let status = response.status();
            let told = number(&response, blob::OFFSET_HEADER);
            drain(response).await?;
            here = match (status, told) {
                (StatusCode::NO_CONTENT | StatusCode::OK, Some(told))
                    if told > here && told <= size =>
                {
                    told
                }
                // Somebody, likely an earlier try of ours, got to another place.
                (StatusCode::CONFLICT, _) => {
                    let there = uploaded(&mut session, owner).await?;
                    if there == here || there > size {
                        return Err(TransferError::Answer { status: 409 });
                    }
                    there
                }
                (StatusCode::NO_CONTENT | StatusCode::OK, _) => {
                    return Err(TransferError::Answer {
                        status: status.as_u16(),
                    });
                }
                (other, _) => return Err(refusal(other)),
            };
        }
        Ok(())
    }

    /// Fetches a blob of exactly `size` bytes into memory; not one byte more is read.
    ///
    /// # Errors
    /// [`TransferError::NotFound`], [`TransferError::Size`], or no connection.
    pub async fn fetch(&self, read: &Secret<32>, size: u64) -> Result<Bytes, TransferError> {
        let read = URL_SAFE_NO_PAD.encode(read.expose());
        let mut tries = Tries::default();
        loop {
            match self.fetch_once(&read, size).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => tries.again(error, 0).await?,
            }
        }
    }

    async fn fetch_once(&self, read: &str, size: u64) -> Result<Bytes, TransferError> {
        let mut session = self.session().await?;
        let mut body = get(&mut session, read, 0, size).await?.into_body();
        // Grows with what comes in, so that an announced size alone takes no memory.
        let mut bytes = Vec::new();
        while let Some(part) = next_part(&mut body).await? {
            if (bytes.len() + part.len()) as u64 > size {
                return Err(TransferError::Size);
            }
            bytes.extend_from_slice(&part);
        }
        whole(bytes.len() as u64, size)?;
        Ok(bytes.into())
    }

    /// Fetches a blob of exactly `size` bytes into a file, going on where an earlier try
    /// stopped. The bytes are as the relay had them: still encrypted, not yet checked.
    ///
    /// # Errors
    /// [`TransferError`]; the file keeps what was fetched so far.
    pub async fn fetch_to_file(
        &self,
        read: &Secret<32>,
        size: u64,
        path: &Path,
    ) -> Result<(), TransferError> {
        let failed = |source| TransferError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .await
            .map_err(failed)?;
        let read = URL_SAFE_NO_PAD.encode(read.expose());
        let mut tries = Tries::default();
        loop {
            let mut reached = 0;
            let result = self
                .fetch_to_file_once(&read, size, &mut file, &mut reached)
                .await;
            match result {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(source)) => return Err(failed(source)),
                Err(error) => tries.again(error, reached).await?,
            }
        }
    }

    /// The inner error is one of the file.
    async fn fetch_to_file_once(
        &self,
        read: &str,
        size: u64,
        file: &mut File,
        reached: &mut u64,
    ) -> Result<std::io::Result<()>, TransferError> {
        let mut here = match resume_at(file, size).await {
            Ok(here) => here,
            Err(error) => return Ok(Err(error)),
        };
        if here == size {
            return Ok(Ok(()));
        }
        let mut session = self.session().await?;
        let mut body = get(&mut session, read, here, size).await?.into_body();
        while let Some(part) = next_part(&mut body).await? {
            here += part.len() as u64;
            if here > size {
                return Err(TransferError::Size);
            }
            if let Err(error) = file.write_all(&part).await {
                return Ok(Err(error));
            }
            *reached = here;
        }
        if let Err(error) = file.flush().await {
            return Ok(Err(error));
        }
        whole(here, size)?;
        Ok(Ok(()))
    }

    /// Whether some 32 bytes let anyone read or own a blob on this relay: what a thief tries.
    ///
    /// # Errors
    /// [`TransferError`] when the relay can't be asked.
    pub async fn accepts(&self, secret: &[u8; 32]) -> Result<bool, TransferError> {
        let mut session = self.session().await?;
        for name in [blob::READ_HEADER, blob::OWNER_HEADER] {
            let headers = [(name, URL_SAFE_NO_PAD.encode(secret))];
            let response = session.ask(Method::HEAD, &headers, Bytes::new()).await?;
            if response.status().is_success() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the relay publishes about how long it keeps what (PROTOCOL §17.6): JSON, at most
    /// 64 KiB.
    ///
    /// # Errors
    /// [`TransferError`] when the relay can't be asked, or says nothing of the kind.
    pub async fn terms(&self) -> Result<Bytes, TransferError> {
        let mut session = self.session().await?;
        let response = session
            .ask_at(TERMS_PATH, Method::GET, &[], Bytes::new())
            .await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response.status()));
        }
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = next_part(&mut body).await? {
            if bytes.len() + part.len() > TERMS_BYTES_MAX {
                return Err(TransferError::Size);
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.into())
    }

    /// Deletes a blob of ours; one that is gone already is fine.
    ///
    /// # Errors
    /// [`TransferError`] when the relay can't be asked.
    pub async fn delete(&self, owner: &Secret<32>) -> Result<(), TransferError> {
        let headers = [(blob::OWNER_HEADER, URL_SAFE_NO_PAD.encode(owner.expose()))];
        let mut tries = Tries::default();
        loop {
            match self.delete_once(&headers).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.again(error, 0).await?,
            }
        }
    }

    async fn delete_once(&self, headers: &[(&str, String)]) -> Result<(), TransferError> {
        let mut session = self.session().await?;
        let response = session.ask(Method::DELETE, headers, Bytes::new()).await?;
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::NOT_FOUND => Ok(()),
            other => Err(refusal(other)),
        }
    }
}

/// How many bytes the relay has of an upload.
async fn uploaded(session: &mut Session, owner: &str) -> Result<u64, TransferError> {
    let headers = [(blob::OWNER_HEADER, owner.to_owned())];
    let response = session.ask(Method::HEAD, &headers, Bytes::new()).await?;
    if response.status() != StatusCode::OK {
        return Err(refusal(response.status()));
    }
    number(&response, "content-length").ok_or(TransferError::Answer { status: 200 })
}

/// The answer to a read of a blob of `size` bytes, from byte `from`.
async fn get(
    session: &mut Session,
    read: &str,
    from: u64,
    size: u64,
) -> Result<Response<Incoming>, TransferError> {
    let mut headers = vec![(blob::READ_HEADER, read.to_owned())];
    if from > 0 {
        headers.push(("range", format!("bytes={from}-")));
    }
    let response = session.ask(Method::GET, &headers, Bytes::new()).await?;
    let wanted = if from > 0 {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    if response.status() != wanted {
        return Err(match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => TransferError::Size,
            other => refusal(other),
        });
    }
    match number(&response, "content-length") {
        Some(length) if length != size.saturating_sub(from) => Err(TransferError::Size),
        _ => Ok(response),
    }
}

/// Where in its file a fetch goes on; a file that is too long starts over.
async fn resume_at(file: &mut File, size: u64) -> std::io::Result<u64> {
    file.flush().await?;
    let mut here = file.metadata().await?.len();
    if here > size {
        file.set_len(0).await?;
        here = 0;
    }
    file.seek(SeekFrom::Start(here)).await
}

fn whole(got: u64, size: u64) -> Result<(), TransferError> {
    if got == size {
        Ok(())
    } else {
        Err(broken("it ended early"))
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
