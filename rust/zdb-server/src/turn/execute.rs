//! The parts of a turn that belong to one connection: executing what it sent, and sending what it is owed.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData};
use rustix::net::Shutdown;

use crate::commands::{self, Call, Outcome, OUTPUT_PAUSE_BYTES};
use crate::log::{self, Field, Level};
use crate::shared::{Reply, Shared};
use crate::turn::ahead;
use crate::turn::carry::Carried;
use crate::turn::connection::{Connection, Peer, Phase};
use crate::turn::server::Server;
use crate::wire::reply;
use crate::wire::resp::Step;

/// What may be held for all connections together, in bytes.
pub(crate) const HELD_BYTES_MAX: usize = 512 * 1024 * 1024;
/// What each may hold in any case, in bytes.
pub(crate) const HELD_EACH_BYTES: usize = 128 * 1024;
/// What a listener of the feed may leave unread, in bytes.
const FEED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Replies of so many bytes leave as soon as they may.
const EARLY_SEND_BYTES: usize = 16 * 1024;
const LINGER: Duration = Duration::from_secs(2);

impl Server {
    /// Execute the whole requests of a connection: those of `fresh`, or those that wait in its input.
    pub(crate) fn execute(&mut self, slot: usize, fresh: Option<&[u8]>) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        connection.blocked = false;
        if !connection.runs() {
            return;
        }
        let kept = std::mem::take(&mut connection.input);
        let writes = self.shared.writes;
        self.outputs.lend(&mut connection.output);
        let input = fresh.unwrap_or(&kept);
        let at = match connection.entrance() {
            None => run(&mut self.shared, connection, slot, input, None),
            Some(serial) => self.shares.spend(serial, |until| {
                run(&mut self.shared, connection, slot, input, Some(until))
            }),
        };
        keep(connection, kept, fresh, at);
        // While it is near in memory; where no reply waits for a commit. An error comes again at the end of the turn.
        if connection.unsent() >= EARLY_SEND_BYTES && self.shared.replies.is_empty() {
            self.shared.figures.sent += connection.send().unwrap_or(0) as u64;
            self.outputs.take_back(&mut connection.output);
        }
        if self.shared.writes > writes {
            self.group.joined(&mut connection.group);
        }
        if let (Peer::Client(client), true) = (&mut connection.peer, connection.input.is_empty()) {
            client.carried = Carried::Nothing;
        }
        let watched = match &connection.peer {
            Peer::Client(client) => client.watch.as_ref().map(|watch| watch.until),
            Peer::Metrics => None,
        };
        for at in [connection.paused_until, watched].into_iter().flatten() {
            self.timers.push(Reverse((at, slot, connection.serial)));
        }
        self.list(slot);
    }

    /// The end of a turn: send, and see who goes on, waits or goes.
    pub(crate) fn finish(&mut self) {
        for slot in std::mem::take(&mut self.listed) {
            let Some(connection) = self.connections[slot].as_mut() else {
                continue;
            };
            connection.listed = false;
            match connection.send() {
                Ok(count) => {
                    self.shared.figures.sent += count as u64;
                    self.outputs.take_back(&mut connection.output);
                }
                Err(_) => {
                    self.drop_connection(slot);
                    continue;
                }
            }
            self.judge(slot);
        }
    }

    /// What becomes of a connection after it was sent to.
    fn judge(&mut self, slot: usize) {
        let now = self.shared.now;
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        if connection.unsent() == 0 {
            connection.stalled = None;
            if connection.blocked {
                self.waiting.push(slot);
            } else if connection.phase == Phase::Closing {
                let _ = rustix::net::shutdown(&connection.fd, Shutdown::Write);
                connection.phase = Phase::Lingering;
                connection.lingers_until = Some(now + LINGER);
                self.timers
                    .push(Reverse((now + LINGER, slot, connection.serial)));
            }
            let idle = connection.runs() || connection.phase == Phase::Lingering;
            if connection.ended && !connection.blocked && idle {
                self.drop_connection(slot);
                return;
            }
        } else {
            if connection.stalled.is_none() {
                let at = now + self.shared.options.client_timeout;
                self.timers.push(Reverse((at, slot, connection.serial)));
            }
            if connection.stalled.is_none() || connection.sent > 0 {
                connection.stalled = Some(now);
            }
        }
        self.count(slot);
    }

    /// Keep the books of held memory, and tell epoll what to wait for.
    fn count(&mut self, slot: usize) {
        if let Some((heavy, why)) = self.charge(slot) {
            self.cut(heavy, why);
        }
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        let listens = matches!(&connection.peer, Peer::Client(client) if client.mirror);
        if listens && connection.unsent() > FEED_BYTES_MAX {
            self.cut(slot, "it does not read the feed");
            return;
        }
        let wanted = connection.wanted();
        if wanted != connection.interest {
            connection.interest = wanted;
            let data = EventData::new_u64(connection.mark(slot));
            if epoll::modify(&self.epoll, &connection.fd, data, wanted).is_err() {
                self.drop_connection(slot);
            }
        }
    }

    fn cut(&mut self, slot: usize, why: &str) {
        let source = match self.connections[slot]
            .as_ref()
            .map(|connection| &connection.peer)
        {
            Some(Peer::Client(client)) => client.source.clone(),
            _ => "".into(),
        };
        let fields = [
            ("source", Field::Text(&source)),
            ("reason", Field::Text(why)),
        ];
        log::write(Level::Warning, "a client was cut", &fields);
        self.shared.figures.cut += 1;
        self.drop_connection(slot);
    }

    /// Do what timers say.
    pub(crate) fn fire(&mut self) {
        let now = self.shared.now;
        if self.deaf_until.is_some_and(|at| at <= now) {
            self.listen(true);
        }
        while self
            .timers
            .peek()
            .is_some_and(|Reverse((at, _, _))| *at <= now)
        {
            let Some(Reverse((_, slot, serial))) = self.timers.pop() else {
                return;
            };
            let connection = self.connections.get(slot).and_then(Option::as_ref);
            if connection.is_some_and(|connection| connection.serial == serial) {
                self.expire(slot);
            }
        }
    }

    fn expire(&mut self, slot: usize) {
        let now = self.shared.now;
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        if connection.lingers_until.is_some_and(|at| at <= now) {
            self.drop_connection(slot);
            return;
        }
        if let Some(since) = connection.stalled {
            let at = since + self.shared.options.client_timeout;
            if at <= now {
                self.cut(slot, "it did not read its replies");
                return;
            }
            self.timers.push(Reverse((at, slot, connection.serial)));
        }
        if connection.paused_until.is_some_and(|at| at <= now) {
            connection.paused_until = None;
        }
        if let Peer::Client(client) = &mut connection.peer {
            if client
                .watch
                .as_ref()
                .is_some_and(|watch| watch.until <= now)
            {
                client.watch = None;
                self.shared.watchers -= 1;
                reply::error(&mut connection.output, "Timeout");
            }
        }
        self.execute(slot, None);
    }
}

