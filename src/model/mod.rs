//! Floor 0: what everything else speaks about. Ids, conversations, messages, entries, the clock.
//!
//! Pure: no clock, no randomness, no I/O, no tokio.

mod class;
mod clock;
mod conversation;
mod entry;
mod epoch;
mod ids;
mod message;
mod node;
mod parcel;
pub(crate) mod shared;

pub use class::{ClassFlags, class_flags};
pub use clock::{Clock, Skew, Stamp};
pub use conversation::{Conversation, ConversationName, Kind, Log};
pub use entry::{Change, Entry, EntryRow, What};
pub use epoch::{BadReign, Epoch, Reign};
pub use ids::{BadId, DeviceId, MAX_ID, MessageId, UserKey, check_id};
pub use message::{Content, ContentError, Flags, MAX_CLIENT_SKEW_US, MAX_DEPTH, Message, Push};
pub use node::{NodeId, UserHash};
pub use parcel::{Item, Parcel};
