//! What is found after a death, judged by what was known before.

use std::collections::BTreeMap;

use kinline_client_sim::device::{self, Device};
use kinline_client_sim::shell::{DeviceError, ShellOptions};
use kinline_protocol::ids::ContentId;
use kinline_protocol::wire;
use prost::Message as _;

use crate::judge::Said;
use crate::sweep::oracle::Verdict;

/// One person's messages as a screen shows them: content and text; a photo has none.
pub type Screen = Vec<(ContentId, Option<String>)>;

/// What stands in a device's store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// From top to bottom.
    pub screen: Screen,
    /// Sender's device, number and content of everything.
    pub numbers: Vec<(Vec<u8>, u64, Vec<u8>)>,
}

impl Found {
    /// The texts that begin with a name.
    #[must_use]
    pub fn texts_of(&self, name: &str) -> Vec<String> {
        let texts = self.screen.iter().filter_map(|(_, text)| text.clone());
        texts.filter(|text| text.starts_with(name)).collect()
    }
}

/// What an open device has.
///
/// # Errors
/// [`DeviceError`] when the store can't be read.
pub async fn read(device: &Device) -> Result<Found, DeviceError> {
    use kinline_protocol::content::Body;
    let history = device.history().await?;
    let numbers = history
        .iter()
        .filter_map(|(_, value)| {
            let record = wire::StoredMessageRecord::decode(value.as_slice()).ok()?;
            let content = wire::Content::decode(record.content.clone()).ok()?;
            let names = (content.sender_device.len(), content.content_id.len());
            (names == (16, 16) && record.content_id == content.content_id).then(|| {
                let device = content.sender_device.to_vec();
                (device, content.sequence, content.content_id.to_vec())
            })
        })
        .collect();
    let screen = device::messages(device).await?;
    Ok(Found {
        screen: screen
            .into_iter()
            .filter_map(|view| match view.body {
                Some(Body::Text { text }) => Some((view.content, Some(text))),
                Some(Body::Photo(_)) => Some((view.content, None)),
                _ => None,
            })
            .collect(),
        numbers,
    })
}

/// Opens a folder without a connection and reads what is in it.
///
/// # Errors
/// Why it does not open, or can't be read.
pub async fn offline(folder: &std::path::Path) -> Result<Found, String> {
    let options = ShellOptions {
        online: false,
        ..ShellOptions::default()
    };
    let device = crate::people::open(folder, options).map_err(|error| error.to_string())?;
    let found = read(&device).await;
    device.shutdown().await;
    found.map_err(|error| error.to_string())
}

/// Numbers of contents, as every screen ever had them: one number is one content for good.
#[derive(Debug, Default)]
pub struct Numbers(BTreeMap<(Vec<u8>, u64), Vec<u8>>);

