//! One connection: its socket, what arrived in part, what has not left yet.
//!
//! Input that is whole never rests here: it is parsed in the loop's own buffer, and only the beginning of a
//! request that is not whole yet is kept. Output is collected until the end of the turn.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::client::Client;
use crate::entrances::Serial;
use crate::turn::carry;
use crate::wire::resp::Parser;

const READ_BYTES_MIN: usize = 16 * 1024;
const READ_BYTES_MAX: usize = 1024 * 1024;
/// How much that has left may stay in front of what has not, in bytes.
const SENT_KEPT_BYTES: usize = 512 * 1024;

/// Who is at the other end.
pub enum Peer {
    /// A client of the store.
    Client(Box<Client>),
    /// Prometheus, with one request.
    Metrics,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It goes on.
    Open,
    /// It ends when its output has left.
    Closing,
    /// Its output has left and it is told so; until it goes, what it sends is thrown away. Closing at once
    /// would take the last reply away from a peer that still sends.
    Lingering,
}

/// One connection.
pub struct Connection {
    /// The socket.
    pub fd: OwnedFd,
    /// Who it is.
    pub peer: Peer,
    /// Names this connection for ever, unlike its slot.
    pub serial: u64,
    /// The place in the request that arrives.
    pub parser: Parser,
    /// The beginning of a request that is not whole, or requests that wait.
    pub input: Vec<u8>,
    /// How long `input` must be before it is worth looking at.
    pub needs: usize,
    /// What has not left yet, from `sent` on.
    pub output: Vec<u8>,
    /// How much of `output` has left.
    pub sent: usize,
    /// What epoll was told to wait for.
    pub interest: EventFlags,
    /// How it ends.
    pub phase: Phase,
    /// The peer sends no more.
    pub ended: bool,
    /// Its next request waits until this time.
    pub paused_until: Option<Instant>,
    /// Its next request waits until its output has left.
    pub blocked: bool,
    /// Since when none of its output could leave.
    pub stalled: Option<Instant>,
    /// Until when it lingers.
    pub lingers_until: Option<Instant>,
    /// What of the memory held for all is counted as its.
    pub counted: usize,
    /// Whether it is in the list of those with something to do at the end of the turn.
    pub listed: bool,
    /// The last group that it wrote in.
    pub group: u64,
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The peer sends no more.
    End,
    /// The connection is broken.
    Broken,
}

impl Connection {
    /// A fresh connection.
    #[must_use]
    pub fn new(fd: OwnedFd, peer: Peer, serial: u64) -> Self {
        Self {
            fd,
            peer,
            serial,
            parser: Parser::default(),
            input: Vec::new(),
            needs: 0,
            output: Vec::new(),
            sent: 0,
            interest: EventFlags::empty(),
            phase: Phase::Open,
            ended: false,
            paused_until: None,
            blocked: false,
            stalled: None,
            lingers_until: None,
            counted: 0,
            listed: false,
            group: 0,
        }
    }

    /// Read behind what is in the loop's buffer, or behind what arrived of it before.
    pub fn receive(&mut self, arrived: &mut Vec<u8>) -> Received {
        if let Peer::Client(client) = &mut self.peer {
            if client.private {
                let fresh = self.input.is_empty();
                let into = if fresh { arrived } else { &mut self.input };
                return received(carry::receive(&self.fd, into, &mut client.carried));
            }
        }
        let result = if self.input.is_empty() {
            rustix::net::recv(
                &self.fd,
                rustix::buffer::spare_capacity(arrived),
                RecvFlags::DONTWAIT,
            )
        } else {
            let missing = self.needs.saturating_sub(self.input.len());
            self.input
                .reserve(missing.clamp(READ_BYTES_MIN, READ_BYTES_MAX));
            rustix::net::recv(
                &self.fd,
                rustix::buffer::spare_capacity(&mut self.input),
                RecvFlags::DONTWAIT,
            )
        };
        received(result.map(|(count, _)| count))
    }

    /// The entrance that it came through, if it came through one.
    #[must_use]
    pub fn entrance(&self) -> Option<Serial> {
        match &self.peer {
            Peer::Client(client) => client.entrance,
            Peer::Metrics => None,
        }
    }

    /// Bytes that have not left.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Send what there is, once; how much left.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self) -> io::Result<usize> {
        if self.unsent() == 0 {
            return Ok(0);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let count = match rustix::net::send(&self.fd, &self.output[self.sent..], flags) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        self.sent += count;
        if self.unsent() == 0 {
            self.sent = 0;
            self.output.clear();
        } else if self.sent >= SENT_KEPT_BYTES {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(count)
    }

    /// The client's WAIT, if it waits.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(&self.peer, Peer::Client(client) if client.watch.is_some())
    }

    /// Whether requests of it may be executed now.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.phase == Phase::Open && !self.blocked && self.paused_until.is_none() && !self.waits()
    }

    /// What epoll should wait for.
    #[must_use]
    pub fn wanted(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        if !self.ended && (self.runs() || self.phase == Phase::Lingering) {
            flags |= EventFlags::IN;
        }
        if self.unsent() > 0 {
            flags |= EventFlags::OUT;
        }
        if self.waits() {
            flags |= EventFlags::RDHUP;
        }
        flags
    }

    /// What its events are marked with, while it is in `slot`.
    #[must_use]
    pub fn mark(&self, slot: usize) -> u64 {
        (self.serial & 0x3fff_ffff) << 32 | slot as u64
    }

    /// Memory that is held for it.
    #[must_use]
    pub fn held(&self) -> usize {
        let under_way = match &self.peer {
            Peer::Client(client) => {
                client.listing.as_ref().map_or(0, |one| one.held())
                    + client.transaction.as_ref().map_or(0, |one| one.held())
            }
            Peer::Metrics => 0,
        };
        self.input.capacity() + self.output.capacity() + under_way
    }
}

fn received(result: rustix::io::Result<usize>) -> Received {
    match result {
        Ok(0) => Received::End,
        Ok(count) => Received::Bytes(count),
        Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
        Err(_) => Received::Broken,
    }
}
