//! An address that a device has forgotten is none that anybody can write to.

use kinline_protocol::engine::io::{Command, RecordClass};
use kinline_protocol::grant::{revocation_hash, revocation_secret};
use kinline_protocol::ids::ConversationId;
use kinline_protocol::secrets::Secret;
use kinline_protocol::wire;
use prost::Message as _;

use super::vocabulary::wish;
use super::world::{Name, World};

/// Whether the relay takes nothing any more under the grant of an address that was drawn
/// under this seed.
fn is_revoked(world: &World, seed: &[u8], scope: &[u8; 16], number: u64) -> bool {
    let seed = Secret::from_slice(seed).unwrap();
    let secret = revocation_secret(&seed, scope, number);
    world
        .relay
        .revoked
        .contains(&revocation_hash(secret.expose()))
}

fn seed(world: &mut World, name: Name) -> Vec<u8> {
    let device: wire::DeviceRecord = world.record(name, b"device");
    device.revocation_seed.to_vec()
}

fn addresses(world: &mut World, name: Name, id: ConversationId) -> Vec<u64> {
    let record = [b"c/".as_slice(), id.as_bytes()].concat();
    let record: wire::ConversationRecord = world.record(name, &record);
    record.addresses.iter().map(|own| own.number).collect()
}

#[test]
fn key_packages_of_who_is_put_out_are_worth_nothing() {
    let mut world = World::new();
    world.family();
    let dad = world.device("dad").engine.device();
    let given: Vec<u64> = world.devices["kid"]
        .store
        .iter()
        .filter(|(key, _)| key.class == RecordClass::State && key.name.starts_with(b"k/"))
        .map(|(_, value)| wire::KeyPackageRecord::decode(value.as_slice()).unwrap())
        .filter(|record| record.for_device.as_ref() == dad.as_bytes())
        .map(|record| record.address.unwrap().number)
        .collect();
    assert!(!given.is_empty(), "his phone has some of the tablet");
    let seed = seed(&mut world, "kid");
    for number in &given {
        assert!(!is_revoked(&world, &seed, &[0; 16], *number));
    }
    let member = world.device("dad").engine.member().unwrap();
    world.command("mum", Command::RemoveMember { member });
    world.settle();
    for number in given {
        assert!(is_revoked(&world, &seed, &[0; 16], number), "{number}");
    }
    let family = world.device("kid").engine.family_conversation().unwrap();
    world.text("mum", family, "still heard");
    world.settle();
    assert!(world.texts("kid").contains(&"still heard".to_owned()));
}

#[test]
fn addresses_that_do_not_open_any_more_are_revoked() {
    let mut world = World::new();
    let family = world.family();
    let seed = seed(&mut world, "kid");
    let mut drawn = addresses(&mut world, "kid", family);
    for _ in 0..5 {
        world.self_update("kid", family);
        world.settle();
        drawn.extend(addresses(&mut world, "kid", family));
    }
    drawn.sort_unstable();
    drawn.dedup();
    let kept = addresses(&mut world, "kid", family);
    assert!(drawn.len() > kept.len());
    for number in drawn {
        let revoked = [[0; 16], *family.as_bytes()]
            .iter()
            .any(|scope| is_revoked(&world, &seed, scope, number));
        assert_eq!(revoked, !kept.contains(&number), "{number}");
    }
    world.text("mum", family, "still heard");
    world.settle();
    assert!(world.texts("kid").contains(&"still heard".to_owned()));
    assert!(world.device("kid").engine.is_settled());
}

#[test]
fn who_is_back_is_reached_where_it_said() {
    let mut world = World::new();
    let family = world.family();
    let copy = world.device("kid").store.clone();
    world.text("kid", family, "soon forgotten here");
    world.settle();
    world.disconnect("kid");
    world.restore("kid", copy);
    let seed = seed(&mut world, "kid");
    for number in addresses(&mut world, "kid", family) {
        assert!(!is_revoked(&world, &seed, &[0; 16], number), "{number}");
    }
    world.text("mum", family, "still heard");
    world.settle();
    assert!(world.texts("kid").contains(&"still heard".to_owned()));
}

#[test]
fn a_change_that_waits_hides_no_address_from_guardians() {
    let mut world = World::new();
    world.family();
    world.second_family();
    world.meet("mum", "kid", "ana", "leo");
    let pass = world.agree(("mum", "kid"), ("ana", "leo"), [wish(), wish()]);
    let room = world.contact("kid");
    let current = *addresses(&mut world, "kid", room).last().unwrap();
    // Its new address never comes into the tree.
    super::members::spoil(&mut world, "kid", room);
    world.self_update("kid", room);
    world.settle();
    assert_ne!(addresses(&mut world, "kid", room).last(), Some(&current));
    world.disconnect("kid");
    world.command("mum", Command::RevokePass { pass });
    world.settle();
    let seed = seed(&mut world, "kid");
    assert!(is_revoked(&world, &seed, room.as_bytes(), current));
}
