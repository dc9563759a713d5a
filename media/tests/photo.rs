//! Photos: what is taken, what comes out, what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod support;

use image::{DynamicImage, ExtendedColorType, GenericImageView, RgbImage};
use kinline_media::photo::{
    PhotoError, PhotoLimits, clean, clean_file, looks_same, metadata_fields, metadata_values,
};
use support::exif::{Block, ascii, insert_segments, jpeg_segment, long, rationals, short};
use support::{fixture, insert_chunks, jpeg, picture, png, png_chunk};

fn limits() -> PhotoLimits {
    PhotoLimits::default()
}

fn assert_like(a: &[u8], b: &[u8]) {
    let likeness = looks_same(a, b).unwrap();
    assert!(likeness > 0.9, "likeness {likeness}");
}

/// The same photo as a camera would store it when held in the way of `orientation`.
fn stored(upright: &RgbImage, orientation: u16) -> Vec<u8> {
    let picture = DynamicImage::ImageRgb8(upright.clone());
    // The inverse of what has to be done to show it.
    let lying = match orientation {
        1 => picture,
        2 => picture.fliph(),
        3 => picture.rotate180(),
        4 => picture.flipv(),
        5 => picture.rotate90().fliph(),
        6 => picture.rotate270(),
        7 => picture.rotate270().fliph(),
        _ => picture.rotate90(),
    };
    let block = Block {
        main: vec![short(0x0112, orientation)],
        ..Block::default()
    };
    insert_segments(&jpeg(&lying.into_rgb8()), &[block.segment()])
}

#[test]
fn every_orientation_is_turned_upright() {
    let upright = picture(60, 40);
    let reference = jpeg(&upright);
    for orientation in 1..=8 {
        let lying = stored(&upright, orientation);
        let cleaned = clean(&lying, &limits()).unwrap();
        assert_eq!(
            (cleaned.width, cleaned.height),
            (60, 40),
            "orientation {orientation}"
        );
        let plain = image::load_from_memory(&cleaned.jpeg).unwrap();
        assert_eq!(plain.dimensions(), (60, 40));
        assert!(
            plain.get_pixel(2, 2).0[2] > 200,
            "orientation {orientation}: bright top left"
        );
        assert!(
            plain.get_pixel(2, 37).0[0] < 60,
            "orientation {orientation}: dark bottom left"
        );
        assert_like(&reference, &cleaned.jpeg);
        assert_like(&lying, &cleaned.jpeg);
    }
}

#[test]
fn the_likeness_notices_a_picture_that_is_not_the_same() {
    let upright = picture(60, 60);
    let reference = jpeg(&upright);
    let turned = DynamicImage::ImageRgb8(upright.clone());
    for wrong in [
        turned.rotate90(),
        turned.rotate180(),
        turned.fliph(),
        turned.flipv(),
    ] {
        let likeness = looks_same(&reference, &jpeg(&wrong.into_rgb8())).unwrap();
        assert!(likeness < 0.8, "likeness {likeness}");
    }
    let grey = jpeg(&RgbImage::from_pixel(60, 60, image::Rgb([128; 3])));
    assert!(looks_same(&reference, &grey).unwrap() < 0.6);
    assert_eq!(
        looks_same(&reference, &jpeg(&picture(60, 40))).unwrap(),
        0.0
    );
    assert_like(&reference, &reference);
}

