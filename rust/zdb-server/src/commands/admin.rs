//! Commands of admins on files and the server: INDEX, DATA, HOOKS, STOP.

use tfgrid_zdb::{Error, Place, Record};

use super::keys::refusal;
use super::{admin as only_admin, at_least, digits, Call, Handled, Outcome, Refusal};
use crate::shared::Shared;
use crate::wire::reply;

const WORD_BYTES_MAX: usize = 128;

fn subcommand<'a>(call: &Call<'a>, index: usize) -> Result<&'a [u8], Refusal> {
    let word = call.args.get(index);
    if word.len() > WORD_BYTES_MAX {
        Err("Argument too long".into())
    } else {
        Ok(word)
    }
}

/// `INDEX DIRTY [RESET]`
pub(super) fn index(call: &mut Call<'_>) -> Handled {
    only_admin(call)?;
    at_least(&call.args, 2)?;
    if !subcommand(call, 1)?.eq_ignore_ascii_case(b"DIRTY") {
        return Err("Unknown INDEX subcommand".into());
    }
    let reset = call.args.len() == 3;
    if reset && !subcommand(call, 2)?.eq_ignore_ascii_case(b"RESET") {
        return Err("Unknown INDEX DIRTY subcommand".into());
    }
    let space = call
        .shared
        .engine
        .namespace_mut(call.client.namespace)
        .map_err(refusal)?;
    if reset {
        space.reset_dirty();
        reply::status(call.out, "OK");
        return Ok(Outcome::Done);
    }
    let files = space.dirty();
    reply::array(call.out, files.len());
    for file in files {
        reply::integer(call.out, file.into());
    }
    Ok(Outcome::Done)
}

/// `DATA RAW file offset`
pub(super) fn data(call: &mut Call<'_>) -> Handled {
    only_admin(call)?;
    at_least(&call.args, 2)?;
    if !subcommand(call, 1)?.eq_ignore_ascii_case(b"RAW") {
        return Err("Unknown DATA subcommand".into());
    }
    at_least(&call.args, 4)?;
    let (file, offset) = (digits(call.args.get(2)), digits(call.args.get(3)));
    let (Some(file), Some(offset)) = (file, offset) else {
        return Err("Invalid Request".into());
    };
    let Shared {
        engine, scratch, ..
    } = &mut *call.shared;
    let space = engine.namespace(call.client.namespace).map_err(refusal)?;
    let record = space
        .raw(Place { file, offset }, scratch)
        .map_err(|error| match error {
            Error::EndOfFile => "EOF",
            Error::NoRecord => "Invalid Request",
            _ => "Unexpected Internal Error",
        })?;
    tell_record(call.out, &record, call.client.resp3);
    Ok(Outcome::Done)
}

fn tell_record(out: &mut Vec<u8>, record: &Record<'_>, resp3: bool) {
    reply::array(out, 6);
    reply::bulk(out, record.key);
    reply::integer(out, record.meta.previous_offset.into());
    reply::bulk(out, format!("0x{:08x}", record.meta.crc).as_bytes());
    reply::integer(out, record.meta.deleted.into());
    reply::integer(out, record.meta.timestamp.into());
    if record.meta.deleted {
        reply::nil(out, resp3);
    } else {
        reply::bulk(out, record.payload);
    }
}

/// `HOOKS`: what ran in the last five minutes.
pub(super) fn hooks(call: &mut Call<'_>) -> Handled {
    only_admin(call)?;
    let runs = call.shared.hooks.runs();
    reply::array(call.out, runs.len());
    for run in runs {
        reply::array(call.out, 6);
        reply::bulk(call.out, run.hook.as_bytes());
        reply::array(call.out, run.arguments.len());
        for argument in &run.arguments {
            reply::bulk(call.out, argument.as_bytes());
        }
        reply::integer(call.out, run.pid.into());
        reply::integer(call.out, i64::try_from(run.started).unwrap_or(0));
        reply::integer(call.out, i64::try_from(run.finished).unwrap_or(0));
        reply::integer(call.out, run.status.into());
    }
    Ok(Outcome::Done)
}

/// `STOP`: the server ends as after SIGTERM.
pub(super) fn stop(call: &mut Call<'_>) -> Handled {
    if !call.client.admin {
        call.shared.figures.unauthorized += 1;
        return Err("Unauthorized".into());
    }
    reply::status(call.out, "Stopping");
    call.shared.stop = true;
    Ok(Outcome::Close)
}
