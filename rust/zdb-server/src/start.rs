//! Start and end: options, files, sockets, signals, hooks, in the order in which each may refuse.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use tfgrid_zdb::{Engine, Error, RealDisk, Scratch, SyncMode};

use crate::auth::Penalties;
use crate::entrances::Entrances;
use crate::hooks::Hooks;
use crate::log::{self, Field, Level};
use crate::net::{self, Audience, Listener};
use crate::options::{Mode, Options, Sync, HELP};
use crate::shared::{unix, Figures, Shared, Store};
use crate::turn::chores::{self, Chores};
use crate::turn::server::{tell_losses, Server};
use crate::turn::syncer::Syncer;

/// The server cannot do what it was asked to.
const EXIT_FAILED: i32 = 1;
/// The command line is wrong.
const EXIT_USAGE: i32 = 2;
/// Another server holds the directories or the address.
const EXIT_BUSY: i32 = 3;

/// Serve as a command line says, until SIGTERM, SIGINT or STOP; the exit code.
#[must_use]
pub fn serve(arguments: &[String]) -> i32 {
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        log::say(HELP);
        return 0;
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(refused) => {
            log::write(
                Level::Error,
                "refused",
                &[("reason", Field::Text(&refused.0))],
            );
            return EXIT_USAGE;
        }
    };
    for warning in &options.warnings {
        log::write(Level::Warning, warning, &[]);
    }
    match run(options) {
        Ok(()) => 0,
        Err((code, reason)) => {
            log::write(Level::Error, "stopped", &[("reason", Field::Text(&reason))]);
            code
        }
    }
}

type Stopped = (i32, String);

fn failed(what: &str, error: &dyn std::fmt::Display) -> Stopped {
    (EXIT_FAILED, format!("{what}: {error}"))
}

fn run(options: Options) -> Result<(), Stopped> {
    let signals = signals().map_err(|error| failed("signals", &error))?;
    let listeners = listen(&options)?;
    if let Some(user) = options.user {
        become_user(user).map_err(|error| failed("becoming the user", &error))?;
    }
    let identity = listeners[0].address.clone();
    let hooks = Hooks::new(options.hook.clone(), identity);
    let paths = [&options.index, &options.data].map(|path| path.display().to_string());
    // Whoever fetches missing files does it now; what it says about that does not stop the start.
    let _ = hooks.wait_for("namespaces-init", paths.to_vec());
    let began = Instant::now();
    let engine = open(&options, began)?;
    let names = engine.names().len() as u64;
    log::write(
        Level::Info,
        "opened",
        &[
            ("namespaces", Field::Number(names)),
            (
                "milliseconds",
                Field::Number(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
            ),
        ],
    );
    let shared = shared(engine, options, hooks, began)?;
    if shared.hooks.wait_for("ready", Vec::new()) != 0 {
        return Err((EXIT_FAILED, "the hook `ready` refused".to_owned()));
    }
    for listener in &listeners {
        log::write(
            Level::Info,
            "listening",
            &[("address", Field::Text(&listener.address))],
        );
    }
    let mut server =
        Server::new(shared, listeners, &signals).map_err(|error| failed("epoll", &error))?;
    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.run()));
    let mut shared = server.into_shared();
    match served {
        Ok(served) => {
            served.map_err(|error| failed("waiting", &error))?;
            end(shared)
        }
        Err(_) => {
            // Nothing is closed: what a fault left in memory does not reach the disk.
            shared.hooks.tell("crash", Vec::new);
            shared.hooks.close();
            Err((EXIT_FAILED, "a fault in the server".to_owned()))
        }
    }
}

/// Be another user from here on, without a way back.
///
/// The system knows users of threads, not of processes: there is only this one yet.
fn become_user(user: u32) -> io::Result<()> {
    use rustix::thread::{
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid, Gid, Uid,
    };
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_no_new_privs(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// A socket that is readable once the process was asked to end.
fn signals() -> io::Result<OwnedFd> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGTERM, writer.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, writer)?;
    Ok(reader.into())
}

