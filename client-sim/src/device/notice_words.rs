//! What each event says to a person, with the device's names for people and conversations.

use std::cell::LazyCell;

use kinline_protocol::content::{Body, Content, ContentIn, Control, Report};
use kinline_protocol::conversation::ConversationKind;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::Event;
use kinline_protocol::ids::ConversationId;
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::server_name::operator_text;
use serde_json::{Value, json};

use super::book::{Book, short};
use super::notice::Notice;

/// The notice of an event; `None` for what other screens show.
pub(super) fn notice(engine: &Engine, event: &Event) -> Option<Notice> {
    // Most events are none, and the book is long.
    let book = LazyCell::new(|| Book::of(engine));
    let said = |kind: &str, sentence: String| Some(Notice::new(kind, sentence, Value::Null));
    match event {
        Event::Control {
            sender, control, ..
        } => told(&book, &book.device(sender), control),
        Event::Refused {
            conversation,
            sentence,
        } => said(
            "refused",
            format!(
                "A change in {} was refused: {sentence}.",
                book.title(conversation)
            ),
        ),
        Event::EraseAsked { by, member } => said(
            "erase-asked",
            match member {
                Some(child) => format!(
                    "{} has {} erased everywhere.",
                    book.name(by),
                    book.name(child)
                ),
                None => format!(
                    "{} erases the family: the children's devices are wiped. Your own phone is yours to erase (erase family).",
                    book.name(by)
                ),
            },
        ),
        Event::Reformed { new, .. } => said(
            "reformed",
            format!("{} was formed again and goes on.", book.title(new)),
        ),
        Event::Left {
            conversation,
            member,
        } => said(
            "left",
            format!(
                "{} has left {}.",
                book.name(member),
                book.title(conversation)
            ),
        ),
        // Without a freeze the decision itself says all.
        Event::MemberRemoved {
            name, frozen: true, ..
        } => said(
            "frozen",
            format!(
                "{name}, a guardian, was removed: nothing more can be allowed for three days, in which an objection is heard."
            ),
        ),
        Event::Joined {
            conversation,
            title,
        } if kind(engine, conversation) != Some(ConversationKind::Family) => {
            said("joined", format!("This device is in {title} now."))
        }
        Event::DeviceRemoved {
            conversation,
            device,
        } if kind(engine, conversation) == Some(ConversationKind::Contact) => said(
            "device-removed",
            format!(
                "{} is not in {} any more.",
                capital(&book.device(device)),
                book.title(conversation)
            ),
        ),
        Event::Decided {
            index,
            decision,
            by,
        } => {
            let by: Vec<String> = by.iter().map(|member| book.name(member)).collect();
            let who = if by.is_empty() {
                String::new()
            } else {
                format!(" (decided by {})", by.join(" and "))
            };
            Some(Notice::new(
                "decided",
                format!("Decision {index}: {}{who}.", book.decision(decision)),
                json!({"index": index, "by": by}),
            ))
        }
        Event::NotDecided {
            decisions,
            sentence,
        } => {
            let decisions: Vec<String> = decisions.iter().map(|it| book.decision(it)).collect();
            said(
                "not-decided",
                format!(
                    "What was decided on this device did not happen ({}): {sentence}.",
                    decisions.join("; ")
                ),
            )
        }
        Event::Proposal {
            proposal,
            by,
            decision,
        } => Some(Notice::new(
            "proposal",
            format!(
                "{} asks for your yes to this: {}. Answer with: answer-proposal {} yes",
                book.name(by),
                book.decision(decision),
                short(proposal)
            ),
            json!({"proposal": hex::encode(proposal)}),
        )),
        Event::Met {
            family_name, child, ..
        } => said(
            "met",
            format!(
                "You know the family {family_name} now, and {} in it.",
                book.name(child)
            ),
        ),
        Event::PassOffered { pass, .. } => Some(Notice::new(
            "pass-offered",
            format!(
                "The other family offers a contact pass: {}. Answer with: pass accept {}, or pass refuse",
                book.pass(pass),
                short(pass.id().as_bytes())
            ),
            json!({"pass": hex::encode(pass.id().as_bytes())}),
        )),
        Event::GroupOffered {
            group,
            children,
            title,
        } => {
            let all = engine.groups_under_way();
            let asked = all.iter().find(|it| it.group == *group);
            let by = asked.and_then(|it| Some(book.family(it.asked_by.as_ref()?)));
            let names: Vec<String> = children.iter().map(|it| book.name(&it.member)).collect();
            Some(Notice::new(
                "group-offered",
                format!(
                    "The family {} asks for a conversation of several children, {title}: {}. Each two of them need a contact pass. Answer with: group accept {}, or group refuse",
                    by.as_deref().unwrap_or("that was met"),
                    names.join(", "),
                    short(group)
                ),
                json!({"group": hex::encode(group), "title": title, "children": names}),
            ))
        }
        Event::GroupAnswered {
            group,
            title,
            family,
            accepted,
        } => {
            let family = book.family(family);
            Some(Notice::new(
                "group-answered",
                if *accepted {
                    format!("The family {family} agrees to {title}.")
                } else {
                    format!("The family {family} does not want {title}: it does not come about.")
                },
                json!({"group": hex::encode(group), "accepted": accepted}),
            ))
        }
        Event::PassRefused { pass, sentence } => Some(Notice::new(
            "pass-refused",
            format!(
                "{} does not come about: {sentence}.",
                capital(&book.pass_of(pass))
            ),
            json!({"pass": hex::encode(pass.as_bytes())}),
        )),
        Event::LogForked { conversation } => said(
            "log-forked",
            format!(
                "Somebody in {} was shown another past of a family's decisions than this device. The relay may be lying: compare what `family` shows on two devices.",
                book.title(conversation)
            ),
        ),
        Event::OperatorPinned { key, vouched } => Some(Notice::new(
            "operator-pinned",
            if *vouched {
                format!("The relay's operator signs with {}.", operator_text(key))
            } else {
                format!(
                    "The relay says that its operator signs with {}. Nobody else has said so: compare it with what the operator publishes.",
                    operator_text(key)
                )
            },
            json!({"key": operator_text(key), "vouched": vouched}),
        )),
        Event::OperatorNotice(notice) => Some(Notice::of_operator(notice)),
        Event::LockedDown { renew, .. } => said(
            "locked-down",
            if *renew {
                "The relay's operator has locked it down. Messages go on, nobody can be paired or log in, and this device makes its keys and addresses anew.".into()
            } else {
                "The relay's operator has locked it down. Messages go on, nobody can be paired or log in.".into()
            },
        ),
        Event::LockdownLifted => said(
            "lockdown-lifted",
            "The relay's operator has lifted the lockdown.".into(),
        ),
        Event::OperatorLogCut { known, shown } => said(
            "operator-log-cut",
            format!(
                "The relay shows {shown} entries of its operator's log, and has shown {known} before: something is kept back."
            ),
        ),
        Event::OperatorLogForked { .. } => said(
            "operator-log-forked",
            "The relay's operator has two logs: somebody was shown another one than this device. The relay may be in other hands.".into(),
        ),
        Event::OperatorForged => said(
            "operator-forged",
            "The relay said something in its operator's name that the operator has not signed.".into(),
        ),
        Event::ReturnAsked {
            member,
            device,
            device_name,
            pictures,
            own,
        } => Some(Notice::new(
            "return-asked",
            if *own {
                format!(
                    "A device that calls itself {device_name} has logged in with YOUR password and asks to come back as you. If that is not you, refuse it and change the password: account veto {}",
                    short(device.as_bytes())
                )
            } else {
                format!(
                    "{} asks to come back, on a device that calls itself {device_name}. Its screen shows {pictures}: ask before you answer. Look with: account requests",
                    book.name(member)
                )
            },
            json!({
                "device": hex::encode(device.as_bytes()),
                "pictures": pictures,
                "own": own,
            }),
        )),
        Event::VaultRolledBack {
            member,
            given,
            newest,
        } => said(
            "vault-rolled-back",
            format!(
                "The relay gave {} vault number {given} when number {newest} had been written: it, or whoever restored it, is not as it should be. Nothing in it can do harm.",
                book.name(member)
            ),
        ),
        Event::LoginsFailed { times, day } => said(
            "logins-failed",
            format!(
                "Logins to this phone's account that were begun and came to nothing: {times}, the last on {day}. If that was not you, choose a longer password with account change-password."
            ),
        ),
        Event::ReturnUnheard => said(
            "return-unheard",
            "The family's devices can't be reached where they were when this was put by: they have changed their addresses since. If there is another guardian, ask them to pair this phone. It goes on asking.".into(),
        ),
        Event::AccountOutdated => said(
            "account-outdated",
            "The account of this phone is not good any more: its password was changed on another phone, it was deleted, or a phone of yours that knew its keys was put out. Recovery would not work: log in again with account login, and your recovery code.".into(),
        ),
        Event::TimeAhead { told, own } => said(
            "time-ahead",
            format!(
                "A guardian's phone says that it is {told}, this device's clock says {own}: one of the two is wrong. A guardian can settle it with correct-time."
            ),
        ),
        Event::TimeCorrected { day } => said(
            "time-corrected",
            format!("A guardian has set the day: it is {day}."),
        ),
        Event::Forked { conversation } => said(
            "forked",
            format!(
                "In {} this device was shown another past than the others, or none of what followed. It writes nothing there and asks to come back.",
                book.title(conversation)
            ),
        ),
        Event::BackIn { conversation } => said(
            "back-in",
            format!(
                "This device is back in {}. What was said meanwhile and is not sent again is missing here.",
                book.title(conversation)
            ),
        ),
        Event::CameBack {
            conversation,
            device,
        } => said(
            "came-back",
            format!(
                "{} is back in {}.",
                book.device(device),
                book.title(conversation)
            ),
        ),
        Event::MailboxClosed { device, undone } => said(
            "mailbox-closed",
            if *undone {
                format!("The mailbox of {} is open again.", book.device(device))
            } else {
                format!(
                    "The mailbox of {} is closed: nothing goes in or out, and in 72 hours it is deleted.",
                    book.device(device)
                )
            },
        ),
        Event::Withheld {
            conversation,
            sender,
            sentence,
            ..
        } => said(
            "withheld",
            format!(
                "A message of {} in {} is not shown: {sentence}",
                book.name(sender),
                book.title(conversation)
            ),
        ),
        Event::Silent {
            conversation,
            why: Some(why),
        } => said(
            "silent",
            format!("Nothing is sent into {}: {why}.", book.title(conversation)),
        ),
        Event::Gap {
            conversation,
            device,
            from,
            through,
        } => said(
            "gap",
            format!(
                "Some messages are missing in {}: {} of {}.",
                book.title(conversation),
                through.saturating_sub(*from).saturating_add(1),
                book.device(device)
            ),
        ),
        Event::Undelivered {
            device, sentence, ..
        } => said(
            "undelivered",
            format!(
                "A message did not reach {}: {sentence}.",
                book.device(device)
            ),
        ),
        Event::StaleStore => said(
            "stale-store",
            "This state folder is a copy of an older state: the relay has seen a newer one."
                .to_owned(),
        ),
        _ => None,
    }
}

