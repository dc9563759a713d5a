//! An attachment from before a device came: who has it puts it up again.

use kinline_protocol::attachment::{Pointer, encrypt_bytes};
use kinline_protocol::blob::read_hash;
use kinline_protocol::engine::io::{Command, MemberRole, OutgoingBlob};
use kinline_protocol::ids::ContentId;
use kinline_protocol::secrets::Secret;
use rand::Rng as _;

use super::history::second_phone;
use super::waiting::photo_to;
use super::world::{Name, World};

/// A photo of the kid's that mum and dad have fetched: which, and where it lay.
fn fetched(world: &mut World) -> (ContentId, Pointer) {
    let family = world.family();
    let command = photo_to(world, "kid", family);
    world.command("kid", command);
    world.settle();
    let view = world.screen("mum").remove(0);
    let original = view.attachment().unwrap().clone();
    let content = view.content;
    for name in ["mum", "dad"] {
        world.command(name, Command::AttachmentFetched { content });
    }
    world.settle();
    (content, original)
}

fn lies_there(world: &World, pointer: &Pointer) -> bool {
    let name = read_hash(pointer.read_secret.expose());
    world.relay.blobs.contains_key(name.as_slice())
}

/// Puts `bytes` up for the device that asked `name`.
fn put_up(world: &mut World, name: Name, bytes: &[u8]) -> Pointer {
    let wish = world.device(name).engine.media_wanted()[0];
    let (pointer, stored) = encrypt_bytes(bytes, &mut world.rng).unwrap();
    let mut handle = [0; 16];
    world.rng.fill_bytes(&mut handle);
    world.device(name).files.insert(handle, stored);
    let outgoing = OutgoingBlob {
        handle,
        read_secret: pointer.read_secret.clone(),
        owner_secret: Secret::random(&mut world.rng),
        size: pointer.size,
    };
    let media = Some((pointer.clone(), outgoing));
    world.command(name, Command::GiveMedia { wish, media });
    world.settle();
    pointer
}

#[test]
fn an_attachment_that_the_relay_has_no_more_is_put_up_again() {
    let mut world = World::new();
    let (content, original) = fetched(&mut world);
    assert!(!lies_there(&world, &original), "everyone has it");
    second_phone(&mut world);
    assert_eq!(world.screen("mum2").len(), 1);
    world.command("mum2", Command::AskMedia { content });
    world.settle();
    let wishes = world.device("mum").engine.media_wanted();
    assert_eq!(wishes.len(), 1);
    // It survives a restart.
    world.restart("mum");
    world.connect("mum");
    assert_eq!(world.device("mum").engine.media_wanted(), wishes);
    let pointer = put_up(&mut world, "mum", &[7; 5_000]);
    let view = world.screen("mum2").remove(0);
    assert_eq!(view.attachment(), Some(&pointer));
    assert_ne!(view.body.unwrap().attachment(), Some(&pointer));
    assert!(lies_there(&world, &pointer));
    world.command("mum2", Command::AttachmentFetched { content });
    world.settle();
    assert!(!lies_there(&world, &pointer), "it was fetched");
    assert!(world.device("mum").engine.is_settled());
    // Who was not there is given nothing.
    world.add("bob");
    world.pair("mum", "bob", MemberRole::Child, "Bob");
    world.settle();
    assert!(
        world
            .try_command("bob", Command::AskMedia { content })
            .is_err()
    );
}

#[test]
fn a_device_that_puts_up_something_else_keeps_nobody_from_the_picture() {
    let mut world = World::new();
    let (content, _) = fetched(&mut world);
    second_phone(&mut world);
    let refused = |forged| Command::RefuseMedia { content, forged };
    let refuse = || refused(true);
    assert!(world.try_command("mum2", refuse()).is_err(), "not asked");
    world.command("mum2", Command::AskMedia { content });
    world.settle();
    let lie = put_up(&mut world, "dad", &[6; 5_000]);
    // The first answer stays until it is refused.
    let first = put_up(&mut world, "mum", &[7; 5_000]);
    assert_eq!(world.screen("mum2")[0].media.as_ref(), Some(&lie));
    assert!(lies_there(&world, &first), "nothing was fetched yet");
    world.command("mum2", refuse());
    assert_eq!(world.screen("mum2")[0].media, None);
    world.settle();
    assert!(!lies_there(&world, &lie));
    let again = world.try_command("mum2", refuse());
    assert!(again.is_err(), "there is nothing to refuse");
    // It is remembered whom it was; the others are asked again.
    world.restart("mum2");
    world.connect("mum2");
    world.command("mum2", Command::AskMedia { content });
    world.settle();
    assert_eq!(world.device("dad").engine.media_wanted(), []);
    let spoilt = put_up(&mut world, "mum", &[7; 5_000]);
    assert_eq!(world.screen("mum2")[0].media.as_ref(), Some(&spoilt));
    // What is damaged may be the relay's doing: the same device is asked once more.
    world.command("mum2", refused(false));
    world.settle();
    assert_eq!(world.device("dad").engine.media_wanted(), []);
    let found = put_up(&mut world, "mum", &[7; 5_000]);
    assert_eq!(world.screen("mum2")[0].media.as_ref(), Some(&found));
    world.command("mum2", Command::AttachmentFetched { content });
    world.settle();
    for pointer in [&first, &spoilt, &found] {
        assert!(!lies_there(&world, pointer));
    }
}
