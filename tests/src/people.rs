//! People with devices in this process, and what is on their screens.

use std::path::{Path, PathBuf};

use kinline_client_sim::device::{self, Device, OpenError};
use kinline_client_sim::shell::ShellOptions;
use kinline_client_sim::store::{Store, StoreError, StoreOptions};
use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event, MemberRole};
use kinline_protocol::engine::{Engine, Setup};
use kinline_protocol::ids::{ContentId, ConversationId, DeviceId, MailboxId};
use kinline_protocol::pairing::CodeKind;
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire;
use prost::Message as _;

use crate::patience::{PATIENCE, eventually, in_time, once_unlocked};

/// Opens a device as soon as its folder is free.
///
/// # Errors
/// As [`device::open`].
pub fn open(folder: &Path, options: ShellOptions) -> Result<Device, OpenError> {
    once_unlocked(
        || device::open(folder, &StoreOptions::default(), options.clone()),
        |error| matches!(error, OpenError::Store(StoreError::Locked { .. })),
    )
}

/// A person with one device.
pub struct Person {
    /// The name in the family log.
    pub name: String,
    /// The device.
    pub device: Device,
    folder: PathBuf,
}

impl Person {
    /// Unpacks a new device; its state lies in `home` under the person's name.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn new(home: &Path, name: &str, relay: &RelayAddress) -> Self {
        let folder = home.join(name);
        let setup = Setup {
            relay: relay.clone(),
            device_name: format!("{name}'s device"),
            admission_code: String::new(),
        };
        let device = device::create(
            &folder,
            &StoreOptions::default(),
            setup,
            ShellOptions::default(),
        )
        .unwrap();
        Self {
            name: name.to_owned(),
            device,
            folder,
        }
    }

    /// Takes up a device whose state is there.
    ///
    /// # Panics
    /// When it can't be opened.
    #[must_use]
    pub fn open(folder: &Path, name: &str, online: bool) -> Self {
        let options = ShellOptions {
            online,
            ..ShellOptions::default()
        };
        Self {
            name: name.to_owned(),
            device: open(folder, options).unwrap(),
            folder: folder.to_owned(),
        }
    }

    /// Where its state lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends the device; its state stays in the folder that is returned.
    pub async fn put_away(self) -> PathBuf {
        self.device.shutdown().await;
        self.folder
    }

    /// Founds the family.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn found(&self, family: &str) {
        let create = Command::CreateFamily {
            family_name: family.to_owned(),
            guardian_name: self.name.clone(),
        };
        self.device.command(create).await.unwrap();
        self.settled().await;
    }

    /// Lets `new` into the family by a pairing code, whose text is returned.
    ///
    /// # Panics
    /// When the pairing fails.
    pub async fn admit(&self, new: &Self, role: MemberRole) -> String {
        self.settled().await;
        let (mut ours, mut theirs) = (self.device.events(), new.device.events());
        let name = new.name.clone();
        self.device
            .command(Command::StartPairing {
                role,
                name,
                by: CodeKind::Qr,
            })
            .await
            .unwrap();
        let code = ours
            .wait_for("the code", PATIENCE, |event| match event {
                Event::PairingCode { code } => Some(code.clone()),
                _ => None,
            })
            .await
            .unwrap();
        let scan = Command::JoinByCode { code: code.clone() };
        new.device.command(scan).await.unwrap();
        let pictures = |event: &Event| match event {
            Event::PairingRequest { pictures, .. } | Event::PairingStarted { pictures } => {
                Some(pictures.clone())
            }
            Event::PairingFailed { sentence, .. } => panic!("{sentence}"),
            _ => None,
        };
        assert_eq!(
            ours.wait_for("its pictures", PATIENCE, pictures)
                .await
                .unwrap(),
            theirs
                .wait_for("our pictures", PATIENCE, pictures)
                .await
                .unwrap()
        );
        let yes = Command::AnswerPairing { accept: true };
        self.device.command(yes).await.unwrap();
        theirs
            .wait_for("the family", PATIENCE, |event| {
                matches!(event, Event::Joined { .. }).then_some(())
            })
            .await
            .unwrap();
        for person in [self, new] {
            person.settled().await;
        }
        code
    }

    /// The family's conversation.
    ///
    /// # Panics
    /// When there is none.
    pub async fn family(&self) -> ConversationId {
        let family = self.device.with(Engine::family_conversation).await;
        family.unwrap().expect("a family")
    }

    /// The device's id.
    ///
    /// # Panics
    /// When the device has stopped.
    pub async fn id(&self) -> DeviceId {
        self.device.with(Engine::device).await.unwrap()
    }

    /// Says something to the family. When this returns it is durable on this device.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn say(&self, text: &str) -> ContentId {
        let mut events = self.device.events();
        let text = text.to_owned();
        let send = Command::Send {
            conversation: self.family().await,
            body: Body::Text { text },
            reply_to: None,
            disappear_seconds: 0,
            blob: None,
        };
        self.device.command(send).await.unwrap();
        let own = events.wait_for("its own screen", PATIENCE, |event| match event {
            Event::Message {
                content,
                mine: true,
                ..
            } => Some(*content),
            _ => None,
        });
        own.await.unwrap()
    }

    /// Waits until a text is on this screen.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn sees(&self, text: &str) {
        let what = format!("{text:?} on {}'s screen", self.name);
        let shown = self.device.wait_for(&what, PATIENCE, |event| {
            matches!(event, Event::Message { body: Body::Text { text: shown }, mine: false, .. } if shown == text)
                .then_some(())
        });
        shown.await.unwrap();
    }

    /// Everything that others said and this device showed since it was opened, repeats included.
    ///
    /// # Panics
    /// When more happened than was kept.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        let mut reader = self.device.events_from_start();
        let mut shown = Vec::new();
        while let Some(event) = reader.try_next() {
            if let Event::Message {
                mine: false,
                body: Body::Text { text },
                ..
            } = event
            {
                shown.push(text);
            }
        }
        assert_eq!(reader.missed(), 0);
        shown
    }

    /// The texts on this person's screen, from top to bottom, own ones included.
    ///
    /// # Panics
    /// When the store can't be read.
    pub async fn screen(&self) -> Vec<String> {
        device::messages(&self.device)
            .await
            .unwrap()
            .into_iter()
            .filter_map(|view| match view.body {
                Some(Body::Text { text }) => Some(text),
                _ => None,
            })
            .collect()
    }

    /// Events of one kind, since the device was opened.
    #[must_use]
    pub fn happened<T>(&self, mut wanted: impl FnMut(&Event) -> Option<T>) -> Vec<T> {
        let mut reader = self.device.events_from_start();
        std::iter::from_fn(|| reader.try_next())
            .filter_map(|event| wanted(&event))
            .collect()
    }

    /// Waits until everything is delivered and read as far as this device knows.
    ///
    /// # Panics
    /// When it does not settle.
    pub async fn settled(&self) {
        self.device.settled(PATIENCE).await.unwrap();
    }

    /// The mailbox and its keys, as they stand in the state of a device that was put away.
    ///
    /// # Panics
    /// When there is no device in `folder`, or it is running.
    #[must_use]
    pub fn record(folder: &Path) -> wire::DeviceRecord {
        let store = Store::open(folder, &StoreOptions::default()).unwrap();
        let records = store.load_state().unwrap();
        let (_, device) = records
            .iter()
            .find(|(name, _)| name == b"device")
            .expect("a device's record");
        wire::DeviceRecord::decode(device.as_slice()).unwrap()
    }

    /// The mailbox of a device that was put away.
    ///
    /// # Panics
    /// As [`Self::record`].
    #[must_use]
    pub fn mailbox_of(folder: &Path) -> MailboxId {
        MailboxId::try_from(&Self::record(folder).mailbox).unwrap()
    }
}

/// Waits until everything that these people said is confirmed by every device.
///
/// # Panics
/// When something stays unconfirmed.
pub async fn all_is_confirmed(people: &[&Person]) {
    for person in people {
        let what = format!("confirmation of everything that {} said", person.name);
        eventually(&what, async || {
            let counters = person.device.with(Engine::counters).await.unwrap();
            (counters.unconfirmed == 0).then_some(())
        })
        .await;
        in_time("settling", person.settled()).await;
    }
}

/// No device had to leave anything out.
///
/// # Panics
/// When one had.
pub async fn assert_nothing_was_unreadable(people: &[&Person]) {
    for person in people {
        let counters = person.device.with(Engine::counters).await.unwrap();
        let why = person.happened(|event| match event {
            Event::Unreadable { reason, .. } => Some(reason.clone()),
            Event::Refused { sentence, .. } => Some(sentence.clone()),
            _ => None,
        });
        assert_eq!(
            counters.unreadable + counters.refused + counters.gaps,
            0,
            "{}: {counters:?}: {why:?}",
            person.name
        );
    }
}
