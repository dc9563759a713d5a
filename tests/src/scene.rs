//! Where a story is set: a folder, a relay process, and the tap before it.

use std::path::Path;

use kinline_protocol::engine::io::MemberRole;
use tempfile::TempDir;

use crate::people::Person;
use crate::relay::Relay;
use crate::tap::Tap;

/// A relay with a tap before it; everything goes when it is dropped.
pub struct Scene {
    /// The relay's process.
    pub relay: Relay,
    /// What devices dial.
    pub tap: Tap,
    home: TempDir,
}

impl Scene {
    /// Starts the relay, with settings as in [`Relay::start_with`].
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let relay = Relay::start_with(&home.path().join("relay"), settings).await;
        let tap = Tap::open(relay.address(), &relay.tls_folder()).await;
        Self { relay, tap, home }
    }

    /// The folder of the devices.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A person with a new device.
    #[must_use]
    pub fn person(&self, name: &str) -> Person {
        Person::new(self.home(), name, self.tap.address())
    }

    /// A family of a guardian, who is founded first, and others.
    pub async fn family(&self, founder: &str, others: &[(&str, MemberRole)]) -> Vec<Person> {
        let mut people = vec![self.person(founder)];
        people[0].found("Family of the tests").await;
        for (name, role) in others {
            let new = self.person(name);
            people[0].admit(&new, *role).await;
            people.push(new);
        }
        for person in &people {
            person.settled().await;
        }
        people
    }

    /// Waits until the relay is dead (it may have been killed already), then starts it again.
    pub async fn bury_and_revive(&mut self) {
        self.relay.kill().await;
        self.tap.relay_is_gone();
        self.revive().await;
    }

    /// Starts a relay that is gone again.
    pub async fn revive(&mut self) {
        self.relay.restart_anywhere().await;
        self.tap.relay_is_at(self.relay.address());
    }
}
