//! What guardians decide, and what waits for them.

use kinline_protocol::day::{Day, Timestamp};
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::Command;
use kinline_protocol::identity::{FamilyLog, Role, Settings};
use kinline_protocol::ids::DeviceId;
use serde_json::{Value, json};

use super::args_family::{FamilyVerb, PolicyVerb, RemoveVerb};
use super::failure::Failure;
use super::session::Session;
use super::{correcting, family_log, find, operator, policies};
use crate::device::{Book, Notice, notices, short, unseen};

/// Does one of these.
pub(super) async fn run(session: &Session, verb: FamilyVerb) -> Result<(), Failure> {
    match verb {
        FamilyVerb::Family { json } => family_log::show(session, json).await,
        FamilyVerb::Notices { all, json } => show_notices(session, all, json).await,
        FamilyVerb::Operator { json } => operator::show(session, json).await,
        FamilyVerb::Remove(what) => remove(session, what).await,
        FamilyVerb::Settings {
            signatures,
            lease_days,
        } => settings(session, signatures, lease_days).await,
        FamilyVerb::Proposals { json } => proposals(session, json).await,
        FamilyVerb::AnswerProposal { id, answer } => {
            answer_proposal(session, &id, answer == "yes").await
        }
        FamilyVerb::Object => object(session).await,
        FamilyVerb::CarryObjection { text } => {
            let device = session.open_current().await?;
            session
                .carry_out(device, Command::CarryObjection { text })
                .await
        }
        FamilyVerb::Withdraw { removal } => {
            let device = session.open_current().await?;
            session
                .carry_out(device, Command::Withdraw { removal })
                .await
        }
        FamilyVerb::Policy(PolicyVerb::Show { child, json }) => {
            policies::show(session, child, json).await
        }
        FamilyVerb::Policy(set) => policies::set(session, set).await,
        FamilyVerb::CloseMailbox { device, undo } => close_mailbox(session, &device, undo).await,
        FamilyVerb::CorrectTime { day, far } => correcting::correct(session, day, far).await,
        FamilyVerb::Reform { title } => {
            let device = session.open_current().await?;
            let conversation = find::conversation(&device, Some(&title)).await?;
            session
                .carry_out(device, Command::Reform { conversation })
                .await
        }
    }
}

async fn remove(session: &Session, what: RemoveVerb) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let book = session.book(&device).await?;
    let command = match what {
        RemoveVerb::Member { name } => Command::RemoveMember {
            member: find::relative(&book, None, &name)?,
        },
        RemoveVerb::Device { device } => Command::RemoveDevice {
            device: find::device(&book, &device)?,
        },
    };
    session.carry_out(device, command).await
}

async fn settings(
    session: &Session,
    signatures: Option<u32>,
    lease_days: Option<u32>,
) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let now = device
        .with(|engine| engine.family_log().map(FamilyLog::settings))
        .await?
        .ok_or_else(|| Failure::refused("this device belongs to no family yet"))?;
    let settings = Settings {
        signatures: signatures.unwrap_or(now.signatures),
        lease_days: lease_days.unwrap_or(now.lease_days),
    };
    session
        .carry_out(device, Command::ChangeSettings { settings })
        .await
}

async fn proposals(session: &Session, as_json: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let now = device.clock().now();
    let waiting = device.with(move |engine| open_proposals(engine, now));
    let waiting = waiting.await?;
    device.shutdown().await;
    if waiting.is_empty() && !as_json {
        println!("Nothing waits for a guardian's yes, as far as this device knows.");
    }
    for it in waiting {
        if as_json {
            println!("{}", it.json());
        } else {
            println!("{}", super::message::harmless(&it.line()));
        }
    }
    Ok(())
}

/// What waits for a guardian's yes.
pub(super) struct OpenProposal {
    id: [u8; 16],
    ours: bool,
    what: String,
    by: String,
    /// Guardians whose yes is still to come.
    missing: usize,
    /// Guardians who could give it.
    others: Vec<String>,
    last_day: Day,
}

