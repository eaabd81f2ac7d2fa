//! The event loop: one thread, level-triggered epoll, and turns.
//!
//! A turn reads from everybody who sent something, executes all of it, commits once, and only then sends: one
//! receive, one commit and one send for a client and a turn, however many requests came in. While a commit
//! waits for the disk the next turn's requests gather in the sockets, so that the group grows with the load.
//! With nothing to do the loop waits in the kernel without a timeout.
//!
//! Memory is bounded: a client with much unread output is not executed further and is cut when it does not
//! read at all; what is held for all clients together has a limit, and whoever passes it is cut.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::Timespec;
use tfgrid_zdb::{Report, DEFAULT_NAMESPACE};

use crate::client::Client;
use crate::log::{self, Field, Level};
use crate::net::{self, Audience, Listener};
use crate::shared::Shared;
use crate::turn::arrivals::Arrivals;
use crate::turn::connection::{Connection, Peer, Phase, Received};
use crate::turn::gather::Group;
use crate::turn::outputs::Outputs;
use crate::turn::tenants::Shares;
use crate::turn::{chores, http, settle};

const EVENTS_MAX: usize = 1024;
const ACCEPTS_MAX: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The mark of events that are no connection's: entrances, listeners, counted from here, and signals.
const ENTRANCES: u64 = LISTENERS - 1;
const LISTENERS: u64 = u64::MAX - 16;
const SIGNALS: u64 = u64::MAX;
/// A sync beside the loop ended.
const SYNCED: u64 = LISTENERS - 2;

/// The server: all connections and what they share.
pub struct Server {
    pub(crate) shared: Shared,
    pub(crate) connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    serials: u64,
    pub(crate) epoll: OwnedFd,
    listeners: Vec<Listener>,
    pub(crate) deaf_until: Option<Instant>,
    pub(crate) arrivals: Arrivals,
    pub(crate) outputs: Outputs,
    pub(crate) shares: Shares,
    /// Connections with something to do at the end of the turn.
    pub(crate) listed: Vec<usize>,
    /// Connections with requests that wait in their input.
    pub(crate) waiting: Vec<usize>,
    pub(crate) timers: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    pub(crate) held: usize,
    pub(crate) group: Group,
}

/// Write into the log what was found wrong with the files.
pub fn tell_losses(report: &Report) {
    for loss in &report.losses {
        let level = if loss.lost {
            Level::Error
        } else {
            Level::Warning
        };
        let fields = [
            ("namespace", Field::Text(&loss.namespace)),
            ("file", Field::Text(&loss.file)),
            ("offset", Field::Number(loss.offset)),
            ("length", Field::Number(loss.length)),
            ("what", Field::Text(&loss.what)),
        ];
        log::write(
            level,
            if loss.lost {
                "data was lost"
            } else {
                "files were mended"
            },
            &fields,
        );
    }
}

