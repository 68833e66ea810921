//! Floor 2 (stub while it is built).
mod api;
pub use api::*;
