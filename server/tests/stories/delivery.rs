//! An envelope's way: sent, delivered, acknowledged, gone.

use crate::harness::{Device, Here};
use kinline_protocol::wire::RecipientStatus;

#[tokio::test]
async fn sent_delivered_acknowledged_and_gone() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let mut bob = Device::start(&here.address()).await;
    let sent = alice
        .socket
        .tell(crate::harness::send(vec![bob.mailbox.delivery("hello")]))
        .await;
    assert_eq!(bob.socket.delivered().await, (1, "hello".into()));
    bob.socket.acknowledge(1).await;
    let kinline_protocol::wire::server_frame::Body::SendResult(result) =
        alice.socket.answer(sent).await
    else {
        panic!("no answer")
    };
    assert_eq!(result.recipients[0].status(), RecipientStatus::Ok);
    here.stop().await;
    assert_eq!(here.count("envelope"), 0);
    assert_eq!(here.count("mailbox"), 2);
}
