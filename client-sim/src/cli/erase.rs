//! `erase`: a child or the family, everywhere, with a receipt.

use std::path::PathBuf;

use clap::Subcommand;
use kinline_protocol::day::Day;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Command, Event};
use kinline_protocol::identity::Role;
use kinline_protocol::limits;
use serde_json::{Value, json};

use super::failure::Failure;
use super::find;
use super::message::harmless;
use super::session::Session;
use crate::device::Device;
use crate::store::{StoreError, write_whole};

/// Days after which a device that did not hear of it is cut off.
const HEARD_DAYS: u32 = 3;

/// What the relay keeps of what was erased, and for how long.
struct Remains {
    /// Days until the last of it is gone.
    days: u32,
    /// What, for a person.
    said: Vec<String>,
}

impl Remains {
    /// By the numbers of the relay's terms (PROTOCOL §17.6). A device that has heard of it took
    /// its mailbox and its blobs away; one that never connects leaves them, since the secrets that
    /// delete blobs are its own, and not every mailbox can be closed from here.
    fn after(everybody_heard: bool) -> Self {
        let (slots, envelopes) = (
            limits::COMMIT_RETENTION_DAYS,
            limits::ENVELOPE_RETENTION_DAYS,
        );
        let (mailbox, blobs) = (limits::MAILBOX_IDLE_DAYS, limits::BLOB_RETENTION_DAYS);
        let revoked = limits::REVOKED_DAYS_MAX;
        let mut kept = vec![slots, envelopes, revoked];
        let mut said = vec![
            format!(
                "Changes of conversations stay at the relay, sealed and without a name, for {slots} days."
            ),
            format!(
                "What was sent to devices that are off waits for them at the relay, sealed, for {envelopes} days."
            ),
            format!(
                "Hashes of addresses that were taken back stay at the relay for up to {revoked} days."
            ),
        ];
        let mut cut_off = 0;
        if !everybody_heard {
            cut_off = HEARD_DAYS;
            kept.extend([mailbox, blobs]);
            said.push(format!(
                "A device that never connects again leaves its mailbox at the relay for up to {mailbox} days, or {} when a guardian's phone can close it, and files that it sent for up to {blobs} days.",
                HEARD_DAYS + limits::MAILBOX_CLOSED_DAYS,
            ));
        }
        // A row is kept through its last day.
        let longest = kept.into_iter().max().unwrap_or_default();
        Self {
            days: cut_off + longest + 1,
            said,
        }
    }
}

/// What is erased.
#[derive(Debug, Subcommand)]
pub enum EraseVerb {
    /// A child: its devices, what the relay has of them, its place in the family (guardians only)
    Child {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Also what it said, on the family's other devices
        #[arg(long)]
        messages: bool,
        /// The child's whole name once more: it can't be undone
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        /// Also write the receipt as JSON
        #[arg(long, value_name = "FILE")]
        receipt: Option<PathBuf>,
    },
    /// The family: the children's devices and this guardian's; other guardians say it themselves
    Family {
        /// The family's whole name: it can't be undone
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        /// Leave this guardian's account at the relay (with the phone goes what reminds of it)
        #[arg(long)]
        keep_account: bool,
        /// Also write the receipt as JSON
        #[arg(long, value_name = "FILE")]
        receipt: Option<PathBuf>,
    },
}

/// `erase`
pub(super) async fn run(session: &Session, verb: EraseVerb) -> Result<(), Failure> {
    match verb {
        EraseVerb::Child {
            name,
            messages,
            confirm,
            receipt,
        } => child(session, &name, messages, confirm.as_deref(), receipt).await,
        EraseVerb::Family {
            confirm,
            keep_account,
            receipt,
        } => family(session, confirm.as_deref(), keep_account, receipt).await,
    }
}

fn confirmed(what: &str, confirm: Option<&str>) -> Result<(), Failure> {
    if confirm == Some(what) {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "this can't be undone: to erase {} for good, say --confirm \"{}\" (and export first what is to stay)",
        harmless(what),
        harmless(what),
    )))
}

