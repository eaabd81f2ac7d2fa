//! AUTH and SELECT: who may do what, and where.

use tfgrid_zdb::{NamespaceId, DEFAULT_NAMESPACE, PASSWORD_BYTES_MAX};

use super::keys::refusal;
use super::{namespace_name, Call, Handled, Outcome, Refusal};
use crate::auth::{equal, Answer, Challenge};
use crate::shared::Shared;
use crate::wire::reply;

const ADMIN_BYTES_MAX: usize = 128;
const ONLY_SECURE: &str = "Only SECURE extra method supported";
const NO_CHALLENGE: &str = "No CHALLENGE requested, secure authentication not available";

/// `AUTH password`, `AUTH SECURE CHALLENGE`, `AUTH SECURE answer`
pub(super) fn auth(call: &mut Call<'_>) -> Handled {
    match call.args.len() {
        2 => plain(call, 1),
        3 if call.args.get(1).eq_ignore_ascii_case(b"SECURE") => secure(call),
        // With the only user's name, as newer clients send it.
        3 if call.args.get(1) == b"default" => plain(call, 2),
        3 => Err(ONLY_SECURE.into()),
        _ => Err("Unexpected arguments".into()),
    }
}

/// The admin's password in an argument, as AUTH and HELLO have it.
pub(super) fn plain(call: &mut Call<'_>, index: usize) -> Handled {
    let secret = admin_secret(call)?;
    let given = call.args.get(index);
    if given.is_empty() {
        return Err("Invalid argument".into());
    }
    if given.len() > ADMIN_BYTES_MAX {
        return Err("Password too long".into());
    }
    if let Some(again) = slowed(call) {
        return Ok(again);
    }
    judged(call, equal(&secret, given))?;
    call.client.admin = true;
    reply::status(call.out, "OK");
    Ok(Outcome::Done)
}

fn admin_secret(call: &Call<'_>) -> Result<Vec<u8>, Refusal> {
    let options = &call.shared.options;
    // Where admins have a socket of their own, nobody becomes one through any other.
    let closed = options.admin_socket.is_some() && !call.client.private;
    match &options.admin {
        Some(secret) if !closed => Ok(secret.reveal().to_vec()),
        _ => Err("Authentication disabled".into()),
    }
}

/// Whether an attempt has to wait because earlier ones of its source were wrong.
fn slowed(call: &Call<'_>) -> Option<Outcome> {
    let until = call
        .shared
        .penalties
        .wait_until(&call.client.source, call.shared.now);
    until.map(|until| Outcome::Again(Some(until)))
}

fn judged(call: &mut Call<'_>, right: bool) -> Result<(), Refusal> {
    let Shared {
        penalties,
        figures,
        now,
        ..
    } = &mut *call.shared;
    if right {
        penalties.succeeded(&call.client.source);
        return Ok(());
    }
    penalties.failed(&call.client.source, *now);
    figures.denied += 1;
    Err("Access denied".into())
}

fn secure(call: &mut Call<'_>) -> Handled {
    if call.args.get(2).eq_ignore_ascii_case(b"CHALLENGE") {
        let challenge = Challenge::new().ok_or("Internal generator error")?;
        reply::status(call.out, challenge.text());
        call.client.challenge = Some(challenge);
        return Ok(Outcome::Done);
    }
    let secret = admin_secret(call)?;
    if let Some(again) = slowed(call) {
        return Ok(again);
    }
    answered(call, &secret, 2)?;
    call.client.challenge = None;
    call.client.admin = true;
    reply::status(call.out, "OK");
    Ok(Outcome::Done)
}

/// Judge an answer; a wrong one uses the challenge up.
fn answered(call: &mut Call<'_>, password: &[u8], index: usize) -> Result<(), Refusal> {
    let challenge = call.client.challenge.clone().ok_or(NO_CHALLENGE)?;
    match challenge.judge(password, call.args.get(index)) {
        Answer::BadLength => Err("Invalid hash length".into()),
        Answer::Right => judged(call, true),
        Answer::Wrong => {
            call.client.challenge = None;
            judged(call, false)
        }
    }
}

/// Who may enter a namespace.
struct Gate {
    password: Option<Vec<u8>>,
    public: bool,
}

fn gate(shared: &Shared, id: NamespaceId) -> Result<Gate, Refusal> {
    let space = shared.engine.namespace(id).map_err(refusal)?;
    if space.name() == DEFAULT_NAMESPACE {
        let password = shared
            .options
            .admin
            .as_ref()
            .filter(|_| shared.options.protect);
        return Ok(Gate {
            password: password.map(|secret| secret.reveal().to_vec()),
            public: true,
        });
    }
    let properties = space.properties();
    let password = properties
        .password
        .as_ref()
        .map(|password| password.reveal().to_vec());
    Ok(Gate {
        password,
        public: properties.public,
    })
}

/// `SELECT namespace [password | SECURE answer]`
pub(super) fn select(call: &mut Call<'_>) -> Handled {
    if call.args.len() < 2 {
        return Err("Invalid argument".into());
    }
    let name = namespace_name(&call.args, 1)?;
    let id = name
        .and_then(|name| call.shared.engine.find(name))
        .ok_or("Namespace not found")?;
    if call.client.entrance.is_some() {
        // Who came through an entrance has shown enough for that namespace, and nothing for another.
        if id != call.client.namespace {
            return Err("Namespace not found".into());
        }
        reply::status(call.out, "OK");
        return Ok(Outcome::Done);
    }
    let gate = gate(call.shared, id)?;
    let mut writable = true;
    match gate.password {
        None => {}
        Some(_) if call.args.len() == 2 => {
            if !gate.public {
                return Err("Namespace protected and private".into());
            }
            writable = false;
        }
        Some(password) => {
            if let Some(again) = slowed(call) {
                return Ok(again);
            }
            proved(call, &password)?;
        }
    }
    call.client.namespace = id;
    call.client.writable = writable;
    reply::status(call.out, "OK");
    Ok(Outcome::Done)
}

fn proved(call: &mut Call<'_>, password: &[u8]) -> Result<(), Refusal> {
    match call.args.len() {
        3 => {
            let given = call.args.get(2);
            if given.len() > PASSWORD_BYTES_MAX {
                return Err("Password too long".into());
            }
            let right = equal(password, given);
            judged(call, right)
        }
        4 if call.args.get(2).eq_ignore_ascii_case(b"SECURE") => answered(call, password, 3),
        4 => Err(ONLY_SECURE.into()),
        _ => Err("Too many arguments".into()),
    }
}
