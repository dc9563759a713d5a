//! Every check is left out once, and the oracle must notice; with the check it must not.

use kinline_protocol::conversation::{
    CheckedKeyPackage, Conversation, ConversationContext, ConversationKind, DeviceSigner,
    OwnAddress, Parties, ProposedChange, check_key_package, make_key_package,
};
use kinline_protocol::engine::io::Command;
use kinline_protocol::envelope::Kind;
use kinline_protocol::faults::{Fault, plant};
use kinline_protocol::identity::{AddedDevice, AddedMember, Decision, FamilyLog, Role, Settings};
use kinline_protocol::ids::{ConversationId, DeviceId, MailboxId, MemberId};
use kinline_protocol::labels;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire;
use kinline_tests::foe::{FAMILY, Life, Manners, Outlaw, crypto};
use prost::Message as _;

use super::accomplice::{
    force, key_package, move_on, room, send_welcome, text, turn_coat, utter, whisper, whisper_long,
};

/// Frames are left as they are; hellos are not.
const OTHER_NAMES: Manners = Manners {
    answer: 0,
    frame: 0,
    lose: 0,
    recipient: 0,
    hello: 1_000,
    blob: 0,
    forks: false,
};

/// Tells the story in which this check matters, with the check or without; what the oracle says.
fn tell(fault: Fault, left_out: bool) -> Vec<String> {
    if let Fault::Pass
    | Fault::Revocation
    | Fault::Lease
    | Fault::HeadSigner
    | Fault::HiddenTail
    | Fault::Early
    | Fault::Supervision = fault
    {
        return super::contacts::tell(fault, left_out);
    }
    let count = match fault {
        Fault::WelcomeFamily | Fault::WelcomeLeaf => 2,
        _ => 3,
    };
    let mut life = Life::of(count, 11, Manners::BAD);
    life.liar.be_honest(true);
    let family = life.family();
    for name in ["mum", "mia", "dad"] {
        life.text(name, family, &format!("{name} is here")).unwrap();
    }
    life.settle();
    assert_eq!(life.verdict(), Vec::<String>::new());
    let left_out = left_out.then_some(fault);
    match fault {
        Fault::ContentSignature
        | Fault::ContentSender
        | Fault::ContentConversation
        | Fault::ContentAgain => contents(&mut life, fault, left_out),
        Fault::ContentOrder => order(&mut life, left_out),
        Fault::DirectSignature => confirmation(&mut life, left_out),
        Fault::Stranger | Fault::Statement | Fault::OwnDevice => {
            stranger(&mut life, fault, left_out);
        }
        Fault::LeafKey | Fault::Removal | Fault::Context => change(&mut life, fault, left_out),
        Fault::SlotSignature => other_name(&mut life, left_out),
        Fault::WelcomeFamily | Fault::WelcomeLeaf => welcome(&mut life, fault, left_out),
        Fault::EarlyDrop => denied(&mut life, left_out),
        Fault::ServerName => names(&mut life, left_out),
        Fault::DeliveryNumber => count_of_deliveries(&mut life, left_out),
        Fault::Readmission => asks_back(&mut life, left_out),
        Fault::Wish => brought_back(&mut life, left_out),
        Fault::Pass
        | Fault::Revocation
        | Fault::Lease
        | Fault::HeadSigner
        | Fault::HiddenTail
        | Fault::Early
        | Fault::Supervision => {}
    }
    if life.verdict().is_empty() {
        let _left_out = plant(left_out);
        life.reckon();
    }
    life.verdict()
}

/// The child's tablet says what it may not.
fn contents(life: &mut Life, fault: Fault, left_out: Option<Fault>) {
    let family = life.family();
    let mut mia = turn_coat(life, "mia", family);
    let (own, key) = (mia.signer.device, mia.signer.key.clone());
    let next = life.devices["dad"].next_of(own, family);
    let _left_out = plant(left_out);
    match fault {
        Fault::ContentSignature => {
            let forged = text(own, family, next, "never signed");
            let other = SecretKey::from_seed(&[9; 32]);
            utter(life, &mut mia, "dad", family, &forged, &other);
        }
        Fault::ContentSender => {
            let mum = life.id("mum");
            let next = life.devices["dad"].next_of(mum, family);
            let forged = text(mum, family, next, "in her name");
            utter(life, &mut mia, "dad", family, &forged, &key);
        }
        Fault::ContentConversation => {
            let elsewhere = ConversationId::new([3; 16]);
            let said = text(own, elsewhere, next, "said elsewhere");
            life.oracle.wrote(
                own,
                elsewhere,
                said.id,
                said.body.clone(),
                vec![],
                Some(next),
            );
            utter(life, &mut mia, "dad", family, &said, &key);
        }
        _ => {
            let said = text(own, family, next, "once");
            life.oracle
                .wrote(own, family, said.id, said.body.clone(), vec![], Some(next));
            utter(life, &mut mia, "dad", family, &said, &key);
            assert_eq!(life.verdict(), Vec::<String>::new());
            let mut again = text(own, family, next + 1, "once");
            again.id = said.id;
            utter(life, &mut mia, "dad", family, &again, &key);
        }
    }
}

