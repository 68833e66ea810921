//! Floor 4: what peers talk to.

pub mod certs;
mod tls;
