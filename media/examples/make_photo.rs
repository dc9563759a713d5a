//! Draws the picture that ships with the demo, a house on a hill in the evening sun, and saves it
//! as a camera lying on its side would: turned, with orientation 6, and with all that cameras
//! tell in EXIF, none of it about a real person or camera.
//!
//! `cargo run -p kinline-media --example make_photo -- client-sim/assets/photo.jpg`

#[path = "../tests/support/exif.rs"]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared with the tests"
)]
mod exif;

use std::error::Error;

use exif::{Block, ascii, insert_segments, jpeg_segment, rationals, short, undefined};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize, rotate270};
use image::{Rgb, RgbImage};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: make_photo FILE.jpg")?;
    // Drawn twice as large and scaled down, so that edges are smooth.
    let large = RgbImage::from_fn(WIDTH * 2, HEIGHT * 2, |x, y| {
        Rgb(colour(f64::from(x) / 2.0, f64::from(y) / 2.0).map(to_byte))
    });
    let upright = resize(&large, WIDTH, HEIGHT, FilterType::Triangle);
    let thumbnail = encode(
        &rotate270(&resize(&upright, 160, 120, FilterType::Triangle)),
        60,
    )?;
    let block = Block {
        main: vec![
            ascii(0x010E, "Our house in the evening"),
            ascii(0x010F, "Lakeside Optics"),
            ascii(0x0110, "Meadowlark 300"),
            // To be turned a quarter clockwise.
            short(0x0112, 6),
            ascii(0x0131, "Meadowlark firmware 1.04"),
            ascii(0x0132, "2015:11:14 16:42:07"),
            ascii(0x013B, "Juniper Halloway"),
            ascii(0x8298, "Juniper Halloway, all rights waived"),
        ],
        exif: vec![
            rationals(0x829A, &[(1, 125)]),
            rationals(0x829D, &[(28, 10)]),
            short(0x8827, 100),
            undefined(0x9000, b"0232"),
            ascii(0x9003, "2015:11:14 16:42:07"),
            ascii(0x9004, "2015:11:14 16:42:07"),
            ascii(0x9011, "+01:00"),
            rationals(0x920A, &[(35, 1)]),
            undefined(0x9286, b"ASCII\0\0\0Taken from the garden gate"),
            ascii(0xA420, "5f3a9c0e7b1d4c6288aa90d1e2f3b4c5"),
            ascii(0xA430, "Juniper Halloway"),
            ascii(0xA431, "LO-4471-908823"),
            ascii(0xA434, "Meadowlark 35mm f/2.8"),
            ascii(0xA435, "LENS-220-17745"),
        ],
        gps: vec![
            (0, 1, 4, vec![2, 3, 0, 0]),
            ascii(1, "N"),
            // A place in the open sea.
            rationals(2, &[(54, 1), (41, 1), (2_817, 100)]),
            ascii(3, "E"),
            rationals(4, &[(12, 1), (23, 1), (4_461, 100)]),
            (5, 1, 1, vec![0]),
            rationals(6, &[(37, 10)]),
            ascii(18, "WGS-84"),
            ascii(29, "2015:11:14"),
        ],
        thumbnail_jpeg: thumbnail,
    };
    let jpeg = insert_segments(
        &encode(&rotate270(&upright), 88)?,
        &[
            block.segment(),
            jpeg_segment(0xFE, b"For grandma, from Juniper"),
        ],
    );
    std::fs::write(&path, jpeg)?;
    Ok(())
}

fn encode(picture: &RgbImage, quality: u8) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality).encode_image(picture)?;
    Ok(jpeg)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0.0 to 255.0"
)]
fn to_byte(value: f64) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

type Colour = [f64; 3];

fn mix(a: Colour, b: Colour, share: f64) -> Colour {
    let share = share.clamp(0.0, 1.0);
    let ([ar, ag, ab], [br, bg, bb]) = (a, b);
    [
        ar + (br - ar) * share,
        ag + (bg - ag) * share,
        ab + (bb - ab) * share,
    ]
}

fn inside(x: f64, y: f64, left: f64, top: f64, right: f64, bottom: f64) -> bool {
    (left..right).contains(&x) && (top..bottom).contains(&y)
}

/// The colour at a place of the picture; what is nearer comes first.
fn colour(x: f64, y: f64) -> Colour {
    tree(x, y)
        .or_else(|| house(x, y))
        .or_else(|| fence(x, y))
        .or_else(|| meadow(x, y))
        .or_else(|| hills(x, y))
        .unwrap_or_else(|| sky(x, y))
}

fn sky(x: f64, y: f64) -> Colour {
    let base = mix([98.0, 142.0, 205.0], [255.0, 206.0, 150.0], y / 300.0);
    let distance = (x - 498.0).hypot(y - 150.0);
    let cloud = ((x / 47.0 + (y / 23.0).sin()).sin() + (x / 19.0 - y / 11.0).sin() * 0.5)
        * (1.0 - ((y - 82.0) / 34.0).powi(2)).max(0.0);
    let with_cloud = mix(base, [255.0, 240.0, 228.0], (cloud - 0.25) * 0.8);
    if distance < 42.0 {
        return [255.0, 246.0, 196.0];
    }
    mix(
        [255.0, 232.0, 160.0],
        with_cloud,
        ((distance - 42.0) / 120.0).sqrt(),
    )
}

