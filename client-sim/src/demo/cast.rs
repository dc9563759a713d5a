//! The people of the story and what they can do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, MemberRole, OutgoingBlob};
use kinline_protocol::engine::view::{self, MessageView};
use kinline_protocol::engine::{ConversationSummary, Engine, Setup};
use kinline_protocol::ids::{ContentId, ConversationId, DeviceId, MemberId};
use kinline_protocol::pairing::CodeKind;
use kinline_protocol::server_name::RelayAddress;

use super::ledger::{Book, Witness};
use crate::device::{Device, create, open};
use crate::shell::{DeviceError, ShellOptions};
use crate::store::StoreOptions;

/// How long anything may take before it counts as broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a device is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a device says that waits for the keys of another.
const IN_A_MOMENT: &str = "try again in a moment";

/// Why a step failed.
pub(super) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A sentence as an error.
pub(super) fn broken(sentence: impl Into<String>) -> Broken {
    sentence.into().into()
}

/// Where people live, and what is written down about them.
#[derive(Clone)]
pub(super) struct Place {
    /// Folder of everything.
    pub(super) home: PathBuf,
    pub(super) relay: RelayAddress,
    pub(super) book: Book,
}

/// A person with one device.
pub(super) struct Person {
    pub(super) name: String,
    pub(super) device: Device,
    book: Book,
    /// What happened before the device was last switched on.
    past: Vec<Event>,
}

impl Person {
    /// Unpacks a new device.
    pub(super) fn new(
        place: &Place,
        folder: &str,
        name: &str,
        device_name: &str,
    ) -> Result<Self, Broken> {
        let setup = Setup {
            relay: place.relay.clone(),
            device_name: device_name.to_owned(),
            admission_code: String::new(),
        };
        let folder = place.home.join("devices").join(folder);
        std::fs::create_dir_all(&folder)?;
        let device = create(
            &folder,
            &StoreOptions::default(),
            setup,
            ShellOptions::default(),
        )?;
        Ok(Self {
            name: name.to_owned(),
            device,
            book: place.book.clone(),
            past: vec![],
        })
    }

    /// Switches the device off; its folder is free when this returns.
    pub(super) async fn switch_off(&mut self) -> Result<(), Broken> {
        let mut events = self.happened()?;
        self.past.append(&mut events);
        self.device.clone().shutdown().await;
        Ok(())
    }

    /// Switches it on again, from what its folder holds by now.
    pub(super) fn switch_on(&mut self) -> Result<(), Broken> {
        let options = ShellOptions {
            clock: self.device.clock().clone(),
            ..ShellOptions::default()
        };
        self.device = open(&self.folder(), &StoreOptions::default(), options)?;
        Ok(())
    }