/// The relay turns a mailbox upside down.
fn order(life: &mut Life, left_out: Option<Fault>) {
    let family = life.family();
    life.disconnect("dad");
    for n in 0..4 {
        life.text("mum", family, &format!("number {n}")).unwrap();
    }
    life.settle();
    let mailbox = life.devices["dad"].keys().mailbox.to_vec();
    let stored = life.liar.honest.mailboxes.get_mut(&mailbox).unwrap();
    stored.make_contiguous().reverse();
    let _left_out = plant(left_out);
    life.connect("dad");
    life.settle();
}

/// The tablet confirms in mum's name what her phone never got.
fn confirmation(life: &mut Life, left_out: Option<Fault>) {
    let family = life.family();
    let mia = turn_coat(life, "mia", family);
    life.disconnect("mum");
    life.text("dad", family, "are you there?").unwrap();
    let direct = wire::Direct {
        sender_device: life.id("mum").to_bytes(),
        recipient_device: life.id("dad").to_bytes(),
        conversation: family.to_bytes(),
        confirmation: Some(wire::Confirmation {
            from: 1,
            delivered_through: 1_000,
            ..wire::Confirmation::default()
        }),
        ..wire::Direct::default()
    }
    .encode_to_vec();
    let signature = mia.signer.key.sign(labels::SIGN_DIRECT, &direct).to_vec();
    let signed = wire::SignedDirect {
        direct: direct.into(),
        signature: signature.into(),
    };
    let _left_out = plant(left_out);
    whisper(life, "dad", family, Kind::Direct, signed.encode_to_vec());
}

/// The tablet brings a device into the family that no guardian has let in; or one guardian a
/// phone that is to be the other's.
fn stranger(life: &mut Life, fault: Fault, left_out: Option<Fault>) {
    let family = life.family();
    let (by, others, owner) = match fault {
        Fault::OwnDevice => ("dad", ["mum", "mia"], "mum"),
        _ => ("mia", ["mum", "dad"], "mia"),
    };
    let mut member = turn_coat(life, by, family);
    life.oracle.spoilt.insert(family);
    let eve = key_package(DeviceId::new([66; 16]), 66, &mut life.rng);
    let mut change = ProposedChange::default();
    if fault != Fault::Stranger {
        let _blind = plant(Some(fault));
        let new_key = SecretKey::from_seed(&[68; 32]);
        let (key, identity_key) = match fault {
            Fault::OwnDevice => (member.identity.clone(), Some(new_key.public())),
            _ => (SecretKey::from_seed(&[1; 32]), None),
        };
        let added = AddedDevice {
            member: life.devices[owner].engine.member().unwrap(),
            device: eve.device,
            signature_key: eve.signature_key,
            name: "a toy".into(),
            identity_key,
        };
        let decision = Decision::AddDevice(added);
        let today = life.now.day();
        let statements = member
            .log
            .propose(vec![decision], &key, today, &mut life.rng);
        change = member.change(&statements, today);
    }
    change.add = vec![eve];
    force(life, &mut member, fault, change);
    let _left_out = plant(left_out);
    move_on(life, &others, family);
}

/// A member of a room turns it into what it must not become.
fn change(life: &mut Life, fault: Fault, left_out: Option<Fault>) {
    let with: &[&'static str] = match fault {
        Fault::Removal => &["mia", "dad"],
        _ => &["dad"],
    };
    let id = room(life, with);
    life.oracle.spoilt.insert(id);
    let (by, change) = match fault {
        Fault::Removal => {
            let change = ProposedChange {
                remove: vec![life.id("dad")],
                ..ProposedChange::default()
            };
            ("mia", change)
        }
        Fault::LeafKey => {
            let stolen = key_package(life.id("mia"), 67, &mut life.rng);
            let change = ProposedChange {
                add: vec![stolen],
                ..ProposedChange::default()
            };
            ("dad", change)
        }
        _ => {
            let dad = Outlaw::of(&life.devices["dad"], id);
            let context = dad.conversation.context().unwrap();
            let change = ProposedChange {
                context: Some(ConversationContext {
                    title: "all of you".into(),
                    ..context
                }),
                ..ProposedChange::default()
            };
            ("dad", change)
        }
    };
    let mut outlaw = turn_coat(life, by, id);
    force(life, &mut outlaw, fault, change);
    let _left_out = plant(left_out);
    move_on(life, &["mum"], id);
}

