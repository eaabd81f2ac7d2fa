//! The commit at the end of a turn, and what it decides for replies, notices and the feed.
//!
//! Nothing that a turn wrote or read of an unsettled namespace has left before. Where a commit failed, the
//! replies that speak of it are replaced by an error before they are sent, and nobody else hears of it.

use crate::shared::{Failure, Reply};
use crate::turn::connection::{Peer, Phase};
use crate::turn::server::Server;
use crate::wire::reply;

const FAILED: &str = "Cannot write data right now";

/// Commit and settle a turn.
pub(crate) fn settle(server: &mut Server) {
    let shared = &mut server.shared;
    let due = shared
        .engine
        .next_due_ms()
        .is_some_and(|at| at <= shared.now_ms());
    if due || !shared.unsettled.is_empty() {
        shared.await_overdue();
        shared.commit();
    }
    if !shared.failures.is_empty() {
        fail(server);
    }
    server.shared.replies.clear();
    if !server.shared.notices.is_empty() {
        notify(server);
    }
    if !server.shared.frames.is_empty() {
        feed(server);
    }
    if !server.shared.moved.is_empty() {
        reattach(server);
    }
}

fn failed(failures: &[Failure], reply: &Reply, index: usize) -> bool {
    failures
        .iter()
        .any(|failure| failure.namespace == reply.namespace && index < failure.replies)
}

/// Replace the replies that a failed commit makes untrue.
fn fail(server: &mut Server) {
    let replies = std::mem::take(&mut server.shared.replies);
    let failures = std::mem::take(&mut server.shared.failures);
    let mut wrong: Vec<Reply> = Vec::new();
    for (index, reply) in replies.iter().enumerate() {
        if failed(&failures, reply, index) {
            wrong.push(*reply);
        }
    }
    // From the end of each output, so that the places of earlier ones stay right.
    for one in wrong.iter().rev() {
        let Some(connection) = server.connections[one.slot].as_mut() else {
            continue;
        };
        if let (Peer::Client(client), true) = (&mut connection.peer, one.partial) {
            // Of a listing nothing has left yet: it begins anew.
            if client.listing.take().is_some() {
                continue;
            }
        }
        if one.partial {
            connection.output.truncate(one.start);
            connection.phase = Phase::Closing;
            continue;
        }
        let mut text = Vec::new();
        reply::error(&mut text, FAILED);
        connection
            .output
            .splice(one.start..one.end.min(connection.output.len()), text);
    }
    let mut index = 0;
    server.shared.frames.retain(|frame| {
        let hit = failures
            .iter()
            .any(|f| f.namespace == frame.namespace && index < f.frames);
        index += 1;
        !hit
    });
}

/// Tell those who WAIT what ran.
fn notify(server: &mut Server) {
    let notices = std::mem::take(&mut server.shared.notices);
    for slot in 0..server.connections.len() {
        let Some(connection) = server.connections[slot].as_mut() else {
            continue;
        };
        let Peer::Client(client) = &mut connection.peer else {
            continue;
        };
        let Some(watch) = &client.watch else { continue };
        let heard = notices.iter().find(|notice| {
            notice.client != client.id
                && notice.namespace == client.namespace
                && watch
                    .command
                    .map_or(true, |command| command == notice.command)
        });
        let Some(heard) = heard else { continue };
        client.watch = None;
        server.shared.watchers -= 1;
        reply::status(
            &mut connection.output,
            crate::commands::name_of(heard.command),
        );
        // What it sent meanwhile is executed in the next turn.
        connection.blocked = true;
        server.list(slot);
    }
}

/// Tell those who MIRROR what changed.
fn feed(server: &mut Server) {
    let frames = std::mem::take(&mut server.shared.frames);
    for slot in 0..server.connections.len() {
        let Some(connection) = server.connections[slot].as_mut() else {
            continue;
        };
        let Peer::Client(client) = &connection.peer else {
            continue;
        };
        if !client.mirror || connection.phase != Phase::Open {
            continue;
        }
        for frame in frames.iter().filter(|frame| frame.client != client.id) {
            connection.output.extend_from_slice(&frame.bytes);
        }
        server.list(slot);
    }
}

/// Keep clients attached to a namespace that was reloaded.
fn reattach(server: &mut Server) {
    for connection in server.connections.iter_mut().flatten() {
        if let Peer::Client(client) = &mut connection.peer {
            client.namespace = server.shared.current(client.namespace);
        }
    }
    server.shared.moved.clear();
}