    /// Waits until the device's own view of things is so.
    pub(super) async fn until<T: Send + 'static>(
        &self,
        what: &str,
        look: impl Fn(&Engine) -> Option<T> + Clone + Send + 'static,
    ) -> Result<T, Broken> {
        let began = Instant::now();
        loop {
            let look = look.clone();
            if let Some(found) = self.device.with(move |engine| look(engine)).await? {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                return Err(broken(format!("{}'s device: {what}: in vain", self.name)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.device.folder().to_owned()
    }

    pub(super) async fn family(&self) -> Result<ConversationId, Broken> {
        let found = self
            .device
            .with(|engine| engine.family_conversation())
            .await?;
        found.ok_or_else(|| broken(format!("{} is in no family", self.name)))
    }

    pub(super) async fn member(&self) -> Result<MemberId, Broken> {
        let member = self
            .device
            .with(kinline_protocol::engine::Engine::member)
            .await?;
        member.ok_or_else(|| broken(format!("{} is no member of the family", self.name)))
    }

    pub(super) async fn id(&self) -> Result<DeviceId, Broken> {
        Ok(self
            .device
            .with(kinline_protocol::engine::Engine::device)
            .await?)
    }

    /// Founds a family.
    pub(super) async fn found(&self, family: &str) -> Result<(), Broken> {
        let create = Command::CreateFamily {
            family_name: family.into(),
            guardian_name: self.name.clone(),
        };
        self.device.command(create).await?;
        self.settled().await
    }

    /// Shows a pairing code on the guardian's phone; returns its text.
    pub(super) async fn show_code(&self, role: MemberRole, name: &str) -> Result<String, Broken> {
        let mut events = self.device.events();
        self.device
            .command(Command::StartPairing {
                role,
                name: name.to_owned(),
                by: CodeKind::Qr,
            })
            .await?;
        Ok(events
            .wait_for("the pairing code", PATIENCE, |event| match event {
                Event::PairingCode { code } => Some(code.clone()),
                _ => None,
            })
            .await?)
    }

    /// Scans a code; returns the pictures that both screens must show.
    pub(super) async fn scan(&self, code: &str) -> Result<String, Broken> {
        let mut events = self.device.events();
        self.device
            .command(Command::JoinByCode {
                code: code.to_owned(),
            })
            .await?;
        pictures(&mut events).await
    }

    /// Lets `new` in: compares the pictures, confirms, and waits until it is in the family.
    pub(super) async fn admit(&self, new: &Self, role: MemberRole) -> Result<String, Broken> {
        self.device.settled(PATIENCE).await?;
        let code = self.show_code(role, &new.name).await?;
        let mut asked = self.device.events();
        let (theirs, ours) = tokio::try_join!(new.scan(&code), pictures(&mut asked))?;
        if theirs != ours {
            return Err(broken("the two screens show different pictures"));
        }
        self.device
            .command(Command::AnswerPairing { accept: true })
            .await?;
        new.device
            .wait_for("coming into the family", PATIENCE, |event| {
                matches!(event, Event::Joined { .. }).then_some(())
            })
            .await?;
        for person in [self, new] {
            person.device.settled(PATIENCE).await?;
        }
        Ok(code)
    }

    /// Sends something; returns its id.
    pub(super) async fn say(
        &self,
        conversation: ConversationId,
        body: Body,
    ) -> Result<ContentId, Broken> {
        self.send(conversation, body, None, 0, None).await
    }

    pub(super) async fn text(
        &self,
        conversation: ConversationId,
        text: &str,
    ) -> Result<ContentId, Broken> {
        self.say(
            conversation,
            Body::Text {
                text: text.to_owned(),
            },
        )
        .await
    }

    pub(super) async fn send(
        &self,
        conversation: ConversationId,
        body: Body,
        reply_to: Option<ContentId>,
        disappear_seconds: u32,
        blob: Option<OutgoingBlob>,
    ) -> Result<ContentId, Broken> {
        let audience = self.others_in(conversation).await?;
        let mut events = self.device.events();
        self.device
            .command(Command::Send {
                conversation,
                body,
                reply_to,
                disappear_seconds,
                blob,
            })
            .await?;
        let own = events.wait_for("its own screen", PATIENCE, |event| match event {
            Event::Message {
                content,
                mine: true,
                ..
            } => Some(*content),
            _ => None,
        });
        let content = own.await?;
        self.book.note(content, audience);
        Ok(content)
    }

    /// Tries to send what must not go; returns the sentence that says why not.
    pub(super) async fn refused(
        &self,
        conversation: ConversationId,
        body: Body,
        blob: Option<OutgoingBlob>,
    ) -> Result<String, Broken> {
        let send = Command::Send {
            conversation,
            body,
            reply_to: None,
            disappear_seconds: 0,
            blob,
        };
        self.refused_command(send).await
    }

    /// Tries what must not be done; returns the sentence that says why not.
    pub(super) async fn refused_command(&self, command: Command) -> Result<String, Broken> {
        match self.device.command(command).await {
            Err(DeviceError::Refused(sentence)) => Ok(sentence),
            Err(error) => Err(error.into()),
            Ok(()) => Err(broken(format!("{}'s device did it", self.name))),
        }
    }

    /// Does something; as often as the device asks to try again in a moment.
    pub(super) async fn does(&self, command: Command) -> Result<(), Broken> {
        let began = Instant::now();
        loop {
            match self.device.command(command.clone()).await {
                Err(DeviceError::Refused(sentence))
                    if sentence.contains(IN_A_MOMENT) && began.elapsed() < PATIENCE =>
                {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                done => return Ok(done?),
            }
        }
    }

    /// Waits until a content is on this person's screen.
    pub(super) async fn sees(&self, content: ContentId) -> Result<Body, Broken> {
        let what = format!("a message on {}'s screen", self.name);
        let shown = self.device.wait_for(&what, PATIENCE, |event| match event {
            Event::Message {
                content: shown,
                mine: false,
                body,
                ..
            } if *shown == content => Some(body.clone()),
            _ => None,
        });
        Ok(shown.await?)
    }

    /// Waits for any event.
    pub(super) async fn notices(
        &self,
        what: &str,
        wanted: impl FnMut(&Event) -> Option<()>,
    ) -> Result<(), Broken> {
        Ok(self.device.wait_for(what, PATIENCE, wanted).await?)
    }

    pub(super) async fn settled(&self) -> Result<(), Broken> {
        Ok(self.device.settled(PATIENCE).await?)
    }

    /// What stands on this person's screen.
    pub(super) async fn screen(&self) -> Result<Vec<MessageView>, Broken> {
        Ok(view::messages(self.device.history().await?))
    }

    pub(super) async fn on_screen(&self, content: ContentId) -> Result<MessageView, Broken> {
        let found = self
            .screen()
            .await?
            .into_iter()
            .find(|view| view.content == content);
        found.ok_or_else(|| broken(format!("the message is not on {}'s screen", self.name)))
    }

    /// A conversation as this device knows it.
    pub(super) async fn conversation(
        &self,
        conversation: ConversationId,
    ) -> Result<ConversationSummary, Broken> {
        let found = self
            .device
            .with(move |engine| known(engine, conversation))
            .await?;
        found.ok_or_else(|| broken(format!("{} is not in that conversation", self.name)))
    }

    /// Devices of others in a conversation.
    async fn others_in(&self, conversation: ConversationId) -> Result<BTreeSet<DeviceId>, Broken> {
        let own = self.id().await?;
        let members = self.conversation(conversation).await?.members;
        let devices = members.into_iter().flat_map(|member| member.devices);
        Ok(devices.filter(|device| *device != own).collect())
    }

    pub(super) async fn epoch(&self, conversation: ConversationId) -> Result<u64, Broken> {
        Ok(self.conversation(conversation).await?.epoch)
    }

    /// Everything that happened since the device was switched on.
    fn happened(&self) -> Result<Vec<Event>, Broken> {
        let mut reader = self.device.events_from_start();
        let events = std::iter::from_fn(|| reader.try_next()).collect();
        if reader.missed() > 0 {
            return Err(broken(
                "more happened than was kept; nothing can be counted",
            ));
        }
        Ok(events)
    }

    /// Everything that ever happened on this device.
    pub(super) async fn witness(&self) -> Result<Witness, Broken> {
        let mut events = self.past.clone();
        events.append(&mut self.happened()?);
        Ok(Witness {
            device: self.id().await?,
            events,
        })
    }
}

/// A conversation as a device knows it.
pub(super) fn known(engine: &Engine, conversation: ConversationId) -> Option<ConversationSummary> {
    let mut all = engine.conversations().into_iter();
    all.find(|summary| summary.id == conversation)
}

async fn pictures(events: &mut crate::shell::EventReader) -> Result<String, Broken> {
    let found = events.wait_for("the four pictures", PATIENCE, |event| match event {
        Event::PairingRequest { pictures, .. } | Event::PairingStarted { pictures } => {
            Some(Ok(pictures.clone()))
        }
        Event::PairingFailed { sentence, .. } => Some(Err(sentence.clone())),
        _ => None,
    });
    let result: Result<Result<String, String>, DeviceError> = found.await;
    result?.map_err(broken)
}