#[test]
fn every_kind_of_metadata_is_found_and_is_gone_afterwards() {
    let thumbnail = jpeg(&picture(16, 12));
    let block = Block {
        main: vec![
            ascii(0x010F, "Lakeside Optics"),
            ascii(0x0110, "Meadowlark 300"),
        ],
        exif: vec![
            ascii(0x9003, "2015:11:14 16:42:07"),
            ascii(0xA431, "LO-4471"),
        ],
        gps: vec![
            ascii(1, "S"),
            rationals(2, &[(54, 1), (41, 1), (2_817, 100)]),
            ascii(3, "W"),
            rationals(4, &[(12, 1), (23, 1), (4_461, 100)]),
        ],
        thumbnail_jpeg: thumbnail.clone(),
    };
    let xmp =
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description \
        xmp:CreatorTool=\"Meadow 1.0\"><dc:creator><rdf:li>Juniper</rdf:li></dc:creator>\
        </rdf:Description></x:xmpmeta>";
    let iptc = b"Photoshop 3.0\08BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x50\0\x07Juniper";
    let with_all = insert_segments(
        &jpeg(&picture(60, 40)),
        &[
            block.segment(),
            jpeg_segment(0xE1, xmp),
            jpeg_segment(0xE2, b"ICC_PROFILE\0\x01\x01profile"),
            jpeg_segment(0xE2, b"MPF\0II*\0"),
            jpeg_segment(0xED, iptc),
            jpeg_segment(0xE5, b"anything"),
            jpeg_segment(0xE0, b"JFXX\0\x10"),
            jpeg_segment(0xFE, b"For grandma"),
        ],
    );
    let with_all = [with_all.as_slice(), &thumbnail].concat();
    let fields = metadata_fields(&with_all);
    for wanted in [
        "EXIF Make",
        "EXIF Model",
        "EXIF DateTimeOriginal",
        "EXIF BodySerialNumber",
        "GPS GPSLatitude",
        "GPS GPSLongitude",
        "EXIF thumbnail JPEGInterchangeFormat",
        "XMP packet",
        "XMP xmp:CreatorTool",
        "XMP rdf:li",
        "ICC profile",
        "MPF index of further pictures",
        "IPTC by-line",
        "JPEG APP5 segment (8 bytes)",
        "JFIF extension thumbnail",
        "JPEG comment",
        "second picture after the end of the JPEG",
    ] {
        assert!(
            fields.iter().any(|field| field == wanted),
            "{wanted} in {fields:#?}"
        );
    }
    let values = metadata_values(&with_all);
    for wanted in [
        "Lakeside Optics",
        "Meadowlark 300",
        "2015:11:14 16:42:07",
        "2015-11-14T16:42:07",
        "LO-4471",
        "54.691158",
        "12.39572",
        "54.691158,12.395725",
        "54 deg 41' 28.17\"",
        "54\u{b0}41'28.17\"S",
        "Meadow 1.0",
        "Juniper",
        "For grandma",
    ] {
        assert!(
            values.iter().any(|(_, value)| value == wanted),
            "{wanted} in {values:#?}"
        );
    }

    let cleaned = clean(&with_all, &limits()).unwrap();
    assert_eq!(metadata_fields(&cleaned.jpeg), Vec::<String>::new());
    for (_, value) in values.iter().filter(|(_, value)| value.len() > 4) {
        let found = cleaned
            .jpeg
            .windows(value.len())
            .any(|window| window == value.as_bytes());
        assert!(!found, "{value}");
    }
    assert_eq!(cleaned.blurhash.len(), 28);
    assert_like(&with_all, &cleaned.jpeg);
}

#[test]
fn png_is_taken_with_its_orientation_and_without_its_chunks() {
    let lying = DynamicImage::ImageRgb8(picture(60, 40))
        .rotate270()
        .into_rgb8();
    let plain = png(lying.as_raw(), 40, 60, ExtendedColorType::Rgb8);
    assert_eq!(metadata_fields(&plain), Vec::<String>::new());
    let block = Block {
        main: vec![short(0x0112, 6), ascii(0x010F, "Lakeside Optics")],
        ..Block::default()
    };
    let told = insert_chunks(
        &plain,
        &[
            png_chunk(b"tEXt", b"Author\0Juniper Halloway"),
            png_chunk(b"iTXt", b"Comment\0\0\0en\0Bemerkung\0For grandma"),
            png_chunk(b"zTXt", b"Raw profile type exif\0\0x"),
            png_chunk(b"eXIf", &block.tiff()),
            png_chunk(b"tIME", &[7, 223, 11, 14, 16, 42, 7]),
            png_chunk(b"prVt", b"private"),
        ],
    );
    let told = [told.as_slice(), b"tail"].concat();
    let fields = metadata_fields(&told);
    for wanted in [
        "PNG tEXt Author",
        "PNG iTXt Comment",
        "PNG zTXt Raw profile type exif",
        "EXIF Make",
        "PNG tIME chunk",
        "PNG prVt chunk",
        "4 bytes after the end of the PNG",
    ] {
        assert!(
            fields.iter().any(|field| field == wanted),
            "{wanted} in {fields:#?}"
        );
    }
    let values = metadata_values(&told);
    assert!(
        values.iter().any(|(_, value)| value == "For grandma"),
        "{values:?}"
    );
    let cleaned = clean(&told, &limits()).unwrap();
    assert_eq!((cleaned.width, cleaned.height), (60, 40));
    assert_eq!(metadata_fields(&cleaned.jpeg), Vec::<String>::new());
    assert_like(&jpeg(&picture(60, 40)), &cleaned.jpeg);
}

