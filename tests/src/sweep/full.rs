//! The disk is full: sends are refused with a code and a time to try again, reads and
//! acknowledgements go on, and when there is room again so does sending.
//!
//! On a small file system of its own: ext4 in a file where this machine lets us mount one, else
//! memory (tmpfs). And, everywhere, with writes to the spool that are told by strace that there
//! is no room (ENOSPC), so many of them: where nothing can be mounted, only the blobs' part of the
//! story is left out, and the report says so.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kinline_protocol::ids::MessageId;
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::{self, ErrorCode, RecipientStatus};

use super::cast::{BLOB_BYTES, Cast, body};
use super::client::{Client, Gone};
use super::oracle::Verdict;
use super::process::Process;
use super::stage::Stage;
use super::strace;

/// What is left for the relay when it starts.
const ROOM: u64 = 1_536 * 1_024;
/// Envelopes in a Send.
const BATCH: usize = 32;
/// Sends: far more than there is room for.
const SENDS_MAX: usize = 200;
/// How often, and when, a device sends again what was refused: a minute in all.
const AGAIN_MAX: usize = 300;
const AGAIN_EVERY: Duration = Duration::from_millis(200);
/// Writes to the spool's journals before there is no room any more, and so many that find none.
const WRITES: u32 = 40;
const WRITES_REFUSED: u32 = 60;
/// Senders of the cast are counted from zero; these envelopes are nobody else's.
const SENDER: usize = 1_000;

/// A small file system, unmounted when dropped.
#[derive(Debug)]
pub struct Small {
    mount: PathBuf,
    /// Of which kind.
    pub kind: &'static str,
}

impl Drop for Small {
    fn drop(&mut self) {
        run("umount", &["-l".as_ref(), self.mount.as_os_str()]);
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

impl Small {
    /// Mounts one at a folder; `image` is where it may keep its bytes. `None` where nobody lets us.
    ///
    /// # Panics
    /// When the image can't be made.
    #[must_use]
    pub fn mount(at: &Path, image: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        File::create(image).unwrap().set_len(8 << 20).unwrap();
        let made = run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_ref()]);
        let mounted = |kind| Self {
            mount: at.to_owned(),
            kind,
        };
        if made
            && run(
                "mount",
                &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at.as_ref()],
            )
        {
            return Some(mounted("ext4 in a file"));
        }
        let size = ["-t", "tmpfs", "-o", "size=4m", "tmpfs"].map(AsRef::as_ref);
        let [t, tmpfs, o, bytes, device] = size;
        run("mount", &[t, tmpfs, o, bytes, device, at.as_ref()]).then(|| mounted("tmpfs"))
    }
}

/// Takes all room but [`ROOM`] away; returns the file that has it.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    let page = [1_u8; 4_096];
    let mut written = 0_u64;
    while written < 64 << 20 && file.write_all(&page).is_ok() {
        written += page.len() as u64;
    }
    drop(file.sync_all());
    file.set_len(written.saturating_sub(ROOM)).unwrap();
    file.sync_all().unwrap();
    path
}

/// How it went.
#[derive(Debug)]
pub struct Full {
    /// What stood in for a small disk; `None` where no file system could be mounted.
    pub kind: Option<&'static str>,
    /// What was found.
    pub verdict: Verdict,
}

/// Fills a relay's disk, and makes room again.
///
/// # Panics
/// When the system refuses.
pub async fn fill_up(stage: &Stage) -> Full {
    let folder = stage.fresh();
    let data = folder.path().join("data");
    let Some(small) = Small::mount(&data, &folder.path().join("image")) else {
        return Full {
            kind: None,
            verdict: Verdict::default(),
        };
    };
    let filler = fill(&data);
    let relay = Process::start(&stage.program, folder.path(), &[]).await;
    let mut verdict = Verdict::default();
    match relay.address.clone() {
        None => verdict
            .wrong
            .push("it does not start on a small disk".into()),
        Some(address) => {
            let mut story = Story::new(&address, &stage.cast, &mut verdict);
            if story.tell(&filler).await.is_err() {
                verdict
                    .wrong
                    .push("it ended because its disk was full".into());
            }
        }
    }
    judge_end(relay, &mut verdict).await;
    Full {
        kind: Some(small.kind),
        verdict,
    }
}

