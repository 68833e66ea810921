//! Planted faults: each breaks one promise, and the simulation has to find it.

/// A fault to be planted into a relay under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// The sender hears before the disk has it (P1).
    AckBeforeFsync,
    /// A device's cursor moves when an entry is pushed, not when the device acks (P7).
    CursorBeforeDelivery,
    /// The ids of earlier sends are not looked at (P3).
    RetryStoredTwice,
    /// A session goes live although the disk holds entries that it has not got (P6).
    LiveBeforeTail,
}
