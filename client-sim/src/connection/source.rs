//! Where an upload's bytes come from.

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};

/// Bytes of one upload request: what is lost at most when the connection breaks.
pub(super) const PIECE_BYTES: usize = 2 * 1_024 * 1_024;

/// Where an upload's bytes come from.
#[derive(Debug)]
pub(crate) enum Source {
    Memory(Bytes),
    File(File),
}

impl Source {
    /// At most [`PIECE_BYTES`] from `offset` of an upload of `size` bytes.
    pub(super) async fn piece(&mut self, offset: u64, size: u64) -> std::io::Result<Bytes> {
        let left = size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(length);
                if end > bytes.len() {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                Ok(bytes.slice(start..end))
            }
            Self::File(file) => {
                file.seek(SeekFrom::Start(offset)).await?;
                let mut piece = vec![0; length];
                file.read_exact(&mut piece).await?;
                Ok(piece.into())
            }
        }
    }
}