/// Days that the relay's operator keeps backups, as published.
async fn backup_days(device: &Device) -> Option<u32> {
    let terms = device.blobs().terms().await.ok()?;
    let terms: Value = serde_json::from_slice(&terms).ok()?;
    terms.get("backup_days")?.as_u64()?.try_into().ok()
}

async fn child(
    session: &Session,
    name: &str,
    messages: bool,
    confirm: Option<&str>,
    receipt: Option<PathBuf>,
) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let erased = erase_child(session, &device, name, messages, confirm).await;
    device.shutdown().await;
    tell(&erased?, receipt)
}

async fn erase_child(
    session: &Session,
    device: &Device,
    name: &str,
    messages: bool,
    confirm: Option<&str>,
) -> Result<Value, Failure> {
    let book = session.book(device).await?;
    let member = find::relative(&book, Some(Role::Child), name)?;
    let name = book.name(&member);
    confirmed(&name, confirm)?;
    let command = Command::EraseMember { member, messages };
    device.command(command).await?;
    session.settle(device).await?;
    let now = device.clock().now();
    let (waits, over, today) = device
        .with(move |engine: &Engine| {
            let over = !engine.erasures().contains(&Some(member));
            (
                engine.erasure_waits_for(Some(member)),
                over,
                engine.day(now),
            )
        })
        .await?;
    let remains = Remains::after(over);
    let gone = today.plus(remains.days);
    let backups = backup_days(device).await.map(|days| gone.plus(days));
    let waits: Vec<String> = waits.iter().map(|device| book.device(device)).collect();
    let mut left = remains.said;
    left.extend(
        [
            "What devices of other families received stays on them, as on any screen that showed it.",
            "The family's log keeps that there was a member of this name, until the family is erased.",
        ]
        .map(String::from),
    );
    if !messages {
        left.push("What the child said stays on the family's own devices.".into());
    }
    if !waits.is_empty() {
        left.push("A device that is off keeps its encrypted store until it hears of this; when it does not within three days, nobody sends it anything any more.".into());
    }
    Ok(document(
        "child", &name, today, gone, backups, &waits, &left,
    ))
}

async fn family(
    session: &Session,
    confirm: Option<&str>,
    keep_account: bool,
    receipt: Option<PathBuf>,
) -> Result<(), Failure> {
    let device = session.open_current().await?;
    let erased = erase_family(session, &device, confirm, keep_account).await;
    device.shutdown().await;
    tell(&erased?, receipt)
}

async fn erase_family(
    session: &Session,
    device: &Device,
    confirm: Option<&str>,
    keep_account: bool,
) -> Result<Value, Failure> {
    let name = device
        .with(|engine: &Engine| engine.family_log().map(|log| log.family_name().to_owned()))
        .await?;
    let name = name.ok_or_else(|| Failure::refused("this device belongs to no family yet"))?;
    confirmed(&name, confirm)?;
    let has_account = device.with(Engine::has_account).await?;
    if has_account && !keep_account {
        return Err(Failure::refused(
            "this guardian has an account at the relay, which outlives the phone: delete it first (kinline-sim account --state … delete), or say --keep-account",
        ));
    }
    let book = session.book(device).await?;
    let now = device.clock().now();
    let today = device.with(move |engine: &Engine| engine.day(now)).await?;
    let days = backup_days(device).await;
    let mut events = device.events();
    device.command(Command::EraseFamily).await?;
    let over = async {
        while let Some(event) = events.next().await {
            if let Event::Erased { backups_end } = event {
                return Some(backups_end);
            }
        }
        None
    };
    let ended = tokio::time::timeout(session.patience(), over).await;
    let everybody_heard = matches!(ended, Ok(Some(_)));
    let remains = Remains::after(everybody_heard);
    let gone = today.plus(remains.days);
    let mut left = remains.said;
    left.extend(
        [
            "Other guardians erase their own phones, and what the relay has of them: erase family, on each of them.",
            "What devices of other families received stays on them, as on any screen that showed it.",
            "An account that another guardian has at the relay is theirs to delete: account delete.",
        ]
        .map(String::from),
    );
    if has_account {
        left.push("This guardian's account stays at the relay until it is deleted.".into());
    }
    match ended {
        Ok(Some(told)) => {
            // It said so of what it erased today.
            let told = told.map(|end| end.0.saturating_sub(today.0));
            let backups = days.max(told).map(|days| gone.plus(days));
            Ok(document("family", &name, today, gone, backups, &[], &left))
        }
        _ => {
            let waits = device
                .with(|engine: &Engine| engine.erasure_waits_for(None))
                .await?;
            let waits: Vec<String> = waits.iter().map(|device| book.device(device)).collect();
            left.push("This phone goes when the others have heard of it, or in three days: let it connect then.".into());
            let backups = days.map(|days| gone.plus(days));
            Ok(document(
                "family", &name, today, gone, backups, &waits, &left,
            ))
        }
    }
}

