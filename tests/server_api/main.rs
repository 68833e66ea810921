//! The server API, from the request to the mailbox.

mod backend;
mod messages;
mod transport;
mod users;
