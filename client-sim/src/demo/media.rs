//! A photo and a voice message on their way from one device to another, and what became of them.

use std::path::{Path, PathBuf};

use kinline_media::{audio, photo};
use kinline_protocol::content::Body;
use kinline_protocol::ids::ConversationId;
use kinline_protocol::primitives::hash::sha256;

use super::Obstacle;
use super::cast::{Broken, Person, broken};
use super::report::{AudioReport, PhotoReport};
use super::secrets::Secrets;
use crate::device::{Prepared, fetch_attachment};

/// Below this, what arrived does not look or sound like what was sent.
const LIKENESS_MIN: f64 = 0.9;
/// An Opus packet: the longest difference that cutting into packets may leave.
const SECONDS_OFF_MAX: f64 = 0.02;

/// The files that are sent: somebody's own, or the small ones that ship with the project.
pub(super) struct Files {
    pub(super) photo: PathBuf,
    pub(super) audio: PathBuf,
}

const PHOTO: (&str, &[u8]) = (
    "Schulfest-am-Weiher.jpg",
    include_bytes!("../../assets/photo.jpg"),
);
const AUDIO: (&str, &[u8]) = (
    "Gutenachtgruss-fuer-Mila.flac",
    include_bytes!("../../assets/voice.flac"),
);

impl Files {
    pub(super) fn choose(
        photo: Option<&Path>,
        audio: Option<&Path>,
        home: &Path,
    ) -> Result<Self, Obstacle> {
        Ok(Self {
            photo: chosen(photo, &PHOTO, home)?,
            audio: chosen(audio, &AUDIO, home)?,
        })
    }

    /// File names and everything that the files say about who made them, where and when.
    pub(super) fn secrets(&self, secrets: &mut Secrets) -> Result<(), Obstacle> {
        for (file, values) in [
            (
                &self.photo,
                photo::metadata_values as fn(&[u8]) -> Vec<(String, String)>,
            ),
            (&self.audio, audio::metadata_values),
        ] {
            secrets.add(&file.file_stem().unwrap_or_default().to_string_lossy());
            let bytes = std::fs::read(file).map_err(|error| Obstacle::file(file, &error))?;
            for (_, value) in values(&bytes) {
                secrets.add_metadata(&value);
            }
        }
        Ok(())
    }
}

fn chosen(own: Option<&Path>, shipped: &(&str, &[u8]), home: &Path) -> Result<PathBuf, Obstacle> {
    if let Some(own) = own {
        return match std::fs::metadata(own) {
            Ok(_) => Ok(own.to_owned()),
            Err(error) => Err(Obstacle(format!(
                "the file to send, {}, can't be read: {error}",
                own.display()
            ))),
        };
    }
    let folder = home.join("media");
    std::fs::create_dir_all(&folder).map_err(|error| Obstacle::file(&folder, &error))?;
    let path = folder.join(shipped.0);
    std::fs::write(&path, shipped.1).map_err(|error| Obstacle::file(&path, &error))?;
    Ok(path)
}

/// Sends a file from one to all others; `to` fetches and decrypts it. Returns the file as it
/// was, as it was sent, and as it came.
async fn carry(
    from: &Person,
    to: &[&Person],
    conversation: ConversationId,
    prepared: Prepared,
    extension: &str,
) -> Result<(Vec<u8>, Vec<u8>), Broken> {
    let Prepared {
        body,
        blob,
        cleaned,
    } = prepared;
    let content = from.send(conversation, body, None, 0, Some(blob)).await?;
    let mut received = Vec::new();
    for person in to {
        let shown = person.sees(content).await?;
        let pointer = shown
            .attachment()
            .ok_or_else(|| broken("it came without its attachment"))?;
        let path = fetch_attachment(&person.device, content, pointer, extension, None).await?;
        received = std::fs::read(&path)?;
        if received != cleaned {
            return Err(broken(format!(
                "what {} got is not what was sent",
                person.name
            )));
        }
    }
    Ok((cleaned, received))
}

/// Sends a photo and compares.
pub(super) async fn photo(
    from: &Person,
    to: &[&Person],
    conversation: ConversationId,
    file: &Path,
) -> Result<PhotoReport, Broken> {
    let original = std::fs::read(file)?;
    let (folder, path) = (from.folder(), file.to_owned());
    let prepared =
        tokio::task::spawn_blocking(move || crate::device::photo(&folder, &path, "")).await??;
    let (width, height) = match &prepared.body {
        Body::Photo(photo) => (photo.width, photo.height),
        _ => return Err(broken("a photo became something else")),
    };
    let (sent, received) = carry(from, to, conversation, prepared, "jpg").await?;
    let report = PhotoReport {
        bytes_in: original.len() as u64,
        bytes_received: received.len() as u64,
        metadata_fields_in: photo::metadata_fields(&original).len(),
        metadata_fields_received: photo::metadata_fields(&received).len(),
        sha256_sent: hex::encode(sha256(&sent)),
        sha256_received: hex::encode(sha256(&received)),
        width,
        height,
        likeness: photo::looks_same(&original, &received)?,
    };
    if report.metadata_fields_received > 0 {
        return Err(broken(
            "the photo that came still says who took it, where or when",
        ));
    }
    if report.likeness < LIKENESS_MIN {
        return Err(broken(
            "the photo that came does not look like the one that was taken",
        ));
    }
    Ok(report)
}

/// Sends a voice message and compares.
pub(super) async fn voice(
    from: &Person,
    to: &[&Person],
    conversation: ConversationId,
    file: &Path,
) -> Result<AudioReport, Broken> {
    let original = std::fs::read(file)?;
    let (folder, path) = (from.folder(), file.to_owned());
    let prepared =
        tokio::task::spawn_blocking(move || crate::device::voice(&folder, &path)).await??;
    let (sent, received) = carry(from, to, conversation, prepared, "ogg").await?;
    let report = AudioReport {
        bytes_in: original.len() as u64,
        bytes_received: received.len() as u64,
        seconds_in: audio::duration_seconds(&original)?,
        seconds_received: audio::decode(&received)?.seconds,
        metadata_fields_in: audio::metadata_fields(&original).len(),
        metadata_fields_received: audio::metadata_fields(&received).len(),
        sha256_sent: hex::encode(sha256(&sent)),
        sha256_received: hex::encode(sha256(&received)),
        likeness: audio::similarity(&original, &received)?,
    };
    if report.metadata_fields_received > 0 {
        return Err(broken("the recording that came still carries tags"));
    }
    if (report.seconds_in - report.seconds_received).abs() > SECONDS_OFF_MAX {
        return Err(broken(
            "the recording that came is not as long as the one that was spoken",
        ));
    }
    if report.likeness < LIKENESS_MIN {
        return Err(broken(
            "the recording that came does not sound like the one that was spoken",
        ));
    }
    Ok(report)
}
