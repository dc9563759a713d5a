use crate::file::FILE_BYTES_MAX;

/// What a recording may cost to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLimits {
    /// Bytes of the file.
    pub file_bytes_max: u64,
    /// Length in seconds.
    pub seconds_max: u32,
    /// Channels.
    pub channels_max: u16,
    /// Lowest sample rate in Hz.
    pub rate_min: u32,
    /// Highest sample rate in Hz.
    pub rate_max: u32,
    /// Bitrate of the cleaned recording in bit/s.
    pub bits_per_second: u32,
}

impl Default for AudioLimits {
    /// 64 MiB of file, 10 minutes, 8 channels, 8 to 192 kHz; 24 kbit/s out, at which Opus carries
    /// speech without audible loss: 10 minutes are 1.8 MB.
    fn default() -> Self {
        Self {
            file_bytes_max: FILE_BYTES_MAX,
            seconds_max: 600,
            channels_max: 8,
            rate_min: 8_000,
            rate_max: 192_000,
            bits_per_second: 24_000,
        }
    }
}
