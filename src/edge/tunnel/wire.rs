//! What edges of two nodes say to each other.

use crate::{
    edge::session::End,
    model::{DeviceId, NodeId, Reign, Stamp, UserKey},
    relay::{Open, SessionId},
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Bytes of a client's message, or of an answer, in one frame at the most; longer ones go in several.
pub const PART: usize = 512 * 1_024;

/// One frame. New kinds are added at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Wire {
    /// A session at the sender whose mailbox is at the receiver: let it in. `id` names it from now on.
    Open {
        /// The session's number at the sender.
        id: u64,
        /// Who it is.
        open: Box<Opening>,
    },
    /// From the client: part of a message, whole with the last.
    Up {
        /// The session.
        id: u64,
        /// Whether the message is whole now.
        last: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// For the client: part of a message, whole with the last.
    Down {
        /// The session.
        id: u64,
        /// Whether the message is whole now.
        last: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The client's transport has taken so many bytes of what came down.
    Credit {
        /// The session.
        id: u64,
        /// How many.
        bytes: u32,
    },
    /// The client is gone.
    Gone {
        /// The session.
        id: u64,
    },
    /// The session is over; nothing more comes down.
    Ended {
        /// The session.
        id: u64,
        /// Why.
        end: End,
        /// The mailbox is elsewhere by now: ask again who has it. Only before anything came down.
        elsewhere: bool,
    },
    /// A request of a client that polls, whose session is at the receiver.
    Ask {
        /// Names the answer.
        number: u64,
        /// The request.
        poll: Poll,
    },
    /// The answer to [`Wire::Ask`], or part of it.
    Answer {
        /// Of which request.
        number: u64,
        /// HTTP status.
        status: u16,
        /// Whether the body is whole now.
        last: bool,
        /// Part of the body.
        bytes: Vec<u8>,
    },
    /// How the sender is.
    Report(Report),
}

/// A session that asks to be let in elsewhere; its token was checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Its user.
    pub user: UserKey,
    /// Its device.
    pub device: DeviceId,
    /// When its token was issued.
    pub token_issued: Stamp,
    /// The last position that the device has.
    pub cursor: Option<Stamp>,
    /// Under which reign it was given.
    pub reign: Option<Reign>,
    /// Entries that may be on their way.
    pub window: u16,
    /// Whether it wants to hear of deliveries.
    pub delivered: bool,
    /// Where the client is.
    pub address: IpAddr,
}

impl Opening {
    /// What `open` asks for a client at `address`.
    pub fn new(open: Open, address: IpAddr) -> Self {
        let Open { user, device, token_issued, cursor, reign, window, delivered, .. } = open;
        Self { user, device, token_issued, cursor, reign, window, delivered, address }
    }

    /// The same for the relay here.
    pub fn open(self, session: SessionId) -> Open {
        let Self { user, device, token_issued, cursor, reign, window, delivered, .. } = self;
        Open { session, user, device, token_issued, cursor, reign, window, delivered, carried: true }
    }
}

/// A request of a client that polls (`docs/protocol.md`, section 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Poll {
    /// `GET`
    Get {
        /// The session's secret.
        sid: String,
        /// Number of the last answer that the client has.
        seq: u64,
        /// Longest wait, in seconds.
        wait: u64,
    },
    /// `POST`
    Post {
        /// The session's secret.
        sid: String,
        /// What the client says.
        body: Vec<u8>,
    },
    /// `DELETE`
    Delete {
        /// The session's secret.
        sid: String,
    },
}

/// How a node is, for clients that choose one and for operators.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Sessions.
    pub sessions: u32,
    /// How many it takes.
    pub most: u32,
    /// It is about to leave.
    pub draining: bool,
    /// It lets sessions in.
    pub open: bool,
    /// Users whose mailbox it owns.
    pub users: u64,
    /// Those of them who are online.
    pub online: u64,
    /// Users of all nodes that it knows of.
    pub known: u64,
    /// Equal where the tables of who owns whom are.
    pub digest: u64,
    /// Parcels that wait there, for each node.
    pub outbox: Vec<(NodeId, u64)>,
}
