//! Plants every leak in a scratch copy of the loot.

use std::error::Error;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use md5::Md5;
use rusqlite::{Connection, OpenFlags, params};
use sha2::{Digest as _, Sha256, Sha512};

use super::catch::LEAKS;
use super::{SERVER_NAME, forge};
use crate::guesses::account_id;
use crate::loot::Loot;
use crate::{Options, ThiefError};

/// The database that is made where the loot has none that can be written.
const OWN_DATABASE: &str = "control.sqlite";

/// From this leak on they are about accounts.
const FIRST_ABOUT_ACCOUNTS: usize = 20;

/// What planting one leak may run into.
type Planted = Result<(), Box<dyn Error>>;

const TABLES: &str = "
    CREATE TABLE control_person (id BLOB, name TEXT);
    CREATE TABLE control_preview (id BLOB, picture BLOB);
    CREATE TABLE control_account (email_hash BLOB, name_hash TEXT);
    CREATE TABLE control_blob (read_secret BLOB, read_hash BLOB);
    CREATE TABLE control_draft (content BLOB);
    CREATE TABLE control_cache (value BLOB);
    CREATE TABLE control_identity (seed BLOB, public_key BLOB);
    CREATE TABLE control_envelope_short (mailbox BLOB, message BLOB, body BLOB);
    CREATE TABLE control_envelope_open (mailbox BLOB, message BLOB, body BLOB);
    CREATE TABLE control_envelope_sealed (mailbox BLOB, message BLOB, body BLOB);
    CREATE TABLE control_session (sealing_key BLOB);
    CREATE TABLE control_login (salt BLOB, salted BLOB, unsalted BLOB, account_id BLOB);
    CREATE TABLE control_belongs (pair BLOB);
    CREATE TABLE control_vault (id BLOB, request_part BLOB);
    CREATE TABLE control_box (id BLOB);
    CREATE TABLE control_deleted (id INTEGER PRIMARY KEY, content TEXT);
";

/// Plants all of [`LEAKS`] below `scratch`; gives the name of the database that was used.
pub(crate) fn all(scratch: &Path, options: &Options) -> Result<String, ThiefError> {
    let failed = |error: Box<dyn Error>| ThiefError::Control {
        name: "tables for leaks",
        reason: error.to_string(),
    };
    let (connection, database) = open(scratch).map_err(failed)?;
    for (index, leak) in LEAKS.iter().enumerate() {
        let planted = if index < FIRST_ABOUT_ACCOUNTS {
            plant(index, leak.canary, scratch, &connection)
        } else {
            plant_about_accounts(index, leak.canary, options, &connection)
        };
        planted.map_err(|error| ThiefError::Control {
            name: leak.name,
            reason: error.to_string(),
        })?;
    }
    connection
        .close()
        .map_err(|(_, error)| failed(error.into()))?;
    Ok(database)
}

/// The first copied database that can be written, or one of our own.
fn open(scratch: &Path) -> Result<(Connection, String), Box<dyn Error>> {
    for file in Loot::list(scratch)?
        .files
        .iter()
        .filter(|file| file.is_database())
    {
        if let Ok(connection) = prepare(&file.path, OpenFlags::SQLITE_OPEN_READ_WRITE) {
            return Ok((connection, file.name.clone()));
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    Ok((
        prepare(&scratch.join(OWN_DATABASE), flags)?,
        OWN_DATABASE.to_owned(),
    ))
}

fn prepare(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    make_writable(path);
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA secure_delete=OFF; BEGIN IMMEDIATE;")?;
    connection.execute_batch(TABLES)?;
    connection.execute_batch("COMMIT")?;
    Ok(connection)
}

/// A loot may be kept read-only, and copies keep permissions.
fn make_writable(path: &Path) {
    if let Ok(meta) = std::fs::metadata(path) {
        let mut permissions = meta.permissions();
        #[expect(
            clippy::permissions_set_readonly_false,
            reason = "a scratch copy, in a folder that only we enter"
        )]
        permissions.set_readonly(false);
        // Where this fails, opening fails and says so.
        let _ = std::fs::set_permissions(path, permissions);
    }
}