fn listen(options: &Options) -> Result<Vec<Listener>, Stopped> {
    let most = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: most.maximum,
        maximum: most.maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    let mut listeners = Vec::new();
    let mut add = |made: io::Result<Listener>, address: String| match made {
        Ok(listener) => {
            listeners.push(listener);
            Ok(())
        }
        Err(error) => Err((EXIT_BUSY, format!("cannot listen on {address}: {error}"))),
    };
    if let Some(address) = options.tcp {
        add(net::tcp(address, Audience::Public), address.to_string())?;
    }
    if let Some(path) = &options.socket {
        add(
            net::unix(path, Audience::Public),
            path.display().to_string(),
        )?;
    }
    if let Some(path) = &options.admin_socket {
        add(net::unix(path, Audience::Admin), path.display().to_string())?;
    }
    if let Some(address) = options.metrics {
        add(net::tcp(address, Audience::Metrics), address.to_string())?;
    }
    Ok(listeners)
}

fn open(options: &Options, began: Instant) -> Result<Store, Stopped> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(|error| failed("random bytes", &error))?;
    let mut wanted = tfgrid_zdb::Options::new(entropy);
    wanted.sync = match options.sync {
        Sync::Always => SyncMode::Always,
        Sync::Group => SyncMode::Group,
        Sync::Interval(every) => {
            SyncMode::Interval(u64::try_from(every.as_millis()).unwrap_or(u64::MAX))
        }
        Sync::Never => SyncMode::None,
    };
    wanted.sync_beside = matches!(options.sync, Sync::Interval(_));
    wanted.segment_bytes = u32::try_from(options.data_size).unwrap_or(u32::MAX);
    wanted.cache_bytes = options.cache;
    wanted.mode = match options.mode {
        Mode::Sequential => tfgrid_zdb::Mode::Sequential,
        Mode::User | Mode::Mixed => tfgrid_zdb::Mode::User,
    };
    let disk = RealDisk::new(&options.data, &options.index).map_err(|error| refused(&error))?;
    let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (engine, report) = Engine::open(disk, wanted, now).map_err(|error| refused(&error))?;
    tell_losses(&report);
    Ok(engine)
}

fn refused(error: &Error) -> Stopped {
    let code = if matches!(error, Error::Busy(_)) {
        EXIT_BUSY
    } else {
        EXIT_FAILED
    };
    (code, error.to_string())
}

fn shared(engine: Store, options: Options, hooks: Hooks, boot: Instant) -> Result<Shared, Stopped> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| failed("random bytes", &error))?;
    let syncer = match options.sync {
        Sync::Interval(_) => Some(Syncer::start().map_err(|error| failed("a thread", &error))?),
        _ => None,
    };
    let mut shared = Shared {
        engine,
        scratch: Scratch::default(),
        options,
        hooks,
        penalties: Penalties::default(),
        figures: Figures::default(),
        // 0 is the owner of nothing in the feed.
        instance: u32::from_le_bytes(bytes).max(1),
        boot,
        boot_seconds: unix().as_secs(),
        now: boot,
        seconds: 0,
        connected: 0,
        stop: false,
        unsettled: Vec::new(),
        replies: Vec::new(),
        failures: Vec::new(),
        watchers: 0,
        notices: Vec::new(),
        moved: Vec::new(),
        listeners: 0,
        frames: Vec::new(),
        entrances: Entrances::new().map_err(|error| failed("epoll", &error))?,
        chores: Chores::default(),
        syncer,
        writes: 0,
        commit_took: Duration::ZERO,
        walkers: crate::commands::Walkers::default(),
    };
    for name in shared.engine.names() {
        if let Some(id) = shared.engine.find(&name) {
            shared.meet(id);
        }
    }
    Ok(shared)
}

fn end(mut shared: Shared) -> Result<(), Stopped> {
    chores::closing(&mut shared);
    for ended in shared.syncer.take().map(Syncer::finish).unwrap_or_default() {
        shared.synced(ended);
    }
    let Shared {
        engine, mut hooks, ..
    } = shared;
    let closed = engine.close().map_err(|error| failed("closing", &error));
    hooks.close();
    closed?;
    log::write(Level::Info, "stopped", &[]);
    Ok(())
}
