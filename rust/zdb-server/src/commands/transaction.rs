//! MULTI, EXEC and DISCARD, as libraries for Redis send them around a pipeline.
//!
//! What is queued is executed by EXEC, one request after the other in one turn: nobody sees a part of it, unless an
//! answer is so big that its client has to read before it goes on. It is no more than that: a request that is
//! refused leaves the others done, as in Redis, and after a power cut the first of them may be there without the
//! last. Only what reads or changes keys of this namespace can be queued: whoever lists, waits, or becomes
//! somebody else does so by itself.

use super::{name_of, run, Call, Handled, Outcome, Refusal};
use crate::wire::reply;
use crate::wire::resp::{Parser, Step, REQUEST_BYTES_MAX};

/// Requests of one transaction: while they are executed everybody else waits.
const REQUESTS_MAX: usize = 16_384;
/// What may be queued.
const QUEUED: [&str; 14] = [
    "SET", "SETX", "GET", "MGET", "DEL", "EXISTS", "CHECK", "LENGTH", "KEYTIME", "KEYCUR",
    "DBSIZE", "PING", "TIME", "ECHO",
];

/// What a client queued after MULTI.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The requests as they are sent.
    requests: Vec<u8>,
    count: usize,
    /// Whether one was refused: then EXEC executes none.
    broken: bool,
    /// EXEC: how many bytes of the requests are executed, once it began.
    executed: Option<usize>,
}

impl Transaction {
    /// Bytes of memory that it takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.requests.capacity()
    }

    fn queue(&mut self, call: &Call<'_>, index: Option<usize>) -> Result<(), Refusal> {
        let name = index.map(name_of).ok_or("Command not supported")?;
        if !QUEUED.contains(&name) {
            return Err("Command not allowed in a transaction".into());
        }
        let bytes: usize = call.args.iter(0).map(|one| one.len() + 16).sum();
        if self.count >= REQUESTS_MAX || self.requests.len() + bytes > REQUEST_BYTES_MAX {
            return Err("Transaction too big".into());
        }
        reply::array(&mut self.requests, call.args.len());
        for argument in call.args.iter(0) {
            reply::bulk(&mut self.requests, argument);
        }
        self.count += 1;
        Ok(())
    }
}

/// Whether a command ends or begins a transaction rather than being queued in it.
pub(super) fn is_mark(index: Option<usize>) -> bool {
    index.is_some_and(|index| ["MULTI", "EXEC", "DISCARD"].contains(&name_of(index)))
}

/// Queue a request of the command of this index, if there is one.
pub(super) fn queue(call: &mut Call<'_>, index: Option<usize>) {
    let Some(mut transaction) = call.client.transaction.take() else {
        return;
    };
    match transaction.queue(call, index) {
        Ok(()) => reply::status(call.out, "QUEUED"),
        Err(text) => {
            transaction.broken = true;
            reply::error(call.out, &text);
        }
    }
    call.client.transaction = Some(transaction);
}

/// `MULTI`
pub(super) fn multi(call: &mut Call<'_>) -> Handled {
    if call.args.len() != 1 {
        return Err("Unexpected arguments".into());
    }
    if call.client.master {
        return Err("Command not allowed for a master".into());
    }
    if let Some(transaction) = &mut call.client.transaction {
        transaction.broken = true;
        return Err("MULTI calls can not be nested".into());
    }
    call.client.transaction = Some(Box::default());
    reply::status(call.out, "OK");
    Ok(Outcome::Done)
}

/// `DISCARD`
pub(super) fn discard(call: &mut Call<'_>) -> Handled {
    let text = "DISCARD without MULTI";
    call.client.transaction.take().ok_or(text)?;
    reply::status(call.out, "OK");
    Ok(Outcome::Done)
}

/// `EXEC`: executes what was queued, or goes on where its client had to read first.
pub(super) fn exec(call: &mut Call<'_>) -> Handled {
    let mut transaction = call.client.transaction.take().ok_or("EXEC without MULTI")?;
    if transaction.broken {
        return Err("EXECABORT Transaction discarded because of previous errors.".into());
    }
    let mut at = transaction.executed.unwrap_or_else(|| {
        reply::array(call.out, transaction.count);
        0
    });
    let mut parser = Parser::default();
    while let Ok(Step::Whole(length)) = parser.step(&transaction.requests[at..]) {
        let outcome = run(&mut Call {
            args: parser.arguments(&transaction.requests[at..]),
            client: call.client,
            shared: call.shared,
            out: call.out,
        });
        match outcome {
            Outcome::Done => {}
            Outcome::Again(_) => {
                transaction.executed = Some(at);
                call.client.transaction = Some(transaction);
                return Ok(outcome);
            }
            Outcome::Waits | Outcome::Close => return Ok(outcome),
        }
        parser.reset();
        at += length;
        if call.out.len() >= super::OUTPUT_PAUSE_BYTES && at < transaction.requests.len() {
            transaction.executed = Some(at);
            call.client.transaction = Some(transaction);
            return Ok(Outcome::Again(None));
        }
    }
    Ok(Outcome::Done)
}
