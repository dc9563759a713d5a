//! Guardians watch over what a child does with others: they read along where a pass says so,
//! set bedtimes, and are told what the child learns.

use kinline_protocol::content::{Body, Progress};
use kinline_protocol::engine::io::Command;
use kinline_protocol::policy::{Policy, QuietHours};

use super::cast::{Broken, Person, broken};
use super::day::{Cast, Day};
use super::friends::{Bond, Guests};

/// Messages a day, once Mila may write again.
pub(super) const MESSAGES_A_DAY: u32 = 120;

impl Day {
    pub(super) async fn read_along(&mut self, cast: &Cast, bond: &Bond) -> Result<(), Broken> {
        let room = |views: Vec<kinline_protocol::engine::view::MessageView>| {
            let mut bodies: Vec<_> = views
                .into_iter()
                .filter(|view| view.conversation == bond.room)
                .map(|view| (view.sender, view.body))
                .collect();
            bodies.sort_by_key(|(sender, _)| *sender);
            bodies
        };
        let (shown, hers) = (cast.mother.screen().await?, cast.child.screen().await?);
        if room(shown) != room(hers) {
            return Err(broken("Katharina reads something else than Mila"));
        }
        let words = Body::Text {
            text: "Wer kocht den Kakao?".into(),
        };
        let why = cast.mother.refused(bond.room, words, None).await?;
        if !why.contains("pass") {
            return Err(broken(format!("she was refused because {why}")));
        }
        Ok(())
    }

    pub(super) async fn bedtime(
        &mut self,
        cast: &Cast,
        guests: &Guests,
        bond: &Bond,
    ) -> Result<(), Broken> {
        // An hour ago it was bedtime, whatever time it is.
        let minute = cast.child.device.clock().now().0 / 60_000;
        let of_day = |minute: u64| u16::try_from(minute % 1_440).unwrap_or_default();
        let (from_minute, to_minute) = (of_day(minute + 1_380), of_day(minute + 600));
        let nights = Policy {
            quiet: vec![QuietHours {
                weekdays: 0x7f,
                from_minute,
                to_minute,
            }],
            ..Policy::open("Etc/UTC")
        };
        set(&cast.father, &cast.child, nights).await?;
        let late = Body::Text {
            text: "Bist du noch wach?".into(),
        };
        let why = cast.child.refused(bond.room, late, None).await?;
        let morning = format!("{:02}:{:02}", to_minute / 60, to_minute % 60);
        if why != format!("It is quiet time until {morning}.") {
            return Err(broken(format!("she was refused because {why}")));
        }
        let words = "Papa, unter dem Bett knistert etwas";
        self.secrets.add(words);
        let text = cast.child.text(cast.family, words).await?;
        for person in [&cast.father, &cast.mother] {
            person.sees(text).await?;
        }
        let words = "Schlaf gut, du alter Dammbaumeister";
        self.secrets.add(words);
        let waits = guests.child.text(bond.room, words).await?;
        cast.mother.sees(waits).await?;
        let clock = cast.child.device.clock().clone();
        cast.child
            .until("a message that waits for the morning", move |engine| {
                let now = engine.policy_now(clock.now())?;
                (now.waiting == 1).then_some(())
            })
            .await?;
        if cast.child.on_screen(waits).await.is_ok() {
            return Err(broken("Mila was shown it at night"));
        }
        let morning = Policy {
            messages_per_day: MESSAGES_A_DAY,
            ..Policy::open("Etc/UTC")
        };
        set(&cast.mother, &cast.child, morning).await?;
        cast.child.sees(waits).await?;
        let words = "Guten Morgen! Geschlafen wie ein Murmeltier";
        self.secrets.add(words);
        let text = cast.child.text(bond.room, words).await?;
        guests.child.sees(text).await.map(drop)
    }

    pub(super) async fn learning(&mut self, cast: &Cast, bond: &Bond) -> Result<(), Broken> {
        let progress = Progress {
            app: "Zahlengarten".into(),
            activity: "Brüche am Mühlrad".into(),
            level: Some(7),
            score: Some(18),
            out_of: Some(20),
            seconds: 23 * 60,
            text: "Kann jetzt Drittel und Sechstel addieren".into(),
        };
        for secret in [&progress.app, &progress.activity, &progress.text] {
            self.secrets.add(secret);
        }
        let body = Body::Progress(progress);
        let report = cast.child.say(cast.family, body.clone()).await?;
        for person in [&cast.mother, &cast.father] {
            if person.sees(report).await? != body {
                return Err(broken("the report became another one"));
            }
        }
        let why = cast.child.refused(bond.room, body, None).await?;
        if !why.contains("family") {
            return Err(broken(format!("it was refused because {why}")));
        }
        Ok(())
    }
}

/// A guardian sets a child's policy; the tablet keeps to it when this returns.
async fn set(guardian: &Person, child: &Person, policy: Policy) -> Result<(), Broken> {
    let member = child.member().await?;
    let set = Command::SetPolicy {
        child: member,
        policy: policy.clone(),
    };
    guardian.device.command(set).await?;
    child
        .until("the new rules on the tablet", move |engine| {
            (engine.policy_of(&member) == Some(&policy)).then_some(())
        })
        .await
}
