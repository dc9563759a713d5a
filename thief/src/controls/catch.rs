//! What each planted leak must be found as.

use crate::Canaries;
use crate::report::{Finding, FindingKind};

/// Where a leak was planted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spot {
    /// In a column of the database: `table.column`.
    Column(&'static str),
    /// In a table of the database, wherever.
    Table(&'static str),
    /// In a file of this name.
    File(&'static str),
    /// In the bytes of the database file, and in no row.
    Pages,
}

/// One planted leak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leak {
    /// What it is.
    pub(crate) name: &'static str,
    /// The made-up secret that it leaks; unused where the leak is no text, but always distinct.
    pub(crate) canary: &'static str,
    /// What its line is marked as.
    mark: &'static str,
    spot: Spot,
    /// What it must be found as; more than one where both belong to the leak.
    kinds: &'static [FindingKind],
    /// The spelling must begin with this.
    encoding: &'static str,
    /// The container that it must be found in.
    container: &'static str,
}

const fn leak(name: &'static str, canary: &'static str, spot: Spot) -> Leak {
    Leak {
        name,
        canary,
        mark: "",
        spot,
        kinds: &[FindingKind::Canary],
        encoding: "raw",
        container: "",
    }
}

const fn spelled(mut leak: Leak, encoding: &'static str) -> Leak {
    leak.encoding = encoding;
    leak
}

const fn inside(mut leak: Leak, container: &'static str) -> Leak {
    leak.container = container;
    leak
}

const fn marked(mut leak: Leak, mark: &'static str) -> Leak {
    leak.mark = mark;
    leak
}

const fn kinds(mut leak: Leak, kinds: &'static [FindingKind]) -> Leak {
    leak.kinds = kinds;
    leak
}

const PICTURE: &[FindingKind] = &[FindingKind::Media, FindingKind::Canary];

/// All leaks, in the order in which they are reported.
pub(crate) const LEAKS: [Leak; 25] = [
    leak(
        "a name in a plaintext column",
        "Xanthippe Quillfeather-Nováková",
        Spot::Column("control_person.name"),
    ),
    leak(
        "a debug line in a log",
        "zwölf Gurken tanzen Foxtrott im Regen",
        Spot::File("control-debug.log"),
    ),
    leak(
        "a file name",
        "Klassenfahrt Juist Zeltplatz siebzehn",
        Spot::File("(file names)"),
    ),
    kinds(
        leak(
            "a JPEG thumbnail with a text",
            "Wackelzahn zum Fruehstueck gezogen",
            Spot::Column("control_preview.picture"),
        ),
        PICTURE,
    ),
    kinds(
        leak(
            "an EXIF block with a camera model",
            "Phototronica Zephyr QX-9000 Mark IV",
            Spot::File("control-upload.tmp"),
        ),
        PICTURE,
    ),
    spelled(
        leak(
            "the MD5 of an e-mail address",
            "balthasar.ungestuem@kontrolle.invalid",
            Spot::Column("control_account.email_hash"),
        ),
        "md5",
    ),
    spelled(
        leak(
            "the SHA-256 of a lower-cased name",
            "Euphemia Drosselbart-Okonkwo",
            Spot::Column("control_account.name_hash"),
        ),
        "sha256-hex",
    ),
    kinds(
        leak(
            "a read secret in the clear beside its hash",
            "(control: read secret)",
            Spot::Column("control_blob.read_secret"),
        ),
        &[FindingKind::SecretBesideHash],
    ),
    spelled(
        leak(
            "a text in UTF-16",
            "Oma backt Rhabarberstreusel um halb vier",
            Spot::Column("control_draft.content"),
        ),
        "utf-16le",
    ),
    inside(
        leak(
            "a gzip stream inside a blob",
            "Lieblingsdinosaurier Pachycephalosaurus",
            Spot::File("control-blobs/9f.bin"),
        ),
        "gzip",
    ),
    inside(
        leak(
            "a zlib stream in a column",
            "das geheime Baumhaus hinter der Muehle",
            Spot::Column("control_cache.value"),
        ),
        "zlib",
    ),
    inside(
        leak(
            "a zstd stream in a temporary file",
            "Passwort der Bande: Himbeerdrachenzahn",
            Spot::File("control-spill.tmp"),
        ),
        "zstd",
    ),
    spelled(
        leak(
            "base64 in a log",
            "Tante Roswitha kommt mit dem Nachtzug",
            Spot::File("control-trace.log"),
        ),
        "base64",
    ),
    kinds(
        leak(
            "an Ed25519 seed beside its public key",
            "(control: signing seed)",
            Spot::Column("control_identity.seed"),
        ),
        &[FindingKind::SeedBesideKey],
    ),
    kinds(
        leak(
            "an envelope of a wrong size",
            "(control: short envelope)",
            Spot::Table("control_envelope_short"),
        ),
        &[FindingKind::EnvelopeSize],
    ),
    kinds(
        leak(
            "an envelope that is no ciphertext",
            "(control: open envelope)",
            Spot::Table("control_envelope_open"),
        ),
        &[FindingKind::NotRandom],
    ),
    kinds(
        leak(
            "an envelope whose key is in the database",
            "(control: envelope key)",
            Spot::Column("control_session.sealing_key"),
        ),
        &[FindingKind::KeyOpensEnvelope],
    ),
    kinds(
        leak(
            "a network address in a log",
            "(control: network address)",
            Spot::File("control-access.log"),
        ),
        &[FindingKind::Address],
    ),
    kinds(
        leak(
            "a TLS private key in the data folder",
            "(control: private key)",
            Spot::File("control-tls.pem"),
        ),
        &[FindingKind::PrivateKey],
    ),
    leak(
        "a deleted row whose bytes remain",
        "Zeugnis: Mathe befriedigend, Sport gut",
        Spot::Pages,
    ),
    marked(
        spelled(
            leak(
                "a password's hash without a salt",
                "Zitronenfalter-im-Kuehlschrank-37",
                Spot::Column("control_login.unsalted"),
            ),
            "sha512",
        ),
        "password:",
    ),
    kinds(
        marked(
            leak(
                "a password's hash beside its salt",
                "achtundzwanzig rostige Heugabeln",
                Spot::Column("control_login.salted"),
            ),
            "password:",
        ),
        &[FindingKind::GuessTest],
    ),
    marked(
        spelled(
            leak(
                "a blinded account id in the clear",
                "Philippa.Nachtigall-Mbeki",
                Spot::Column("control_login.account_id"),
            ),
            "account-id",
        ),
        "login:",
    ),
    kinds(
        leak(
            "a table that puts an account beside a mailbox",
            "(control: link)",
            Spot::Column("control_belongs.pair"),
        ),
        &[FindingKind::Link],
    ),
    kinds(
        leak(
            "a vault that is no ciphertext",
            "(control: open vault)",
            Spot::Column("control_vault.request_part"),
        ),
        &[FindingKind::NotRandom],
    ),
];

impl Leak {
    /// Its line among the canaries.
    pub(crate) fn line(&self) -> String {
        format!("{}{}", self.mark, self.canary)
    }

    /// Whether it is among the findings, where and as what it should be. `database` is the name of
    /// the database it may have been planted in.
    pub(crate) fn caught(&self, canaries: &Canaries, findings: &[Finding], database: &str) -> bool {
        self.kinds.iter().all(|kind| {
            let here = findings.iter().filter(|finding| finding.kind == *kind);
            let mut here = here.filter(|finding| self.is_here(finding, database));
            if matches!(kind, FindingKind::Canary | FindingKind::GuessTest) {
                here.any(|finding| {
                    let text = finding.canary.and_then(|canary| canaries.text(canary));
                    let encoding = finding.encoding.as_deref().unwrap_or_default();
                    let spelled =
                        *kind == FindingKind::GuessTest || encoding.starts_with(self.encoding);
                    text == Some(self.canary) && spelled && self.is_within(finding)
                })
            } else {
                here.next().is_some()
            }
        })
    }

    fn is_within(&self, finding: &Finding) -> bool {
        match finding.within.last() {
            Some(container) => !self.container.is_empty() && container.starts_with(self.container),
            None => self.container.is_empty(),
        }
    }

    fn is_here(&self, finding: &Finding, database: &str) -> bool {
        let file = finding.file.as_str();
        let inside = file
            .strip_prefix(database)
            .and_then(|rest| rest.strip_prefix('#'));
        match self.spot {
            Spot::Column(column) => inside == Some(column),
            Spot::Table(table) => inside.is_some_and(|inside| {
                inside
                    .strip_prefix(table)
                    .is_some_and(|rest| !rest.starts_with('_'))
            }),
            Spot::File(name) => file == name,
            Spot::Pages => file == database,
        }
    }
}
