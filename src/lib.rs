//! Hongyan (鸿雁): self-hosted instant messaging.
//!
//! The floors, lowest first; a floor knows nothing of those above it:
//!
//! | floor | module | what |
//! | --- | --- | --- |
//! | 0 | [`model`] | ids, conversations, messages, entries, the clock (pure) |
//! | 1 | [`gossip`] | tables that every node holds whole (pure) |
//! | 3 | [`store`] | the disk |
//! | 4 | [`mesh`] | links with the other nodes of a cluster |

pub mod admin;
pub mod api;
pub mod apps;
pub mod cli;
pub mod config;
pub mod edge;
pub mod gossip;
pub mod hub;
pub mod listen;
pub mod logging;
pub mod mesh;
pub mod metrics;
pub mod model;
pub mod node;
pub mod relay;
pub mod store;
pub mod token;
