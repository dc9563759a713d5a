//! XMP packets: enough of a look at the XML to name each property and read its text.

use crate::fields::Fields;

/// Bytes of a packet that are looked at.
const PACKET_BYTES_MAX: usize = 256 << 10;

/// Lists the packet and each property in it.
pub(super) fn scan(packet: &[u8], fields: &mut Fields) {
    fields.name("XMP packet".to_owned());
    let short = packet
        .get(..packet.len().min(PACKET_BYTES_MAX))
        .unwrap_or_default();
    let xml = String::from_utf8_lossy(short);
    for piece in xml.split('<').skip(1) {
        if fields.is_full() {
            return;
        }
        let Some((tag, content)) = piece.split_once('>') else {
            continue;
        };
        if tag.starts_with(['?', '!', '/']) {
            continue;
        }
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        for (attribute, value) in pairs(attributes) {
            if !attribute.starts_with("xmlns") && !attribute.starts_with("xml:") {
                property(attribute, value, fields);
            }
        }
        let content = content.trim();
        if !content.is_empty() {
            property(name, content, fields);
        }
    }
}

fn property(name: &str, value: &str, fields: &mut Fields) {
    // The scaffolding of RDF says nothing by itself; text in its list items does.
    if matches!(name, "rdf:about" | "rdf:parseType" | "rdf:resource") {
        return;
    }
    let name: String = name.trim_end_matches('/').chars().take(64).collect();
    fields.value(format!("XMP {name}"), value);
}

/// The `name="value"` pairs of a tag.
fn pairs(attributes: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = attributes;
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = after.get(1..)?.split_once(quote)?;
        rest = after;
        Some((name.trim(), value))
    })
}
