//! The first, coarse step of scaling: whole blocks of pixels are averaged, so that the fine
//! filter after it never sees more than twice its target. It also does away with transparency.

use image::{DynamicImage, RgbImage};

/// An RGB picture whose longer side is below twice `side_max`, transparent parts white.
pub(super) fn shrink_to_rgb(picture: DynamicImage, side_max: u32) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    let factor = (width.max(height) / side_max.max(1)).max(1);
    match picture {
        DynamicImage::ImageRgb8(rgb) if factor == 1 => rgb,
        DynamicImage::ImageRgb8(rgb) => shrink::<3>(rgb.as_raw(), width, height, factor),
        DynamicImage::ImageLuma8(luma) => shrink::<1>(luma.as_raw(), width, height, factor),
        DynamicImage::ImageLumaA8(luma) => shrink::<2>(luma.as_raw(), width, height, factor),
        DynamicImage::ImageRgba8(rgba) => shrink::<4>(rgba.as_raw(), width, height, factor),
        other if other.color().has_alpha() => {
            shrink::<4>(other.into_rgba8().as_raw(), width, height, factor)
        }
        other => shrink::<3>(other.into_rgb8().as_raw(), width, height, factor),
    }
}

/// Averages blocks of `factor` x `factor` pixels of `N` channels (grey, grey and alpha, RGB,
/// RGBA). Rows and columns that fill no block are averaged into smaller ones.
fn shrink<const N: usize>(raw: &[u8], width: u32, height: u32, factor: u32) -> RgbImage {
    let (out_width, out_height) = (width.div_ceil(factor), height.div_ceil(factor));
    let step = crate::bytes::index(factor);
    let row_bytes = crate::bytes::index(width) * N;
    let mut out = RgbImage::new(out_width, out_height);
    // Red, green, blue and how many pixels, of each block in one row of blocks.
    let mut sums = vec![[0_u32; 4]; crate::bytes::index(out_width)];
    let bands = raw.chunks(row_bytes.saturating_mul(step).max(1));
    for (out_row, band) in out.rows_mut().zip(bands) {
        sums.fill([0; 4]);
        for row in band.chunks_exact(row_bytes.max(1)) {
            for (block, sum) in row.chunks(N * step).zip(sums.iter_mut()) {
                let [red, green, blue, count] = sum;
                for pixel in block.chunks_exact(N) {
                    let [r, g, b] = on_white(pixel);
                    *red += u32::from(r);
                    *green += u32::from(g);
                    *blue += u32::from(b);
                    *count += 1;
                }
            }
        }
        for (pixel, [red, green, blue, count]) in out_row.zip(sums.iter()) {
            let mean = |sum: &u32| u8::try_from((sum + count / 2) / count.max(&1)).unwrap_or(255);
            pixel.0 = [mean(red), mean(green), mean(blue)];
        }
    }
    out
}

/// One pixel in front of white.
fn on_white(pixel: &[u8]) -> [u8; 3] {
    let over = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        u8::try_from((value * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(255)
    };
    match *pixel {
        [r, g, b, a] => [over(r, a), over(g, a), over(b, a)],
        [r, g, b] => [r, g, b],
        [l, a] => [over(l, a); 3],
        [l] => [l; 3],
        _ => [255; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::shrink_to_rgb;
    use image::{DynamicImage, GrayImage, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

    #[test]
    fn blocks_are_averaged_also_at_the_rim() {
        let mut picture = RgbImage::from_pixel(5, 4, Rgb([10, 20, 30]));
        picture.put_pixel(0, 0, Rgb([50, 20, 30]));
        picture.put_pixel(4, 3, Rgb([30, 40, 50]));
        let small = shrink_to_rgb(DynamicImage::ImageRgb8(picture), 2);
        assert_eq!(small.dimensions(), (3, 2));
        assert_eq!(small.get_pixel(0, 0), &Rgb([20, 20, 30]));
        assert_eq!(small.get_pixel(1, 1), &Rgb([10, 20, 30]));
        assert_eq!(small.get_pixel(2, 1), &Rgb([20, 30, 40]));
    }

    #[test]
    fn transparent_becomes_white() {
        let rgba = RgbaImage::from_pixel(2, 2, Rgba([200, 0, 0, 0]));
        assert_eq!(
            shrink_to_rgb(DynamicImage::ImageRgba8(rgba), 100).get_pixel(1, 1),
            &Rgb([255, 255, 255])
        );
        let half = image::ImageBuffer::from_pixel(1, 1, LumaA([0_u8, 128]));
        assert_eq!(
            shrink_to_rgb(DynamicImage::ImageLumaA8(half), 100).get_pixel(0, 0),
            &Rgb([127, 127, 127])
        );
    }

    #[test]
    fn grey_and_16_bit_become_rgb() {
        let grey = GrayImage::from_pixel(3, 3, image::Luma([77]));
        assert_eq!(
            shrink_to_rgb(DynamicImage::ImageLuma8(grey), 100).get_pixel(2, 2),
            &Rgb([77, 77, 77])
        );
        let deep = image::ImageBuffer::from_pixel(3, 3, Rgb([0xFFFF_u16, 0, 0x8080]));
        assert_eq!(
            shrink_to_rgb(DynamicImage::ImageRgb16(deep), 100).get_pixel(0, 0),
            &Rgb([255, 0, 128])
        );
    }
}
