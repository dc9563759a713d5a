//! Control contents: round trips, bounds, damage.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use bytes::Bytes;
use prost::Message as _;

use super::{
    ContactSetup, Control, Copied, Erase, FriendRequest, GroupOffer, LogNews, PassOffer, PassStage,
    Proposal, Refusal, Report,
};
use crate::content::{Body, BodyError};
use crate::conversation::Person;
use crate::ids::{ContentId, ConversationId, DeviceId, FamilyId, MemberId, PassId};
use crate::limits;
use crate::wire::{self, control::Body as WireBody};

fn bytes(len: usize) -> Bytes {
    vec![7; len].into()
}

fn hidden() -> wire::LogEntry {
    wire::LogEntry {
        statement: None,
        hash: bytes(32),
    }
}

fn shown() -> wire::LogEntry {
    wire::LogEntry {
        statement: Some(wire::SignedStatement {
            statement: bytes(3),
            ..wire::SignedStatement::default()
        }),
        hash: Bytes::new(),
    }
}

fn news(entries: Vec<wire::LogEntry>) -> Control {
    Control::News(LogNews {
        family: FamilyId::new([1; 16]),
        from: 3,
        entries,
        head: bytes(7),
    })
}

fn setup(title: &str, key_packages: Vec<Bytes>) -> Control {
    Control::Setup(ContactSetup {
        pass: PassId::new([6; 16]),
        device: DeviceId::new([7; 16]),
        title: title.into(),
        key_packages,
        children: vec![],
    })
}

#[test]
fn a_checkpoint_of_the_operator_has_one_size() {
    for (size, good) in [(0, false), (217, false), (218, true), (219, false)] {
        let seen = Control::OperatorSeen(bytes(size));
        assert_eq!(seen.check().is_ok(), good, "{size}");
        let back = Control::from_wire(seen.to_wire());
        assert_eq!(back, Ok(seen));
    }
}

fn group(stage: PassStage) -> Control {
    let child = |n| Person {
        family: FamilyId::new([n; 16]),
        member: MemberId::new([n; 16]),
    };
    Control::Group(GroupOffer {
        group: [8; 16],
        children: vec![child(1), child(2), child(3)],
        title: "Band".into(),
        stage,
        key_packages: vec![bytes(9)],
    })
}

#[test]
fn a_group_has_one_child_of_each_of_two_or_three_families() {
    let child = |n| Person {
        family: FamilyId::new([n; 16]),
        member: MemberId::new([9; 16]),
    };
    for children in [
        vec![],
        vec![child(1)],
        vec![child(2), child(1)],
        vec![child(1), child(1)],
        vec![child(1), child(2), child(3), child(4)],
    ] {
        let Control::Group(offer) = group(PassStage::Offered) else {
            panic!("a group offer was asked for")
        };
        let offer = Control::Group(GroupOffer { children, ..offer });
        assert!(offer.check().is_err());
    }
}

fn proposal(decision: Bytes, consent: Bytes, key_packages: Vec<Bytes>) -> Control {
    Control::Proposal(Proposal {
        decision,
        salt: [2; 16],
        consent,
        key_packages,
    })
}

fn offer(pass: Bytes, stage: PassStage, sentence: &str) -> Control {
    Control::PassOffer(PassOffer {
        pass,
        stage,
        sentence: sentence.into(),
        key_packages: vec![bytes(9)],
    })
}

fn report(signed_content: Bytes, words: &str) -> Control {
    Control::Report(Report {
        signed_content,
        conversation: ConversationId::new([3; 16]),
        sender_key: [4; 32],
        sender_name: "Zoe".into(),
        words: words.into(),
    })
}

fn copy(content: Bytes) -> Control {
    Control::Copy(Copied {
        conversation: ConversationId::new([3; 16]),
        original: ContentId::new([5; 16]),
        sender_member: MemberId::new([6; 16]),
        sender_name: "Zoe".into(),
        content,
    })
}

fn request(code: &str, words: &str) -> Control {
    Control::FriendRequest(FriendRequest {
        code: code.into(),
        words: words.into(),
    })
}

fn refusal(sentence: &str) -> Control {
    Control::Refusal(Refusal {
        conversation: ConversationId::new([3; 16]),
        sentence: sentence.into(),
    })
}

fn all() -> Vec<Control> {
    vec![
        Control::Head(bytes(200)),
        Control::OperatorSeen(bytes(218)),
        news(vec![shown(), hidden()]),
        proposal(bytes(80), bytes(100), vec![bytes(9)]),
        offer(bytes(80), PassStage::Offered, ""),
        offer(bytes(80), PassStage::Accepted, ""),
        offer(bytes(80), PassStage::Refused, "not yet"),
        request("kinline:meet:1:x", "from school"),
        report(bytes(300), "this hurt"),
        copy(bytes(300)),
        refusal("a stranger's device"),
        setup("Mia & Leo", vec![bytes(9)]),
        group(PassStage::Offered),
        group(PassStage::Accepted),
        group(PassStage::Refused),
        Control::ReturnRequest(bytes(3_000)),
        Control::VaultNote {
            member: MemberId::new([6; 16]),
            version: 3,
        },
        Control::Erase(Erase {
            member: Some(MemberId::new([9; 16])),
            messages: true,
        }),
        Control::Erase(Erase {
            member: None,
            messages: false,
        }),
    ]
}

