//! The tiny HTTP server of the metrics: one request, one answer, one connection.

use crate::commands;
use crate::shared::Shared;
use crate::turn::connection::{Connection, Phase};

const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Answer once the head of the request is whole.
pub(crate) fn answer(shared: &Shared, connection: &mut Connection) {
    let whole = connection.input.windows(4).any(|end| end == b"\r\n\r\n");
    let large = connection.input.len() > REQUEST_BYTES_MAX;
    if !whole && !large {
        connection.needs = connection.input.len() + 1;
        return;
    }
    let line = connection
        .input
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let (status, kind, body) = match line {
        _ if large => (
            "431 Request Header Fields Too Large",
            "text/plain",
            String::new(),
        ),
        _ if line.starts_with(b"GET /metrics ") => (
            "200 OK",
            "text/plain; version=0.0.4; charset=utf-8",
            commands::metrics(shared),
        ),
        _ if line.starts_with(b"GET ") => {
            ("404 Not Found", "text/plain", "see /metrics\n".to_owned())
        }
        _ => ("405 Method Not Allowed", "text/plain", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    connection.output.extend_from_slice(head.as_bytes());
    connection.output.extend_from_slice(body.as_bytes());
    connection.input = Vec::new();
    connection.phase = Phase::Closing;
}
