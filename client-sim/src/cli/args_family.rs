//! What guardians can say on the command line about their family.

use clap::{ArgGroup, Subcommand};
use kinline_protocol::day::Day;
use kinline_protocol::policy::QuietHours;

use super::quiet;

/// What guardians decide, and what any device shows of it.
#[derive(Debug, Subcommand)]
pub enum FamilyVerb {
    /// Show the family: members, devices, rules, passes, and who decided what
    Family {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what a person should know: requests, reports, decisions, trouble
    Notices {
        /// Those that were seen already too
        #[arg(long)]
        all: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show what this device knows of its relay's operator, and whether the relay is locked down
    Operator {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take a person or a lost device out of the family (guardians only)
    #[command(subcommand)]
    Remove(RemoveVerb),
    /// Change how many guardians must say yes, and how often one must be heard (guardians only)
    #[command(group(ArgGroup::new("what").required(true).multiple(true).args(["signatures", "lease_days"])))]
    Settings {
        /// Guardians who must agree to what allows more: 1 or 2
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2))]
        signatures: Option<u32>,
        /// Days without a guardian's phone after which children reach their own family only: 3 to 14
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=14))]
        lease_days: Option<u32>,
    },
    /// Show what waits for a guardian's yes: who has signed, and whose yes is missing
    Proposals {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Say yes or no to another guardian's proposal
    AnswerProposal {
        /// The proposal: the beginning of its id is enough
        #[arg(value_name = "ID")]
        id: String,
        /// yes or no
        #[arg(value_name = "ANSWER", value_parser = ["yes", "no"])]
        answer: String,
    },
    /// Object to one's own removal: prints a text that any device of the family can carry
    Object,
    /// Carry a removed guardian's objection into the family's decisions
    CarryObjection {
        /// The text that `object` printed
        #[arg(value_name = "TEXT")]
        text: String,
    },
    /// End the quarrel over a guardian's removal: who was removed gives in, or who removed takes it back
    Withdraw {
        /// Number of the removal among the decisions that `family` shows
        #[arg(value_name = "N")]
        removal: u64,
    },
    /// What a child may do with others, and when
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Close the mailbox of a child's device: nothing in or out at once, deleted after 72 hours
    CloseMailbox {
        /// The device: its name, or the beginning of its id
        #[arg(value_name = "DEVICE")]
        device: String,
        /// Open it again; not possible once the device was removed
        #[arg(long)]
        undo: bool,
    },
    /// Say what day it is, when devices disagree (guardians only)
    CorrectTime {
        /// Today
        #[arg(value_name = "YYYY-MM-DD", value_parser = quiet::date)]
        day: Day,
        /// It is right, although it is more than a month later than what is known here
        #[arg(long)]
        far: bool,
    },
    /// Form a conversation again that can't be changed any more (guardians only)
    Reform {
        /// Its title
        #[arg(value_name = "TITLE")]
        title: String,
    },
}

/// Whom to take out of the family.
#[derive(Debug, Subcommand)]
pub enum RemoveVerb {
    /// A person, with all their devices
    Member {
        /// Name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// One device; a child's mailbox is closed with it, which can't be undone
    Device {
        /// The device: its name, or the beginning of its id
        #[arg(value_name = "DEVICE")]
        device: String,
    },
}

/// A child's policy.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Show what holds for a child
    Show {
        /// Which child; without this, the one whose device this is
        #[arg(long, value_name = "NAME")]
        child: Option<String>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Change what holds for a child; what is not said stays as it is (guardians only)
    #[command(group(ArgGroup::new("what").required(true).multiple(true).args([
        "quiet", "no_quiet", "kinds", "per_day", "pause", "resume", "zone"
    ])))]
    Set {
        /// Which child
        #[arg(long, value_name = "NAME")]
        child: String,
        /// No messages with others then, like "mon-fri 20:00-07:00"; can be repeated, replaces those before
        #[arg(long, value_name = "WHEN", value_parser = quiet::quiet, conflicts_with = "no_quiet")]
        quiet: Vec<QuietHours>,
        /// No quiet times any more
        #[arg(long)]
        no_quiet: bool,
        /// What may be sent to others: text, sticker, photo, voice, with commas between; or all
        #[arg(long, value_name = "KINDS", value_parser = quiet::kinds)]
        kinds: Option<u32>,
        /// Messages to others in a day; 0: as many as one likes
        #[arg(long, value_name = "N")]
        per_day: Option<u32>,
        /// Nothing goes to others until --resume
        #[arg(long, conflicts_with = "resume")]
        pause: bool,
        /// End the pause
        #[arg(long)]
        resume: bool,
        /// Time zone the child lives in, like Europe/Berlin; UTC until it is said
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
    },
}
