//! Posts alarms to whatever the operator runs on this machine.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use kinline_protocol::day::Day;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::alarm::Alarm;
use super::config::WebhookAddress;

/// Tries of one alarm.
const TRIES: u32 = 4;
/// One try, from the connection to the answer.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// After the first try that failed; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// Posts one after the other until nobody sends any more.
pub(super) async fn post_all(address: WebhookAddress, mut alarms: mpsc::Receiver<(Alarm, Day)>) {
    while let Some((alarm, day)) = alarms.recv().await {
        let body = body(alarm, day);
        let mut pause = PAUSE;
        let mut posted = false;
        for attempt in 1..=TRIES {
            posted = matches!(
                timeout(TRY_TIMEOUT, post(&address, &body)).await,
                Ok(Ok(true))
            );
            if posted || attempt == TRIES {
                break;
            }
            sleep(pause).await;
            pause *= 2;
        }
        if !posted {
            tracing::error!("the webhook of the tripwires does not answer");
            metrics::counter!("kinline_webhook_failed_total").increment(1);
        }
    }
}

/// What was touched and on which day: no id, no name, no address.
fn body(alarm: Alarm, day: Day) -> String {
    format!("{{\"alarm\":\"{}\",\"day\":\"{day}\"}}\n", alarm.label())
}

/// Whether it was taken.
async fn post(address: &WebhookAddress, body: &str) -> io::Result<bool> {
    let stream = TcpStream::connect(address.address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = Request::post(&address.path)
        .header(header::HOST, address.address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))
        .map_err(io::Error::other)?;
    let answer = async {
        let answer = sender.send_request(request).await;
        answer.map(|answer| answer.status().is_success())
    };
    // The connection is driven here and ends here, whatever the other side does; when it ends with
    // the answer, the answer is there.
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
    .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::body;
    use crate::tripwire::Alarm;
    use kinline_protocol::day::Day;

    #[test]
    fn it_says_what_and_when_and_nothing_else() {
        assert_eq!(
            body(Alarm::Attach, Day(20_779)),
            "{\"alarm\":\"decoy_attach\",\"day\":\"2026-11-22\"}\n"
        );
    }
}
