//! A device without a camera: fourteen digits instead of a picture.

use kinline_protocol::engine::io::{Command, Event, Input, MemberRole};
use kinline_protocol::engine::{CommandError, PairingError};
use kinline_protocol::ids::RendezvousId;
use kinline_protocol::limits;
use kinline_protocol::pairing::{
    CodeError, CodeKind, MeetCode, PairingCode, PairingRole, Purpose, Responder, ShortCode,
    ShortJoiner, ShortMeetCode, answer_short, wrong_try,
};
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire::{
    self, ClientFrame, ServerFrame, client_frame::Body as C, server_frame::Body as S,
};
use prost::Message as _;

use super::world::{Name, World};

/// A guardian's phone with a family, and two tablets without one.
fn world() -> World {
    let mut world = World::new();
    for name in ["mum", "kid", "thief"] {
        world.add(name);
        world.connect(name);
    }
    world.command(
        "mum",
        Command::CreateFamily {
            family_name: "Reed".into(),
            guardian_name: "Anna".into(),
        },
    );
    world.settle();
    world
}

fn show(world: &mut World) -> Option<String> {
    let before = world.device("mum").events.len();
    world.command(
        "mum",
        Command::StartPairing {
            role: MemberRole::Child,
            name: "Mia".into(),
            by: CodeKind::Short,
        },
    );
    world.device("mum").events[before..]
        .iter()
        .find_map(|event| match event {
            Event::PairingCode { code } => Some(code.clone()),
            _ => None,
        })
}

fn type_in(world: &mut World, name: Name, code: &str) -> Result<(), CommandError> {
    world.try_command(name, Command::JoinByCode { code: code.into() })
}

/// The same code with the digit at `at` (of fourteen) raised by `by`, and a check digit that fits.
fn changed(code: &str, at: usize, by: u8) -> String {
    let mut digits: Vec<u8> = code.bytes().filter(u8::is_ascii_digit).collect();
    digits.pop();
    digits[at] = b'0' + (digits[at] - b'0' + by) % 10;
    let digits = String::from_utf8(digits).unwrap();
    (0..10)
        .map(|check| format!("{digits}{check}"))
        .find(|text| text.parse::<ShortCode>() != Err(CodeError::Mistyped))
        .unwrap()
}

/// With the same public part and other secret digits.
fn wrong(code: &str, by: u8) -> String {
    changed(code, 9, by)
}

fn failures(world: &mut World, name: Name) -> Vec<PairingError> {
    let events = world.device(name).events.iter();
    events
        .filter_map(|event| match event {
            Event::PairingFailed { error, sentence } => {
                assert_eq!(*sentence, error.to_string());
                Some(error.clone())
            }
            _ => None,
        })
        .collect()
}

fn wrong_tries(world: &mut World, name: Name) -> Vec<(u8, String)> {
    let events = world.device(name).events.iter();
    events
        .filter_map(|event| match event {
            Event::PairingWrongCode {
                tries_left,
                sentence,
            } => Some((*tries_left, sentence.clone())),
            _ => None,
        })
        .collect()
}

fn admit(world: &mut World, name: Name) {
    let pictures = |events: &[Event]| {
        events.iter().rev().find_map(|event| match event {
            Event::PairingRequest { pictures, .. } | Event::PairingStarted { pictures } => {
                Some(pictures.clone())
            }
            _ => None,
        })
    };
    let shown = pictures(&world.device("mum").events).unwrap();
    assert_eq!(pictures(&world.device(name).events).unwrap(), shown);
    world.command("mum", Command::AnswerPairing { accept: true });
    world.settle();
    assert_eq!(world.device(name).engine.conversations().len(), 1);
}

#[test]
fn a_tablet_is_paired_by_typing() {
    let mut world = world();
    let code = show(&mut world).unwrap();
    assert!(code.starts_with('2'), "a child's: {code}");
    let typed = code.replace('-', "  ");
    type_in(&mut world, "kid", &typed).unwrap();
    admit(&mut world, "kid");
    assert_eq!(failures(&mut world, "mum"), []);
    assert_eq!(failures(&mut world, "kid"), []);
}

#[test]
fn a_code_is_good_once() {
    let mut world = world();
    let code = show(&mut world).unwrap();
    type_in(&mut world, "kid", &code).unwrap();
    // While one is there, and after.
    type_in(&mut world, "thief", &code).unwrap();
    assert_eq!(failures(&mut world, "thief"), [PairingError::InUse]);
    admit(&mut world, "kid");
    assert_eq!(world.relay.open_meetings(), 0);
    type_in(&mut world, "thief", &code).unwrap();
    assert_eq!(
        failures(&mut world, "thief")[1..],
        [PairingError::UnknownShortCode]
    );
    assert_eq!(failures(&mut world, "kid"), []);
}

