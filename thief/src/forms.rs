//! The table of spellings.

use crate::{Detector, Options};

/// One spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Its name in reports.
    pub(crate) label: &'static str,
    /// The instrument it belongs to.
    pub(crate) detector: Detector,
    /// Whether the case of ASCII letters counts.
    pub(crate) exact: bool,
    /// Whether it is written in the 64 letters of base64, which makes chance hits in other base64
    /// likelier than in noise.
    pub(crate) base64: bool,
}

const fn folded(label: &'static str, detector: Detector) -> Form {
    Form {
        label,
        detector,
        exact: false,
        base64: false,
    }
}

const fn exact(label: &'static str, detector: Detector) -> Form {
    Form {
        label,
        detector,
        exact: true,
        base64: false,
    }
}

const fn base64(label: &'static str, detector: Detector) -> Form {
    Form {
        label,
        detector,
        exact: true,
        base64: true,
    }
}

/// Every spelling there is; a needle names one by its place in this table.
pub(crate) const FORMS: [Form; 50] = [
    folded("raw", Detector::Raw),
    exact("latin-1", Detector::Raw),
    folded("utf-16le", Detector::Utf16),
    folded("utf-16be", Detector::Utf16),
    folded("hex", Detector::Hex),
    folded("hex-spaced", Detector::Hex),
    folded("hex-colons", Detector::Hex),
    base64("base64-offset-0", Detector::Base64),
    base64("base64-offset-1", Detector::Base64),
    base64("base64-offset-2", Detector::Base64),
    base64("base64url-offset-0", Detector::Base64),
    base64("base64url-offset-1", Detector::Base64),
    base64("base64url-offset-2", Detector::Base64),
    folded("percent", Detector::Escapes),
    folded("percent-all", Detector::Escapes),
    folded("form-plus", Detector::Escapes),
    folded("json", Detector::Escapes),
    folded("json-all", Detector::Escapes),
    folded("xml-entities", Detector::Escapes),
    folded("xml-decimal", Detector::Escapes),
    folded("xml-hex", Detector::Escapes),
    folded("rust-escapes", Detector::Escapes),
    folded("byte-escapes", Detector::Escapes),
    folded("octal-escapes", Detector::Escapes),
    folded("quoted-printable", Detector::Escapes),
    folded("decimal-comma-space", Detector::Decimal),
    folded("decimal-comma", Detector::Decimal),
    folded("decimal-space", Detector::Decimal),
    folded("reversed-bytes", Detector::Reversed),
    folded("reversed-characters", Detector::Reversed),
    exact("float-be", Detector::Numbers),
    exact("float-le", Detector::Numbers),
    exact("md5", Detector::Hashes),
    folded("md5-hex", Detector::Hashes),
    base64("md5-base64", Detector::Hashes),
    exact("sha1", Detector::Hashes),
    folded("sha1-hex", Detector::Hashes),
    base64("sha1-base64", Detector::Hashes),
    exact("sha256", Detector::Hashes),
    folded("sha256-hex", Detector::Hashes),
    base64("sha256-base64", Detector::Hashes),
    exact("sha512", Detector::Hashes),
    folded("sha512-hex", Detector::Hashes),
    base64("sha512-base64", Detector::Hashes),
    exact("account-id", Detector::AccountIds),
    folded("account-id-hex", Detector::AccountIds),
    base64("account-id-base64", Detector::AccountIds),
    exact("account-id-hashed", Detector::AccountIds),
    folded("account-id-hashed-hex", Detector::AccountIds),
    base64("account-id-hashed-base64", Detector::AccountIds),
];

/// The name under which a number stored as an integer is reported: it is compared, not matched.
pub(crate) const INTEGER: &str = "integer";

/// How many spellings these options look for.
pub(crate) fn encodings_in_use(options: &Options) -> usize {
    let forms = FORMS
        .iter()
        .filter(|form| options.uses(form.detector))
        .count();
    forms.saturating_add(usize::from(options.uses(Detector::Numbers)))
}

#[cfg(test)]
mod tests {
    use super::{FORMS, encodings_in_use};
    use crate::{Detector, Options};
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_distinct_and_all_counted() {
        let labels: BTreeSet<_> = FORMS.iter().map(|form| form.label).collect();
        assert_eq!(labels.len(), FORMS.len());
        assert_eq!(encodings_in_use(&Options::default()), FORMS.len() + 1);
        let fewer = Options::default().without(Detector::Base64);
        assert_eq!(encodings_in_use(&fewer), FORMS.len() + 1 - 6);
    }
}
