//! `history`: how much of what was said before this device came has come in.

use kinline_protocol::engine::{Engine, HistoryProgress};
use serde_json::json;

use super::failure::Failure;
use super::message::harmless;
use super::session::Session;
use crate::device::Device;

/// `history`
pub(super) async fn history(session: &Session, as_json: bool, wait: bool) -> Result<(), Failure> {
    let device = session.open()?;
    if wait {
        let mut events = device.events_from_start();
        let all = async {
            session.settle(&device).await?;
            loop {
                let progress = device.with(Engine::history_progress).await?;
                if progress.iter().all(|it| it.finished) {
                    return Ok::<(), Failure>(());
                }
                if events.next().await.is_none() {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(session.patience(), all).await {
            Ok(result) => result?,
            Err(_) => {
                print(&device, as_json).await?;
                device.shutdown().await;
                return Err(Failure::new(
                    "no other device of the family has given it all yet; it goes on when one of them is there",
                ));
            }
        }
    } else {
        session.settle(&device).await?;
    }
    print(&device, as_json).await?;
    device.shutdown().await;
    Ok(())
}

async fn print(device: &Device, as_json: bool) -> Result<(), Failure> {
    let progress = device.with(Engine::history_progress).await?;
    let conversations = device.with(Engine::conversations).await?;
    let title = |of: &HistoryProgress| {
        let found = conversations.iter().find(|it| it.id == of.conversation);
        found.map_or_else(|| "(left)".to_owned(), |it| it.title.clone())
    };
    if as_json {
        for it in &progress {
            let line = json!({
                "conversation": hex::encode(it.conversation.as_bytes()),
                "title": title(it),
                "done": it.done,
                "total": it.total,
                "finished": it.finished,
                "giver": it.giver.map(|giver| hex::encode(giver.as_bytes())),
            });
            println!("{line}");
        }
        return Ok(());
    }
    if progress.is_empty() {
        println!("This device is its person's first: nothing was said before it.");
    }
    for it in &progress {
        let state = match (it.finished, it.giver) {
            (true, _) => "all of it",
            (false, Some(_)) => "more is on its way",
            (false, None) => "nobody of the family was there to be asked yet",
        };
        println!(
            "{}  {} of {} messages from before ({state})",
            harmless(&title(it)),
            it.done,
            it.total,
        );
    }
    Ok(())
}
