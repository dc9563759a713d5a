//! What can be said on the command line about friends in other families.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum, ValueHint};
use kinline_protocol::identity::Supervision;
use kinline_protocol::limits;

use super::quiet;

/// Friends in other families, and what a child can do by itself.
#[derive(Debug, Subcommand)]
pub enum ContactVerb {
    /// Meet another family's guardian, so that a child of each may become friends (guardians only)
    #[command(subcommand)]
    Meet(MeetVerb),
    /// Contact passes: permission for two children of different families to talk
    #[command(subcommand)]
    Pass(PassVerb),
    /// Groups: children of two or three families in one conversation
    #[command(subcommand)]
    Group(GroupVerb),
    /// Ask this child's guardians for a friend, with the code of the friend's family
    AskFriend {
        /// The text of the code that the other family shows
        #[arg(value_name = "CODE", required = true)]
        code: Vec<String>,
        /// What to say to it
        #[arg(long, value_name = "TEXT", default_value = "")]
        words: String,
    },
    /// Leave a conversation; nobody but a guardian of one's own family can bring one back
    Leave {
        /// Its title
        #[arg(value_name = "TITLE")]
        title: String,
    },
    /// Show nothing of somebody of another family in a conversation any more
    Block {
        /// The conversation's title
        #[arg(value_name = "TITLE")]
        title: String,
        /// Whose messages
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Show somebody's messages again
    Unblock {
        /// The conversation's title
        #[arg(value_name = "TITLE")]
        title: String,
        /// Whose messages
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Show a message to one's guardians, with the signature that proves who wrote it
    Report {
        /// The message: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
        /// What to say to it
        #[arg(long, value_name = "TEXT", default_value = "")]
        words: String,
    },
}

/// Two guardians meet.
#[derive(Debug, Subcommand)]
pub enum MeetVerb {
    /// Show a code for the other family's guardian
    Show {
        /// Which of one's own children it is about
        #[arg(long, value_name = "NAME")]
        child: String,
        /// Show fourteen digits to type, or to read out over the phone
        #[arg(long)]
        short: bool,
        /// Also write the QR code into this file, as PNG (it goes when the code is spent)
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "short")]
        png: Option<PathBuf>,
        /// Also write the code into this file
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        code_file: Option<PathBuf>,
        /// Print no QR code, only its text
        #[arg(long)]
        no_qr: bool,
        /// Say yes without asking (for scripts: nobody compares the pictures)
        #[arg(long)]
        yes: bool,
    },
    /// Use the code that the other family's guardian shows
    #[command(group(ArgGroup::new("which").required(true).args(["code", "code_file"])))]
    Join {
        /// The text of the code, or its fourteen digits, with or without spaces and dashes
        #[arg(value_name = "CODE")]
        code: Vec<String>,
        /// Read the code from this file, and wait until it is there
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        code_file: Option<PathBuf>,
        /// Which of one's own children it is about
        #[arg(long, value_name = "NAME")]
        child: String,
        /// Say yes without asking (for scripts: nobody compares the pictures)
        #[arg(long)]
        yes: bool,
    },
}

/// Contact passes.
#[derive(Debug, Subcommand)]
pub enum PassVerb {
    /// Offer a family that was met a pass for a child of each (guardians only)
    Offer {
        /// One's own child
        #[arg(long, value_name = "NAME")]
        child: String,
        /// The other child: NAME, or NAME/FAMILY
        #[arg(long = "with", value_name = "NAME")]
        other: String,
        /// What one's own side wants.
        #[command(flatten)]
        wish: Wish,
        /// Days from today that it lasts
        #[arg(long, value_name = "N", value_parser = days())]
        days: u32,
    },
    /// Show all passes and offers
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Say yes to another family's offer (guardians only)
    Accept {
        /// The pass: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
        /// What one's own side wants.
        #[command(flatten)]
        wish: Wish,
        /// Days from today that it lasts; without this, as long as it was offered
        #[arg(long, value_name = "N", value_parser = days())]
        days: Option<u32>,
    },
    /// Say no to another family's offer (guardians only)
    Refuse {
        /// The pass: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
    },
    /// End a contact at once, also while the child's tablet is off (guardians only)
    Revoke {
        /// The pass: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// Children of several families in one conversation.
#[derive(Debug, Subcommand)]
pub enum GroupVerb {
    /// Ask the other families' guardians for a group; each two of the children need a contact pass (guardians only)
    Offer {
        /// One's own child
        #[arg(long, value_name = "NAME")]
        child: String,
        /// A child of another family: NAME, or NAME/FAMILY; can be repeated, one of each family
        #[arg(long = "with", value_name = "NAME", required = true)]
        others: Vec<String>,
        /// What the group is called
        #[arg(long, value_name = "TITLE")]
        title: String,
    },
    /// Show groups that wait for an answer
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Say yes to a group that another family asks for (guardians only)
    Accept {
        /// The group: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Say no to a group that another family asks for (guardians only)
    Refuse {
        /// The group: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
    },
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(limits::PASS_DAYS_MAX))
}

/// What one's own side wants of a pass.
#[derive(Debug, Clone, Args)]
pub struct Wish {
    /// What one's own guardians see; the children see this too
    #[arg(long, value_name = "HOW", value_enum, default_value = "contacts")]
    pub supervision: Dial,
    /// A guardian who may be in the conversation: NAME to read, NAME:write to write too; can be repeated
    #[arg(long = "guardian", value_name = "NAME[:write]", value_parser = guardian)]
    pub guardians: Vec<Watcher>,
    /// What the children may send: text, sticker, photo, voice, with commas between; or all
    #[arg(long, value_name = "KINDS", value_parser = quiet::kinds, default_value = "all")]
    pub kinds: u32,
}

/// How much guardians see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dial {
    /// Who the child talks with
    Contacts,
    /// And copies of the pictures
    Pictures,
    /// Everything: a guardian is in the conversation
    Everything,
}

impl From<Dial> for Supervision {
    fn from(dial: Dial) -> Self {
        match dial {
            Dial::Contacts => Self::Contacts,
            Dial::Pictures => Self::Pictures,
            Dial::Everything => Self::Everything,
        }
    }
}

/// A guardian in the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher {
    /// Name.
    pub name: String,
    /// Whether they may write, not only read.
    pub may_write: bool,
}

fn guardian(text: &str) -> Result<Watcher, String> {
    let (name, may_write) = match text.split_once(':') {
        None => (text, false),
        Some((name, "write")) => (name, true),
        Some((name, "read")) => (name, false),
        Some((_, other)) => {
            return Err(format!(
                "a guardian may \"read\" or \"write\", not {other:?}"
            ));
        }
    };
    Ok(Watcher {
        name: name.to_owned(),
        may_write,
    })
}
