//! Requests and replies on the wire: RESP2.

pub mod reply;
pub mod resp;
