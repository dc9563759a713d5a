//! The day's talk: everything a family says and shows to each other.

use std::time::Duration;

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::engine::view::Receipt;

use super::cast::{Broken, PATIENCE, Person, broken};
use super::day::{Cast, Day, ROOM};
use super::media;

/// The first family's devices end up as far ahead.
pub(super) const DISAPPEAR_SECONDS: u32 = 3_600;

impl Day {
    pub(super) async fn say_all(
        &mut self,
        cast: &Cast,
        from: &Person,
        text: &str,
    ) -> Result<(), Broken> {
        self.secrets.add(text);
        let content = from.text(cast.family, text).await?;
        for person in [&cast.mother, &cast.father, &cast.child] {
            if person.name != from.name
                && person.sees(content).await?
                    != (Body::Text {
                        text: text.to_owned(),
                    })
            {
                return Err(broken(format!("{} reads something else", person.name)));
            }
        }
        Ok(())
    }

    pub(super) async fn texts(&mut self, cast: &Cast) -> Result<(), Broken> {
        self.say_all(
            cast,
            &cast.mother,
            "Guten Morgen Mila, hast du dein Pausenbrot eingepackt?",
        )
        .await?;
        self.say_all(cast, &cast.child, "Jaaa Mama 🥪🦖 und meine Flöte auch")
            .await?;
        self.say_all(cast, &cast.father, "صباح الخير يا ميلا، أراك بعد المدرسة")
            .await?;
        self.say_all(cast, &cast.child, "שלום אבא, אל תשכח את הכדור")
            .await?;
        self.say_all(
            cast,
            &cast.mother,
            "Frau Oyelaran erreichst du unter hort.oyelaran@example.org, Türcode 847193",
        )
        .await?;
        self.secrets.add("hort.oyelaran@example.org");
        self.secrets.add("847193");
        Ok(())
    }

    pub(super) async fn long_text(&mut self, cast: &Cast) -> Result<(), Broken> {
        let mut text = String::from(
            "Das Märchen vom Drachen Funkelzahn, der lieber Suppe als Ritter mochte. ",
        );
        while text.chars().count() < 5_000 {
            text.push_str(
                "Und am nächsten Abend kochte Funkelzahn wieder eine Suppe für das ganze Dorf. ",
            );
        }
        let text: String = text.chars().take(5_000).collect();
        self.say_all(cast, &cast.father, &text).await
    }

    pub(super) async fn small_things(&mut self, cast: &Cast) -> Result<(), Broken> {
        let sticker = Body::Sticker {
            pack: "Wuschelpfoten".into(),
            name: "Igel-im-Regenmantel".into(),
        };
        self.secrets.add("Wuschelpfoten");
        self.secrets.add("Igel-im-Regenmantel");
        let sent = cast.child.say(cast.family, sticker.clone()).await?;
        if cast.mother.sees(sent).await? != sticker {
            return Err(broken("the sticker became another one"));
        }
        let reaction = cast
            .mother
            .say(
                cast.family,
                Body::Reaction {
                    target: sent,
                    emoji: "😍".into(),
                },
            )
            .await?;
        let words = "Den nehmen wir für die Geburtstagskarte!";
        self.secrets.add(words);
        let reply = cast
            .father
            .send(
                cast.family,
                Body::Text { text: words.into() },
                Some(sent),
                0,
                None,
            )
            .await?;
        cast.child.sees(reaction).await?;
        cast.child.sees(reply).await?;
        let member = cast.mother.member().await?;
        if cast
            .child
            .on_screen(sent)
            .await?
            .reactions
            .get(&member)
            .map(String::as_str)
            != Some("😍")
        {
            return Err(broken("the reaction is not under the sticker"));
        }
        if cast.child.on_screen(reply).await?.reply_to != Some(sent) {
            return Err(broken("the reply does not say what it answers"));
        }
        Ok(())
    }

    pub(super) async fn edit_and_delete(&mut self, cast: &Cast) -> Result<(), Broken> {
        let (first, second, slip) = (
            "Ich hole dich um vier am Hort ab",
            "Ich hole dich um halb fünf am Hort ab",
            "Papa bekommt die rote Modelleisenbahn",
        );
        for secret in [first, second, slip] {
            self.secrets.add(secret);
        }
        let text = cast.mother.text(cast.family, first).await?;
        cast.child.sees(text).await?;
        let edit = cast
            .mother
            .say(
                cast.family,
                Body::Edit {
                    target: text,
                    text: second.into(),
                },
            )
            .await?;
        cast.child.sees(edit).await?;
        if cast.child.on_screen(text).await?.edited.as_deref() != Some(second) {
            return Err(broken("the tablet still shows the old words"));
        }
        let text = cast.mother.text(cast.family, slip).await?;
        cast.father.sees(text).await?;
        let delete = cast
            .mother
            .say(cast.family, Body::Delete { target: text })
            .await?;
        for person in [&cast.father, &cast.child] {
            person.sees(delete).await?;
            if person.on_screen(text).await?.body.is_some() {
                return Err(broken(format!(
                    "{} can still read what was taken back",
                    person.name
                )));
            }
        }
        Ok(())
    }