#[test]
fn transparent_and_grey_pngs_become_jpegs() {
    let pixels: Vec<u8> = picture(20, 20)
        .pixels()
        .flat_map(|p| [p.0[0], p.0[1], p.0[2], 0])
        .collect();
    let cleaned = clean(&png(&pixels, 20, 20, ExtendedColorType::Rgba8), &limits()).unwrap();
    let plain = image::load_from_memory(&cleaned.jpeg).unwrap().into_rgb8();
    assert!(
        plain.pixels().all(|p| p.0.iter().all(|&c| c > 250)),
        "transparent is white"
    );
    let deep: Vec<u8> = (0..20 * 20)
        .flat_map(|i: u16| (i * 150).to_ne_bytes())
        .collect();
    let cleaned = clean(&png(&deep, 20, 20, ExtendedColorType::L16), &limits()).unwrap();
    assert_eq!((cleaned.width, cleaned.height), (20, 20));
}

#[test]
fn webp_is_taken_and_its_chunks_are_found() {
    let webp = fixture("small.webp");
    let fields = metadata_fields(&webp);
    for wanted in [
        "EXIF Make",
        "EXIF BodySerialNumber",
        "GPS GPSLatitude",
        "XMP packet",
    ] {
        assert!(
            fields.iter().any(|field| field == wanted),
            "{wanted} in {fields:#?}"
        );
    }
    let cleaned = clean(&webp, &limits()).unwrap();
    assert_eq!(
        (cleaned.width, cleaned.height),
        (160, 120),
        "turned upright"
    );
    assert_eq!(metadata_fields(&cleaned.jpeg), Vec::<String>::new());
    assert_like(&webp, &cleaned.jpeg);
}

#[test]
fn large_photos_are_scaled_and_small_ones_are_left() {
    let limits = PhotoLimits {
        side_out_max: 64,
        ..limits()
    };
    for (from, to) in [
        ((300, 200), (64, 43)),
        ((100, 150), (43, 64)),
        ((64, 10), (64, 10)),
        ((65, 1), (64, 1)),
    ] {
        let original = jpeg(&picture(from.0, from.1));
        let cleaned = clean(&original, &limits).unwrap();
        assert_eq!((cleaned.width, cleaned.height), to, "from {from:?}");
        if to.1 > 20 {
            assert_like(&original, &cleaned.jpeg);
        }
    }
}

#[test]
fn a_colour_profile_is_applied_and_dropped() {
    // A red that sRGB can show, written in the wider Display P3 of today's phones.
    let flat = jpeg(&RgbImage::from_pixel(16, 16, image::Rgb([200, 60, 50])));
    let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let body = [b"ICC_PROFILE\0\x01\x01".as_slice(), &profile].concat();
    let wide = insert_segments(&flat, &[jpeg_segment(0xE2, &body)]);
    let red = |bytes: &[u8]| {
        let cleaned = clean(bytes, &limits()).unwrap();
        assert_eq!(metadata_fields(&cleaned.jpeg), Vec::<String>::new());
        image::load_from_memory(&cleaned.jpeg)
            .unwrap()
            .get_pixel(8, 8)
            .0
    };
    let (plain, converted) = (red(&flat), red(&wide));
    assert!(converted[0] > plain[0] + 5, "{plain:?} {converted:?}");
    let broken = insert_segments(
        &flat,
        &[jpeg_segment(0xE2, b"ICC_PROFILE\0\x01\x01nonsense")],
    );
    assert_eq!(red(&broken), plain);
}

#[test]
fn what_is_no_photo_is_named() {
    let cases: [(&[u8], &str); 8] = [
        (
            b"",
            "the file is empty; accepted are JPEG, PNG and WebP photos",
        ),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "this looks like a HEIC picture; accepted are JPEG, PNG and WebP photos",
        ),
        (
            b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
            "this looks like an AVIF picture; accepted are JPEG, PNG and WebP photos",
        ),
        (
            b"GIF89a\x01\0\x01\0",
            "this looks like a GIF picture; accepted are JPEG, PNG and WebP photos",
        ),
        (
            b"%PDF-1.7\n",
            "this looks like a PDF document; accepted are JPEG, PNG and WebP photos",
        ),
        (
            b"Dear grandma, here is my photo.",
            "this looks like a text; accepted are JPEG, PNG and WebP photos",
        ),
        (
            &[0; 4_096],
            "this looks like a file of zeros; accepted are JPEG, PNG and WebP photos",
        ),
        (
            b"\xFF\xD8\xFF\xE0",
            "the photo is damaged or was cut short, and can't be shown",
        ),
    ];
    for (bytes, sentence) in cases {
        assert_eq!(clean(bytes, &limits()).unwrap_err().to_string(), sentence);
    }
}

