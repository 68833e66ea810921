//! Nodes that talk to each other over real QUIC, on loopback.

mod links;
mod membership;
mod node;
mod raw;
mod refusals;
mod speed;
mod wire;