impl Server {
    /// A server over an open store and open sockets; `signals` is readable once it has to end.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(shared: Shared, listeners: Vec<Listener>, signals: &OwnedFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, signals, EventData::new_u64(SIGNALS), EventFlags::IN)?;
        let data = EventData::new_u64(ENTRANCES);
        epoll::add(&epoll, &shared.entrances.epoll, data, EventFlags::IN)?;
        for (index, listener) in listeners.iter().enumerate() {
            let data = EventData::new_u64(LISTENERS + index as u64);
            epoll::add(&epoll, &listener.fd, data, EventFlags::IN)?;
        }
        if let Some(syncer) = &shared.syncer {
            epoll::add(&epoll, syncer, EventData::new_u64(SYNCED), EventFlags::IN)?;
        }
        Ok(Self {
            shared,
            connections: Vec::new(),
            free: Vec::new(),
            serials: 0,
            epoll,
            listeners,
            deaf_until: None,
            arrivals: Arrivals::with_room(),
            outputs: Outputs::default(),
            shares: Shares::default(),
            listed: Vec::new(),
            waiting: Vec::new(),
            timers: BinaryHeap::new(),
            held: 0,
            group: Group::default(),
        })
    }

    /// Serve until SIGTERM or STOP; the last turn is whole.
    ///
    /// # Errors
    /// What the system says about waiting.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !self.shared.stop {
            let timeout = self.timeout();
            self.wait(&mut events, timeout)?;
            self.shared.tick();
            for event in &events {
                self.event(event.data.u64(), event.flags);
            }
            self.execute_arrived();
            self.gather(&mut events)?;
            self.turn();
        }
        Ok(())
    }

    /// Wait for events, for so long or for ever.
    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        events.clear();
        let timeout = timeout.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let room = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, room, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Note that something is to be done with a connection at the end of the turn.
    pub(crate) fn list(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) {
            if !connection.listed {
                connection.listed = true;
                self.listed.push(slot);
            }
        }
    }

    /// Forget a connection, and with it the socket.
    pub(crate) fn drop_connection(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].take() else {
            return;
        };
        self.free.push(slot);
        self.held -= connection.counted;
        self.shared.connected -= 1;
        if let Some(serial) = connection.entrance() {
            self.shared.entrances.went(serial, connection.counted);
        }
        if let Peer::Client(client) = &connection.peer {
            self.shared.watchers -= usize::from(client.watch.is_some());
            self.shared.listeners -= usize::from(client.mirror);
        }
    }

    fn turn(&mut self) {
        for slot in std::mem::take(&mut self.waiting) {
            self.execute(slot, None);
        }
        self.fire();
        settle::settle(self);
        self.group.close();
        self.shares.close();
        self.cut_removed();
        self.finish();
        chores::run(&mut self.shared);
    }

    /// The store, for closing it.
    #[must_use]
    pub fn into_shared(self) -> Shared {
        self.shared
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.waiting.is_empty() {
            return Some(Duration::ZERO);
        }
        let engine = self
            .shared
            .engine
            .next_due_ms()
            .map(|at| self.shared.boot + Duration::from_millis(at));
        let timer = self.timers.peek().map(|Reverse((at, _, _))| *at);
        let next = [engine, timer, self.shared.chores.next(), self.deaf_until]
            .into_iter()
            .flatten()
            .min()?;
        let wait = next.saturating_duration_since(Instant::now());
        // Whole milliseconds, rounded up: the engine counts in them, and waking early would be for nothing.
        let millis = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        Some(Duration::from_millis(millis))
    }

    fn event(&mut self, data: u64, flags: EventFlags) {
        if data == SIGNALS {
            self.shared.stop = true;
        } else if data == SYNCED {
            self.shared.hear_synced();
        } else if data >= LISTENERS {
            self.accept((data - LISTENERS) as usize);
        } else if data == ENTRANCES {
            self.knocked();
        } else {
            // An event may be of a connection that ended in this turn, and its slot another's.
            let slot = Self::slot(data);
            let known = self.connections.get(slot).and_then(Option::as_ref);
            if known.is_some_and(|connection| connection.mark(slot) == data) {
                self.ready(slot, flags);
            }
        }
    }

    /// The slot in the mark of an event; of a connection only if its own mark is the same.
    pub(crate) fn slot(data: u64) -> usize {
        (data & u64::from(u32::MAX)) as usize
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_MAX {
            match net::accept(&self.listeners[index].fd) {
                Ok((fd, source)) => self.admit(fd, source, self.listeners[index].audience),
                Err(error) => return self.not_accepted(&error),
            }
        }
    }

    /// What becomes of a failed accept: mostly there is nobody more.
    pub(crate) fn not_accepted(&mut self, error: &io::Error) {
        if matches!(error.raw_os_error(), Some(23 | 24)) {
            let event = "no file descriptor is left for a connection";
            log::write(Level::Warning, event, &[]);
            self.shared.figures.refused += 1;
            self.listen(false);
        }
    }

    /// Hear new connections, or be deaf to them for a moment.
    pub(crate) fn listen(&mut self, hear: bool) {
        self.deaf_until = (!hear).then(|| self.shared.now + ACCEPT_PAUSE);
        let flags = if hear {
            EventFlags::IN
        } else {
            EventFlags::empty()
        };
        let (data, entrances) = (EventData::new_u64(ENTRANCES), &self.shared.entrances.epoll);
        let _ = epoll::modify(&self.epoll, entrances, data, flags);
        for (index, listener) in self.listeners.iter().enumerate() {
            let data = EventData::new_u64(LISTENERS + index as u64);
            let _ = epoll::modify(&self.epoll, &listener.fd, data, flags);
        }
    }

    fn admit(&mut self, fd: OwnedFd, source: Box<str>, audience: Audience) {
        if self.shared.connected >= self.shared.options.clients_max && audience == Audience::Public
        {
            self.shared.figures.refused += 1;
            let text = b"-max number of clients reached\r\n";
            let _ = rustix::net::send(&fd, text, rustix::net::SendFlags::NOSIGNAL);
            return;
        }
        let peer = if audience == Audience::Metrics {
            Peer::Metrics
        } else {
            Peer::Client(Box::new(self.client(source, audience)))
        };
        self.seat(fd, peer);
    }

    /// Give a connection its slot, unless the system refuses.
    pub(crate) fn seat(&mut self, fd: OwnedFd, mut peer: Peer) -> Option<usize> {
        self.serials += 1;
        if let Peer::Client(client) = &mut peer {
            (client.id, client.number) = (self.serials, self.serials);
        }
        let slot = self.free.pop().unwrap_or(self.connections.len());
        if slot == self.connections.len() {
            self.connections.push(None);
        }
        let mut connection = Connection::new(fd, peer, self.serials);
        connection.interest = EventFlags::IN;
        let data = EventData::new_u64(connection.mark(slot));
        if epoll::add(&self.epoll, &connection.fd, data, connection.interest).is_err() {
            self.free.push(slot);
            return None;
        }
        self.connections[slot] = Some(connection);
        self.shared.connected += 1;
        self.shared.figures.clients += 1;
        Some(slot)
    }

    fn client(&self, source: Box<str>, audience: Audience) -> Client {
        let options = &self.shared.options;
        let private = audience == Audience::Admin;
        let open = options.admin.is_none() && options.admin_socket.is_none();
        let namespace = self
            .shared
            .engine
            .find(DEFAULT_NAMESPACE)
            .expect("always there");
        Client {
            private,
            admin: private || open,
            writable: private || !options.protect,
            ..Client::new(source, namespace)
        }
    }

    fn ready(&mut self, slot: usize, flags: EventFlags) {
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        let gone = flags.contains(EventFlags::HUP) && !flags.contains(EventFlags::IN);
        let unheard = flags.contains(EventFlags::RDHUP) && connection.waits();
        if flags.contains(EventFlags::ERR) || gone || unheard {
            self.drop_connection(slot);
            return;
        }
        if flags.contains(EventFlags::OUT) {
            self.list(slot);
        }
        if flags.contains(EventFlags::IN) {
            self.receive(slot);
        }
    }

    pub(crate) fn receive(&mut self, slot: usize) {
        self.make_room();
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        let bytes = &mut self.arrivals.bytes;
        let (fresh, start) = (connection.input.is_empty(), bytes.len());
        match connection.receive(bytes) {
            Received::Nothing => {}
            Received::Bytes(_) if connection.phase == Phase::Lingering => {
                connection.input.clear();
                bytes.truncate(start);
            }
            Received::Bytes(count) => {
                self.shared.figures.received += count as u64;
                if matches!(connection.peer, Peer::Metrics) {
                    connection.input.extend_from_slice(&bytes[start..]);
                    bytes.truncate(start);
                    http::answer(&self.shared, connection);
                    self.list(slot);
                } else if fresh || connection.input.len() >= connection.needs {
                    let end = bytes.len();
                    self.arrivals.note(slot, fresh.then_some(start..end));
                } else {
                    self.list(slot);
                }
            }
            Received::End => {
                connection.ended = true;
                // What it asked for is still answered; then there is nobody left.
                if connection.phase == Phase::Lingering
                    || (connection.runs() && connection.unsent() == 0)
                {
                    self.drop_connection(slot);
                } else {
                    self.list(slot);
                }
            }
            Received::Broken => self.drop_connection(slot),
        }
    }
}