/// What another device of the family says, for a guardian to read.
fn told(book: &Book, who: &str, control: &Control) -> Option<Notice> {
    match control {
        Control::FriendRequest(request) => Some(Notice::new(
            "friend-request",
            format!(
                "{who} asks for a friend{}. To meet that family: meet join {} --child NAME",
                quoted(&request.words),
                request.code
            ),
            json!({"code": request.code, "words": request.words}),
        )),
        Control::Report(report) => Some(reported(book, who, report)),
        Control::Refusal(refusal) => Some(Notice::new(
            "device-refused",
            format!(
                "{who} says of {}: {}.",
                book.title(&refusal.conversation),
                refusal.sentence
            ),
            Value::Null,
        )),
        Control::Copy(copied) => {
            let what = Content::decode(&copied.content)
                .map_or_else(|_| "what can't be read".to_owned(), |it| words(&it.body));
            Some(Notice::new(
                "copy",
                format!(
                    "{who} got from {} in {}: {what}",
                    copied.sender_name,
                    book.title(&copied.conversation)
                ),
                json!({"original": hex::encode(copied.original.as_bytes())}),
            ))
        }
        _ => None,
    }
}

fn reported(book: &Book, who: &str, report: &Report) -> Notice {
    let said = PublicKey::from_slice(&report.sender_key).and_then(|key| {
        ContentIn::parse(&report.signed_content)
            .ok()?
            .verify(&key)
            .ok()
    });
    let what = said.as_ref().map_or_else(
        || "a message whose signature does NOT hold".to_owned(),
        |content| {
            format!(
                "\u{201c}{}\u{201d} (its signature holds)",
                words(&content.body)
            )
        },
    );
    let device = said.as_ref().map(|content| book.device(&content.sender));
    Notice::new(
        "report",
        format!(
            "{who} reports a message of {}: {what}{}",
            report.sender_name,
            quoted(&report.words)
        ),
        json!({
            "sender": report.sender_name,
            "device": device,
            "sender_key": hex::encode(report.sender_key),
            "signed_content": hex::encode(&report.signed_content),
            "signature_holds": said.is_some(),
            "words": report.words,
        }),
    )
}

fn words(body: &Body) -> String {
    match body {
        Body::Text { text } | Body::Edit { text, .. } => text.clone(),
        Body::Sticker { name, .. } => format!("[sticker {name}]"),
        Body::Photo(photo) => format!("[photo] {}", photo.caption).trim().to_owned(),
        Body::Voice(_) => "[voice message]".to_owned(),
        _ => "[message]".to_owned(),
    }
}

fn quoted(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!(", saying \u{201c}{words}\u{201d}")
    }
}

fn kind(engine: &Engine, conversation: &ConversationId) -> Option<ConversationKind> {
    let all = engine.conversations().into_iter();
    all.filter(|it| it.id == *conversation)
        .map(|it| it.kind)
        .next()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
