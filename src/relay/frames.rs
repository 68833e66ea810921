//! What relays say to each other.
//!
//! A frame travels on the lane that its kind names; frames of one lane keep their order, frames of different lanes do not.
//! On the wire frames of one lane stand behind each other, each as postcard writes it, in chunks of one or more.

use super::{Answer, Command, Refused};
use crate::{
    gossip::{Claim, ClaimRow, Fact, FactKey, RepairMessage},
    model::{Conversation, Epoch, Message, Parcel, Reign, Stamp, UserHash, UserKey},
    store::{ConversationRow, ExportRow, MailboxRow},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A long-lived stream of a link. What waits on one holds up no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Claims, facts, questions, acknowledgements.
    Control,
    /// Parcels.
    Chat,
    /// Mailboxes that move.
    Bulk,
    /// What may be dropped.
    Ephemeral,
}

impl Lane {
    /// All lanes, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Control, Self::Chat, Self::Bulk, Self::Ephemeral];
}

/// One frame. New kinds are added at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// Claims that are news.
    Claims(Vec<(UserHash, Claim)>),
    /// Part of a comparison of all claims.
    Repair(RepairMessage<ClaimRow>),
    /// A session of the user has come to the sender: let it have the mailbox, or say where it is.
    Want {
        /// The user.
        user: UserKey,
        /// What the sender knows of him.
        claim: Option<Claim>,
    },
    /// The user has sessions here: attach yours through the link.
    Stay {
        /// The user.
        user: UserKey,
    },
    /// Something for a mailbox of the receiver.
    Parcel {
        /// Its number in the sender's outbox.
        number: u64,
        /// The parcel.
        #[serde(deserialize_with = "crate::model::shared::value")]
        parcel: Arc<Parcel>,
        /// The sender has heard that earlier ones for this mailbox were returned, and this one comes after them.
        anew: bool,
    },
    /// All parcels up to this number are durable here, or were returned.
    Done {
        /// The number.
        upto: u64,
    },
    /// A parcel whose mailbox is not here.
    Return {
        /// Its number.
        number: u64,
        /// Who owns the mailbox, as far as known here.
        claim: Claim,
    },
    /// A command in the name of a user whose mailbox the receiver owns.
    Ask {
        /// Names the answer.
        number: u64,
        /// The user.
        user: UserKey,
        /// The command.
        command: Box<Command>,
    },
    /// The answer to [`Frame::Ask`].
    Answer {
        /// Of which question.
        number: u64,
        /// The answer.
        answer: Box<Result<Answer, Refused>>,
    },
    /// Facts of the directory that are news.
    Facts {
        /// Names the acknowledgement; 0: none is wanted.
        number: u64,
        /// The facts.
        facts: Vec<(FactKey, Fact)>,
    },
    /// The facts of that number are durable here.
    FactsDone {
        /// The number.
        number: u64,
    },
    /// A status message for a user of the receiver.
    Pass {
        /// The user.
        user: UserKey,
        /// The message.
        #[serde(deserialize_with = "crate::model::shared::value")]
        message: Arc<Message>,
    },
    /// A device has what a user of the receiver sent.
    Delivered {
        /// The user who sent.
        user: UserKey,
        /// The conversation as that user sees it.
        conversation: Conversation,
        /// Up to and with the message of this time.
        at: Stamp,
    },
    /// A mailbox comes: what follows under this number is it.
    Give {
        /// Names the transfer; unique for the giver.
        number: u64,
        /// Whose mailbox.
        user: UserKey,
        /// Under which reign the giver held it.
        reign: Reign,
    },
    /// Part of a mailbox, in order.
    Part {
        /// The transfer.
        number: u64,
        /// The rows.
        rows: Vec<ExportRow>,
    },
    /// That was all of it.
    Last {
        /// The transfer.
        number: u64,
        /// What does not follow from the rows.
        rest: Box<Rest>,
    },
    /// The parts so far are taken in.
    Stored {
        /// The transfer.
        number: u64,
    },
    /// The rest of it will not come.
    Withdraw {
        /// The transfer.
        number: u64,
    },
    /// The mailbox is durable at the sender: forget it.
    Taken {
        /// The transfer.
        number: u64,
        /// Whose it is.
        user: UserKey,
        /// The claim on it.
        claim: Claim,
    },
    /// The mailbox is not taken: somebody else owns it.
    Refuse {
        /// The transfer.
        number: u64,
        /// Whose it is.
        user: UserKey,
        /// The claim that stands against it.
        claim: Option<Claim>,
    },
    /// The sender takes no more mailboxes: it is about to leave.
    Draining,
}

/// What of a mailbox does not follow from its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    /// Its checkpoint.
    pub mailbox: MailboxRow,
    /// Those of all its conversations.
    pub conversations: Vec<(Conversation, ConversationRow)>,
    /// The reigns that its positions come from.
    pub chain: Vec<Epoch>,
}

impl Frame {
    /// The claim that it brings, if it is of a kind that brings one.
    #[must_use]
    pub const fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Return { claim, .. } | Self::Taken { claim, .. } => Some(claim),
            Self::Want { claim, .. } | Self::Refuse { claim, .. } => claim.as_ref(),
            _ => None,
        }
    }

    /// The lane that it travels on.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Parcel { .. } => Lane::Chat,
            Self::Give { .. } | Self::Part { .. } | Self::Last { .. } | Self::Stored { .. } => Lane::Bulk,
            Self::Withdraw { .. } | Self::Taken { .. } | Self::Refuse { .. } => Lane::Bulk,
            Self::Pass { .. } | Self::Delivered { .. } => Lane::Ephemeral,
            _ => Lane::Control,
        }
    }
}