#[test]
fn a_mistyped_code_costs_nothing_and_a_wrong_one_a_try() {
    let mut world = world();
    let code = show(&mut world).unwrap();
    let mut mistyped = code.clone().into_bytes();
    mistyped[8] = if mistyped[8] == b'5' { b'6' } else { b'5' };
    let mistyped = String::from_utf8(mistyped).unwrap();
    for _ in 0..5 {
        let result = type_in(&mut world, "kid", &mistyped);
        assert!(matches!(
            result,
            Err(CommandError::Code(CodeError::Mistyped))
        ));
    }
    assert_eq!(wrong_tries(&mut world, "mum"), []);
    for tries in 1..=2 {
        type_in(&mut world, "kid", &wrong(&code, tries)).unwrap();
        // Mistyped in between: nothing lost either.
        let result = type_in(&mut world, "kid", &mistyped);
        assert!(matches!(
            result,
            Err(CommandError::Code(CodeError::Mistyped))
        ));
    }
    let told = vec![
        (2, "that code is not right; two tries are left".to_owned()),
        (1, "that code is not right; one try is left".to_owned()),
    ];
    assert_eq!(wrong_tries(&mut world, "mum"), told);
    assert_eq!(wrong_tries(&mut world, "kid"), told);
    type_in(&mut world, "kid", &code).unwrap();
    admit(&mut world, "kid");
}

#[test]
fn three_wrong_tries_burn_it_and_the_right_one_comes_too_late() {
    let mut world = world();
    let code = show(&mut world).unwrap();
    for tries in 1..=3 {
        type_in(&mut world, "thief", &wrong(&code, tries)).unwrap();
    }
    assert_eq!(failures(&mut world, "mum"), [PairingError::Burnt]);
    assert_eq!(failures(&mut world, "thief"), [PairingError::Burnt]);
    assert_eq!(world.relay.open_meetings(), 0);
    let result = type_in(&mut world, "thief", &code);
    assert!(matches!(result, Err(CommandError::CodeBurnt)));
    assert_eq!(
        result.unwrap_err().to_string(),
        "that code was wrong 3 times and is worthless now; ask for a new one"
    );
    // Nor does another device come in with it.
    type_in(&mut world, "kid", &code).unwrap();
    assert_eq!(
        failures(&mut world, "kid"),
        [PairingError::UnknownShortCode]
    );
    let result = world.try_command("mum", Command::AnswerPairing { accept: true });
    assert!(matches!(result, Err(CommandError::NoPairing)));
    world.settle();
    assert!(world.device("kid").engine.conversations().is_empty());
    // A new code is another story, on the very same devices.
    let code = show(&mut world).unwrap();
    type_in(&mut world, "kid", &code).unwrap();
    admit(&mut world, "kid");
}

#[test]
fn tries_do_not_come_back_with_another_device_or_another_connection() {
    let mut world = world();
    let code = show(&mut world).unwrap();
    type_in(&mut world, "thief", &wrong(&code, 1)).unwrap();
    world.disconnect("thief");
    // Whoever leaves ends it for both: guessing on takes a new code.
    assert_eq!(failures(&mut world, "mum"), [PairingError::Left]);
    world.connect("thief");
    type_in(&mut world, "thief", &code).unwrap();
    assert_eq!(
        failures(&mut world, "thief").last(),
        Some(&PairingError::UnknownShortCode)
    );
}

#[test]
fn a_code_of_one_purpose_is_refused_in_the_place_of_another() {
    let mut world = world();
    let code = show(&mut world).unwrap();
    let (found, wanted) = (Purpose::Meet, Purpose::Pair);
    let refused = CodeError::OtherPurpose { found, wanted };
    let meet = MeetCode {
        relay: world.device("mum").engine.relay().clone(),
        rendezvous: RendezvousId::new([1; 16]),
        secret: Secret::new([2; 16]),
        expires_unix_seconds: u64::MAX,
    };
    let short = ShortMeetCode::random(&mut world.rng);
    for text in [meet.to_text(), short.to_text()] {
        match type_in(&mut world, "kid", &text) {
            Err(CommandError::Code(error)) => assert_eq!(error, refused),
            other => panic!("{other:?}"),
        }
    }
    // A child's digits behind a guardian's first digit: another meeting point, and nobody there.
    let as_guardian = changed(&code, 0, 9);
    assert!(as_guardian.starts_with('1'));
    type_in(&mut world, "kid", &as_guardian).unwrap();
    assert_eq!(
        failures(&mut world, "kid"),
        [PairingError::UnknownShortCode]
    );
    // None of that cost a try.
    assert_eq!(wrong_tries(&mut world, "mum"), []);
    type_in(&mut world, "kid", &code).unwrap();
    admit(&mut world, "kid");
}

