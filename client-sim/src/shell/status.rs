//! How a running device is doing, for whoever watches.

use super::DeviceError;

/// The state of a device's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkStatus {
    /// Not wanted.
    #[default]
    Offline,
    /// On the way.
    Connecting,
    /// The relay has said hello.
    Up,
    /// Lost or failed; another try follows.
    Waiting,
}

/// What was wrong with the last connection that failed or was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTrouble {
    /// For a human.
    pub sentence: String,
    /// Trying again is pointless until a person does something (wrong certificate).
    pub is_final: bool,
    /// Failures in a row.
    pub failures: u32,
}

/// How a running device is doing.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The connection.
    pub link: LinkStatus,
    /// The last failure since the device was last attached.
    pub trouble: Option<LinkTrouble>,
    /// Everything is delivered, read, acknowledged and transferred, as far as is known here.
    pub settled: bool,
    /// Set when the device has stopped.
    pub stopped: Option<DeviceError>,
}
