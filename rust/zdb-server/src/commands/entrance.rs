//! ENTRANCE: ways into one namespace each, on sockets that come with the request.

use super::{exactly, Call, Handled, Outcome, Refusal};
use crate::turn::carry::Carried;
use crate::wire::reply;

const NAME_BYTES_MAX: usize = 255;

/// `ENTRANCE ADD name namespace`, `ENTRANCE DEL name`, `ENTRANCE LIST`: on the admin socket alone.
pub(super) fn entrance(call: &mut Call<'_>) -> Handled {
    let carried = std::mem::take(&mut call.client.carried);
    if !call.client.private {
        call.shared.figures.unauthorized += 1;
        return Err("Permission denied".into());
    }
    if call.args.len() < 2 {
        return Err("Missing arguments".into());
    }
    match call.args.get(1).to_ascii_uppercase().as_slice() {
        b"ADD" => add(call, carried),
        b"DEL" => remove(call),
        b"LIST" => list(call),
        _ => Err("Unknown ENTRANCE subcommand".into()),
    }
}

fn name<'a>(call: &Call<'a>) -> Result<&'a str, Refusal> {
    let name = call.args.get(2);
    if name.len() > NAME_BYTES_MAX {
        return Err("Argument too long".into());
    }
    std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.chars().any(char::is_control))
        .ok_or_else(|| "This name is not allowed".into())
}

fn add(call: &mut Call<'_>, carried: Carried) -> Handled {
    exactly(&call.args, 4)?;
    let name = name(call)?;
    let namespace = super::namespace_name(&call.args, 3)?;
    let namespace = namespace
        .filter(|namespace| call.shared.engine.find(namespace).is_some())
        .ok_or("Namespace not found")?;
    let socket = match carried {
        Carried::One(socket) => socket,
        Carried::Nothing => return Err("No socket came with this request".into()),
        Carried::Many => return Err("Exactly one socket is needed".into()),
    };
    call.shared.entrances.add(name, namespace, socket)?;
    reply::status(call.out, "OK");
    Ok(Outcome::Done)
}

fn remove(call: &mut Call<'_>) -> Handled {
    exactly(&call.args, 3)?;
    let name = name(call)?;
    if !call.shared.entrances.remove(name) {
        return Err("This entrance doesn't exists".into());
    }
    reply::status(call.out, "OK");
    Ok(Outcome::Done)
}

fn list(call: &mut Call<'_>) -> Handled {
    exactly(&call.args, 2)?;
    let all = call.shared.entrances.all();
    reply::array(call.out, all.len());
    for entrance in all {
        reply::array(call.out, 4);
        for text in [&entrance.name, &entrance.namespace, &entrance.address] {
            reply::bulk(call.out, text.as_bytes());
        }
        let connections = i64::try_from(entrance.connections).unwrap_or(i64::MAX);
        reply::integer(call.out, connections);
    }
    Ok(Outcome::Done)
}