/// The same with a spool that finds no room for a while, which needs nobody's leave.
///
/// # Panics
/// When the system refuses.
pub async fn run_dry(stage: &Stage) -> Full {
    let folder = stage.fresh();
    let data = folder.path().join("data");
    let journal = |number: u32| data.join(format!("spool/{number:08x}.journal"));
    let paths: Vec<PathBuf> = (1..=64).map(journal).collect();
    let trace = folder.path().join("trace");
    let last = WRITES + WRITES_REFUSED;
    let witness = strace::without_room(WRITES, last, &paths, &trace);
    let relay = Process::start(&stage.program, folder.path(), &witness).await;
    let mut verdict = Verdict::default();
    match relay.address.clone() {
        None => verdict.wrong.push("it does not start".into()),
        Some(address) => {
            let mut story = Story::new(&address, &stage.cast, &mut verdict);
            if story.tell_of_the_spool().await.is_err() {
                verdict
                    .wrong
                    .push("it ended because its spool found no room".into());
            }
        }
    }
    judge_end(relay, &mut verdict).await;
    let watched = std::fs::read_to_string(&trace).unwrap();
    if !watched.contains("(INJECTED)") {
        verdict
            .wrong
            .push("no write found that there is no room".into());
    }
    Full {
        kind: Some("ENOSPC from the spool's writes"),
        verdict,
    }
}

async fn judge_end(relay: Process, verdict: &mut Verdict) {
    let ended = relay.terminate().await;
    if !ended.status.success() {
        verdict
            .wrong
            .push(format!("it ended with {}", ended.status));
    }
    if !verdict.is_clean() {
        println!("{}", ended.log);
    }
}

struct Story<'a> {
    address: &'a RelayAddress,
    cast: &'a Cast,
    verdict: &'a mut Verdict,
    acknowledged: BTreeSet<MessageId>,
    round: usize,
}

impl<'a> Story<'a> {
    const fn new(address: &'a RelayAddress, cast: &'a Cast, verdict: &'a mut Verdict) -> Self {
        Self {
            address,
            cast,
            verdict,
            acknowledged: BTreeSet::new(),
            round: 0,
        }
    }

    async fn tell_of_the_spool(&mut self) -> Result<(), Gone> {
        let mut sender = Client::connect(self.address).await?;
        sender
            .open(&self.cast.bob)
            .await?
            .expect("there is room for a mailbox");
        self.fill(&mut sender).await?;
        self.take_everything().await?;
        self.send_again(&mut sender).await
    }

    async fn tell(&mut self, filler: &Path) -> Result<(), Gone> {
        let (address, cast) = (self.address, self.cast);
        let mut sender = Client::connect(address).await?;
        for mailbox in [&cast.bob, &cast.uploader] {
            sender
                .open(mailbox)
                .await?
                .expect("there is room for a mailbox");
        }
        sender
            .attach(&cast.uploader, 1)
            .await?
            .expect("it is there");
        let (read_hash, owner_hash) = cast.blobs[0].hashes();
        let create = Ask::CreateBlob(wire::CreateBlob {
            read_hash: read_hash.to_vec().into(),
            owner_hash: owner_hash.to_vec().into(),
            size: BLOB_BYTES as u64,
            ticket: String::new(),
        });
        sender.ask(create).await?.expect("there is room for a row");
        self.fill(&mut sender).await?;
        // Whatever room is left goes too.
        {
            let mut rest = File::options().append(true).open(filler).unwrap();
            while rest.write_all(&[1; 512]).is_ok() {}
        }
        let blob = &cast.blobs[0];
        let put = blob.put(address, 0, blob.bytes.clone()).await?;
        if put.status != 507 {
            self.wrong(&format!("a blob is answered {} on a full disk", put.status));
        }
        self.take_everything().await?;
        // Room again.
        std::fs::remove_file(filler).unwrap();
        self.send_again(&mut sender).await?;
        let offset = blob.look(address).await?.offset.unwrap_or_default();
        let rest = blob.bytes.slice(usize::try_from(offset).unwrap()..);
        let put = blob
            .put(address, usize::try_from(offset).unwrap(), rest)
            .await?;
        let fetched = blob.fetch(address).await?;
        if put.status != 204 || fetched.body != blob.bytes {
            let (put, fetched) = (put.status, fetched.status);
            let sentence = format!("there is room, and a blob is answered {put}, then {fetched}");
            self.wrong(&sentence);
        }
        Ok(())
    }

