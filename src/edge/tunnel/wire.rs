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

impl Wire {
    /// Its bytes.
    ///
    /// # Errors
    /// When it cannot be written, which is a mistake of this program.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// Reads one frame. A list is given room as its parts come, never by the length that is claimed for it.
    ///
    /// # Errors
    /// When it is none that this program knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
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

/// Reads any bytes as a frame.
///
/// # Panics
/// When the decoder does, or what was read is not written the same or is longer then: that is what is looked for.
pub fn fuzz_wire(bytes: &[u8]) {
    let Ok(frame) = Wire::decode(bytes) else { return };
    let written = frame.encode().expect("what was read can be written");
    assert!(written.len() <= bytes.len(), "it holds more than came");
    assert_eq!(Wire::decode(&written), Ok(frame));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::codes::Code;
    use proptest::prelude::*;

    /// One of each kind, and how it looks on the wire.
    fn all() -> Vec<(Wire, &'static str)> {
        let opening = Opening {
            user: UserKey::new("app", "ann").expect("a user"),
            device: "web".into(),
            token_issued: Stamp(300),
            cursor: Some(Stamp(7)),
            reign: None,
            window: 64,
            delivered: true,
            address: [192, 0, 2, 1].into(),
        };
        let report = Report {
            sessions: 1,
            most: 300,
            draining: false,
            open: true,
            users: 2,
            online: 1,
            known: 5,
            digest: 9,
            outbox: vec![(NodeId(7), 4)],
        };
        let sid = || "s-1".to_owned();
        let (id, number, last, bytes) = (5, 6, true, b"[]".to_vec());
        vec![
            (
                Wire::Open { id, open: Box::new(opening) },
                "00050761707000616e6e03776562ac02010700400100c0000201",
            ),
            (Wire::Up { id, last, bytes: bytes.clone() }, "010501025b5d"),
            (Wire::Down { id, last: false, bytes: bytes.clone() }, "020500025b5d"),
            (Wire::Credit { id, bytes: 300 }, "0305ac02"),
            (Wire::Gone { id }, "0405"),
            (Wire::Ended { id, end: End::Code(Code::Busy), elsewhere: true }, "0505020b01"),
            (Wire::Ask { number, poll: Poll::Get { sid: sid(), seq: 3, wait: 25 } }, "06060003732d310319"),
            (
                Wire::Ask { number, poll: Poll::Post { sid: sid(), body: bytes.clone() } },
                "06060103732d31025b5d",
            ),
            (Wire::Ask { number, poll: Poll::Delete { sid: sid() } }, "06060203732d31"),
            (Wire::Answer { number, status: 200, last, bytes }, "0706c80101025b5d"),
            (Wire::Report(report), "0801ac02000102010509010704"),
        ]
    }

    #[test]
    fn frames_look_so_on_the_wire_and_read_back() {
        for (frame, expected) in all() {
            let bytes = frame.encode().unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{frame:?}");
            assert_eq!(Wire::decode(&bytes), Ok(frame));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            fuzz_wire(&bytes);
        }

        #[test]
        fn changed_frames_are_read_or_an_error(
            which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), to in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let all = all();
            let mut bytes = all[which.index(all.len())].0.encode().unwrap();
            let place = at.index(bytes.len());
            bytes[place] = to;
            fuzz_wire(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            fuzz_wire(&bytes);
        }
    }
}