#[test]
fn a_code_runs_out() {
    let mut world = world();
    let code = show(&mut world).unwrap();
    world.pass(u64::from(limits::RENDEZVOUS_SECONDS_MAX) * 1_000);
    assert_eq!(failures(&mut world, "mum"), [PairingError::Expired]);
    assert_eq!(world.relay.open_meetings(), 0);
    type_in(&mut world, "kid", &code).unwrap();
    assert_eq!(
        failures(&mut world, "kid"),
        [PairingError::UnknownShortCode]
    );
}

#[test]
fn a_device_that_waits_for_better_digits_does_not_wait_for_ever() {
    let mut world = world();
    let code = show(&mut world).unwrap();
    type_in(&mut world, "kid", &wrong(&code, 1)).unwrap();
    world.pass(u64::from(limits::RENDEZVOUS_SECONDS_MAX) * 1_000);
    assert_eq!(failures(&mut world, "kid").len(), 1);
    let code = show(&mut world).unwrap();
    type_in(&mut world, "kid", &code).unwrap();
    admit(&mut world, "kid");
}

#[test]
fn after_a_wrong_try_a_new_code_may_be_typed_as_well() {
    let mut world = world();
    let old = show(&mut world).unwrap();
    type_in(&mut world, "kid", &wrong(&old, 1)).unwrap();
    // A public part that nobody has: the old meeting point is left.
    type_in(&mut world, "kid", &changed(&old, 3, 1)).unwrap();
    assert_eq!(
        failures(&mut world, "kid"),
        [PairingError::UnknownShortCode]
    );
    assert_eq!(failures(&mut world, "mum"), [PairingError::Left]);
    let code = show(&mut world).unwrap();
    type_in(&mut world, "kid", &code).unwrap();
    admit(&mut world, "kid");
}

#[test]
fn a_meeting_point_that_is_taken_costs_other_digits() {
    let mut world = world();
    world.relay.take_next = 3;
    let code = show(&mut world).unwrap();
    assert_eq!(world.relay.open_meetings(), 1);
    type_in(&mut world, "kid", &code).unwrap();
    admit(&mut world, "kid");
    world.relay.take_next = usize::MAX;
    assert_eq!(show(&mut world), None);
    assert_eq!(failures(&mut world, "mum"), [PairingError::NoneFree]);
}

#[test]
fn the_secret_digits_are_in_no_frame() {
    let mut world = world();
    world.relay.heard = Some(vec![]);
    let code = show(&mut world).unwrap();
    let guess = wrong(&code, 1);
    type_in(&mut world, "kid", &guess).unwrap();
    type_in(&mut world, "kid", &code).unwrap();
    admit(&mut world, "kid");
    let heard = world.relay.heard.take().unwrap();
    assert!(heard.len() > 8, "{}", heard.len());
    let contains = |needle: &[u8]| {
        let mut frames = heard.iter();
        frames.any(|frame| frame.windows(needle.len()).any(|part| part == needle))
    };
    for code in [&code, &guess] {
        let parsed: ShortCode = code.parse().unwrap();
        assert!(contains(parsed.rendezvous().as_bytes()), "the search works");
        let digits: Vec<u8> = code.bytes().filter(u8::is_ascii_digit).collect();
        let values: Vec<u8> = digits.iter().map(|digit| digit - b'0').collect();
        // Seven secret digits, however they are written.
        let secret = &digits[6..13];
        let number: u64 = std::str::from_utf8(secret).unwrap().parse().unwrap();
        assert!(!contains(secret));
        assert!(!contains(&values[6..13]));
        assert!(!contains(&number.to_be_bytes()[3..]));
        assert!(!contains(&number.to_le_bytes()[..5]));
        assert!(!contains(code.as_bytes()));
    }
}

