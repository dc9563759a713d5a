use crate::file::FILE_BYTES_MAX;

/// What a photo may cost to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhotoLimits {
    /// Bytes of the file.
    pub file_bytes_max: u64,
    /// Width times height.
    pub pixels_max: u64,
    /// Width, and height.
    pub side_max: u32,
    /// Bytes that decoding may need: the picture's own and the decoder's coefficients.
    pub decode_bytes_max: u64,
    /// Longer side of the cleaned photo, in pixels. Smaller photos keep their size.
    pub side_out_max: u32,
    /// JPEG quality of the cleaned photo, 1 to 100.
    pub quality: u8,
}

impl Default for PhotoLimits {
    /// 64 MiB of file; 80 megapixels, 20,000 a side (today's phones take 12 to 50; a panorama is
    /// about 16,000 x 4,000); 512 MiB to decode (80 megapixels of RGB are 240 MB, and a
    /// progressive JPEG holds 16-bit coefficients twice as large beside them, so it may have
    /// about 59); 2,048 pixels and quality 85 out, which is about 700 KB.
    fn default() -> Self {
        Self {
            file_bytes_max: FILE_BYTES_MAX,
            pixels_max: 80_000_000,
            side_max: 20_000,
            decode_bytes_max: 512 << 20,
            side_out_max: 2_048,
            quality: 85,
        }
    }
}
