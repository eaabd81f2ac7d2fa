//! A server that parses each request and answers it with a constant: the ceiling for any server of one thread.
//!
//! It has the loop of the real one without sessions, engine and commit: a wait, a receive and a send. SET is
//! answered as Redis does, anything else with a value of so many bytes.
//!
//! ```text
//! cargo run --release --example null -p tfgrid-zdb-server -- PORT BYTES
//! ```

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{sockopt, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tfgrid_zdb_server::resp::{Parser, Step};

const RECEIVE_BYTES: usize = 256 * 1024;
const LISTENER: u64 = u64::MAX;

struct Connection {
    fd: OwnedFd,
    parser: Parser,
    input: Vec<u8>,
    output: Vec<u8>,
    writing: bool,
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
    let (Some(port), Some(bytes)) = (number(), number()) else {
        eprintln!("null PORT BYTES");
        std::process::exit(2);
    };
    serve(port as u16, bytes)
}

fn serve(port: u16, bytes: usize) -> io::Result<()> {
    let value = format!("${bytes}\r\n{}\r\n", "x".repeat(bytes)).into_bytes();
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    rustix::net::listen(&listener, 1024)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut connections = HashMap::new();
    let (mut events, mut room) = (Vec::with_capacity(1024), vec![0; RECEIVE_BYTES]);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let mark = event.data.u64();
            if mark == LISTENER {
                let fd = rustix::net::accept_with(&listener, flags)?;
                sockopt::set_tcp_nodelay(&fd, true)?;
                let mark = fd.as_raw_fd() as u64;
                epoll::add(&epoll, &fd, EventData::new_u64(mark), EventFlags::IN)?;
                connections.insert(mark, Connection::new(fd));
            } else if let Some(connection) = connections.get_mut(&mark) {
                let goes_on = connection.turn(&mut room, &value)?;
                if !goes_on {
                    connections.remove(&mark);
                    continue;
                }
                let writing = !connection.output.is_empty();
                if writing != connection.writing {
                    connection.writing = writing;
                    let flags = if writing {
                        EventFlags::OUT
                    } else {
                        EventFlags::IN
                    };
                    epoll::modify(&epoll, &connection.fd, EventData::new_u64(mark), flags)?;
                }
            }
        }
    }
}

impl Connection {
    fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            parser: Parser::default(),
            input: Vec::new(),
            output: Vec::new(),
            writing: false,
        }
    }

    /// Receive, answer, send; false when the peer is gone.
    fn turn(&mut self, room: &mut [u8], value: &[u8]) -> io::Result<bool> {
        if !self.writing {
            match rustix::net::recv(&self.fd, &mut *room, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(_) => return Ok(false),
                Ok((count, _)) => self.answer(&room[..count], value)?,
            }
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.fd, &self.output, flags) {
            Ok(count) if count == self.output.len() => self.output.clear(),
            Ok(count) => drop(self.output.drain(..count)),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    fn answer(&mut self, fresh: &[u8], value: &[u8]) -> io::Result<()> {
        let mut kept = std::mem::take(&mut self.input);
        let input = if kept.is_empty() {
            fresh
        } else {
            kept.extend_from_slice(fresh);
            &kept[..]
        };
        let mut at = 0;
        while let Step::Whole(length) = self
            .parser
            .step(&input[at..])
            .map_err(|malformed| io::Error::other(malformed.text()))?
        {
            let set = self.parser.arguments(&input[at..]).len() == 3;
            self.output
                .extend_from_slice(if set { b"+OK\r\n" } else { value });
            self.parser.reset();
            at += length;
        }
        if at < input.len() {
            self.input = input[at..].to_vec();
        }
        Ok(())
    }
}