fn plant(index: usize, canary: &str, scratch: &Path, database: &Connection) -> Planted {
    let file = |name: &str, bytes: &[u8]| std::fs::write(scratch.join(name), bytes);
    let (mailbox, message) = (forge::noise("mailbox", 16), forge::noise("message", 16));
    match index {
        0 => {
            let row = params![forge::noise("person", 16), canary];
            database.execute("INSERT INTO control_person VALUES (?1, ?2)", row)?;
        }
        1 => file(
            "control-debug.log",
            format!("DEBUG relay::deliver content=\"{canary}\"\n").as_bytes(),
        )?,
        2 => file(&format!("{canary}.part"), &forge::noise("file", 300))?,
        3 => {
            let row = params![forge::noise("preview", 16), forge::jpeg_with_text(canary)];
            database.execute("INSERT INTO control_preview VALUES (?1, ?2)", row)?;
        }
        4 => file("control-upload.tmp", &forge::jpeg_with_camera(canary))?,
        5 => {
            let hash = Md5::digest(canary).to_vec();
            database.execute(
                "INSERT INTO control_account (email_hash) VALUES (?1)",
                params![hash],
            )?;
        }
        6 => {
            let hash = hex::encode(Sha256::digest(canary.to_lowercase()));
            database.execute(
                "INSERT INTO control_account (name_hash) VALUES (?1)",
                params![hash],
            )?;
        }
        7 => {
            let secret = forge::key("control read secret");
            let row = params![secret.as_slice(), Sha256::digest(secret).to_vec()];
            database.execute("INSERT INTO control_blob VALUES (?1, ?2)", row)?;
        }
        8 => {
            let text: Vec<u8> = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
            database.execute("INSERT INTO control_draft VALUES (?1)", params![text])?;
        }
        9 => {
            std::fs::create_dir_all(scratch.join("control-blobs"))?;
            let around = (forge::noise("before", 5_000), forge::noise("after", 5_000));
            file(
                "control-blobs/9f.bin",
                &[around.0, forge::gzip(canary)?, around.1].concat(),
            )?;
        }
        10 => {
            database.execute(
                "INSERT INTO control_cache VALUES (?1)",
                params![forge::zlib(canary)?],
            )?;
        }
        11 => file("control-spill.tmp", &forge::zstd(canary))?,
        12 => {
            let line = format!(
                "TRACE frame body={}\n",
                STANDARD.encode(format!("\x0a\x25{canary}"))
            );
            file("control-trace.log", line.as_bytes())?;
        }
        13 => {
            let seed = forge::key("control signing seed");
            let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
            let row = params![seed.as_slice(), public.as_slice()];
            database.execute("INSERT INTO control_identity VALUES (?1, ?2)", row)?;
        }
        14 => {
            let row = params![mailbox, message, forge::noise("short", 1_000)];
            database.execute(
                "INSERT INTO control_envelope_short VALUES (?1, ?2, ?3)",
                row,
            )?;
        }
        15 => {
            let body: Vec<u8> = b"{\"text\":\"Dear all, this was never sealed\"}".repeat(25);
            let body = body.get(..1024).ok_or("too short a body")?;
            let row = params![mailbox, message, body];
            database.execute("INSERT INTO control_envelope_open VALUES (?1, ?2, ?3)", row)?;
        }
        16 => {
            let key = forge::key("control sealing key");
            let body = forge::envelope(key, &mailbox, &message).ok_or("it could not be sealed")?;
            let row = params![mailbox, message, body];
            database.execute(
                "INSERT INTO control_envelope_sealed VALUES (?1, ?2, ?3)",
                row,
            )?;
            database.execute(
                "INSERT INTO control_session VALUES (?1)",
                params![key.as_slice()],
            )?;
        }
        17 => file(
            "control-access.log",
            b"INFO accepted a connection peer=203.0.113.77:51234\n",
        )?,
        18 => {
            let label = ["PRIVATE", "KEY"].join(" ");
            let body = STANDARD.encode(forge::noise("pem", 48));
            let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
            file("control-tls.pem", pem.as_bytes())?;
        }
        19 => {
            for content in ["first", canary, "last"] {
                database.execute(
                    "INSERT INTO control_deleted (content) VALUES (?1)",
                    params![content],
                )?;
            }
            database.execute(
                "DELETE FROM control_deleted WHERE content = ?1",
                params![canary],
            )?;
        }
        _ => return Err("there is no such leak".into()),
    }
    Ok(())
}

fn plant_about_accounts(
    index: usize,
    canary: &str,
    options: &Options,
    database: &Connection,
) -> Planted {
    let (account, mailbox) = (forge::key("control account"), forge::noise("box", 16));
    match index {
        20 => {
            let hash = Sha512::digest(canary).to_vec();
            let sql = "INSERT INTO control_login (unsalted) VALUES (?1)";
            database.execute(sql, params![hash])?;
        }
        21 => {
            let salt = forge::noise("control salt", 16);
            let hash = Sha256::digest([&salt, canary.as_bytes()].concat()).to_vec();
            let sql = "INSERT INTO control_login (salt, salted) VALUES (?1, ?2)";
            database.execute(sql, params![salt, hash])?;
        }
        22 => {
            let id = account_id(canary, SERVER_NAME, options.stretching);
            let id = id.ok_or("it could not be stretched")?;
            let sql = "INSERT INTO control_login (account_id) VALUES (?1)";
            database.execute(sql, params![id.as_slice()])?;
        }
        23 => {
            let pair = [account.as_slice(), &mailbox].concat();
            database.execute("INSERT INTO control_belongs VALUES (?1)", params![pair])?;
            database.execute("INSERT INTO control_box VALUES (?1)", params![mailbox])?;
        }
        24 => {
            let part = b"{\"family\":\"never sealed\",\"addresses\":[\"tablet\"]}".repeat(30);
            let row = params![account.as_slice(), part];
            database.execute("INSERT INTO control_vault VALUES (?1, ?2)", row)?;
        }
        _ => return Err("there is no such leak".into()),
    }
    Ok(())
}
