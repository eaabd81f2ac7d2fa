//! Commands on namespaces: NSNEW, NSDEL, NSLIST, NSSET, NSJUMP, RELOAD, FLUSH, DBSIZE.

use tfgrid_zdb::{Error, HistoryPolicy, NamespaceId, Password, Properties, DEFAULT_NAMESPACE};

use super::keys::refusal;
use super::{admin, digits, exactly, namespace_name, Call, Handled, Outcome, Refusal};
use crate::options::Mode;
use crate::wire::reply;

const PROPERTY_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 63;

fn done(call: &mut Call<'_>) -> Handled {
    reply::status(call.out, "OK");
    Ok(Outcome::Done)
}

/// `NSNEW namespace`
pub(super) fn nsnew(call: &mut Call<'_>) -> Handled {
    admin(call)?;
    exactly(&call.args, 2)?;
    let name = namespace_name(&call.args, 1)?.filter(|name| *name != DEFAULT_NAMESPACE);
    let name = name.ok_or("This name is not allowed")?;
    let id = call
        .shared
        .engine
        .create(name)
        .map_err(|error| match error {
            Error::BadName => "This name is not allowed",
            Error::Exists => "This namespace is not available",
            _ => "Could not create namespace",
        })?;
    if call.shared.options.max_size > 0 {
        let properties = Properties {
            max_bytes: call.shared.options.max_size,
            ..Properties::default()
        };
        let space = call.shared.engine.namespace_mut(id).map_err(refusal)?;
        space.set_properties(properties).map_err(refusal)?;
    }
    call.shared.meet(id);
    call.shared
        .hooks
        .tell("namespace-created", || vec![name.to_owned()]);
    done(call)
}

/// `NSDEL namespace`
pub(super) fn nsdel(call: &mut Call<'_>) -> Handled {
    admin(call)?;
    exactly(&call.args, 2)?;
    let name = namespace_name(&call.args, 1)?;
    if name == Some(DEFAULT_NAMESPACE) {
        return Err("Cannot remove default namespace".into());
    }
    let found = name.and_then(|name| Some((name, call.shared.engine.find(name)?)));
    let (name, id) = found.ok_or("This namespace doesn't exists")?;
    if id == call.client.namespace {
        return Err("Cannot remove namespace you're currently using.".into());
    }
    call.shared.commit();
    call.shared
        .engine
        .remove(name)
        .map_err(|_| "Could not delete this namespace")?;
    call.shared.entrances.remove_of(name);
    call.shared
        .hooks
        .tell("namespace-deleted", || vec![name.to_owned()]);
    done(call)
}

/// `NSLIST`: all of them; where admins have a socket of their own, others see those that they may enter.
pub(super) fn nslist(call: &mut Call<'_>) -> Handled {
    let mut names = call.shared.engine.names();
    names.retain(|name| {
        call.shared
            .engine
            .find(name)
            .is_some_and(|id| visible(call, id))
    });
    reply::array(call.out, names.len());
    for name in names {
        reply::bulk(call.out, name.as_bytes());
    }
    Ok(Outcome::Done)
}

/// Whether a client may know of a namespace.
pub(super) fn visible(call: &Call<'_>, id: NamespaceId) -> bool {
    if call.client.entrance.is_some() {
        return id == call.client.namespace;
    }
    if call.shared.options.admin_socket.is_none()
        || call.client.private
        || id == call.client.namespace
    {
        return true;
    }
    let space = call.shared.engine.namespace(id);
    space.is_ok_and(|space| space.properties().public || space.properties().password.is_none())
}

/// `DBSIZE`
pub(super) fn dbsize(call: &mut Call<'_>) -> Handled {
    let space = call
        .shared
        .engine
        .namespace(call.client.namespace)
        .map_err(refusal)?;
    reply::integer(
        call.out,
        i64::try_from(space.stats().entries).unwrap_or(i64::MAX),
    );
    Ok(Outcome::Done)
}

/// `NSSET namespace property value`
pub(super) fn nsset(call: &mut Call<'_>) -> Handled {
    admin(call)?;
    exactly(&call.args, 4)?;
    let name = namespace_name(&call.args, 1)?;
    let (property, value) = (call.args.get(2), call.args.get(3));
    if property.len() > PROPERTY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
        return Err("Argument too long".into());
    }
    let found = name.and_then(|name| Some((name, call.shared.engine.find(name)?)));
    let (name, id) = found.ok_or("Namespace not found")?;
    if property == b"mode" {
        set_mode(call, id, value)?;
    } else {
        let for_any = [&b"lock"[..], b"freeze", b"history"].contains(&property);
        if name == DEFAULT_NAMESPACE && !for_any {
            return Err("Cannot update default namespace".into());
        }
        let space = call.shared.engine.namespace_mut(id).map_err(refusal)?;
        let mut properties = space.properties().clone();
        change(&mut properties, property, value)?;
        space.set_properties(properties).map_err(refusal)?;
        call.shared.due(id);
    }
    call.shared
        .hooks
        .tell("namespace-updated", || vec![name.to_owned()]);
    done(call)
}