/// Execute requests from the start of `input`, until a time if one is given; how many of its bytes are done with.
fn run(
    shared: &mut Shared,
    connection: &mut Connection,
    slot: usize,
    input: &[u8],
    until: Option<Instant>,
) -> usize {
    let Connection {
        peer,
        parser,
        output,
        sent,
        needs,
        phase,
        blocked,
        paused_until,
        ..
    } = connection;
    let Peer::Client(client) = peer else {
        return input.len();
    };
    let (mut at, mut warm) = (0, 0);
    loop {
        match parser.step(&input[at..]) {
            Ok(Step::Needs(length)) => {
                *needs = length;
                return at;
            }
            Ok(Step::Whole(length)) => {
                let late = until.is_some_and(|until| Instant::now() >= until);
                if late || output.len() - *sent >= OUTPUT_PAUSE_BYTES {
                    *blocked = true;
                    return at;
                }
                let (start, namespace) = (output.len(), client.namespace);
                if at >= warm && at + length < input.len() {
                    warm = at + ahead::warm(&shared.engine, namespace, &input[at..]);
                }
                let args = parser.arguments(&input[at..]);
                let outcome = commands::run(&mut Call {
                    args,
                    client,
                    shared,
                    out: output,
                });
                if !shared.unsettled.is_empty() && shared.unsettled.contains(&namespace) {
                    let (end, partial) = (output.len(), matches!(outcome, Outcome::Again(_)));
                    shared.replies.push(Reply {
                        slot,
                        namespace,
                        start,
                        end,
                        partial,
                    });
                }
                if let Outcome::Again(until) = outcome {
                    *blocked = until.is_none();
                    *paused_until = until;
                    return at;
                }
                parser.reset();
                at += length;
                if outcome == Outcome::Close {
                    *phase = Phase::Closing;
                }
                if outcome != Outcome::Done || shared.stop {
                    return at;
                }
            }
            Err(malformed) => {
                shared.figures.malformed += 1;
                reply::error(output, malformed.text());
                *phase = Phase::Closing;
                return at;
            }
        }
    }
}

/// Keep what was not executed.
fn keep(connection: &mut Connection, mut kept: Vec<u8>, fresh: Option<&[u8]>, at: usize) {
    connection.parser.shrink();
    if connection.phase != Phase::Open {
        return;
    }
    match fresh {
        Some(fresh) if at < fresh.len() => connection.input = fresh[at..].to_vec(),
        None if at < kept.len() => {
            kept.drain(..at);
            connection.input = kept;
        }
        _ => {}
    }
}
