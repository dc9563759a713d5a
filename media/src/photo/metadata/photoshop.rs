//! Photoshop's image resources (APP13) and the IPTC records inside them (IIM 4.2).

use crate::bytes::{Walk, index, text};
use crate::fields::Fields;

/// Lists each resource and each IPTC data set.
pub(super) fn scan(resources: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(resources);
    while let Some(signature) = walk.name() {
        if fields.is_full() || resource(signature, &mut walk, fields).is_none() {
            break;
        }
    }
}

fn resource(signature: [u8; 4], walk: &mut Walk<'_>, fields: &mut Fields) -> Option<()> {
    if !matches!(
        &signature,
        b"8BIM" | b"8BPS" | b"MeSa" | b"PHUT" | b"AgHg" | b"DCSR"
    ) {
        fields.name("Photoshop block that can't be read".to_owned());
        return None;
    }
    let id = walk.be16()?;
    // A name: its length, its characters, padded to an even number in all.
    let name_length = usize::from(walk.u8()?);
    walk.take(name_length + usize::from(name_length % 2 == 0))?;
    let length = index(walk.be32()?);
    let body = walk.take_up_to(length);
    if length % 2 == 1 {
        walk.take_up_to(1);
    }
    match id {
        0x0404 => iptc(body, fields),
        0x0409 | 0x040C => fields.name("Photoshop thumbnail".to_owned()),
        _ => fields.name(format!("Photoshop resource 0x{id:04x}")),
    }
    Some(())
}

fn iptc(body: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(body);
    let before = body.len();
    while !fields.is_full() && data_set(&mut walk, fields).is_some() {}
    if walk.rest().len() == before {
        fields.name("empty IPTC block".to_owned());
    }
}

fn data_set(walk: &mut Walk<'_>, fields: &mut Fields) -> Option<()> {
    if walk.u8()? != 0x1C {
        return None;
    }
    let (record, number) = (walk.u8()?, walk.u8()?);
    let length = walk.be16()?;
    // The highest bit says that the length follows in so many bytes; nobody needs that.
    let body = walk.take_up_to(usize::from(length & 0x7FFF));
    let name = match (record, number) {
        (2, 5) => "IPTC title".to_owned(),
        (2, 25) => "IPTC keyword".to_owned(),
        (2, 55) => "IPTC date".to_owned(),
        (2, 60) => "IPTC time".to_owned(),
        (2, 80) => "IPTC by-line".to_owned(),
        (2, 90) => "IPTC city".to_owned(),
        (2, 101) => "IPTC country".to_owned(),
        (2, 105) => "IPTC headline".to_owned(),
        (2, 116) => "IPTC copyright".to_owned(),
        (2, 120) => "IPTC caption".to_owned(),
        _ => format!("IPTC {record}:{number:02}"),
    };
    match text(body) {
        Some(value) => fields.value(name, &value),
        None => fields.name(name),
    }
    Some(())
}
