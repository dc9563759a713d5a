//! What a file tells besides its pixels or its sound: a list with an upper bound.

/// Fields that are listed at most; a file with more has told enough.
const FIELDS_MAX: usize = 4_096;

/// Characters of a value that are kept.
const VALUE_CHARS_MAX: usize = 512;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    names: Vec<String>,
    values: Vec<(String, String)>,
}

impl Fields {
    /// Whether nothing more is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.names.len() >= FIELDS_MAX
    }

    /// A field without a readable value.
    pub(crate) fn name(&mut self, name: String) {
        if !self.is_full() {
            self.names.push(name);
        }
    }

    /// A field with a readable value.
    pub(crate) fn value(&mut self, name: String, value: &str) {
        self.rendering(&name, value);
        self.name(name);
    }

    /// One more way to write the value of a field that is named elsewhere.
    pub(crate) fn rendering(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if !value.is_empty() && self.values.len() < FIELDS_MAX {
            let kept = value.chars().take(VALUE_CHARS_MAX).collect();
            self.values.push((name.to_owned(), kept));
        }
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.names
    }

    pub(crate) fn into_values(self) -> Vec<(String, String)> {
        self.values
    }
}
