//! What can be said on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueHint};
use kinline_protocol::server_name::RelayAddress;

use super::args_account::AccountArgs;
use super::args_contacts::ContactVerb;
use super::args_family::FamilyVerb;
use super::erase::EraseVerb;
use crate::demo::DemoArgs;
use crate::load::{ChildArgs, LoadArgs};

/// Kinline without a screen: tablets and phones of a family, simulated on this machine.
///
/// Kinline is a messenger for children's tablets and parents' phones whose server holds
/// nothing worth stealing. This program is a real device with a real encrypted store and a
/// real connection; only its screen is this terminal.
///
/// Begin with `kinline-sim demo`.
#[derive(Debug, Parser)]
#[command(name = "kinline-sim", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub work: Work,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Work {
    /// Live a day with a family: relay, phones, tablet, photo, voice, a crash and a theft
    Demo(DemoArgs),
    /// Be one device: its state lives in a folder, each call does one thing
    Device(DeviceArgs),
    /// Make a guardian's account, and come back with it when every phone is lost
    Account(AccountArgs),
    /// Search everything a relay has on disk for secrets, as a thief would
    Steal(StealArgs),
    /// Measure the relay: rates, latencies, memory, beside the barest programs that do the same
    Load(LoadArgs),
    /// Be the relay or a baseline of a measurement
    #[command(hide = true, disable_help_flag = true)]
    LoadChild(ChildArgs),
    /// Run the relay that the demo starts
    #[command(hide = true, disable_help_flag = true)]
    Relay {
        /// Goes to the relay's own command line.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// One device.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Folder with the device's encrypted state; one process at a time
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub state: PathBuf,
    /// File with the passphrase that protects the state (its last line break is dropped); or set KINLINE_PASSPHRASE
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub passphrase_file: Option<PathBuf>,
    /// Seconds to wait for the relay and for other devices (a pairing code and the guardian's yes have ten minutes)
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// What the device does.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What a device does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Found a family; this device is its first guardian's phone
    CreateFamily {
        /// Relay to use, as it prints at its start: wss://host:port#pin=…
        #[arg(long, value_name = "URI")]
        relay: RelayAddress,
        /// Name of the family
        #[arg(long, value_name = "NAME")]
        family: String,
        /// Name of the guardian who holds this phone
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What this device calls itself
        #[arg(long, value_name = "NAME", default_value = "phone")]
        device_name: String,
        /// Admission code, for a relay that asks for one
        #[arg(long, value_name = "CODE", default_value = "")]
        admission: String,
    },
    /// Show a pairing code for a new tablet or phone, and let it in (guardians only)
    #[command(group(ArgGroup::new("whom").required(true).args(["child", "guardian"])))]
    ShowCode {
        /// The new device is a child's, of this name
        #[arg(long, value_name = "NAME")]
        child: Option<String>,
        /// The new device is a guardian's, of this name: your own further phone, or another's first
        #[arg(long, value_name = "NAME")]
        guardian: Option<String>,
        /// Also write the code into this file (it works once: a new file for each device)
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        code_file: Option<PathBuf>,
        /// Let the device in without asking (for scripts: nobody compares the pictures)
        #[arg(long)]
        yes: bool,
        /// Print no QR code, only its text
        #[arg(long)]
        no_qr: bool,
        /// Also write the QR code into this file, as PNG (it goes when the code is spent)
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "short")]
        png: Option<PathBuf>,
        /// Show fourteen digits to type instead, for a device without a camera
        #[arg(long)]
        short: bool,
    },
    /// Join a family with the code that a guardian's phone shows
    #[command(group(ArgGroup::new("which").required(true).args(["code", "code_file", "short"])))]
    Pair {
        /// The text of the code, or its fourteen digits, with or without spaces and dashes
        #[arg(value_name = "CODE")]
        code: Vec<String>,
        /// Read the code from this file, and wait until it is there
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        code_file: Option<PathBuf>,
        /// Ask for the fourteen digits here
        #[arg(long)]
        short: bool,
        /// Relay to use with fourteen digits, which name none: wss://host:port#pin=…
        #[arg(long, value_name = "URI")]
        relay: Option<RelayAddress>,
        /// Admission code for that relay, if it asks for one
        #[arg(long, value_name = "CODE", default_value = "", requires = "relay")]
        admission: String,
        /// What this device calls itself
        #[arg(long, value_name = "NAME", default_value = "tablet")]
        device_name: String,
    },
    /// Send words
    Send {
        /// The words; "-" reads them from standard input
        #[arg(value_name = "TEXT", allow_hyphen_values = true)]
        text: String,
        /// Options of everything that is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Send a photo (JPEG, PNG or WebP); everything but the picture itself is taken out
    Photo {
        /// The photo
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Words under it
        #[arg(long, value_name = "TEXT", default_value = "")]
        caption: String,
        /// Options of everything that is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Send a voice message (WAV, FLAC, Ogg, MP3 or M4A); everything but the sound is taken out
    Voice {
        /// The recording
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Options of everything that is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Send a sticker
    Sticker {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// The collection it is in
        #[arg(long, value_name = "NAME", default_value = "kinline")]
        pack: String,
        /// Options of everything that is sent.
        #[command(flatten)]
        sending: Sending,
    },
    /// Tell the family what was played and achieved in a learning app
    Progress {
        /// The app's name
        #[arg(long, value_name = "NAME")]
        app: String,
        /// What was played in it
        #[arg(long, value_name = "NAME")]
        activity: String,
        /// The level that was reached
        #[arg(long, value_name = "N")]
        level: Option<u32>,
        /// Minutes played; at most a day
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u32).range(0..=1_440))]
        minutes: u32,
        /// The score that was reached
        #[arg(long, value_name = "N")]
        score: Option<u32>,
        /// The best score there is
        #[arg(long, value_name = "N", requires = "score")]
        out_of: Option<u32>,
        /// What was learned, in words
        #[arg(long, value_name = "TEXT", default_value = "")]
        text: String,
        /// How to wait.
        #[command(flatten)]
        delivery: Delivery,
    },
    /// React to a message with an emoji; without one the reaction is taken back
    React {
        /// The message: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
        /// The emoji
        #[arg(value_name = "EMOJI", default_value = "")]
        emoji: String,
        /// How to wait.
        #[command(flatten)]
        delivery: Delivery,
    },
    /// Give an own message new words
    Edit {
        /// The message: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
        /// The new words
        #[arg(value_name = "TEXT", allow_hyphen_values = true)]
        text: String,
        /// How to wait.
        #[command(flatten)]
        delivery: Delivery,
    },
    /// Take an own message back, for everyone
    Delete {
        /// The message: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
        /// How to wait.
        #[command(flatten)]
        delivery: Delivery,
    },
    /// Show the messages
    Inbox {
        /// Go on and show what comes, until interrupted
        #[arg(long)]
        follow: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Tell the senders that everything was seen
        #[arg(long)]
        mark_read: bool,
        /// Only this conversation
        #[arg(long, value_name = "TITLE")]
        of: Option<String>,
        /// Show what is here already, without the relay
        #[arg(long, conflicts_with_all = ["follow", "mark_read"])]
        offline: bool,
    },
    /// Fetch the photo or recording of a message
    Fetch {
        /// The message: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
        /// Where to put it; without this, into the state folder
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Say how much of what was said before this device came has come in from the family's others
    History {
        /// One JSON object for each conversation
        #[arg(long)]
        json: bool,
        /// Wait until another device has given all it has
        #[arg(long)]
        wait: bool,
    },
    /// Erase a child or the family everywhere, for good, with a receipt (guardians only)
    #[command(subcommand)]
    Erase(EraseVerb),
    /// Write everything that this device knows into a new folder: a page, JSON and media; needs no network
    Export {
        /// The folder; it must not be there yet
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: PathBuf,
    },
    /// Say how this device is doing
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Form a room with some members of the family
    Room {
        /// Its title
        #[arg(value_name = "TITLE")]
        title: String,
        /// Who is in it besides this device's person; can be repeated
        #[arg(long = "member", value_name = "NAME", required = true)]
        members: Vec<String>,
    },
    /// Renew this device's keys and address in a conversation
    Update {
        /// Which; without this, the family's
        #[arg(long, value_name = "TITLE")]
        to: Option<String>,
    },
    /// Fetch what waits and send what was kept
    Sync,
    /// What guardians decide.
    #[command(flatten)]
    Family(FamilyVerb),
    /// Friends in other families, and what a child can do by itself.
    #[command(flatten)]
    Contact(ContactVerb),
}