fn hills(x: f64, y: f64) -> Option<Colour> {
    let far = 262.0 + 26.0 * (x / 96.0).sin() + 9.0 * (x / 31.0).sin();
    let near = 300.0 + 20.0 * (x / 120.0 + 2.0).sin();
    if y > near {
        Some(mix(
            [104.0, 143.0, 92.0],
            [88.0, 130.0, 78.0],
            (y - near) / 50.0,
        ))
    } else if y > far {
        Some(mix(
            [132.0, 150.0, 168.0],
            [120.0, 148.0, 130.0],
            (y - far) / 50.0,
        ))
    } else {
        None
    }
}

fn meadow(x: f64, y: f64) -> Option<Colour> {
    let edge = 338.0 - 24.0 * ((x - 230.0) / 210.0).cos();
    if y < edge {
        return None;
    }
    // The path winds from the door to the lower rim.
    let path = 250.0 + 60.0 * ((y - 352.0) / 46.0).sin() + (y - 352.0) * 0.35;
    let path_width = 9.0 + (y - 352.0) * 0.22;
    if y > 350.0 && (x - path).abs() < path_width {
        return Some(mix(
            [214.0, 188.0, 146.0],
            [190.0, 160.0, 118.0],
            (y - 352.0) / 128.0,
        ));
    }
    let blades = (x * 1.9 + (y * 0.7).sin() * 6.0).sin() * (y * 0.9).sin();
    let grass = mix(
        [126.0, 174.0, 74.0],
        [60.0, 116.0, 52.0],
        (y - edge) / 150.0,
    );
    let (column, row) = ((x / 26.0).floor(), (y / 22.0).floor());
    let flower_x = column * 26.0 + 13.0 + 8.0 * (column * 7.3 + row * 3.1).sin();
    let flower_y = row * 22.0 + 11.0 + 6.0 * (column * 2.7 + row * 5.9).cos();
    if y > edge + 20.0 && (x - flower_x).hypot(y - flower_y) < 2.6 {
        let yellow = (column + row).rem_euclid(3.0) < 1.0;
        return Some(if yellow {
            [250.0, 220.0, 90.0]
        } else {
            [245.0, 240.0, 245.0]
        });
    }
    Some(mix(grass, [178.0, 206.0, 104.0], blades * 0.22))
}

fn house(x: f64, y: f64) -> Option<Colour> {
    if inside(x, y, 296.0, 168.0, 316.0, 218.0) && y > 168.0 {
        return Some([150.0, 84.0, 70.0]);
    }
    // The roof is a triangle that stands out over the walls.
    let roof = (y - 180.0) / 62.0;
    if (0.0..1.0).contains(&roof) && (x - 245.0).abs() < 18.0 + roof * 88.0 {
        let tiles = (y / 6.0).fract() < 0.2 || ((x + (y / 6.0).floor() * 7.0) / 14.0).fract() < 0.1;
        return Some(if tiles {
            [146.0, 58.0, 46.0]
        } else {
            [186.0, 78.0, 60.0]
        });
    }
    if !inside(x, y, 155.0, 242.0, 335.0, 352.0) {
        return None;
    }
    if inside(x, y, 233.0, 284.0, 267.0, 352.0) {
        let knob = (x - 260.0).hypot(y - 320.0) < 3.0;
        return Some(if knob {
            [240.0, 210.0, 90.0]
        } else {
            [70.0, 104.0, 128.0]
        });
    }
    for left in [176.0, 282.0] {
        if inside(x, y, left, 264.0, left + 36.0, 304.0) {
            let frame = (x - left - 18.0).abs() < 1.6
                || (y - 284.0).abs() < 1.6
                || !inside(x, y, left + 3.0, 267.0, left + 33.0, 301.0);
            let glass = mix(
                [255.0, 224.0, 140.0],
                [236.0, 170.0, 96.0],
                (y - 264.0) / 40.0,
            );
            return Some(if frame { [250.0, 248.0, 240.0] } else { glass });
        }
    }
    Some(mix(
        [244.0, 228.0, 200.0],
        [222.0, 198.0, 166.0],
        (335.0 - x) / 180.0,
    ))
}

fn fence(x: f64, y: f64) -> Option<Colour> {
    let picket = inside(x, y, 372.0, 336.0, 640.0, 392.0) && (x / 17.0).fract() < 0.42;
    let point = y < 340.0 && ((x / 17.0).fract() - 0.21).abs() > (y - 335.0) / 24.0;
    let rail = x > 372.0 && ((348.0..354.0).contains(&y) || (374.0..380.0).contains(&y));
    ((picket && !point) || rail).then(|| {
        mix(
            [250.0, 247.0, 240.0],
            [216.0, 208.0, 198.0],
            (y - 336.0) / 56.0,
        )
    })
}

fn tree(x: f64, y: f64) -> Option<Colour> {
    for (cx, cy, radius) in [
        (78.0, 206.0, 54.0),
        (46.0, 244.0, 40.0),
        (112.0, 246.0, 42.0),
    ] {
        let ripple = 4.0 * (x / 5.0).sin() * (y / 6.0).cos();
        let distance = (x - cx).hypot(y - cy) + ripple;
        if distance < radius {
            let light = ((x - cx) - (y - cy)) / radius;
            return Some(mix(
                [44.0, 98.0, 52.0],
                [122.0, 168.0, 76.0],
                light * 0.4 + 0.5,
            ));
        }
    }
    inside(x, y, 70.0, 270.0, 88.0, 372.0)
        .then(|| mix([112.0, 78.0, 52.0], [82.0, 56.0, 38.0], (88.0 - x) / 18.0))
}
