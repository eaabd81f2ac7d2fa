//! What the protocol knows of one connection: who it is, where it stands, what it waits for.

use std::time::Instant;

use tfgrid_zdb::NamespaceId;

use crate::auth::Challenge;
use crate::commands::{Listing, Transaction};
use crate::entrances::Serial;
use crate::turn::carry::Carried;

/// What a client that sent WAIT waits for.
#[derive(Debug)]
pub struct Watch {
    /// The index of the command, or any.
    pub command: Option<usize>,
    /// When it is told `Timeout`.
    pub until: Instant,
}

/// One client.
pub struct Client {
    /// Counts connections since start.
    pub id: u64,
    /// The same, as it is told: counted by its entrance if it came through one.
    pub number: u64,
    /// The entrance that it came through: it is in that namespace and sees no other.
    pub entrance: Option<Serial>,
    /// Where it comes from: an IP address, or `unix`.
    pub source: Box<str>,
    /// Whether it came through the admin socket.
    pub private: bool,
    /// Whether admin commands are open to it.
    pub admin: bool,
    /// Where its keys are; stale once the namespace is gone.
    pub namespace: NamespaceId,
    /// Whether it may write there.
    pub writable: bool,
    /// The challenge it has to answer.
    pub challenge: Option<Challenge>,
    /// MIRROR: it gets the feed.
    pub mirror: bool,
    /// MASTER: it appends an owner to what it sends.
    pub master: bool,
    /// WAIT: nothing of it is executed meanwhile.
    pub watch: Option<Watch>,
    /// How far a request got that is answered in parts.
    pub progress: usize,
    /// A listing that takes turns.
    pub listing: Option<Box<Listing>>,
    /// MULTI: what is queued since.
    pub transaction: Option<Box<Transaction>>,
    /// HELLO 3.
    pub resp3: bool,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// What came with its requests.
    pub carried: Carried,
}

impl Client {
    /// Somebody without any right, in a namespace.
    #[must_use]
    pub fn new(source: Box<str>, namespace: NamespaceId) -> Self {
        Self {
            id: 0,
            number: 0,
            entrance: None,
            source,
            private: false,
            admin: false,
            namespace,
            writable: false,
            challenge: None,
            mirror: false,
            master: false,
            watch: None,
            progress: 0,
            listing: None,
            transaction: None,
            resp3: false,
            name: Vec::new(),
            carried: Carried::Nothing,
        }
    }
}