fn set_mode(call: &mut Call<'_>, id: NamespaceId, value: &[u8]) -> Result<(), Refusal> {
    if call.shared.options.mode != Mode::Mixed {
        return Err("This server instance is configured to use a single runtime mode".into());
    }
    let mode = match value {
        b"user" => tfgrid_zdb::Mode::User,
        b"seq" => tfgrid_zdb::Mode::Sequential,
        _ => return Err("Invalid property value (expected: user, seq)".into()),
    };
    let space = call.shared.engine.namespace_mut(id).map_err(refusal)?;
    space.set_mode(mode).map_err(|error| match error {
        Error::ModeInUse => "Cannot change mode of used namespace".into(),
        other => refusal(other),
    })
}

fn change(properties: &mut Properties, property: &[u8], value: &[u8]) -> Result<(), Refusal> {
    match property {
        b"maxsize" => {
            properties.max_bytes =
                digits(value).ok_or("Invalid property value (expected: bytes)")?
        }
        b"maxdisk" => {
            properties.max_disk_bytes =
                digits(value).ok_or("Invalid property value (expected: bytes)")?
        }
        b"maxkeys" => {
            properties.max_keys =
                digits(value).ok_or("Invalid property value (expected: a number)")?
        }
        b"password" if value == b"*" => properties.password = None,
        b"password" => properties.password = Password::new(value),
        b"public" => properties.public = switch(value)?,
        b"worm" => properties.worm = switch(value)?,
        b"lock" => properties.lock = switch(value)?,
        b"freeze" => properties.freeze = switch(value)?,
        b"history" => properties.history = history(value)?,
        _ => return Err("Invalid property".into()),
    }
    Ok(())
}

fn switch(value: &[u8]) -> Result<bool, Refusal> {
    match value {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err("Invalid property value (expected: 0, 1)".into()),
    }
}

fn history(value: &[u8]) -> Result<HistoryPolicy, Refusal> {
    let policy = match value {
        b"all" => Some(HistoryPolicy::KeepAll),
        _ if value.starts_with(b"last:") => digits(&value[5..])
            .filter(|count| *count > 0)
            .map(HistoryPolicy::KeepLast),
        _ if value.starts_with(b"since:") => digits(&value[6..]).map(HistoryPolicy::KeepSince),
        _ => None,
    };
    policy.ok_or_else(|| "Invalid property value (expected: all, last:N, since:TIME)".into())
}

/// `NSJUMP`
pub(super) fn nsjump(call: &mut Call<'_>) -> Handled {
    admin(call)?;
    let id = call.client.namespace;
    call.shared.commit();
    call.shared
        .engine
        .namespace_mut(id)
        .and_then(|space| space.jump())
        .map_err(refusal)?;
    call.shared.due(id);
    done(call)
}

/// `RELOAD namespace`: who is attached to it stays attached.
pub(super) fn reload(call: &mut Call<'_>) -> Handled {
    admin(call)?;
    exactly(&call.args, 2)?;
    let name = namespace_name(&call.args, 1)?;
    let found = name.and_then(|name| Some((name, call.shared.engine.find(name)?)));
    let (name, old) = found.ok_or("Namespace not found")?;
    call.shared.commit();
    let report = call.shared.engine.reload(name).map_err(refusal)?;
    crate::turn::server::tell_losses(&report);
    if let Some(new) = call.shared.engine.find(name) {
        call.shared.moved.push((old, new));
        call.shared.meet(new);
    }
    call.shared
        .hooks
        .tell("namespace-reloaded", || vec![name.to_owned()]);
    done(call)
}

/// `FLUSH`: only where a password or an entrance keeps strangers out.
pub(super) fn flush(call: &mut Call<'_>) -> Handled {
    let id = call.client.namespace;
    let properties = call
        .shared
        .engine
        .namespace(id)
        .map_err(refusal)?
        .properties();
    let shut = !properties.public && properties.password.is_some();
    if !shut && call.client.entrance.is_none() {
        return Err("Flushing public namespace denied".into());
    }
    call.shared.commit();
    let space = call.shared.engine.namespace_mut(id).map_err(refusal)?;
    space.flush().map_err(refusal)?;
    done(call)
}
