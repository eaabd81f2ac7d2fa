//! Those who come through entrances: taken in, counted apart, and cut when their entrance goes.
//!
//! No entrance takes what another needs. Each has its own bound of connections and of memory, and where all
//! together would pass what there is for everybody, an equal part of it. Nor does one take the time: in a turn
//! each is served for so long at most, and what it asked beyond waits for the next one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::net::{sockopt, SendFlags};

use crate::client::Client;
use crate::entrances::Serial;
use crate::net;
use crate::turn::connection::{Connection, Peer};
use crate::turn::execute::{HELD_BYTES_MAX, HELD_EACH_BYTES};
use crate::turn::server::Server;

const ACCEPTS_MAX: usize = 64;
/// What may be held for the connections of one entrance, in bytes.
const HELD_ENTRANCE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the requests that came through one entrance are executed in a turn.
const SHARE: Duration = Duration::from_millis(5);
/// When a peer that vanished with its network is found out.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_COUNT: u32 = 4;

/// How long each entrance was served in this turn.
#[derive(Debug, Default)]
pub(crate) struct Shares(HashMap<Serial, Duration>);

impl Shares {
    /// Execute until an entrance's share of this turn is used up, and count it.
    pub(crate) fn spend<T>(&mut self, serial: Serial, work: impl FnOnce(Instant) -> T) -> T {
        let (began, spent) = (Instant::now(), self.0.entry(serial).or_default());
        let done = work(began + SHARE.saturating_sub(*spent));
        *spent += began.elapsed();
        done
    }

    /// The turn is over.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }
}

impl Server {
    /// Take connections from the entrances where somebody knocks.
    pub(crate) fn knocked(&mut self) {
        for serial in self.shared.entrances.ready() {
            for _ in 0..ACCEPTS_MAX {
                let Some(entrance) = self.shared.entrances.get(serial) else {
                    break;
                };
                match net::accept(&entrance.fd) {
                    Ok((fd, source)) => {
                        let source = format!("{source} through {}", entrance.name);
                        self.admit_tenant(serial, fd, source);
                    }
                    Err(error) => {
                        self.not_accepted(&error);
                        break;
                    }
                }
            }
        }
    }

    fn admit_tenant(&mut self, serial: Serial, fd: std::os::fd::OwnedFd, source: String) {
        let options = &self.shared.options;
        let entrances = &self.shared.entrances;
        let share = entrances.share(options.clients_max);
        let most = options.entrance_clients_max.min(share).max(1);
        let found = entrances
            .get(serial)
            .filter(|entrance| entrance.connections < most);
        let Some(entrance) = found else {
            self.shared.figures.refused += 1;
            let text = b"-max number of clients reached\r\n";
            let _ = rustix::net::send(&fd, text, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            return;
        };
        let Some(namespace) = self.shared.engine.find(&entrance.namespace) else {
            return;
        };
        // A unix socket has none of these.
        let _ = sockopt::set_socket_keepalive(&fd, true)
            .and_then(|()| sockopt::set_tcp_keepidle(&fd, KEEPALIVE_IDLE))
            .and_then(|()| sockopt::set_tcp_keepintvl(&fd, KEEPALIVE_EVERY))
            .and_then(|()| sockopt::set_tcp_keepcnt(&fd, KEEPALIVE_COUNT));
        let client = Client {
            entrance: Some(serial),
            writable: true,
            ..Client::new(source.into(), namespace)
        };
        let Some(slot) = self.seat(fd, Peer::Client(Box::new(client))) else {
            return;
        };
        let number = self.shared.entrances.came(serial);
        if let Some(Connection {
            peer: Peer::Client(client),
            ..
        }) = &mut self.connections[slot]
        {
            client.number = number;
        }
    }

    /// Cut the connections of entrances that were removed in this turn, before anything more is sent to them.
    pub(crate) fn cut_removed(&mut self) {
        let removed = self.shared.entrances.take_removed();
        if removed.is_empty() {
            return;
        }
        for slot in 0..self.connections.len() {
            let connection = self.connections[slot].as_ref();
            let through = connection.and_then(Connection::entrance);
            if through.is_some_and(|serial| removed.contains(&serial)) {
                self.drop_connection(slot);
            }
        }
    }

    /// Note what is held for a connection. Which one has to be cut because of it, and why, if one has to.
    pub(crate) fn charge(&mut self, slot: usize) -> Option<(usize, &'static str)> {
        let connection = self.connections[slot].as_mut()?;
        let (before, held) = (connection.counted, connection.held());
        connection.counted = held;
        self.held = self.held + held - before;
        let entrance = connection.entrance();
        let entrances = &mut self.shared.entrances;
        let together = entrance.map(|serial| entrances.hold(serial, before, held));
        if together.is_some_and(|together| together > HELD_ENTRANCE_BYTES_MAX)
            && held > HELD_EACH_BYTES
        {
            return Some((slot, "too much is held for its entrance"));
        }
        if self.held <= HELD_BYTES_MAX || held <= HELD_EACH_BYTES {
            return None;
        }
        let share = entrances.share(HELD_BYTES_MAX);
        let modest = together.is_some_and(|together| together <= share);
        let victim = if modest { self.heaviest()? } else { slot };
        Some((victim, "too much is held for all clients"))
    }

    /// The connection for which most is held.
    fn heaviest(&self) -> Option<usize> {
        let counted = |slot: &usize| {
            let connection = self.connections[*slot].as_ref();
            connection.map_or(0, |connection| connection.counted)
        };
        (0..self.connections.len()).max_by_key(counted)
    }
}
