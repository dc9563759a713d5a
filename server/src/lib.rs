//! scratch
mod clock; mod files; mod keys; mod random; mod storage; mod sync;
pub use clock::Clock;
