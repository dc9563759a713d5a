//! One HTTPS connection to a relay.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use kinline_protocol::blob;
use kinline_protocol::server_name::RelayAddress;
use rustls::ClientConfig;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::dial::dial;
use super::{ConnectError, TransferError};

/// One request, or one part of an answer's body, must not take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One HTTPS connection; its driver ends with it.
pub(super) struct Session {
    requests: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    authority: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The connection, or what came over it, is of no more use; another may be.
pub(super) fn broken(what: impl ToString) -> TransferError {
    TransferError::Broken {
        what: what.to_string(),
    }
}

/// A header that holds a decimal number.
pub(super) fn number(response: &Response<Incoming>, name: &str) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

/// What a status that was not wanted means.
pub(super) fn refusal(status: StatusCode) -> TransferError {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED => {
            TransferError::NotFound
        }
        StatusCode::INSUFFICIENT_STORAGE => TransferError::NoRoom,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::LOCKED => {
            broken("the relay asked to come back later")
        }
        other if other.is_server_error() => broken(format!("the relay answered {other}")),
        other => TransferError::Answer {
            status: other.as_u16(),
        },
    }
}

impl Session {
    /// Connects, and checks the certificate.
    pub(super) async fn open(
        relay: &RelayAddress,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, ConnectError> {
        let authority = relay.authority();
        let stream = dial(relay, tls).await?;
        let (requests, connection) =
            http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| ConnectError::NotARelay {
                    authority: authority.clone(),
                    what: error.to_string(),
                })?;
        // The end of the connection shows in the requests; its own result says nothing more.
        let driver = tokio::spawn(async { drop(connection.await) }).abort_handle();
        Ok(Self {
            requests,
            driver,
            authority,
        })
    }

    /// Sends one blob request and waits for the head of its answer.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Response<Incoming>, TransferError> {
        self.ask_at(blob::PATH, method, headers, body).await
    }

    /// The same of another path.
    pub(super) async fn ask_at(
        &mut self,
        path: &str,
        method: Method,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Response<Incoming>, TransferError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).map_err(broken)?;
        let work = async {
            self.requests.ready().await.map_err(broken)?;
            self.requests.send_request(request).await.map_err(broken)
        };
        timeout(PATIENCE, work)
            .await
            .map_err(|_| broken("no answer within a minute"))?
    }
}

/// The next bytes of an answer; `None` at its end.
pub(super) async fn next_part(body: &mut Incoming) -> Result<Option<Bytes>, TransferError> {
    loop {
        let frame = timeout(PATIENCE, body.frame())
            .await
            .map_err(|_| broken("nothing came for a minute"))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(broken(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads a small answer to its end, so that the connection can be used again.
pub(super) async fn drain(response: Response<Incoming>) -> Result<(), TransferError> {
    let mut body = response.into_body();
    let mut seen = 0;
    while let Some(part) = next_part(&mut body).await? {
        seen += part.len();
        if seen > 64 * 1_024 {
            return Err(broken("the answer is too long"));
        }
    }
    Ok(())
}
