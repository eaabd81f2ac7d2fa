//! Entrances: listening sockets that an admin handed over, each into one namespace and nowhere else.
//!
//! A socket listens in the network namespace where it was made, so that a server without any address is
//! reached from networks that never meet. Nothing of this is kept on disk. One epoll watches all of them and
//! is itself watched by the loop, which so knows of one descriptor more and no other.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::fs::OFlags;
use rustix::net::{sockopt, Shutdown, SocketType};

/// How many there may be.
const ENTRANCES_MAX: usize = 4096;
/// How many are heard in one turn.
const READY_MAX: usize = 64;

/// Names an entrance for ever, unlike its name.
pub type Serial = u64;

/// One entrance.
#[derive(Debug)]
pub struct Entrance {
    /// Names it for ever.
    pub serial: Serial,
    /// As it was called.
    pub name: String,
    /// Where it leads.
    pub namespace: String,
    /// Where it listens.
    pub address: String,
    /// The socket.
    pub fd: OwnedFd,
    /// Connections now.
    pub connections: usize,
    /// Connections since it was made.
    pub admitted: u64,
    /// Memory that is held for them.
    pub held: usize,
}

/// All of them.
#[derive(Debug)]
pub struct Entrances {
    /// Readable when somebody knocks.
    pub epoll: OwnedFd,
    all: Vec<Entrance>,
    serials: Serial,
    /// Those that were removed in this turn: their connections have to go.
    removed: Vec<Serial>,
}

impl Entrances {
    /// None at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            all: Vec::new(),
            serials: 0,
            removed: Vec::new(),
        })
    }

    /// All of them, in the order in which they were made.
    #[must_use]
    pub fn all(&self) -> &[Entrance] {
        &self.all
    }

    /// Those where somebody knocks.
    #[must_use]
    pub fn ready(&self) -> Vec<Serial> {
        let (mut events, now) = (Vec::with_capacity(READY_MAX), Timespec::default());
        let waiting = rustix::buffer::spare_capacity(&mut events);
        // A failure is heard of again in the next turn.
        let _ = epoll::wait(&self.epoll, waiting, Some(&now));
        events.iter().map(|event| event.data.u64()).collect()
    }

    /// The entrance of this serial.
    #[must_use]
    pub fn get(&self, serial: Serial) -> Option<&Entrance> {
        self.all.iter().find(|entrance| entrance.serial == serial)
    }

    fn get_mut(&mut self, serial: Serial) -> Option<&mut Entrance> {
        self.all
            .iter_mut()
            .find(|entrance| entrance.serial == serial)
    }

    /// Listen on a socket. One of the same name and namespace gets this socket in place of its own, and keeps
    /// its connections.
    ///
    /// # Errors
    /// The text for who asked.
    pub fn add(&mut self, name: &str, namespace: &str, fd: OwnedFd) -> Result<(), &'static str> {
        let address = address(&fd)?;
        let known = self.all.iter().position(|one| one.name == name);
        if known.is_none() && self.all.len() >= ENTRANCES_MAX {
            return Err("Too many entrances");
        }
        let stays = known.filter(|known| self.all[*known].namespace == namespace);
        self.serials += 1;
        let serial = stays.map_or(self.serials, |known| self.all[known].serial);
        let data = EventData::new_u64(serial);
        epoll::add(&self.epoll, &fd, data, EventFlags::IN)
            .map_err(|_| "Could not listen on this socket")?;
        if let Some(known) = stays {
            let old = std::mem::replace(&mut self.all[known].fd, fd);
            // Explicitly: whoever made it may have it open still, and then closing would not.
            let _ = epoll::delete(&self.epoll, &old);
            self.all[known].address = address;
            return Ok(());
        }
        self.remove(name);
        self.all.push(Entrance {
            serial,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            address,
            fd,
            connections: 0,
            admitted: 0,
            held: 0,
        });
        Ok(())
    }

    /// Stop listening; whether there was one of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        self.remove_where(|entrance| entrance.name == name)
    }

    /// Remove all that lead into a namespace.
    pub fn remove_of(&mut self, namespace: &str) {
        self.remove_where(|entrance| entrance.namespace == namespace);
    }

    fn remove_where(&mut self, gone: impl Fn(&Entrance) -> bool) -> bool {
        let before = self.removed.len();
        for entrance in self.all.iter().filter(|one| gone(one)) {
            let _ = epoll::delete(&self.epoll, &entrance.fd);
            let _ = rustix::net::shutdown(&entrance.fd, Shutdown::Both);
            self.removed.push(entrance.serial);
        }
        self.all.retain(|one| !gone(one));
        self.removed.len() > before
    }

    /// Those that were removed since this was last asked.
    pub fn take_removed(&mut self) -> Vec<Serial> {
        std::mem::take(&mut self.removed)
    }

    /// Count a connection that came; which of its entrance's it is, from 1 up.
    pub fn came(&mut self, serial: Serial) -> u64 {
        let Some(entrance) = self.get_mut(serial) else {
            return 0;
        };
        entrance.connections += 1;
        entrance.admitted += 1;
        entrance.admitted
    }

    /// Count a connection that went, and what was held for it.
    pub fn went(&mut self, serial: Serial, held: usize) {
        if let Some(entrance) = self.get_mut(serial) {
            entrance.connections -= 1;
            entrance.held -= held;
        }
    }

    /// Note what is held for a connection; what is held for all of its entrance's.
    pub fn hold(&mut self, serial: Serial, before: usize, now: usize) -> usize {
        self.get_mut(serial).map_or(0, |entrance| {
            entrance.held = entrance.held + now - before;
            entrance.held
        })
    }

    /// An equal part of something for each of them.
    #[must_use]
    pub fn share(&self, of: usize) -> usize {
        of / self.all.len().max(1)
    }
}

/// Where a listening stream socket listens; it does not block from here on.
fn address(fd: &OwnedFd) -> Result<String, &'static str> {
    const WRONG: &str = "This is not a listening stream socket";
    let listens = sockopt::socket_type(fd) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(fd) == Ok(true);
    if !listens {
        return Err(WRONG);
    }
    let flags = rustix::fs::fcntl_getfl(fd).map_err(|_| WRONG)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(|_| WRONG)?;
    let bound = rustix::net::getsockname(fd).map_err(|_| WRONG)?;
    Ok(SocketAddr::try_from(bound)
        .map_or_else(|_| "unix".to_owned(), |bound| format!("tcp://{bound}")))
}