impl OpenProposal {
    pub(super) fn line(&self) -> String {
        let others = self.others.join(" or ");
        let (who, missing) = match (self.ours, self.missing) {
            (true, 1) => (
                "you ask".to_owned(),
                format!("the yes of {others} is missing"),
            ),
            (true, more) => (
                "you ask".to_owned(),
                format!("{more} more must say yes, of {}", self.others.join(", ")),
            ),
            (false, _) => (
                format!("{} asks", self.by),
                "your yes is missing".to_owned(),
            ),
        };
        format!(
            "{}  {who}: {}; signed by {}; {missing}; until {}",
            short(&self.id),
            self.what,
            self.by,
            self.last_day
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": hex::encode(self.id),
            "ours": self.ours,
            "by": self.by,
            "what": self.what,
            "signed": [self.by],
            "missing": self.missing,
            "others": self.others,
            "until": self.last_day.to_string(),
        })
    }
}

/// Everything that waits for a guardian's yes and can still get it.
pub(super) fn open_proposals(engine: &Engine, now: Timestamp) -> Vec<OpenProposal> {
    let Some(log) = engine.family_log() else {
        return vec![];
    };
    let (book, today) = (Book::of(engine), engine.day(now));
    let all = engine.proposals().into_iter();
    let open = all.filter(|it| it.last_day >= today).map(|it| {
        let others = log
            .members()
            .iter()
            .filter(|(id, member)| member.role == Role::Guardian && **id != it.by);
        let needed = log.required_signatures(&it.decision, today);
        OpenProposal {
            id: it.proposal,
            ours: it.ours,
            what: book.decision(&it.decision),
            by: book.name(&it.by),
            missing: needed.saturating_sub(1).max(1),
            others: others.map(|(id, _)| book.name(id)).collect(),
            last_day: it.last_day,
        }
    });
    open.collect()
}

async fn answer_proposal(session: &Session, id: &str, accept: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let waiting = device.with(Engine::proposals).await?;
    let ids = waiting
        .into_iter()
        .filter(|it| !it.ours)
        .map(|it| (it.proposal.to_vec(), it.proposal));
    let proposal = find::by_id("proposal", id, ids)?;
    session
        .carry_out(device, Command::AnswerProposal { proposal, accept })
        .await
}

/// Prints the text of a removed guardian's objection.
async fn object(session: &Session) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let now = device.clock().now();
    let text = device
        .with(move |engine| {
            let today = engine.day(now);
            engine.objection(today).map_err(|error| error.to_string())
        })
        .await?;
    device.shutdown().await;
    println!("{}", text.map_err(Failure::refused)?);
    eprintln!("Give this text to anybody in the family: carry-objection TEXT");
    Ok(())
}

async fn close_mailbox(session: &Session, wanted: &str, undo: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let book = session.book(&device).await?;
    let closed = match find::device(&book, wanted) {
        Ok(found) => found,
        Err(failure) => {
            device.shutdown().await;
            let gone = find::removed_device(&book, wanted);
            return Err(gone.map_or(failure, |gone| removed(&book, gone, undo)));
        }
    };
    let command = Command::CloseMailbox {
        device: closed,
        undo,
    };
    session.carry_out(device, command).await
}

/// Why a mailbox can't be opened or closed any more whose device was removed.
fn removed(book: &Book, device: DeviceId, undo: bool) -> Failure {
    let whose = book.device(&device);
    Failure::refused(if undo {
        format!(
            "{whose} was removed from the family, and that can't be undone: its mailbox is not opened again; let the device in as a new one (show-code)"
        )
    } else {
        format!("{whose} was removed from the family already: nothing is sent to it any more")
    })
}

/// `notices`
async fn show_notices(session: &Session, all: bool, as_json: bool) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let kept = if all { notices(&device).await? } else { vec![] };
    let fresh = unseen(&device).await?;
    let mut shown = if all { kept } else { fresh };
    let told = device.with(Engine::operator_notices).await?;
    operator::add_unkept(&told, &mut shown);
    for notice in &shown {
        print(notice, as_json);
    }
    // What is acknowledged is erased: not before it was shown.
    operator::acknowledge(&device, &told).await?;
    device.shutdown().await;
    if shown.is_empty() && !as_json {
        println!("Nothing new.");
    }
    Ok(())
}

/// One notice on the screen.
pub(super) fn print(notice: &Notice, as_json: bool) {
    if as_json {
        println!("{}", json!(notice));
    } else {
        println!("* {}", super::message::harmless(&notice.sentence));
    }
}
