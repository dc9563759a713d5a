//! Founding a family, rooms, and upkeep.

use kinline_protocol::engine::Setup;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::limits::NAME_BYTES_MAX;
use kinline_protocol::server_name::RelayAddress;

use super::failure::Failure;
use super::find;
use super::session::{Session, unless_hopeless};

/// `create-family`
pub(super) async fn create(
    session: &Session,
    relay: RelayAddress,
    family: String,
    name: String,
    device_name: String,
    admission: String,
) -> Result<(), Failure> {
    for name in [&family, &name] {
        if name.trim().is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Failure::new(format!(
                "a name must have between 1 and {NAME_BYTES_MAX} bytes"
            )));
        }
    }
    let setup = Setup {
        relay,
        device_name,
        admission_code: admission,
    };
    let device = session.create(setup).await?;
    device
        .command(Command::CreateFamily {
            family_name: family.clone(),
            guardian_name: name.clone(),
        })
        .await?;
    session.finish(device).await?;
    println!("The family {family} is founded; {name} is its first guardian.");
    println!("Next: kinline-sim device --state … show-code --child NAME");
    Ok(())
}

/// `room`
pub(super) async fn room(
    session: &Session,
    title: String,
    members: &[String],
) -> Result<(), Failure> {
    let device = session.open()?;
    // Others are invited with keys they left with us, which may still be on their way.
    session.settle(&device).await?;
    let conversations = device
        .with(kinline_protocol::engine::Engine::conversations)
        .await?;
    if conversations.iter().any(|known| known.title == title) {
        return Err(Failure::new(format!(
            "there is a conversation called \"{title}\" already; give the room another title"
        )));
    }
    let members = members
        .iter()
        .map(|name| find::member(&conversations, name))
        .collect::<Result<Vec<_>, Failure>>()?;
    let wanted = title.clone();
    device
        .command(Command::CreateConversation {
            title: title.clone(),
            members,
        })
        .await?;
    let joined = device.wait_for("the room's forming", session.patience(), |event| {
        matches!(event, Event::Joined { title, .. } if *title == wanted).then_some(())
    });
    unless_hopeless(&device, joined).await?;
    session.finish(device).await?;
    println!("The room {title} stands.");
    Ok(())
}

/// `update`
pub(super) async fn update(session: &Session, to: Option<&str>) -> Result<(), Failure> {
    let device = session.open()?;
    session.settle(&device).await?;
    let conversation = find::conversation(&device, to).await?;
    device.command(Command::SelfUpdate { conversation }).await?;
    session.finish(device).await
}

/// `sync`
pub(super) async fn sync(session: &Session) -> Result<(), Failure> {
    let device = session.open()?;
    session.finish(device).await
}
