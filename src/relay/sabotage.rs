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
    /// A parcel goes to its mailbox's new owner while an earlier one is on its way to the old (order).
    ParcelsOvertake,
    /// The sender hears although the parcel is not in the outbox (P2).
    ParcelNotWritten,
    /// A peer hears that a parcel is durable before it is (P2).
    DoneBeforeFsync,
    /// A parcel that may have come before is not looked for (P3).
    UnsureNotLookedUp,
    /// A node goes on appending to a mailbox that another has claimed with a higher term (P4).
    KeepsWhatIsLost,
    /// Only what is past the devices' cursors is handed over (P2).
    HandsOffTheTail,
    /// A mailbox is forgotten when its last part is sent (P2).
    ForgetsBeforeTaken,
    /// The new owner's clock is not raised above the positions that it was handed (P5).
    ClockNotRaised,
    /// Two mailboxes are made one without looking at the ids (P3).
    MergeForgetsIds,
    /// A send that an earlier owner may have accepted is not marked as such (P3, history).
    DoubtsNotMarked,
    /// Half of what a comparison of claims finds is passed over.
    DigestIgnoresBuckets,
    /// A cursor is taken as it is, whoever gave it (P6).
    CursorOfAnyReign,
}
