//! A load generator that costs less than the servers it asks: one thread, one epoll, requests made beforehand.
//!
//! `redis-benchmark` needs more processor time for a request than a server does, so at pipeline 1 it measures
//! itself. This one renders each connection's requests once and changes only digits in them, and it never sleeps:
//! no server pays for waking it. Every SET has another value, so that each of them is a write. It speaks to any
//! server of the Redis protocol and ends with 1 if one answers an error. It prints what it saw as one JSON object.
//!
//! ```text
//! cargo run --release --example load -p tfgrid-zdb-server -- --port 9900 --command set --seconds 5
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::{sockopt, AddressFamily, RecvFlags, SendFlags, SocketType};

const RECEIVE_BYTES: usize = 1 << 20;
const EVENTS_MAX: usize = 1024;
const KEY_DIGITS: usize = 12;
/// How long no reply may come.
const PATIENCE: Duration = Duration::from_secs(60);
const NOTHING: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    /// A random key, another value each time.
    Set,
    /// A random key.
    Get,
    /// Each key once, in order.
    Fill,
}

struct Asked {
    port: u16,
    command: Command,
    clients: usize,
    depth: usize,
    bytes: usize,
    keys: u64,
    requests: u64,
    /// Nothing new is asked after this.
    time: Duration,
    seed: u64,
}

fn main() {
    let asked = match asked(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(asked) => asked,
        Err(word) => {
            eprintln!(
                "{word}: load --port N [--command set|get|fill] [--clients N] [--depth N] [--bytes N] \
                 [--keys N] [--requests N | --seconds S] [--seed N]"
            );
            std::process::exit(2);
        }
    };
    if let Err(error) = run(&asked) {
        eprintln!("load: {error}");
        std::process::exit(1);
    }
}

fn asked(words: &[String]) -> Result<Asked, String> {
    let mut asked = Asked {
        port: 0,
        command: Command::Set,
        clients: 50,
        depth: 1,
        bytes: 3,
        keys: 1_000_000,
        requests: u64::MAX,
        time: Duration::MAX,
        seed: 1,
    };
    for pair in words.chunks(2) {
        let [name, value] = pair else {
            return Err(pair[0].clone());
        };
        let number = value.parse::<u64>().map_err(|_| value.clone());
        let count = number.clone().map(|number| number as usize);
        match name.as_str() {
            "--port" => asked.port = value.parse().map_err(|_| value.clone())?,
            "--clients" => asked.clients = count?.max(1),
            "--depth" => asked.depth = count?.max(1),
            "--bytes" => asked.bytes = count?,
            "--keys" => asked.keys = number?.max(1),
            "--requests" => asked.requests = number?.max(1),
            "--seconds" => {
                let seconds = value.parse().map_err(|_| value.clone())?;
                asked.time = Duration::try_from_secs_f64(seconds).map_err(|_| value.clone())?;
            }
            "--seed" => asked.seed = number?,
            "--command" => {
                asked.command = match value.as_str() {
                    "set" => Command::Set,
                    "get" => Command::Get,
                    "fill" => Command::Fill,
                    _ => return Err(value.clone()),
                }
            }
            _ => return Err(name.clone()),
        }
    }
    Ok(asked)
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound of less than 2^32.
    fn below(&mut self, bound: u64) -> u64 {
        ((self.roll() >> 32) * bound) >> 32
    }
}

/// Which keys are asked, and with what values.
struct Deck {
    dice: Dice,
    command: Command,
    keys: u64,
    filled: u64,
}

impl Deck {
    fn key(&mut self) -> u64 {
        if self.command != Command::Fill {
            return self.dice.below(self.keys);
        }
        self.filled += 1;
        (self.filled - 1) % self.keys
    }
}

/// Where the parts of a request are that change.
struct Shape {
    request: Vec<u8>,
    key_at: usize,
    value_at: usize,
    value_digits: usize,
}

impl Shape {
    fn new(asked: &Asked) -> Self {
        let key = "0".repeat(KEY_DIGITS);
        let head = |count: usize, name: &str| {
            format!(
                "*{count}\r\n$3\r\n{name}\r\n${}\r\nkey:{key}",
                KEY_DIGITS + 4
            )
        };
        if asked.command == Command::Get {
            let request = head(2, "GET");
            let key_at = request.len() - KEY_DIGITS;
            return Self {
                request: (request + "\r\n").into_bytes(),
                key_at,
                value_at: 0,
                value_digits: 0,
            };
        }
        let mut request = head(3, "SET");
        let key_at = request.len() - KEY_DIGITS;
        request += &format!("\r\n${}\r\n", asked.bytes);
        let value_at = request.len();
        request += &"x".repeat(asked.bytes);
        Self {
            request: (request + "\r\n").into_bytes(),
            key_at,
            value_at,
            value_digits: asked.bytes.min(8),
        }
    }

    /// Make the next request of one that was sent.
    fn change(&self, request: &mut [u8], deck: &mut Deck) {
        let mut key = deck.key();
        for digit in request[self.key_at..self.key_at + KEY_DIGITS]
            .iter_mut()
            .rev()
        {
            *digit = b'0' + (key % 10) as u8;
            key /= 10;
        }
        let mut value = deck.dice.roll();
        for byte in &mut request[self.value_at..self.value_at + self.value_digits] {
            *byte = b'0' + (value & 63) as u8;
            value >>= 6;
        }
    }
}

