//! Whether two photos show the same, by their upright, small, grey versions: structural similarity
//! (Wang et al. 2004, over 8 x 8 blocks) for the details, correlation for the whole.

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage};

use super::decode::decode_upright;
use super::{PhotoError, PhotoLimits};

/// Side of the square that both photos are scaled to.
const SIDE: u32 = 128;

/// Side of one block.
const BLOCK: u32 = 8;

/// How alike two photos are, each turned upright first: 1.0 for the same picture, above 0.95 for
/// a re-encoded one, below 0.8 for one that is turned, mirrored or another. Pictures of a
/// different shape (more than 2 % between the quotients of their sides) give 0.0.
///
/// The lower of two measures counts: the similarity of blocks alone overlooks what is wrong in
/// smooth areas, the correlation alone what is wrong in details.
///
/// # Errors
/// [`PhotoError`] where one of them can't be decoded.
pub fn looks_same(a: &[u8], b: &[u8]) -> Result<f64, PhotoError> {
    let (a, a_aspect) = small_grey(a)?;
    let (b, b_aspect) = small_grey(b)?;
    let quotient = a_aspect / b_aspect;
    if !(0.98..=1.02).contains(&quotient) {
        return Ok(0.0);
    }
    let mut sum = 0.0;
    let mut blocks = 0.0;
    for y in (0..SIDE).step_by(8) {
        for x in (0..SIDE).step_by(8) {
            sum += block_similarity(&a, &b, x, y);
            blocks += 1.0;
        }
    }
    Ok((sum / blocks).min(correlation(&a, &b)))
}

fn small_grey(bytes: &[u8]) -> Result<(GrayImage, f64), PhotoError> {
    let limits = PhotoLimits::default();
    let picture = decode_upright(bytes, &limits, limits.side_out_max)?;
    let aspect = f64::from(picture.width()) / f64::from(picture.height().max(1));
    let grey = DynamicImage::ImageRgb8(picture)
        .resize_exact(SIDE, SIDE, FilterType::Triangle)
        .into_luma8();
    Ok((grey, aspect))
}

/// Pearson's correlation over all pixels; two plain areas are alike, a plain one and a picture are
/// not.
fn correlation(a: &GrayImage, b: &GrayImage) -> f64 {
    let values = |picture: &GrayImage| -> Vec<f64> {
        picture
            .as_raw()
            .iter()
            .map(|&value| f64::from(value))
            .collect()
    };
    let (a, b) = (values(a), values(b));
    let count = f64::from(SIDE * SIDE);
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / count, b.iter().sum::<f64>() / count);
    let (mut var_a, mut var_b, mut both) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        var_a += (a - mean_a) * (a - mean_a);
        var_b += (b - mean_b) * (b - mean_b);
        both += (a - mean_a) * (b - mean_b);
    }
    // Less than one grey level of spread is plain.
    match (var_a < count, var_b < count) {
        (true, true) => 1.0,
        (false, false) => both / (var_a * var_b).sqrt(),
        _ => 0.0,
    }
}

/// SSIM of one block: means, variances and covariance, with the usual two constants.
fn block_similarity(a: &GrayImage, b: &GrayImage, x: u32, y: u32) -> f64 {
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    let (mut sum_a, mut sum_b, mut sum_aa, mut sum_bb, mut sum_ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let count = f64::from(BLOCK * BLOCK);
    for dy in 0..BLOCK {
        for dx in 0..BLOCK {
            let value = |picture: &GrayImage| {
                picture
                    .get_pixel_checked(x + dx, y + dy)
                    .map_or(0.0, |pixel| f64::from(pixel.0[0]))
            };
            let (va, vb) = (value(a), value(b));
            sum_a += va;
            sum_b += vb;
            sum_aa += va * va;
            sum_bb += vb * vb;
            sum_ab += va * vb;
        }
    }
    let (mean_a, mean_b) = (sum_a / count, sum_b / count);
    let var_a = sum_aa / count - mean_a * mean_a;
    let var_b = sum_bb / count - mean_b * mean_b;
    let covariance = sum_ab / count - mean_a * mean_b;
    ((2.0 * mean_a * mean_b + C1) * (2.0 * covariance + C2))
        / ((mean_a * mean_a + mean_b * mean_b + C1) * (var_a + var_b + C2))
}
