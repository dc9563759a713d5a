//! Photos: cleaned before they leave a device, compared after they arrived.
//!
//! [`clean`] decodes a JPEG, PNG or WebP under a memory bound, converts its colours to sRGB where
//! an embedded profile says how, turns it upright, scales it to at most 2,048 pixels and encodes
//! a new JPEG from the pixels alone. Nothing of the original file but its pixels is in it; the
//! colour profile is applied and then left out.
//! [`metadata_fields`] and [`metadata_values`] list what a file tells besides its pixels. They
//! share no code with the encoder, so they can be used to check it, and [`clean`] itself does so
//! before it hands anything out.

mod clean;
mod compare;
mod decode;
mod error;
mod limits;
pub mod metadata;
mod scale;

pub use clean::{CleanPhoto, clean, clean_file};
pub use compare::looks_same;
pub use error::PhotoError;
pub use limits::PhotoLimits;
pub use metadata::{metadata_fields, metadata_values};
