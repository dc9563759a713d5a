//! The relay's bad night: a tablet that is off, a kill, a phone on a train; and the evening
//! on which everything has arrived.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event};
use kinline_server::measure::Spooled;

use super::cast::{Broken, PATIENCE, Person, broken};
use super::day::{Cast, Day};

const MISSED: usize = 50;
const EPOCHS: u64 = 4;
/// How often the relay is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Day {
    pub(super) async fn miss(&mut self, cast: &Cast) -> Result<(), Broken> {
        // A receipt that is still under way to the tablet would wait with the fifty.
        self.rest(&cast.people()).await?;
        cast.child.device.go_offline().await?;
        for number in 1..=MISSED {
            let (person, words) = if number % 2 == 0 {
                (
                    &cast.father,
                    format!("Nachricht {number:02} von Papa aus dem Wartezimmer"),
                )
            } else {
                (
                    &cast.mother,
                    format!("Nachricht {number:02} von Mama aus der Straßenbahn"),
                )
            };
            self.secrets.add(&words);
            person.text(cast.family, &words).await?;
        }
        // What was on its way between the phones is not to be counted with the fifty.
        self.rest_but_for(&[&cast.mother, &cast.father], 1).await
    }

    pub(super) async fn kill(&mut self) -> Result<(), Broken> {
        self.relay.kill().await?;
        Ok(self.relay.restart().await?)
    }

    pub(super) async fn catch_up(&self, cast: &Cast) -> Result<(), Broken> {
        cast.child.device.go_online().await?;
        let last = format!("Nachricht {MISSED:02} von Papa aus dem Wartezimmer");
        let arrived = |event: &Event| {
            matches!(event, Event::Message { body: Body::Text { text }, mine: false, .. } if *text == last).then_some(())
        };
        cast.child
            .notices("the last of the missed messages", arrived)
            .await?;
        cast.child.settled().await?;
        let screen = cast.child.screen().await?;
        for who in ["Mama", "Papa"] {
            let numbers: Vec<usize> = screen
                .iter()
                .filter_map(|view| match &view.body {
                    Some(Body::Text { text }) => text
                        .strip_prefix("Nachricht ")?
                        .split_once(" von ")
                        .filter(|(_, rest)| rest.starts_with(who)),
                    _ => None,
                })
                .filter_map(|(number, _)| number.parse().ok())
                .collect();
            let first = if who == "Mama" { 1 } else { 2 };
            if numbers != (first..=MISSED).step_by(2).collect::<Vec<_>>() {
                return Err(broken(format!(
                    "the tablet shows {who}'s messages as {numbers:?}"
                )));
            }
        }
        Ok(())
    }

    pub(super) async fn write_offline(&mut self, cast: &Cast) -> Result<(), Broken> {
        cast.father.settled().await?;
        cast.father.device.go_offline().await?;
        let before = cast.father.epoch(cast.family).await?;
        let words = "Sitze noch im Zug hinter Eisenhüttenstadt, kein Netz";
        self.secrets.add(words);
        let text = cast.father.text(cast.family, words).await?;
        for round in 0..EPOCHS {
            let person = if round % 2 == 0 {
                &cast.mother
            } else {
                &cast.child
            };
            let wanted = before + round + 1;
            let mut readers = [
                cast.mother.device.events_from_start(),
                cast.child.device.events_from_start(),
            ];
            person
                .device
                .command(Command::SelfUpdate {
                    conversation: cast.family,
                })
                .await?;
            for reader in &mut readers {
                let moved = |event: &Event| {
                    matches!(event, Event::Epoch { conversation, epoch } if *conversation == cast.family && *epoch >= wanted).then_some(())
                };
                reader
                    .wait_for("the conversation moving on", PATIENCE, moved)
                    .await?;
            }
        }
        cast.father.device.go_online().await?;
        for person in [&cast.mother, &cast.child] {
            person.sees(text).await?;
        }
        let after = cast.father.epoch(cast.family).await?;
        if after < before + EPOCHS {
            return Err(broken(format!(
                "the conversation moved from epoch {before} to {after} only"
            )));
        }
        Ok(())
    }

    /// Waits until nobody has anything left to say and nothing is under way any more, but to
    /// mailboxes that nobody opens again.
    pub(super) async fn rest(&self, people: &[&Person]) -> Result<(), Broken> {
        self.rest_but_for(people, 0).await
    }

    /// As [`Self::rest`], while so many mailboxes wait for tablets that are off.
    async fn rest_but_for(&self, people: &[&Person], waiting: u64) -> Result<(), Broken> {
        let expected = self.abandoned + waiting;
        let began = Instant::now();
        loop {
            for person in people {
                person.settled().await?;
            }
            let spooled = self.relay.spooled()?;
            let quiet = people.iter().all(|person| person.device.status().settled);
            // Nothing but what waits: the relay has tidied up, too.
            let tidy = |it: &Spooled| it.mailboxes <= expected && it.slots == it.envelopes;
            if quiet && spooled.as_ref().is_none_or(tidy) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(broken(format!(
                    "the relay still holds envelopes for other mailboxes than {} abandoned ones: {:?}",
                    self.abandoned,
                    spooled.unwrap_or_default(),
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn evening(&mut self, people: &[&Person]) -> Result<(), Broken> {
        for person in people {
            let confirmed = |engine: &Engine| (engine.counters().unconfirmed == 0).then_some(());
            person
                .until("everything being confirmed", confirmed)
                .await?;
            let counters = person.device.with(Engine::counters).await?;
            if counters.unreadable + counters.refused + counters.gaps > 0 {
                let events = person.witness().await?.events;
                let why = events.iter().filter_map(|event| match event {
                    Event::Unreadable { reason, .. } => Some(reason.clone()),
                    Event::Refused { sentence, .. } => Some(sentence.clone()),
                    Event::Gap { from, through, .. } => {
                        Some(format!("nothing came of {from} to {through}"))
                    }
                    _ => None,
                });
                let why: BTreeSet<String> = why.collect();
                return Err(broken(format!(
                    "{} could not read everything: {counters:?}, {why:?}",
                    person.name
                )));
            }
        }
        self.rest(people).await
    }
}
