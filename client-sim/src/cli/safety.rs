//! What a child can do by itself: ask for a friend, leave, block, report.

use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::Command;
use kinline_protocol::engine::view;
use kinline_protocol::pairing::{CodeError, MeetingCode};

use super::failure::Failure;
use super::find;
use super::session::Session;

/// `ask-friend`
pub(super) async fn ask_friend(
    session: &Session,
    code: String,
    words: String,
) -> Result<(), Failure> {
    let _: MeetingCode = code
        .parse()
        .map_err(|error: CodeError| Failure::refused(error.to_string()))?;
    let device = session.open_current().await?;
    session
        .carry_out(device, Command::RequestFriend { code, words })
        .await?;
    println!("Your guardians are asked.");
    Ok(())
}

/// `leave`
pub(super) async fn leave(session: &Session, title: &str) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let conversation = find::conversation(&device, Some(title)).await?;
    session
        .carry_out(device, Command::Leave { conversation })
        .await?;
    println!("The others in {title} are told that you leave.");
    Ok(())
}

/// `block` and `unblock`
pub(super) async fn block(
    session: &Session,
    title: &str,
    name: &str,
    blocked: bool,
) -> Result<(), Failure> {
    // Nobody else hears of it, so it works without the relay.
    let device = session.open_offline()?;
    let conversation = find::conversation(&device, Some(title)).await?;
    let all = device.with(Engine::conversations).await?;
    let here: Vec<_> = all.into_iter().filter(|it| it.id == conversation).collect();
    let member = find::member(&here, name)?;
    let done = device
        .command(Command::Block {
            conversation,
            member,
            blocked,
        })
        .await;
    device.shutdown().await;
    done?;
    if blocked {
        println!("Nothing of {name} is shown in {title} any more.");
    } else {
        println!("What {name} writes in {title} is shown again.");
    }
    Ok(())
}

/// `report`
pub(super) async fn report(session: &Session, id: &str, words: String) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let message = find::message(&device, id).await?;
    let signed = view::signed(device.history().await?, message.content)
        .ok_or_else(|| Failure::refused("this message was taken back or has disappeared"))?;
    let command = Command::Report {
        content: message.content,
        signed,
        words,
    };
    session.carry_out(device, command).await?;
    println!("Your guardians have it.");
    Ok(())
}