#[test]
fn a_photo_that_was_cut_short_is_refused() {
    for whole in [
        jpeg(&picture(60, 40)),
        png(picture(60, 40).as_raw(), 60, 40, ExtendedColorType::Rgb8),
        fixture("small.webp"),
    ] {
        let half = &whole[..whole.len() / 2];
        assert!(matches!(
            clean(half, &limits()),
            Err(PhotoError::Damaged { .. })
        ));
    }
}

#[test]
fn limits_count_pixels_sides_memory_and_bytes() {
    let photo = jpeg(&picture(60, 40));
    let refuse = |limits: PhotoLimits| clean(&photo, &limits).unwrap_err();
    assert_eq!(
        refuse(PhotoLimits {
            side_max: 59,
            ..limits()
        })
        .to_string(),
        "the picture is 60 x 40 pixels; accepted are at most 59 a side and 80 megapixels in all"
    );
    assert!(matches!(
        refuse(PhotoLimits {
            pixels_max: 2_399,
            ..limits()
        }),
        PhotoError::TooManyPixels {
            width: 60,
            height: 40,
            ..
        }
    ));
    assert!(matches!(
        refuse(PhotoLimits {
            decode_bytes_max: 7_199,
            ..limits()
        }),
        PhotoError::TooMuchMemory { bytes: 7_200, .. }
    ));
    assert!(matches!(
        refuse(PhotoLimits {
            file_bytes_max: 100,
            ..limits()
        }),
        PhotoError::Read(_)
    ));
    clean(
        &photo,
        &PhotoLimits {
            side_max: 60,
            pixels_max: 2_400,
            ..limits()
        },
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo");
    std::fs::write(&path, &photo).unwrap();
    assert_eq!(
        clean_file(&path, &limits()).unwrap(),
        clean(&photo, &limits()).unwrap()
    );
}

#[test]
fn a_progressive_jpeg_counts_its_coefficients() {
    // The frame header alone decides: SOF0 is baseline, SOF2 progressive.
    let mut photo = jpeg(&picture(60, 40));
    let at = photo.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    photo[at + 1] = 0xC2;
    let limits = PhotoLimits {
        decode_bytes_max: 2_400 * 9 - 1,
        ..limits()
    };
    assert!(matches!(
        clean(&photo, &limits),
        Err(PhotoError::TooMuchMemory { bytes: 21_600, .. })
    ));
}

#[test]
fn exif_that_points_in_circles_or_out_of_bounds_ends() {
    // Directory 8 names itself as its successor, and as the EXIF and GPS directory.
    let mut tiff = b"II*\0\x08\0\0\0\x03\0".to_vec();
    for (tag, kind, count, value) in [
        (0x8769_u16, 4_u16, 1_u32, 8_u32),
        (0x8825, 4, 1, 8),
        (0x010F, 2, u32::MAX, 0xFFFF_FFF0),
    ] {
        tiff.extend(tag.to_le_bytes());
        tiff.extend(kind.to_le_bytes());
        tiff.extend(count.to_le_bytes());
        tiff.extend(value.to_le_bytes());
    }
    tiff.extend(8_u32.to_le_bytes());
    let body = [b"Exif\0\0".as_slice(), &tiff].concat();
    let photo = insert_segments(&jpeg(&picture(60, 40)), &[jpeg_segment(0xE1, &body)]);
    assert_eq!(metadata_fields(&photo), ["EXIF Make"]);
    clean(&photo, &limits()).unwrap();

    // 4,000 entries that all claim the same 60 KB.
    let entries: Vec<_> = (0..4_000_u16)
        .map(|i| (i + 0x1000, 2, 60_000, 64_u32.to_le_bytes().to_vec()))
        .collect();
    let block = Block {
        main: vec![long(0x0100, 1)],
        exif: entries,
        ..Block::default()
    };
    let fields = metadata_fields(&insert_segments(
        &jpeg(&picture(60, 40)),
        &[block.segment()],
    ));
    assert!(
        fields.len() > 1_000 && fields.len() <= 4_096,
        "{}",
        fields.len()
    );
}

#[test]
fn the_picture_that_ships_with_the_demo_is_cleaned() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../client-sim/assets/photo.jpg");
    let photo = std::fs::read(path).unwrap();
    assert!(metadata_fields(&photo).len() > 30);
    let cleaned = clean(&photo, &limits()).unwrap();
    assert_eq!((cleaned.width, cleaned.height), (640, 480));
    assert_like(&photo, &cleaned.jpeg);
}