fn read(control: &Control) -> Result<Body, BodyError> {
    Body::from_wire(Some(Body::Control(control.clone()).to_wire()))
}

#[test]
fn every_kind_comes_back_as_it_was() {
    for control in all() {
        let body = Body::Control(control.clone());
        assert_eq!(read(&control), Ok(body.clone()));
        assert_eq!(body.kind_bit(), 0);
        assert!(body.attachment().is_none());
    }
}

#[test]
fn golden_bytes() {
    let head = Control::Head(Bytes::from_static(&[1, 2])).to_wire();
    assert_eq!(head.encode_to_vec(), [0x0a, 2, 1, 2]);
    let offer = Control::PassOffer(PassOffer {
        pass: Bytes::from_static(&[9]),
        stage: PassStage::Refused,
        sentence: "no".into(),
        key_packages: vec![],
    });
    let golden = [0x22, 9, 0x0a, 1, 9, 0x18, 1, 0x22, 2, b'n', b'o'];
    assert_eq!(offer.to_wire().encode_to_vec(), golden);
}

#[test]
fn what_is_missing_or_too_much_is_refused_both_ways() {
    let long = "x".repeat(1_025);
    let both = wire::LogEntry {
        hash: bytes(32),
        ..shown()
    };
    let short = wire::LogEntry {
        hash: bytes(31),
        ..hidden()
    };
    let bad = [
        Control::Head(Bytes::new()),
        Control::Head(bytes(1_025)),
        news(vec![]),
        news(vec![hidden(), wire::LogEntry::default()]),
        news(vec![both]),
        news(vec![short]),
        news(vec![hidden(); 4_000]),
        proposal(Bytes::new(), bytes(1), vec![]),
        proposal(bytes(16 * 1_024 + 1), bytes(1), vec![]),
        proposal(bytes(1), bytes(1_025), vec![]),
        proposal(bytes(1), bytes(1), vec![bytes(1); 33]),
        proposal(bytes(1), bytes(1), vec![Bytes::new()]),
        proposal(bytes(1), bytes(1), vec![bytes(16 * 1_024 + 1)]),
        proposal(bytes(1), bytes(1), vec![bytes(16 * 1_024); 8]),
        offer(Bytes::new(), PassStage::Offered, ""),
        offer(bytes(1), PassStage::Refused, &long),
        request("", ""),
        request(&long, ""),
        request("x", &long),
        report(Bytes::new(), ""),
        report(bytes(limits::CONTENT_BYTES_MAX), ""),
        report(bytes(1), &long),
        copy(Bytes::new()),
        copy(bytes(limits::CONTENT_BYTES_MAX)),
        refusal(""),
        refusal(&long),
        Control::ReturnRequest(Bytes::new()),
        Control::ReturnRequest(bytes(32 * 1_024 + 1)),
    ];
    for control in bad {
        let checked = Body::Control(control.clone()).check();
        assert!(checked.is_err(), "{control:?}");
        assert_eq!(read(&control).err(), checked.err());
    }
}

#[test]
fn the_longest_text_can_be_reported_and_copied() {
    let longest = bytes(4 * limits::TEXT_CHARACTERS_MAX + 1_024);
    assert!(report(longest.clone(), "").check().is_ok());
    assert!(copy(longest).check().is_ok());
}

#[test]
fn damage_is_refused() {
    let damaged = |change: &dyn Fn(&mut WireBody)| {
        for control in all() {
            let mut body = control.to_wire().body.unwrap();
            let before = body.clone();
            change(&mut body);
            if body != before {
                let read = Control::from_wire(wire::Control { body: Some(body) });
                assert!(read.is_err(), "{control:?}");
            }
        }
    };
    damaged(&|body| match body {
        WireBody::News(news) => news.family = bytes(15),
        WireBody::Proposal(proposal) => proposal.salt = bytes(17),
        WireBody::PassOffer(offer) => (offer.accepted, offer.refused) = (true, true),
        WireBody::Report(report) => report.sender_key = bytes(31),
        WireBody::Copy(copy) => copy.original = bytes(1),
        WireBody::Refusal(refusal) => refusal.conversation = Bytes::new(),
        WireBody::Setup(setup) => setup.device = bytes(15),
        WireBody::Group(offer) => offer.group = bytes(15),
        WireBody::VaultNote(note) => note.member = bytes(15),
        WireBody::Erase(erase) => erase.member = bytes(15),
        WireBody::Head(_)
        | WireBody::FriendRequest(_)
        | WireBody::OperatorSeen(_)
        | WireBody::ReturnRequest(_) => {}
    });
    let nothing = Control::from_wire(wire::Control { body: None });
    assert_eq!(nothing, Err(BodyError::Unknown));
}