#[test]
fn a_relay_that_plays_the_phone_gets_three_guesses_and_no_more() {
    let mut world = world();
    let code = ShortCode::random(PairingRole::Child, &mut world.rng);
    let guess: ShortCode = wrong(&code.to_text(), 1).parse().unwrap();
    let server_name = world.device("kid").engine.relay().server_name();
    let rendezvous = code.rendezvous().to_bytes();
    let say = |world: &mut World, body| {
        let frame = ClientFrame {
            request_id: 0,
            critical: vec![],
            body: Some(body),
        };
        world.relay.serve("thief", frame);
        world.pass(0);
    };
    let open = wire::RendezvousOpen {
        rendezvous: rendezvous.clone(),
        seconds: 600,
    };
    say(&mut world, C::RendezvousOpen(open));
    let put = |body: Vec<u8>| {
        C::RendezvousPut(wire::RendezvousPut {
            rendezvous: rendezvous.clone(),
            body: body.into(),
        })
    };
    world.relay.heard = Some(vec![]);
    let said = |world: &World| {
        let heard = world.relay.heard.iter().flatten().rev();
        let bodies =
            heard.filter_map(
                |frame| match ClientFrame::decode(&frame[..]).unwrap().body {
                    Some(C::RendezvousPut(put)) => Some(put.body.to_vec()),
                    _ => None,
                },
            );
        bodies.take(1).next().unwrap()
    };
    let mut guesses = 0;
    let refused = loop {
        if let Err(error) = type_in(&mut world, "kid", &code.to_text()) {
            break error;
        }
        let first = said(&world);
        let (key, answer) = answer_short(&guess, &server_name, &first, &mut world.rng).unwrap();
        say(&mut world, put(answer));
        // The tablet's proof tells whether the guess was right: that is what must be rare.
        let proof = said(&world);
        assert_eq!(proof.len(), 48);
        assert!(
            Responder::new(&key, &mut world.rng)
                .unwrap()
                .answer(&proof)
                .is_err()
        );
        guesses += 1;
        assert!(guesses <= 3);
        say(&mut world, put(wrong_try(255)));
    };
    assert_eq!(guesses, 3);
    assert!(matches!(refused, CommandError::CodeBurnt));
    let told: Vec<u8> = wrong_tries(&mut world, "kid")
        .iter()
        .map(|(left, _)| *left)
        .collect();
    assert_eq!(told, [2, 1]);
    assert_eq!(failures(&mut world, "kid"), [PairingError::Burnt]);
    // Nor after another connection.
    world.disconnect("kid");
    world.connect("kid");
    let result = type_in(&mut world, "kid", &code.to_text());
    assert!(matches!(result, Err(CommandError::CodeBurnt)));
}

#[test]
fn whoever_only_asks_learns_three_answers_at_most() {
    let mut world = world();
    world.relay.heard = Some(vec![]);
    let code: ShortCode = show(&mut world).unwrap().parse().unwrap();
    let server_name = world.device("mum").engine.relay().server_name();
    for _ in 0..20 {
        // The relay itself plays the other side, and never shows what it made of the answer.
        let (_, first) = ShortJoiner::start(&code, &server_name, &mut world.rng);
        let got = wire::RendezvousGot {
            rendezvous: code.rendezvous().to_bytes(),
            body: first.into(),
            closed: false,
        };
        let frame = ServerFrame {
            request_id: 0,
            critical: vec![],
            body: Some(S::RendezvousGot(got)),
        };
        world.input("mum", Input::Frames(vec![frame]));
    }
    let answers = world.relay.heard.take().unwrap();
    let answers = answers.iter().filter(|frame| {
        // 'B' and a point, at the end of a RendezvousPut.
        let at = frame.len().checked_sub(33);
        at.is_some_and(|at| at > 2 && frame[at] == b'B' && frame[at - 1] == 33)
    });
    assert_eq!(answers.count(), 3);
    assert_eq!(failures(&mut world, "mum"), [PairingError::Burnt]);
}

#[test]
fn garbage_instead_of_a_try_is_a_wrong_try() {
    for body in [
        &b""[..],
        b"A",
        &[0; 33],
        &[0x41; 33],
        &[0xff; 48],
        &[7; 65_535],
    ] {
        let mut world = world();
        let code: ShortCode = show(&mut world).unwrap().parse().unwrap();
        for _ in 0..3 {
            let got = wire::RendezvousGot {
                rendezvous: code.rendezvous().to_bytes(),
                body: body.to_vec().into(),
                closed: false,
            };
            let frame = ServerFrame {
                request_id: 0,
                critical: vec![],
                body: Some(S::RendezvousGot(got)),
            };
            world.input("mum", Input::Frames(vec![frame]));
        }
        let failed = failures(&mut world, "mum");
        // 33 times 'A' may be a point: then the next message is the try's proof, and wrong.
        let tried = wrong_tries(&mut world, "mum").len();
        assert!(failed == [PairingError::Burnt] || tried > 0, "{body:?}");
    }
}

#[test]
fn a_scanned_code_that_is_late_or_of_another_relay_is_refused() {
    let mut world = world();
    let good = PairingCode {
        relay: world.device("kid").engine.relay().clone(),
        rendezvous: RendezvousId::new([1; 16]),
        secret: Secret::new([2; 16]),
        admission: String::new(),
        role: PairingRole::Child,
        expires_unix_seconds: world.now.0 / 1_000 + 60,
    };
    let mut late = good.clone();
    late.expires_unix_seconds -= 60;
    let result = type_in(&mut world, "kid", &late.to_text());
    assert!(matches!(result, Err(CommandError::CodeExpired)));
    let mut other = good.clone();
    other.relay.port += 1;
    let result = type_in(&mut world, "kid", &other.to_text());
    assert!(matches!(result, Err(CommandError::OtherRelay)));
    type_in(&mut world, "kid", &good.to_text()).unwrap();
    assert_eq!(failures(&mut world, "kid"), [PairingError::NoMeetingPoint]);
}
