//! What people do with a chat, done by clients of the native protocol with a whole node.

#[path = "../common/mod.rs"]
mod common;

mod again;
mod backend;
mod chats;
mod lists;
mod resume;
