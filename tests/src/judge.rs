//! Screens, judged by what was said.
//!
//! Texts are unlike each other, so that a text names a message without asking the code under
//! test for ids.

use std::collections::{BTreeMap, BTreeSet};

/// What was said, by whom, in the order of saying.
#[derive(Debug, Clone, Default)]
pub struct Said {
    texts: Vec<Text>,
}

#[derive(Debug, Clone)]
struct Text {
    by: String,
    text: String,
    kept: bool,
}

/// What a screen did to what was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScreenVerdict {
    /// Kept by their device, and not on this screen.
    pub lost: Vec<String>,
    /// On this screen more than once.
    pub doubled: Vec<String>,
    /// Shown before something that the same person said earlier.
    pub out_of_order: Vec<String>,
    /// Shown, and never said.
    pub stray: Vec<String>,
}

impl ScreenVerdict {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl Said {
    /// Somebody begins to say something: it may be kept or not.
    pub fn begin(&mut self, by: &str, text: &str) {
        self.texts.push(Text {
            by: by.to_owned(),
            text: text.to_owned(),
            kept: false,
        });
    }

    /// The device reported it as kept: from now on it must not be lost.
    ///
    /// # Panics
    /// When nobody began to say it.
    pub fn kept(&mut self, text: &str) {
        let found = self.texts.iter_mut().find(|said| said.text == text);
        found.expect("kept what nobody said").kept = true;
    }

    /// How many must not be lost.
    #[must_use]
    pub fn kept_count(&self) -> usize {
        self.texts.iter().filter(|said| said.kept).count()
    }

    /// Judges the screen of `reader`, who sees what the others said, from top to bottom.
    #[must_use]
    pub fn judge(&self, reader: &str, shown: &[String]) -> ScreenVerdict {
        self.judge_where(shown, |by| by != reader)
    }

    /// Judges what `by` said, as it stands on some screen.
    #[must_use]
    pub fn judge_of(&self, by: &str, shown: &[String]) -> ScreenVerdict {
        self.judge_where(shown, |name| name == by)
    }

    fn judge_where(&self, shown: &[String], concerns: impl Fn(&str) -> bool) -> ScreenVerdict {
        let places: BTreeMap<&str, (usize, &Text)> = self
            .texts
            .iter()
            .enumerate()
            .filter(|(_, said)| concerns(&said.by))
            .map(|(place, said)| (said.text.as_str(), (place, said)))
            .collect();
        let mut verdict = ScreenVerdict::default();
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for text in shown {
            let Some((place, said)) = places.get(text.as_str()) else {
                verdict.stray.push(text.clone());
                continue;
            };
            if !seen.insert(text.as_str()) {
                verdict.doubled.push(text.clone());
                continue;
            }
            let last = last.entry(&said.by).or_insert(*place);
            if place < last {
                verdict.out_of_order.push(text.clone());
            }
            *last = *place.max(last);
        }
        verdict.lost = places
            .values()
            .filter(|(_, said)| said.kept && !seen.contains(said.text.as_str()))
            .map(|(_, said)| said.text.clone())
            .collect();
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, ScreenVerdict};

    fn verdict(shown: &[&str]) -> ScreenVerdict {
        let mut said = Said::default();
        for (by, text) in [("Mum", "a"), ("Dad", "b"), ("Mum", "c"), ("Mia", "d")] {
            said.begin(by, text);
            said.kept(text);
        }
        said.begin("Mum", "perhaps");
        let shown: Vec<String> = shown.iter().map(|text| (*text).to_owned()).collect();
        said.judge("Mia", &shown)
    }

    #[test]
    fn every_kind_of_harm_is_seen() {
        assert!(verdict(&["a", "b", "c"]).is_clean());
        assert!(verdict(&["b", "a", "c", "perhaps"]).is_clean());
        assert_eq!(verdict(&["a", "b"]).lost, ["c"]);
        assert_eq!(verdict(&["a", "b", "c", "a"]).doubled, ["a"]);
        assert_eq!(verdict(&["c", "a", "b"]).out_of_order, ["a"]);
        assert_eq!(verdict(&["a", "b", "c", "z"]).stray, ["z"]);
        assert_eq!(verdict(&["a", "b", "c", "d"]).stray, ["d"], "own words");
    }

    #[test]
    #[should_panic(expected = "nobody said")]
    fn nothing_is_kept_that_nobody_said() {
        Said::default().kept("a");
    }
}