/// The tablet offers a commit in mum's name; when the relay tells the truth again, it is gone.
fn other_name(life: &mut Life, left_out: Option<Fault>) {
    let family = life.family();
    let mut mia = turn_coat(life, "mia", family);
    let mum = life.id("mum");
    let (token, sealed, _) = mia.commit(ProposedChange::default(), mum, &mut life.rng);
    let slots = &mut life.liar.honest.slots;
    slots.insert(token.clone(), sealed.into());
    let _left_out = plant(left_out);
    move_on(life, &["dad"], family);
    life.liar.honest.slots.remove(&token);
}

/// A new device gets another welcome than the one that it was promised.
fn welcome(life: &mut Life, fault: Fault, left_out: Option<Fault>) {
    let (new, person, role) = FAMILY[2];
    let family = life.family();
    life.add(new, person);
    life.liar.deaf = true;
    life.pair("mum", new, role);
    // Whoever the guardian's phone hands the key package to can do this.
    let operation = life.devices["mum"].state(b"q/").pop().unwrap().1;
    let operation = wire::OperationRecord::decode(operation.as_slice()).unwrap();
    let package = check_key_package(&crypto(), &operation.key_packages[0]).unwrap();
    let sent = if fault == Fault::WelcomeFamily {
        other_family(life, &package)
    } else {
        with_a_stranger(life, family, &operation, package.clone())
    };
    life.disconnect(new);
    send_welcome(life, &package, &sent);
    {
        let _left_out = plant(left_out);
        life.connect(new);
        life.settle();
    }
    life.liar.deaf = false;
}

/// The welcome into a family of the enemy's own.
fn other_family(life: &mut Life, new: &CheckedKeyPackage) -> wire::WelcomePackage {
    let (member, device) = (MemberId::new([70; 16]), DeviceId::new([71; 16]));
    let key = SecretKey::from_seed(&[72; 32]);
    let identity = SecretKey::from_seed(&[73; 32]);
    let guardian = AddedMember {
        member,
        role: Role::Guardian,
        name: "Mum".into(),
    };
    let phone = AddedDevice {
        member,
        device,
        signature_key: key.public(),
        name: "phone".into(),
        identity_key: Some(identity.public()),
    };
    let today = life.now.day();
    let log = FamilyLog::found(
        "Reed",
        guardian,
        phone,
        Settings::default(),
        today,
        &mut life.rng,
    )
    .unwrap();
    let context = ConversationContext {
        kind: ConversationKind::Family,
        title: "Reed".into(),
        parties: Parties::from(log.clone()).heads(),
        day: today,
        left: vec![],
    };
    let id = ConversationId::new([74; 16]);
    let (_, address) = OwnAddress::draw(
        MailboxId::new([75; 16]),
        &key,
        &Secret::new([76; 32]),
        &id,
        1,
        today,
        &mut life.rng,
    );
    let signer = DeviceSigner { device, key };
    let parties = Parties::from(log.clone());
    let conversation =
        Conversation::create(&crypto(), &signer, id, &context, parties, &address).unwrap();
    let mut enemy = Outlaw {
        conversation,
        signer,
        identity,
        log,
    };
    welcome_of(life, &mut enemy, vec![new.clone()], member)
}

/// The welcome into the right family, with somebody else in it.
fn with_a_stranger(
    life: &mut Life,
    family: ConversationId,
    operation: &wire::OperationRecord,
    new: CheckedKeyPackage,
) -> wire::WelcomePackage {
    let mut dad = Outlaw::of(&life.devices["dad"], family);
    let eve = key_package(DeviceId::new([66; 16]), 66, &mut life.rng);
    let decisions = operation.decisions.iter();
    let member = decisions
        .filter_map(|decision| Decision::decode(&decision.decision).ok())
        .find_map(|decision| match decision {
            Decision::AddDevice(added) => Some(added.member),
            _ => None,
        })
        .unwrap();
    let _blind = plant(Some(Fault::Stranger));
    welcome_of(life, &mut dad, vec![new, eve], member)
}

/// Adds these; the first is let in by a statement, as a device of `member`.
fn welcome_of(
    life: &mut Life,
    by: &mut Outlaw,
    add: Vec<CheckedKeyPackage>,
    member: MemberId,
) -> wire::WelcomePackage {
    let guardian = by.log.members()[&member].role == Role::Guardian;
    let added = AddedDevice {
        member,
        device: add[0].device,
        signature_key: add[0].signature_key,
        name: "tablet".into(),
        identity_key: guardian.then(|| SecretKey::from_seed(&[77; 32]).public()),
    };
    let (today, rng) = (life.now.day(), &mut life.rng);
    let decision = Decision::AddDevice(added);
    let statements = by.log.propose(vec![decision], &by.identity, today, rng);
    let change = ProposedChange {
        add,
        ..by.change(&statements, today)
    };
    let mut log = by.log.clone();
    log.append(&statements[0]).unwrap();
    let (_, _, welcome) = by.commit(change, by.signer.device, rng);
    wire::WelcomePackage {
        welcome: welcome.unwrap().into(),
        logs: Parties::from(log).to_wire(),
    }
}