/// Options of everything that is sent.
#[derive(Debug, Clone, Default, Args)]
pub struct Sending {
    /// The conversation; without this, the family's
    #[arg(long, value_name = "TITLE")]
    pub to: Option<String>,
    /// The message that this answers: the beginning of its id is enough
    #[arg(long, value_name = "ID")]
    pub reply_to: Option<String>,
    /// Disappears so many seconds after it was seen; 0 for never
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub disappear: u32,
    /// How to wait.
    #[command(flatten)]
    pub delivery: Delivery,
}

/// How to wait for what was sent.
#[derive(Debug, Clone, Default, Args)]
pub struct Delivery {
    /// Fail when the relay does not take it now (else it is kept and sent later)
    #[arg(long)]
    pub require_delivery: bool,
}

/// A search of a relay's files.
#[derive(Debug, Args)]
pub struct StealArgs {
    /// Folder with everything the relay wrote
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: PathBuf,
    /// File with the secrets to look for, one a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub canaries: PathBuf,
    /// Also write what was found as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Also try what was stolen on this running relay: wss://host:port#pin=…
    #[arg(long, value_name = "URI")]
    pub live: Option<RelayAddress>,
    /// Name of the relay that login names among the secrets (login:NAME) were used at, where neither --live nor the loot says it
    #[arg(long, value_name = "NAME")]
    pub server_name: Vec<String>,
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Verb, Work};

    fn verb(line: &str) -> Result<Verb, clap::Error> {
        let words = ["kinline-sim", "device", "--state", "d"];
        let words = words.into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words)?.work {
            Work::Device(device) => Ok(device.verb),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_can_be_said() {
        for line in [
            "create-family --relay wss://h:1 --family F --name N",
            "create-family --relay wss://[::1]:1 --family F --name N --admission A --device-name D",
            "show-code --child N",
            "show-code --guardian N --yes --no-qr --code-file f",
            "pair kinline:pair:1:x --device-name D",
            "show-code --child N --png f.png",
            "show-code --child N --short",
            "pair --code-file f",
            "pair 2 82136-9047-7163 --relay wss://h:1",
            "pair --short --relay wss://h:1 --admission A",
            "send hello",
            "send -:) --to T --reply-to ab --disappear 5 --require-delivery",
            "photo f --caption c",
            "voice f --to T",
            "sticker cat --pack p",
            "progress --app a --activity b",
            "progress --app a --activity b --level 3 --minutes 12 --score 17 --out-of 20 --text t",
            "react ab x",
            "react ab",
            "edit ab words",
            "delete ab --require-delivery",
            "inbox --follow --json --mark-read --of T",
            "inbox --offline",
            "fetch ab --out f",
            "history --json --wait",
            "export --out d",
            "erase child Mila --messages --confirm Mila --receipt f",
            "erase family --confirm Elms --keep-account",
            "status --json",
            "room T --member A --member B",
            "update --to T",
            "sync",
            "family --json",
            "remove member Ben",
            "remove device 0a1b2c3d",
            "settings --signatures 2",
            "settings --signatures 1 --lease-days 14",
            "proposals --json",
            "answer-proposal 0a1b yes",
            "object",
            "carry-objection kinline:object:1:x",
            "withdraw 7",
            "policy show --child Mia --json",
            "policy set --child Mia --quiet mon-fri=20:00-07:00 --kinds text,photo --per-day 20",
            "policy set --child Mia --pause --zone Europe/Berlin",
            "policy set --child Mia --resume --no-quiet",
            "close-mailbox tablet --undo",
            "correct-time 2026-11-22",
            "correct-time 2027-11-22 --far",
            "reform Elms",
            "notices --all --json",
            "operator --json",
            "meet show --child Mia --short --yes",
            "meet show --child Mia --png f.png --code-file f --no-qr",
            "meet join kinline:meet:1:x --child Leo",
            "meet join 3 82136-9047-7163 --child Leo --yes",
            "meet join --code-file f --child Leo",
            "pass offer --child Mia --with Leo --days 30",
            "pass offer --child Mia --with Leo/Okafor --supervision everything --guardian Anna:write --guardian Ben --kinds text,photo --days 30",
            "pass list --json",
            "pass accept 0a1b --supervision pictures",
            "pass refuse 0a1b",
            "pass revoke 0a1b",
            "group offer --child Mia --with Leo/Okafor --with Ida --title Band",
            "group list --json",
            "group accept 0a1b",
            "group refuse 0a1b",
            "leave T",
            "block T Leo",
            "unblock T Leo",
            "report 0a1b --words w",
            "ask-friend kinline:meet:1:x --words w",
        ] {
            verb(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "create-family --relay http://h --family F --name N",
            "create-family --family F --name N",
            "show-code",
            "show-code --child A --guardian B",
            "pair",
            "pair code --code-file f",
            "pair code --short",
            "pair --short --admission A",
            "show-code --child A --short --png f",
            "send",
            "send a b",
            "inbox --offline --follow",
            "export",
            "erase",
            "erase child",
            "room T",
            "progress --app a",
            "progress --app a --activity b --out-of 20",
            "progress --app a --activity b --minutes 1441",
            "dance",
            "remove",
            "settings",
            "settings --signatures 3",
            "settings --lease-days 2",
            "answer-proposal 0a1b maybe",
            "policy set --child Mia",
            "policy set --child Mia --pause --resume",
            "policy set --child Mia --quiet mon-fri=25:00-07:00",
            "policy set --child Mia --quiet someday=20:00-07:00",
            "policy set --child Mia --kinds text,smell",
            "correct-time 2026-02-30",
            "correct-time tomorrow",
            "meet join --child Leo",
            "meet show",
            "pass offer --child Mia --with Leo",
            "pass offer --child Mia --with Leo --days 30 --guardian Ben:sing",
            "pass offer --child Mia --with Leo --days 401",
            "group offer --child Mia --title Band",
            "group offer --child Mia --with Leo",
            "group accept",
            "block T",
        ] {
            let error = verb(line).map(|verb| format!("{verb:?}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert!(Cli::try_parse_from(["kinline-sim", "device", "sync"]).is_err());
        let early = [
            "kinline-sim",
            "device",
            "--state",
            "d",
            "--timeout",
            "0",
            "sync",
        ];
        assert!(Cli::try_parse_from(early).is_err());
    }

    #[test]
    fn the_relays_own_words_pass_through() {
        let line = ["kinline-sim", "relay", "serve", "--data", "x", "--help"];
        match Cli::try_parse_from(line).unwrap().work {
            Work::Relay { arguments } => assert_eq!(arguments.len(), 4),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn help_speaks_of_the_main_things_and_hides_the_relay() {
        let help = Cli::command().render_long_help().to_string();
        for word in ["demo", "device", "steal", "Begin with"] {
            assert!(help.contains(word), "{word}");
        }
        assert!(!help.contains("Run the relay"));
    }
}