fn document(
    what: &str,
    name: &str,
    today: Day,
    gone: Day,
    backups: Option<Day>,
    waits: &[String],
    left: &[String],
) -> Value {
    json!({
        "format": "kinline-erasure-receipt-1",
        "what": what,
        "name": name,
        "asked_on": today.to_string(),
        "waits_for": waits,
        "relay_empty_by": gone.to_string(),
        "backups_end_by": backups.map(|day| day.to_string()),
        "left": left,
    })
}

/// The receipt on the screen, and as a file.
fn tell(document: &Value, receipt: Option<PathBuf>) -> Result<(), Failure> {
    let text = |key: &str| document[key].as_str().map(harmless);
    let name = text("name").unwrap_or_default();
    println!(
        "{name} is erased, as asked on {}.",
        text("asked_on").unwrap_or_default()
    );
    for waits in document["waits_for"].as_array().into_iter().flatten() {
        println!(
            "Not yet heard of by {}.",
            harmless(waits.as_str().unwrap_or_default())
        );
    }
    println!(
        "The relay has nothing of what was erased any more by {}.",
        text("relay_empty_by").unwrap_or_default()
    );
    match text("backups_end_by") {
        Some(day) => println!("The last backup that may hold something ends by {day}."),
        None => println!("The relay did not say how long its backups are kept: ask its operator."),
    }
    for sentence in document["left"].as_array().into_iter().flatten() {
        println!("{}", harmless(sentence.as_str().unwrap_or_default()));
    }
    let Some(path) = receipt else { return Ok(()) };
    let bytes = serde_json::to_vec_pretty(document)
        .map_err(|error| Failure::new(format!("the receipt can't be written: {error}")))?;
    write_whole(&path, |file| {
        file.write_all(&bytes)
            .map_err(|error| StoreError::file(&path, error))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HEARD_DAYS, Remains};
    use kinline_protocol::limits;

    #[test]
    fn a_receipt_promises_no_day_before_the_last_of_it_is_gone() {
        let stays = [
            limits::COMMIT_RETENTION_DAYS,
            limits::ENVELOPE_RETENTION_DAYS,
            limits::REVOKED_DAYS_MAX,
        ];
        let lies = [limits::MAILBOX_IDLE_DAYS, limits::BLOB_RETENTION_DAYS];
        let names = |remains: &Remains, days: u32| {
            let days = format!("{days} days");
            remains.said.iter().any(|sentence| sentence.contains(&days))
        };
        let heard = Remains::after(true);
        let unheard = Remains::after(false);
        for days in stays {
            assert!(heard.days > days && names(&heard, days), "{days}");
            assert!(unheard.days > days + HEARD_DAYS && names(&unheard, days));
        }
        for days in lies {
            assert!(unheard.days > days + HEARD_DAYS && names(&unheard, days));
        }
        assert!(!names(&heard, limits::MAILBOX_IDLE_DAYS));
    }
}
