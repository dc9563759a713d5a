//! The phone falls into the lake, and its guardian comes back.

use std::sync::Arc;
use std::time::Duration;

use kinline_protocol::account::{
    Anew, Costs, Credentials, LoggedIn, Outcome, RecoveryCode, Wish, account_id,
};
use kinline_protocol::content::Body;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::engine::view::MessageView;
use kinline_protocol::ids::DeviceId;
use kinline_protocol::primitives::hash::sha256;
use kinline_protocol::primitives::stretching::Stretching;

use super::Obstacle;
use super::cast::{Broken, PATIENCE, Person, broken};
use super::day::{Cast, Day, MOTHER};
use super::talk::DISAPPEAR_SECONDS;
use super::telling::step;
use crate::connection::{account, client_config};
use crate::device::{fetch_message, give_media};
use crate::random;

const LOGIN: &str = "Katharina vom Bootssteg 17";
const PASSWORD: &str = "neunzehn Kieselsteine springen weiter";
const NEW_PHONE: &str = "Katharinas neues Telefon";

/// What Katharina has in a drawer at home.
pub(super) struct Drawer {
    code: RecoveryCode,
}

impl Day {
    /// One thing with Katharina's account, on a connection of its own.
    async fn account(&self, code: Option<RecoveryCode>, wish: Wish) -> Result<Outcome, Broken> {
        let relay = &self.relay.address;
        let tls = client_config(relay)?;
        let server_name = relay.server_name();
        let stretch = move || account_id(LOGIN, &server_name, Stretching::DEFAULT);
        let credentials = Credentials {
            account: tokio::task::spawn_blocking(stretch).await??,
            password: PASSWORD.to_owned().into(),
            code,
        };
        Ok(account(relay, &Arc::clone(&tls), credentials, wish, Costs::Bounded).await?)
    }

    /// Makes an account, and puts by what its owner needs to come back.
    pub(super) async fn put_by(&mut self, cast: &Cast) -> Result<Drawer, Broken> {
        let code = RecoveryCode::random(&mut random::os());
        // Marked: the thief also tests guesses at them.
        self.secrets.add(&format!("login:{LOGIN}"));
        self.secrets.add(&format!("password:{PASSWORD}"));
        for secret in [&code.words(), &code.text()] {
            self.secrets.add(secret);
        }
        let register = Wish::Register {
            admission: String::new(),
        };
        let Outcome::Registered { keys } = self.account(Some(code.clone()), register).await? else {
            return Err(broken("the account was not made"));
        };
        let keep = Command::KeepAccount {
            keys: Box::new(keys),
            vault: None,
            fresh: true,
            renewed: true,
        };
        cast.mother.device.command(keep).await?;
        let now = cast.mother.device.clock().now();
        cast.mother
            .until("that she could come back", move |engine: &Engine| {
                engine.recovery_status(now).by_code.then_some(())
            })
            .await?;
        Ok(Drawer { code })
    }

    /// The third chapter.
    pub(super) async fn at_the_lake(
        &mut self,
        cast: &mut Cast,
        drawer: &Drawer,
    ) -> Result<(), Obstacle> {
        self.chapter("On the third day Katharina's phone falls into the lake.");
        let lost = match cast.mother.id().await {
            Ok(lost) => lost,
            Err(error) => {
                let began = std::time::Instant::now();
                self.note("Her phone is gone", began, Err(error));
                return Ok(());
            }
        };
        let back = step!(
            self,
            "A new phone, her password and the code from the drawer: she is back",
            self.come_back(cast, drawer)
        );
        if !back {
            return Ok(());
        }
        step!(
            self,
            "Mila writes with her as before; the lost phone is out everywhere",
            self.as_before(cast, lost)
        );
        step!(
            self,
            "The photo from the first day is there, from Mila's tablet",
            self.old_photo(cast)
        );
        Ok(())
    }

    async fn come_back(&mut self, cast: &mut Cast, drawer: &Drawer) -> Result<(), Broken> {
        self.rest(&[&cast.mother, &cast.child]).await?;
        // What only the phone still had to say would be lost with it.
        let said = |engine: &Engine| (engine.counters().unconfirmed == 0).then_some(());
        cast.mother
            .until("everything being confirmed", said)
            .await?;
        // All that it showed until then counts.
        self.departed.push(cast.mother.witness().await?);
        self.abandoned += 1;
        let folder = cast.mother.folder();
        cast.mother.switch_off().await?;
        std::fs::remove_dir_all(&folder)?;

        self.secrets.add(NEW_PHONE);
        let login = Wish::LogIn {
            tickets: 0,
            anew: Anew::Whole,
        };
        let Outcome::LoggedIn(done) = self.account(Some(drawer.code.clone()), login).await? else {
            return Err(broken("she is not logged in"));
        };
        let LoggedIn {
            keys,
            vault,
            renewed,
            ..
        } = *done;
        let new = Person::new(&self.place(), "mother-again", MOTHER, NEW_PHONE)?;
        // As the others, it has lived through an hour more.
        let hour = Duration::from_secs(u64::from(DISAPPEAR_SECONDS) + 1);
        new.device.advance_clock(hour).await?;
        let come = Command::ComeBack {
            vault: Box::new(vault?),
            renewed,
            keys: Box::new(keys),
        };
        new.device.command(come).await?;
        let joined = |event: &Event| matches!(event, Event::Joined { .. }).then_some(());
        new.notices("coming into the family", joined).await?;
        new.settled().await?;
        cast.mother = new;
        Ok(())
    }

    async fn as_before(&mut self, cast: &Cast, lost: DeviceId) -> Result<(), Broken> {
        for (from, to, words) in [
            (
                &cast.mother,
                &cast.child,
                "Das Telefon schwimmt jetzt mit den Enten",
            ),
            (
                &cast.child,
                &cast.mother,
                "Mama! Ich dachte, du antwortest nie mehr",
            ),
        ] {
            self.secrets.add(words);
            let text = from.text(cast.family, words).await?;
            to.sees(text).await?;
        }
        for person in [&cast.mother, &cast.child] {
            person
                .until("the lost phone going out", move |engine: &Engine| {
                    let all = engine.conversations();
                    let mut members = all.iter().flat_map(|it| &it.members);
                    let there = members.any(|member| member.devices.contains(&lost));
                    (!there).then_some(())
                })
                .await?;
        }
        Ok(())
    }

    async fn old_photo(&mut self, cast: &Cast) -> Result<(), Broken> {
        let first = self.report.photo.sha256_sent.clone();
        let own = cast.mother.device.with(|engine: &Engine| engine.member());
        let own = own.await?;
        // The tablet has a file of what it fetched, not of what it sent.
        let is_it = |view: &MessageView| {
            view.conversation == cast.family
                && matches!(view.body, Some(Body::Photo(_)))
                && Some(view.sender) == own
        };
        let began = std::time::Instant::now();
        let photo = loop {
            if let Some(found) = cast.mother.screen().await?.into_iter().find(is_it) {
                break found;
            }
            if began.elapsed() > PATIENCE {
                return Err(broken("what was said before did not come"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let fetched = fetch_message(&cast.mother.device, &photo, None, PATIENCE);
        tokio::pin!(fetched);
        let path = loop {
            tokio::select! {
                path = &mut fetched => break path?,
                given = give_media(&cast.child.device) => {
                    if given? == 0 {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        };
        if hex::encode(sha256(&std::fs::read(path)?)) == first {
            Ok(())
        } else {
            Err(broken("the photo that came is another one"))
        }
    }
}
