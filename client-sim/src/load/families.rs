//! Families with real engines: what devices do, not only what they send.

use std::path::PathBuf;
use std::time::Duration;

use kinline_protocol::content::Body;
use kinline_protocol::engine::Setup;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::ids::ConversationId;
use kinline_protocol::pairing::CodeKind;
use kinline_protocol::server_name::RelayAddress;

use super::trouble::Trouble;
use crate::device::{Device, create};
use crate::shell::{EventReader, ShellOptions};
use crate::store::StoreOptions;

/// How long one step of a device may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// One family: a guardian's phone, and children's tablets.
pub(super) struct Family {
    pub(super) phone: Device,
    pub(super) tablets: Vec<Device>,
    pub(super) room: ConversationId,
    folder: PathBuf,
    relay: RelayAddress,
}

fn unpack(folder: &std::path::Path, name: &str, relay: &RelayAddress) -> Result<Device, Trouble> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).map_err(|error| Trouble::file(&folder, &error))?;
    let setup = Setup {
        relay: relay.clone(),
        device_name: name.to_owned(),
        admission_code: String::new(),
    };
    Ok(create(
        &folder,
        &StoreOptions::default(),
        setup,
        ShellOptions::default(),
    )?)
}

async fn asked(events: &mut EventReader) -> Result<(), Trouble> {
    let answer = events
        .wait_for("the four pictures", PATIENCE, |event| match event {
            Event::PairingRequest { .. } => Some(Ok(())),
            Event::PairingFailed { sentence, .. } => Some(Err(sentence.clone())),
            _ => None,
        })
        .await?;
    answer.map_err(Trouble::new)
}

impl Family {
    /// Founds a family of one phone; its devices live in `folder`.
    pub(super) async fn found(folder: PathBuf, relay: &RelayAddress) -> Result<Self, Trouble> {
        let phone = unpack(&folder, "phone", relay)?;
        let create = Command::CreateFamily {
            family_name: "Load".into(),
            guardian_name: "Guardian".into(),
        };
        phone.command(create).await?;
        phone.settled(PATIENCE).await?;
        let room = phone
            .with(kinline_protocol::engine::Engine::family_conversation)
            .await?;
        Ok(Self {
            phone,
            tablets: vec![],
            room: room.ok_or_else(|| Trouble::new("the family has no conversation"))?,
            folder,
            relay: relay.clone(),
        })
    }

    /// Lets another child's tablet in. Nobody compares pictures here.
    pub(super) async fn admit(&mut self) -> Result<(), Trouble> {
        let number = self.tablets.len() + 1;
        let tablet = unpack(&self.folder, &format!("tablet-{number}"), &self.relay)?;
        let mut events = self.phone.events();
        let start = Command::StartPairing {
            role: MemberRole::Child,
            name: format!("Child {number}"),
            by: CodeKind::Qr,
        };
        self.phone.command(start).await?;
        let code = events.wait_for("the pairing code", PATIENCE, |event| match event {
            Event::PairingCode { code } => Some(code.clone()),
            _ => None,
        });
        let code = code.await?;
        let mut events = self.phone.events();
        tablet.command(Command::JoinByCode { code }).await?;
        asked(&mut events).await?;
        self.phone
            .command(Command::AnswerPairing { accept: true })
            .await?;
        let joined = |event: &Event| matches!(event, Event::Joined { .. }).then_some(());
        tablet
            .wait_for("coming into the family", PATIENCE, joined)
            .await?;
        self.tablets.push(tablet);
        Ok(())
    }

    /// Waits until nobody has anything left to do.
    pub(super) async fn settled(&self) -> Result<(), Trouble> {
        for device in std::iter::once(&self.phone).chain(&self.tablets) {
            device.settled(PATIENCE).await?;
        }
        Ok(())
    }

    /// Says something on the phone; returns when it is durable there and on its way.
    pub(super) async fn say(&self, text: String) -> Result<(), Trouble> {
        let send = Command::Send {
            conversation: self.room,
            body: Body::Text { text },
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        };
        Ok(self.phone.command(send).await?)
    }

    /// Ends every device.
    pub(super) async fn end(self) {
        for device in std::iter::once(self.phone).chain(self.tablets) {
            device.shutdown().await;
        }
    }
}

/// The next text that `events` shows, of somebody else.
pub(super) async fn shown(events: &mut EventReader) -> Result<(), Trouble> {
    let text = events.wait_for("a message", PATIENCE, |event| {
        matches!(event, Event::Message { mine: false, .. }).then_some(())
    });
    Ok(text.await?)
}

/// Waits until `events` have shown `count` texts of others; returns how many came in time.
pub(super) async fn until_shown(
    events: &mut EventReader,
    count: u32,
    within: Duration,
) -> Result<u32, Trouble> {
    let mut seen = 0;
    let work = async {
        while seen < count {
            match events.next().await {
                Some(Event::Message { mine: false, .. }) => seen += 1,
                Some(_) => {}
                None => break,
            }
            if events.missed() > 0 {
                return Err(Trouble::new("more happened than was kept"));
            }
        }
        Ok(())
    };
    match tokio::time::timeout(within, work).await {
        Ok(ended) => ended.map(|()| seen),
        Err(_) => Ok(seen),
    }
}