/// Replies in a stream: how many were whole, and the place in the one that is not.
#[derive(Default)]
struct Replies {
    /// Bytes of a bulk string that are still to come.
    skip: usize,
    /// The line that is not whole.
    line: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    replies: u64,
    nil: u64,
}

impl Replies {
    fn read(&mut self, mut bytes: &[u8], seen: &mut Seen) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let count = self.skip.min(bytes.len());
                self.skip -= count;
                bytes = &bytes[count..];
                seen.replies += u64::from(self.skip == 0);
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            let rest = &bytes[end + 1..];
            if self.line.is_empty() {
                self.skip = head(&bytes[..end], seen)?;
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                self.skip = head(&self.line, seen)?;
                self.line.clear();
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// One line of a reply; how many bytes follow it.
fn head(line: &[u8], seen: &mut Seen) -> io::Result<usize> {
    let text = &line[1..line.len().saturating_sub(1)];
    match line.first() {
        Some(b'$') if text == b"-1" => {
            seen.nil += 1;
            seen.replies += 1;
            Ok(0)
        }
        Some(b'$') => {
            let digits = text.iter().filter(|byte| byte.is_ascii_digit());
            Ok(digits.fold(0, |number, byte| number * 10 + usize::from(byte - b'0')) + 2)
        }
        Some(b'+' | b':') => {
            seen.replies += 1;
            Ok(0)
        }
        _ => Err(io::Error::other(String::from_utf8_lossy(line).into_owned())),
    }
}

struct Connection {
    fd: OwnedFd,
    /// The requests under way: `depth` of them, one after the other.
    batch: Vec<u8>,
    /// How many there are; fewer at the end of a run.
    count: usize,
    sent: usize,
    answered: u64,
    replies: Replies,
}

impl Connection {
    fn new(address: SocketAddr, shape: &Shape, depth: usize) -> io::Result<Self> {
        let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::net::connect(&fd, &address)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        Ok(Self {
            fd,
            batch: shape.request.repeat(depth),
            count: 0,
            sent: 0,
            answered: 0,
            replies: Replies::default(),
        })
    }

    /// Make the next batch, of at most `left` requests.
    fn begin(&mut self, shape: &Shape, deck: &mut Deck, left: u64) {
        let bytes = shape.request.len();
        let most = (self.batch.len() / bytes) as u64;
        self.count = most.min(left) as usize;
        for request in self.batch.chunks_mut(bytes).take(self.count) {
            shape.change(request, deck);
        }
        (self.sent, self.answered) = (0, 0);
    }

    fn send(&mut self, bytes: usize) -> io::Result<()> {
        let end = self.count * bytes;
        while self.sent < end {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.fd, &self.batch[self.sent..end], flags) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Read what came; whether all of the batch is answered.
    fn receive(&mut self, room: &mut [u8], seen: &mut Seen) -> io::Result<bool> {
        loop {
            let (count, _) = match rustix::net::recv(&self.fd, &mut *room, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => break,
                other => other?,
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let before = seen.replies;
            self.replies.read(&room[..count], seen)?;
            self.answered += seen.replies - before;
            // A stream that gave less than there was room for is empty.
            if count < room.len() {
                break;
            }
        }
        Ok(self.count > 0 && self.answered == self.count as u64)
    }
}

fn run(asked: &Asked) -> io::Result<()> {
    let shape = Shape::new(asked);
    let mut deck = Deck {
        dice: Dice(asked.seed),
        command: asked.command,
        keys: asked.keys,
        filled: 0,
    };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, asked.port));
    let mut connections = Vec::new();
    for slot in 0..asked.clients {
        let connection = Connection::new(address, &shape, asked.depth)?;
        // Edges: nothing is to be told to epoll again, whichever way it goes.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(
            &epoll,
            &connection.fd,
            EventData::new_u64(slot as u64),
            flags,
        )?;
        connections.push(connection);
    }
    let (began, mut left, mut seen) = (Instant::now(), asked.requests, Seen::default());
    for connection in &mut connections {
        connection.begin(&shape, &mut deck, left);
        left -= connection.count as u64;
        connection.send(shape.request.len())?;
    }
    let (mut room, mut events) = (vec![0; RECEIVE_BYTES], Vec::with_capacity(EVENTS_MAX));
    let (mut heard, mut under_way) = (began, asked.requests - left);
    while under_way > 0 {
        events.clear();
        epoll::wait(
            &epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&NOTHING),
        )?;
        if events.is_empty() {
            if heard.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            continue;
        }
        heard = Instant::now();
        if heard - began > asked.time {
            left = 0;
        }
        for event in &events {
            let (slot, flags) = (event.data.u64() as usize, event.flags);
            let connection = &mut connections[slot];
            connection.send(shape.request.len())?;
            if flags.contains(EventFlags::IN) && connection.receive(&mut room, &mut seen)? {
                under_way -= connection.count as u64;
                connection.begin(&shape, &mut deck, left);
                (left, under_way) = (
                    left - connection.count as u64,
                    under_way + connection.count as u64,
                );
                connection.send(shape.request.len())?;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let (requests, nil) = (seen.replies, seen.nil);
    let rate = requests as f64 / seconds;
    println!(
        "{{\"requests\": {requests}, \"nil\": {nil}, \"seconds\": {seconds:.6}, \"rate\": {rate:.0}}}"
    );
    Ok(())
}
