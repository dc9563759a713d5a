//! Cleans a photo or a recording by hand, to see or hear what comes out.
//!
//! `cargo run -p kinline-media --example clean_file -- IN OUT`

use std::error::Error;
use std::path::Path;

use kinline_media::audio::{self, AudioLimits};
use kinline_media::file::{FILE_BYTES_MAX, read_bounded};
use kinline_media::photo::{self, PhotoLimits};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: clean_file IN OUT".into());
    };
    let bytes = read_bounded(Path::new(&from), FILE_BYTES_MAX)?;
    let as_photo = photo::clean(&bytes, &PhotoLimits::default());
    let (cleaned, told, alike) = match as_photo {
        Ok(photo) => {
            println!(
                "{} x {}, preview {}",
                photo.width, photo.height, photo.blurhash
            );
            let alike = photo::looks_same(&bytes, &photo.jpeg)?;
            (photo.jpeg, photo::metadata_values(&bytes), alike)
        }
        Err(photo_error) => {
            let audio = audio::clean(&bytes, &AudioLimits::default())
                .map_err(|audio_error| format!("{photo_error}; {audio_error}"))?;
            println!(
                "{:.6} seconds of {:.6}",
                audio.seconds,
                audio::duration_seconds(&bytes)?
            );
            println!("{:?}", audio.waveform);
            let alike = audio::similarity(&bytes, &audio.ogg_opus)?;
            (audio.ogg_opus, audio::metadata_values(&bytes), alike)
        }
    };
    for (name, value) in &told {
        println!("  {name}: {value}");
    }
    println!(
        "{} bytes of {}, likeness {alike:.4}",
        cleaned.len(),
        bytes.len()
    );
    std::fs::write(to, cleaned)?;
    Ok(())
}