    pub(super) async fn receipts(&mut self, cast: &Cast) -> Result<(), Broken> {
        let words = "Vergiss die Turnschuhe nicht";
        self.secrets.add(words);
        let text = cast.mother.text(cast.family, words).await?;
        let tablet = cast.child.id().await?;
        let arrived = |event: &Event| {
            matches!(event, Event::Delivered { content, device } if *content == text && *device == tablet).then_some(())
        };
        cast.mother.notices("the tablet's receipt", arrived).await?;
        cast.child
            .device
            .command(Command::MarkRead {
                conversation: cast.family,
            })
            .await?;
        let read = |event: &Event| {
            matches!(event, Event::Read { content, device } if *content == text && *device == tablet).then_some(())
        };
        cast.mother
            .notices("the tablet's read receipt", read)
            .await?;
        if cast.mother.on_screen(text).await?.receipts.get(&tablet) != Some(&Receipt::Read) {
            return Err(broken("the phone does not show that it was read"));
        }
        Ok(())
    }

    pub(super) async fn typing(&mut self, cast: &Cast) -> Result<(), Broken> {
        let father = cast.father.member().await?;
        let mut events = cast.child.device.events();
        cast.father
            .device
            .command(Command::Typing {
                conversation: cast.family,
            })
            .await?;
        let seen = |event: &Event| {
            matches!(event, Event::Typing { member, .. } if *member == father).then_some(())
        };
        Ok(events
            .wait_for("the dots of somebody typing", PATIENCE, seen)
            .await?)
    }

    pub(super) async fn disappearing(&mut self, cast: &Cast) -> Result<(), Broken> {
        let words = "Das Versteck ist hinter der blauen Gießkanne";
        self.secrets.add(words);
        let body = Body::Text { text: words.into() };
        let text = cast
            .child
            .send(cast.family, body, None, DISAPPEAR_SECONDS, None)
            .await?;
        for person in [&cast.mother, &cast.father] {
            person.sees(text).await?;
        }
        for person in [&cast.mother, &cast.father, &cast.child] {
            // An hour passes.
            person
                .device
                .advance_clock(Duration::from_secs(u64::from(DISAPPEAR_SECONDS) + 1))
                .await?;
            let gone = |event: &Event| {
                matches!(event, Event::Disappeared { content, .. } if *content == text)
                    .then_some(())
            };
            person.notices("the message disappearing", gone).await?;
            if person.on_screen(text).await?.body.is_some() {
                return Err(broken(format!("{} can still read it", person.name)));
            }
        }
        Ok(())
    }

    pub(super) async fn surprise(&mut self, cast: &Cast) -> Result<(), Broken> {
        let members = vec![cast.child.member().await?];
        cast.mother.settled().await?;
        let mut events = cast.child.device.events();
        cast.mother
            .device
            .command(Command::CreateConversation {
                title: ROOM.into(),
                members,
            })
            .await?;
        let room = events
            .wait_for("the room on the tablet", PATIENCE, |event| match event {
                Event::Joined {
                    conversation,
                    title,
                } if title == ROOM => Some(*conversation),
                _ => None,
            })
            .await?;
        let words = "Wir backen Papa eine Torte mit Mangocreme";
        self.secrets.add(words);
        let text = cast.child.text(room, words).await?;
        cast.mother.sees(text).await?;
        let known = cast
            .father
            .device
            .with(|engine| engine.conversations().len())
            .await?;
        if known != 1
            || cast
                .father
                .screen()
                .await?
                .iter()
                .any(|view| view.content == text)
        {
            return Err(broken("Babatunde knows of the surprise"));
        }
        Ok(())
    }

    pub(super) async fn photos(&mut self, cast: &Cast) -> Result<(), Broken> {
        let file = self.files.photo.clone();
        self.report.photo = media::photo(
            &cast.mother,
            &[&cast.father, &cast.child],
            cast.family,
            &file,
        )
        .await?;
        self.report.photo_back = media::photo(
            &cast.child,
            &[&cast.father, &cast.mother],
            cast.family,
            &file,
        )
        .await?;
        Ok(())
    }

    pub(super) async fn voices(&mut self, cast: &Cast) -> Result<(), Broken> {
        let file = self.files.audio.clone();
        self.report.audio = media::voice(
            &cast.father,
            &[&cast.mother, &cast.child],
            cast.family,
            &file,
        )
        .await?;
        self.report.audio_back = media::voice(
            &cast.child,
            &[&cast.mother, &cast.father],
            cast.family,
            &file,
        )
        .await?;
        Ok(())
    }
}
