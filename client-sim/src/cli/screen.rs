//! What the terminal shows and asks.

use std::io::{IsTerminal as _, Write as _};

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

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

/// Asks a yes-or-no question; anything but a yes is a no.
pub(super) async fn ask(question: &str) -> bool {
    print!("{question} [y/n] ");
    drop(std::io::stdout().flush());
    let read = || {
        let mut line = String::new();
        // A closed terminal says nothing, and nothing is a no.
        drop(std::io::stdin().read_line(&mut line));
        line
    };
    let line = tokio::task::spawn_blocking(read).await.unwrap_or_default();
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

    use super::qr;

    #[test]
    fn a_pairing_code_fits_on_a_terminal() {
        let picture = qr(&format!("kinline:pair:1:{}", "x".repeat(250))).unwrap();
        let width = picture.lines().map(|line| line.chars().count()).max();
        assert!(width.unwrap() <= 80, "{width:?}");
        assert!(qr(&"x".repeat(9_000)).is_err());
    }
}