/// The relay takes an offer and says that something else was there before.
fn denied(life: &mut Life, left_out: Option<Fault>) {
    let family = life.family();
    let _left_out = plant(left_out);
    life.liar.deny = 1;
    let update = Command::SelfUpdate {
        conversation: family,
    };
    life.command("mum", update);
    life.settle();
}

/// The relay calls itself something else.
fn names(life: &mut Life, left_out: Option<Fault>) {
    let _left_out = plant(left_out);
    life.liar.behave(OTHER_NAMES);
    life.liar.be_honest(false);
    for _ in 0..20 {
        life.connect("dad");
    }
}

/// The relay leaves numbers out.
fn count_of_deliveries(life: &mut Life, left_out: Option<Fault>) {
    let _left_out = plant(left_out);
    let line = life.devices["dad"].line.unwrap();
    life.liar.miscount(line);
    life.pump();
}

/// The tablet asks again and again to come back.
fn asks_back(life: &mut Life, left_out: Option<Fault>) {
    let family = life.family();
    let mia = turn_coat(life, "mia", family);
    life.oracle.wishes_back(mia.signer.device, family);
    let _left_out = plant(left_out);
    for number in 1_000..1_010 {
        let (own, mut address) = OwnAddress::draw(
            MailboxId::new([77; 16]),
            &mia.signer.key,
            &Secret::new([77; 32]),
            &ConversationId::new([0; 16]),
            number,
            life.now.day(),
            &mut life.rng,
        );
        address.back_into = Some(family);
        let made = make_key_package(&crypto(), &mia.signer, own, &address).unwrap();
        let asked = wire::ReentryRoom {
            conversation: family.to_bytes(),
            key_package: made.public.into(),
            epoch: mia.conversation.epoch(),
            chain: vec![],
        };
        let direct = wire::Direct {
            sender_device: mia.signer.device.to_bytes(),
            recipient_device: life.id("dad").to_bytes(),
            conversation: family.to_bytes(),
            reentry: Some(wire::Reentry { rooms: vec![asked] }),
            ..wire::Direct::default()
        }
        .encode_to_vec();
        let signature = mia.signer.key.sign(labels::SIGN_DIRECT, &direct).to_vec();
        let signed = wire::SignedDirect {
            direct: direct.into(),
            signature: signature.into(),
        };
        whisper_long(life, "dad", family, Kind::Direct, &signed.encode_to_vec());
        life.settle();
    }
}

/// The tablet puts a new leaf of dad's phone in the place of the one it has, with a key package
/// that dad gave it for a room.
fn brought_back(life: &mut Life, left_out: Option<Fault>) {
    let family = life.family();
    life.oracle.spoilt.insert(family);
    let dad = life.id("dad");
    let given = life.devices["mia"].state(b"p/");
    let package = given
        .iter()
        .filter_map(|(_, value)| wire::PeerKeyPackageRecord::decode(value.as_slice()).ok())
        .filter(|given| given.device.as_ref() == dad.as_bytes())
        .find_map(|given| check_key_package(&crypto(), &given.key_package).ok())
        .unwrap();
    let mut mia = turn_coat(life, "mia", family);
    let change = ProposedChange {
        remove: vec![dad],
        add: vec![package],
        ..ProposedChange::default()
    };
    force(life, &mut mia, Fault::Wish, change);
    let _left_out = plant(left_out);
    move_on(life, &["mum"], family);
}

#[test]
fn every_planted_fault_is_caught() {
    let mut wrong = Vec::new();
    for fault in Fault::ALL {
        let sound = tell(fault, false);
        if !sound.is_empty() {
            wrong.push(format!("{fault:?}, not left out: {sound:?}"));
        }
        match tell(fault, true).first() {
            Some(caught) => println!("{fault:?}: {caught}"),
            None => wrong.push(format!("{fault:?} went unnoticed")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} of {} caught", Fault::ALL.len(), Fault::ALL.len());
}

/// A fault on one thread is none on another.
#[test]
fn a_fault_stays_on_its_thread_and_ends() {
    use kinline_protocol::faults::planted;
    let left_out = plant(Some(Fault::Stranger));
    assert!(planted(Fault::Stranger) && !planted(Fault::Removal));
    let elsewhere = std::thread::spawn(|| planted(Fault::Stranger));
    assert!(!elsewhere.join().unwrap());
    drop(left_out);
    assert!(!planted(Fault::Stranger));
}
