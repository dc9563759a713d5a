//! Photos and voice messages: cleaned of everything but picture and sound on the way out,
//! decoded and compared on the way in.
//!
//! A file that a person picks is untrusted: it may be damaged, claim a size it does not have, or
//! be something else than its name says. So it is read with a bound, recognised by its first
//! bytes, its header is checked against limits before anything is decoded, and nothing is
//! allocated because a header asks for it. A panic inside a decoder library ends as an error.
//!
//! What leaves is built anew from pixels and samples alone: no EXIF, XMP, ICC or IPTC block, no
//! comment, no thumbnail, no tag is copied. [`photo::metadata_fields`] and
//! [`audio::metadata_fields`] read files independently of that and show it.

pub mod audio;
mod bytes;
mod fields;
pub mod file;
pub mod kind;
pub mod photo;
