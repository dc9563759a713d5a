//! What can be said about accounts, and about coming back.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueHint};
use kinline_protocol::server_name::RelayAddress;

/// An account.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// Folder with the phone's encrypted state; one process at a time
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub state: PathBuf,
    /// File with the passphrase that protects the state (its last line break is dropped); or set KINLINE_PASSPHRASE
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub passphrase_file: Option<PathBuf>,
    /// Seconds to wait for the relay and for other devices
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// What is done with the account.
    #[command(subcommand)]
    pub verb: AccountVerb,
}

/// Who logs in.
#[derive(Debug, Clone, Args)]
pub struct Who {
    /// Login name: any words that you will remember; they never leave this device
    #[arg(long, value_name = "NAME")]
    pub login: String,
    /// File with the password (its last line break is dropped); or set KINLINE_PASSWORD; else it is asked for
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub password_file: Option<PathBuf>,
}

/// What is done with an account.
#[derive(Debug, Subcommand)]
pub enum AccountVerb {
    /// Make an account and print its recovery code, so that you can come back when every phone is lost
    Register {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// Admission code or ticket, for a relay that asks for one
        #[arg(long, value_name = "CODE", default_value = "")]
        admission: String,
        /// Make no recovery code: another guardian must then let you in, or you wait for a day
        #[arg(long)]
        no_code: bool,
        /// Where the code goes.
        #[command(flatten)]
        print: Print,
    },
    /// Log in on this phone: fetch tickets, see failed logins, keep what is put by up to date from here too
    Login {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// The code.
        #[command(flatten)]
        code: Code,
    },
    /// Say whether you could come back today if every phone were lost, and if not, why not
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the blinded id of a login name at this phone's relay: what an operator marks a decoy account by
    Id {
        /// Login name
        #[arg(long, value_name = "NAME")]
        login: String,
    },
    /// Change the password, and print a new recovery code that goes with it
    ChangePassword {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// File with the new password; else it is asked for
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        new_password_file: Option<PathBuf>,
        /// Where the code goes.
        #[command(flatten)]
        print: Print,
    },
    /// Print another recovery code; the one before leads back no more
    NewCode {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// Where the code goes.
        #[command(flatten)]
        print: Print,
    },
    /// Delete the account and what is put by with it
    Delete {
        /// Who.
        #[command(flatten)]
        who: Who,
    },
    /// Come back: this folder becomes the new phone of a guardian who has lost every device
    Recover {
        /// Relay of the family: wss://host:port#pin=…
        #[arg(long, value_name = "URI")]
        relay: RelayAddress,
        /// Who.
        #[command(flatten)]
        who: Who,
        /// The code.
        #[command(flatten)]
        code: Code,
        /// What this device calls itself
        #[arg(long, value_name = "NAME", default_value = "phone")]
        device_name: String,
        /// Admission code or ticket, for a relay that asks for one
        #[arg(long, value_name = "CODE", default_value = "")]
        admission: String,
        /// Don't wait until the family has let it in
        #[arg(long)]
        no_wait: bool,
    },
    /// Show which guardians ask to come back by their password; having seen it starts their day
    Requests {
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// Let a guardian back in who asks, after a call in which the pictures were compared
    Allow {
        /// Which wish: the beginning of its id, from `requests`
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Don't let somebody in who asks to come back as this guardian
    Veto {
        /// Which wish: the beginning of its id, from `requests`
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// Where a new recovery code goes.
#[derive(Debug, Clone, Default, Args)]
pub struct Print {
    /// Also write the words into this file, which must not be there yet
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub code_out: Option<PathBuf>,
    /// Also write the QR code into this file, as PNG
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub png: Option<PathBuf>,
    /// Print no QR code, only the words
    #[arg(long)]
    pub no_qr: bool,
}

/// A recovery code that was printed.
#[derive(Debug, Clone, Default, Args)]
#[command(group(ArgGroup::new("recovery").args(["code", "code_file"])))]
pub struct Code {
    /// The recovery code: its twelve words, or the text of its QR code (others on this machine can see what is typed here: a file is safer)
    #[arg(long, value_name = "WORDS")]
    pub code: Option<String>,
    /// Read the recovery code from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub code_file: Option<PathBuf>,
}
