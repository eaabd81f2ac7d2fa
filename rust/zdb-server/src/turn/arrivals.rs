//! What arrived in a turn: received from everybody first, and executed together.
//!
//! Requests that came together can be looked at together: before the first of them is executed, the keys of
//! all are brought near (`ahead`), whichever clients sent them.

use std::ops::Range;

use crate::turn::ahead;
use crate::turn::connection::Peer;
use crate::turn::server::Server;

/// Room for what is received before it is executed, in bytes.
const ROOM_BYTES: usize = 256 * 1024;
/// With less room than this, what arrived is executed before more is received.
const ROOM_BYTES_MIN: usize = ROOM_BYTES / 2;

/// What was received and is not executed yet.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The bytes of connections that had nothing in their own input.
    pub(crate) bytes: Vec<u8>,
    waiting: Vec<Arrived>,
}

#[derive(Debug)]
struct Arrived {
    slot: usize,
    /// Where its bytes are; none for a connection that has them in its own input.
    fresh: Option<Range<usize>>,
}

impl Arrivals {
    pub(crate) fn with_room() -> Self {
        Self {
            bytes: Vec::with_capacity(ROOM_BYTES),
            waiting: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.bytes.capacity() - self.bytes.len() < ROOM_BYTES_MIN
    }

    /// Note that a connection has something to execute.
    pub(crate) fn note(&mut self, slot: usize, fresh: Option<Range<usize>>) {
        self.waiting.push(Arrived { slot, fresh });
    }
}

impl Server {
    /// Have room to receive.
    pub(crate) fn make_room(&mut self) {
        if self.arrivals.is_full() {
            self.execute_arrived();
        }
    }

    /// Execute what arrived.
    pub(crate) fn execute_arrived(&mut self) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.warm(&arrivals);
        for Arrived { slot, fresh } in arrivals.waiting.drain(..) {
            self.execute(slot, fresh.map(|span| &arrivals.bytes[span]));
        }
        arrivals.bytes.clear();
        self.arrivals = arrivals;
    }

    /// Bring near what those need who sent one request each; whoever sent more is looked at by itself.
    fn warm(&mut self, arrivals: &Arrivals) {
        if arrivals.waiting.len() < 2 {
            return;
        }
        let mut keys = ahead::Keys::new(&self.shared.engine);
        for Arrived { slot, fresh } in &arrivals.waiting {
            let connection = self.connections[*slot].as_mut();
            if let (Some(connection), Some(span)) = (connection, fresh) {
                if let Peer::Client(client) = &connection.peer {
                    let bytes = &arrivals.bytes[span.clone()];
                    keys.show(client.namespace, &mut connection.parser, bytes);
                }
            }
        }
        keys.warm();
    }
}