impl Numbers {
    /// Adds what one device has.
    pub fn add(&mut self, found: &Found, whose: &str, verdict: &mut Verdict) {
        for (device, number, content) in &found.numbers {
            let key = (device.clone(), *number);
            let known = self.0.entry(key).or_insert_with(|| content.clone());
            if known != content {
                let sentence = format!("number {number} names two contents, says {whose}'s screen");
                verdict.wrong.push(sentence);
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Judges what a device that died has, before it hears another word.
pub fn judge_alone(
    found: &Found,
    said: &Said,
    confirmed: &BTreeMap<ContentId, String>,
    verdict: &mut Verdict,
) {
    let own = said.judge_of("Mum", &found.texts_of("Mum"));
    let heard = said.judge_of("Dad", &found.texts_of("Dad"));
    for text in own.lost {
        verdict.lost.push(format!("{text:?}, which was kept"));
    }
    for text in own.doubled.into_iter().chain(heard.doubled) {
        verdict.doubled.push(format!("{text:?} on the screen"));
    }
    for text in own.out_of_order.into_iter().chain(heard.out_of_order) {
        verdict.wrong.push(format!("{text:?} out of order"));
    }
    for text in own.stray.into_iter().chain(heard.stray) {
        verdict.wrong.push(format!("{text:?} was never said"));
    }
    for (content, text) in confirmed {
        if !found.screen.iter().any(|(there, _)| there == content) {
            verdict.lost.push(format!("{text:?}, which was confirmed"));
        }
    }
}

/// Judges a screen once everybody has everything.
pub fn judge_settled(reader: &str, of: &str, found: &Found, said: &Said, verdict: &mut Verdict) {
    let judged = said.judge_of(of, &found.texts_of(of));
    let on = |text: &String| format!("{text:?} on {reader}'s screen");
    verdict.lost.extend(judged.lost.iter().map(on));
    verdict.doubled.extend(judged.doubled.iter().map(on));
    let wrong = judged.out_of_order.iter().chain(&judged.stray);
    verdict.wrong.extend(wrong.map(on));
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, ContentId, Found, Numbers, Said, Verdict, judge_alone, judge_settled};

    fn content(number: u8) -> ContentId {
        ContentId::new([number; 16])
    }

    fn said() -> Said {
        let mut said = Said::default();
        for (by, text) in [("Mum", "Mum 1"), ("Dad", "Dad 1"), ("Mum", "Mum 2")] {
            said.begin(by, text);
            said.kept(text);
        }
        said.begin("Mum", "Mum 3");
        said
    }

    fn found(texts: &[&str]) -> Found {
        let all = ["", "Mum 1", "Dad 1", "Mum 2", "Mum 3"];
        let place = |text: &str| all.iter().position(|it| *it == text).unwrap_or(9) as u8;
        let screen = texts.iter();
        Found {
            screen: screen
                .map(|text| (content(place(text)), Some((*text).to_owned())))
                .collect(),
            numbers: vec![],
        }
    }

    fn alone(texts: &[&str]) -> (usize, usize, usize) {
        let mut verdict = Verdict::default();
        let confirmed = BTreeMap::from([(content(2), "Dad 1".to_owned())]);
        judge_alone(&found(texts), &said(), &confirmed, &mut verdict);
        (
            verdict.lost.len(),
            verdict.doubled.len(),
            verdict.wrong.len(),
        )
    }

    #[test]
    fn every_kind_of_harm_is_seen() {
        assert_eq!(alone(&["Mum 1", "Dad 1", "Mum 2"]), (0, 0, 0));
        assert_eq!(alone(&["Mum 1", "Dad 1", "Mum 2", "Mum 3"]), (0, 0, 0));
        assert_eq!(alone(&["Mum 1", "Dad 1"]), (1, 0, 0), "kept");
        assert_eq!(alone(&["Mum 1", "Mum 2"]), (1, 0, 0), "confirmed");
        assert_eq!(alone(&["Mum 1", "Dad 1", "Mum 2", "Dad 1"]), (0, 1, 0));
        assert_eq!(alone(&["Mum 2", "Dad 1", "Mum 1"]), (0, 0, 1), "order");
        assert_eq!(alone(&["Mum 1", "Dad 1", "Mum 2", "Mum 9"]), (0, 0, 1));
        let mut verdict = Verdict::default();
        judge_settled(
            "Dad",
            "Mum",
            &found(&["Mum 1", "Mum 1"]),
            &said(),
            &mut verdict,
        );
        assert_eq!((verdict.lost.len(), verdict.doubled.len()), (1, 1));
    }

    #[test]
    fn a_number_that_names_two_contents_is_seen() {
        let mut numbers = Numbers::default();
        let mut verdict = Verdict::default();
        let mut has = |number: u64, content: u8| {
            let found = Found {
                numbers: vec![(vec![1; 16], number, vec![content; 16])],
                ..Found::default()
            };
            numbers.add(&found, "Dad", &mut verdict);
            verdict.wrong.len()
        };
        assert_eq!(has(1, 1), 0);
        assert_eq!(has(1, 1), 0);
        assert_eq!(has(2, 2), 0);
        assert_eq!(has(2, 3), 1);
    }
}
