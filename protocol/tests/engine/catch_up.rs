//! Many at once: nothing here may cost more than it has to.

use kinline_protocol::engine::io::Event;

use super::world::World;

#[test]
fn two_thousand_that_were_missed_come_once_in_order() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("kid");
    for n in 0..2_000 {
        world.text("mum", family, &format!("{n}"));
    }
    world.restart("kid");
    world.connect("kid");
    world.settle();
    let texts = world.texts("kid");
    assert_eq!(texts.len(), 2_000);
    assert!(
        texts
            .iter()
            .map(|text| text.parse::<u32>().unwrap())
            .is_sorted()
    );
    assert_eq!(world.device("mum").engine.counters().unconfirmed, 0);
}

#[test]
fn a_thousand_written_offline_go_out_in_order() {
    let mut world = World::new();
    let family = world.family();
    world.disconnect("mum");
    for n in 0..1_000 {
        world.text("mum", family, &format!("{n}"));
    }
    world.restart("mum");
    world.connect("mum");
    world.settle();
    for name in ["dad", "kid"] {
        let texts = world.texts(name);
        assert_eq!(texts.len(), 1_000, "{name}");
        assert!(
            texts
                .iter()
                .map(|text| text.parse::<u32>().unwrap())
                .is_sorted(),
            "{name}"
        );
        let trouble = |event: &Event| matches!(event, Event::Unreadable { .. } | Event::Gap { .. });
        assert_eq!(world.count(name, trouble), 0, "{name}");
    }
    assert!(world.device("mum").engine.is_settled());
}
