//! Who is in the drill: a relay, two guardians, two children.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinline_client_sim::connection::{account, client_config};
use kinline_protocol::account::{Costs, Credentials, Outcome, RecoveryCode, Wish, account_id};
use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::Command;
use kinline_protocol::ids::{ConversationId, MemberId};
use kinline_protocol::primitives::stretching::Stretching;
use tempfile::TempDir;

use crate::patience::eventually;
use crate::people::Person;
use crate::relay::Relay;

/// Who loses everything.
pub(super) const ANNA: &str = "Annalena Quittenbaum";
/// The other guardian.
pub(super) const BEN: &str = "Bartholomäus Quittenbaum";
/// A child.
pub(super) const MIA: &str = "Mirabella Quittenbaum";
/// Another.
pub(super) const LEO: &str = "Leopoldine Quittenbaum";
/// The family.
pub(super) const FAMILY: &str = "Quittenbaum";
/// Anna's login name.
pub(super) const LOGIN: &str = "Annalena vom Seeufer 1987";
/// Her password.
pub(super) const PASSWORD: &str = "siebenundzwanzig nasse Badetücher";
/// A room of hers and one child.
pub(super) const ROOM: &str = "Hausaufgaben Brombeere";

/// Everybody who is there; Anna's devices come and go.
pub(super) struct Cast {
    pub(super) relay: Relay,
    pub(super) ben: Person,
    pub(super) mia: Person,
    pub(super) leo: Person,
    pub(super) phone: Option<Person>,
    pub(super) laptop: Option<Person>,
    pub(super) code: Option<RecoveryCode>,
    /// Everything that must not be found at the relay.
    pub(super) secrets: Vec<String>,
    home: TempDir,
}

impl Cast {
    pub(super) async fn gather() -> Self {
        let home = tempfile::tempdir().expect("a folder can be made");
        let relay = Relay::start(&home.path().join("relay")).await;
        let person = |name: &str| Person::new(home.path(), name, relay.address());
        let (login, password) = (format!("login:{LOGIN}"), format!("password:{PASSWORD}"));
        let secrets = [ANNA, BEN, MIA, LEO, FAMILY, &login, &password, ROOM];
        Self {
            ben: person(BEN),
            mia: person(MIA),
            leo: person(LEO),
            phone: Some(person(ANNA)),
            laptop: None,
            code: None,
            secrets: secrets.map(str::to_owned).to_vec(),
            relay,
            home,
        }
    }

    /// A further device of Anna's.
    pub(super) fn device_of_anna(&self, folder: &str) -> Person {
        let mut person = Person::new(self.home.path(), folder, self.relay.address());
        ANNA.clone_into(&mut person.name);
        person
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn phone(&self) -> &Person {
        self.phone.as_ref().expect("Anna has a phone")
    }

    /// Talks to the relay about Anna's account.
    pub(super) async fn account(&self, code: Option<RecoveryCode>, wish: Wish) -> Outcome {
        let relay = self.relay.address();
        let tls = client_config(relay).unwrap();
        let server_name = relay.server_name();
        let stretched = tokio::task::spawn_blocking(move || {
            account_id(LOGIN, &server_name, Stretching::DEFAULT)
        });
        let credentials = Credentials {
            account: stretched.await.unwrap().unwrap(),
            password: PASSWORD.to_owned().into(),
            code,
        };
        account(relay, &Arc::clone(&tls), credentials, wish, Costs::Bounded)
            .await
            .unwrap()
    }
}

/// The member that a device belongs to.
pub(super) async fn member(person: &Person) -> MemberId {
    let member = person.device.with(Engine::member).await;
    member.unwrap().expect("it is in the family")
}

/// A conversation by its title.
pub(super) async fn conversation(person: &Person, title: &str) -> ConversationId {
    let what = format!("{title:?} on {}'s device", person.name);
    eventually(&what, async || {
        let all = person.device.with(Engine::conversations).await.unwrap();
        all.iter().find(|it| it.title == title).map(|it| it.id)
    })
    .await
}

/// Says something in a conversation.
pub(super) async fn say_in(person: &Person, conversation: ConversationId, text: &str) {
    let send = Command::Send {
        conversation,
        body: Body::Text { text: text.into() },
        reply_to: None,
        disappear_seconds: 0,
        blob: None,
    };
    person.device.command(send).await.unwrap();
}

/// The photo that ships with the simulator.
pub(super) fn photo(home: &Path) -> PathBuf {
    let path = home.join("lake.jpg");
    std::fs::write(
        &path,
        include_bytes!("../../../client-sim/assets/photo.jpg"),
    )
    .unwrap();
    path
}
