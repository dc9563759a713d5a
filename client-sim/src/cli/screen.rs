//! What the terminal shows and asks.

use std::io::{Cursor, IsTerminal as _, Write as _};

use image::{GrayImage, ImageFormat, Luma};
use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel, QrCode};

use super::failure::Failure;

/// The code as a picture of block characters, for a terminal of either colour.
pub(super) fn qr(text: &str) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|error| Failure::new(format!("the code fits no QR code: {error}")))?;
    let mut renderer = code.render::<Dense1x2>();
    // A camera wants dark on light, whatever the terminal's own colours are.
    if std::io::stdout().is_terminal() {
        renderer
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark);
    }
    Ok(renderer.build())
}

/// Pixels of each little square of the PNG.
const MODULE_PIXELS: u32 = 8;
/// White squares around it (ISO/IEC 18004 wants four).
const QUIET_MODULES: u32 = 4;

/// The code as a PNG, dark on light.
pub(super) fn qr_png(text: &str) -> Result<Vec<u8>, Failure> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .map_err(|error| Failure::new(format!("the code fits no QR code: {error}")))?;
    let modules = u32::try_from(code.width()).unwrap_or_default();
    let side = (modules + 2 * QUIET_MODULES) * MODULE_PIXELS;
    let colors = code.to_colors();
    let picture = GrayImage::from_fn(side, side, |x, y| {
        let module = |pixel: u32| (pixel / MODULE_PIXELS).checked_sub(QUIET_MODULES);
        let at = module(x)
            .zip(module(y))
            .filter(|(x, y)| *x < modules && *y < modules)
            .and_then(|(x, y)| usize::try_from(y * modules + x).ok());
        match at.and_then(|at| colors.get(at)) {
            Some(Color::Dark) => Luma([0]),
            _ => Luma([u8::MAX]),
        }
    });
    let mut png = Cursor::new(Vec::new());
    picture
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Failure::new(format!("the QR code can't be drawn: {error}")))?;
    Ok(png.into_inner())
}

/// Asks for a line, without its line break; `None` when nobody is there to type one.
pub(super) async fn line(question: &str) -> Option<String> {
    print!("{question} ");
    drop(std::io::stdout().flush());
    let read = || {
        let mut line = String::new();
        match std::io::stdin().read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => {
                line.truncate(line.trim_end_matches(['\n', '\r']).len());
                Some(line)
            }
        }
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// Asks a yes-or-no question; anything but a yes is a no.
pub(super) async fn ask(question: &str) -> bool {
    // A closed terminal says nothing, and nothing is a no.
    let line = line(&format!("{question} [y/n]")).await.unwrap_or_default();
    matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use qrcode::{Color, EcLevel, QrCode};

    use super::{qr, qr_png};

    #[test]
    fn the_png_shows_the_code_with_white_around_it() {
        let text = format!("kinline:pair:1:{}", "x".repeat(200));
        let png = image::load_from_memory(&qr_png(&text).unwrap()).unwrap();
        let picture = png.to_luma8();
        let code = QrCode::with_error_correction_level(&text, EcLevel::M).unwrap();
        let modules = code.width();
        assert_eq!(picture.width() as usize, (modules + 8) * 8);
        assert_eq!(picture.height(), picture.width());
        for (x, y, pixel) in picture.enumerate_pixels() {
            let (x, y) = (x as usize / 8, y as usize / 8);
            let inside = (4..4 + modules).contains(&x) && (4..4 + modules).contains(&y);
            let dark = inside && code[(x - 4, y - 4)] == Color::Dark;
            assert_eq!(pixel.0 == [0], dark, "{x} {y}");
        }
        assert!(qr_png(&"x".repeat(9_000)).is_err());
    }

    #[test]
    fn a_pairing_code_fits_on_a_terminal() {
        let picture = qr(&format!("kinline:pair:1:{}", "x".repeat(250))).unwrap();
        let width = picture.lines().map(|line| line.chars().count()).max();
        assert!(width.unwrap() <= 80, "{width:?}");
        assert!(qr(&"x".repeat(9_000)).is_err());
    }
}