    /// Sends until that is refused, as it must be.
    async fn fill(&mut self, sender: &mut Client) -> Result<(), Gone> {
        let refused = self.send_until_refused(sender).await?;
        self.verdict.acknowledged += self.acknowledged.len();
        match refused {
            None => self.wrong("its disk never fills"),
            Some(error) if error.code() != ErrorCode::NoRoom => {
                self.wrong(&format!("a full disk is called {:?}", error.code()));
            }
            Some(error) if error.closing || error.retry_after_ms == 0 => {
                self.wrong("a full disk ends the connection, or says no time");
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// There is room again: a device that goes on trying gets through.
    async fn send_again(&mut self, sender: &mut Client) -> Result<(), Gone> {
        let mut went_on = Err(None);
        for _ in 0..AGAIN_MAX {
            match self.send(sender).await? {
                Ok(_) => {
                    went_on = Ok(());
                    break;
                }
                Err(error) => went_on = Err(Some(error)),
            }
            tokio::time::sleep(AGAIN_EVERY).await; // as a device waits before it sends again
        }
        if let Err(error) = went_on {
            self.wrong(&format!(
                "there is room, and sending does not go on: {error:?}"
            ));
        }
        Ok(())
    }

    fn wrong(&mut self, sentence: &str) {
        self.verdict.wrong.push(sentence.to_owned());
    }

    /// Sends a batch to Bob; how many were acknowledged.
    async fn send(&mut self, sender: &mut Client) -> Result<Result<usize, wire::Error>, Gone> {
        self.round += 1;
        let bob = &self.cast.bob;
        let grant = bob.grant(sender.day, &self.cast.lasting);
        let messages: Vec<MessageId> = (0..BATCH)
            .map(|place| self.cast.message(SENDER, self.round, place))
            .collect();
        let deliveries = messages
            .iter()
            .map(|message| wire::Delivery {
                mailbox: bob.id.to_bytes(),
                grant: grant.clone(),
                message_id: message.to_bytes(),
                envelope: body(message),
            })
            .collect();
        let send = wire::Send {
            deliveries,
            commit: None,
            generation: 1,
        };
        Ok(sender.send(send).await?.map(|result| {
            let answered = messages.iter().zip(&result.recipients);
            let ok = answered.filter(|(_, answer)| answer.status() == RecipientStatus::Ok);
            let before = self.acknowledged.len();
            self.acknowledged.extend(ok.map(|(message, _)| *message));
            self.acknowledged.len() - before
        }))
    }

    async fn send_until_refused(
        &mut self,
        sender: &mut Client,
    ) -> Result<Option<wire::Error>, Gone> {
        for _ in 0..SENDS_MAX {
            if let Err(error) = self.send(sender).await? {
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    /// Bob comes: everything acknowledged is there once, and his acknowledgements are taken.
    async fn take_everything(&mut self) -> Result<(), Gone> {
        let mut client = Client::connect(self.address).await?;
        let waiting = client.attach(&self.cast.bob, 64).await?;
        let Ok(waiting) = waiting else {
            self.wrong("nobody attaches while the disk is full");
            return Ok(());
        };
        let mut seen = BTreeSet::new();
        for _ in 0..waiting {
            let deliver = client.delivery().await?;
            let message = MessageId::try_from(&deliver.message_id).expect("16 bytes");
            if deliver.envelope != body(&message) {
                self.wrong("an envelope came with other bytes");
            }
            if !seen.insert(message) {
                self.verdict.doubled.push(format!("{message:?} of bob"));
            }
            client.acknowledge(deliver.number).await?;
        }
        client.delivered().await?;
        self.verdict.recovered += self.acknowledged.intersection(&seen).count();
        for message in self.acknowledged.difference(&seen) {
            self.verdict.lost.push(format!("{message:?} of bob"));
        }
        // He comes again, and what he acknowledged does not.
        let mut again = Client::connect(self.address).await?;
        match again.attach(&self.cast.bob, 64).await? {
            Ok(0) => {}
            _ => self.wrong("what was acknowledged while the disk was full comes again"),
        }
        Ok(())
    }
}
