//! INFO, NSINFO and the metrics: the same figures for people and for Prometheus.

use std::fmt::Write as _;
use std::path::Path;

use tfgrid_zdb::{Disk as _, HistoryPolicy, Mode, Root, Stats};

use super::keys::refusal;
use super::spaces::visible;
use super::{exactly, name_of, namespace_name, Call, Handled, Outcome};
use crate::entrances::Serial;
use crate::shared::{Shared, Space};
use crate::wire::reply;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MEBIBYTE
}

/// `INFO`
pub(super) fn info(call: &mut Call<'_>) -> Handled {
    let mut text = String::with_capacity(2048);
    if let Some(serial) = call.client.entrance {
        tenant_text(&mut text, call.shared, serial);
        let space = call.shared.engine.namespace(call.client.namespace);
        let space = space.map_err(refusal)?;
        space_text(&mut text, space);
        redis_text(&mut text, space.stats().index_memory_bytes, &space.stats());
        reply::bulk(call.out, text.as_bytes());
        return Ok(Outcome::Done);
    }
    server_text(&mut text, call.shared);
    figures_text(&mut text, call.shared);
    let (shared, sum) = (&call.shared, totals(call.shared));
    let executed: u64 = shared.figures.by_command.iter().sum();
    let cached = shared.engine.cached_bytes() as u64;
    redis_text(&mut text, sum.index_memory_bytes + cached, &sum);
    let _ = write!(
        text,
        "total_commands_processed:{executed}\r\ntotal_connections_received:{}\r\n",
        shared.figures.clients
    );
    reply::bulk(call.out, text.as_bytes());
    Ok(Outcome::Done)
}

fn server_text(text: &mut String, shared: &Shared) {
    let version = env!("CARGO_PKG_VERSION");
    let uptime = shared.now.duration_since(shared.boot).as_secs();
    let _ = write!(
        text,
        "# server\nserver_name: tfgrid zdb\nserver_revision: {version}\nengine_revision: {version}\n\
         instance_id: {}\nprocess_id: {}\nboot_time: {}\nuptime: {uptime}\n\n\
         # clients\nclients_lifetime: {}\nconnected_clients: {}\nblocked_clients: {}\n\n\
         # internals\nsequential_key_size: 8\ndata_version: 3\nindex_version: 4\n\n",
        shared.instance,
        std::process::id(),
        shared.boot_seconds,
        shared.figures.clients,
        shared.connected,
        shared.watchers
    );
}

/// What a tenant is told of the server: nothing of others, and nothing of the machine.
fn tenant_text(text: &mut String, shared: &Shared, serial: Serial) {
    let version = env!("CARGO_PKG_VERSION");
    let connections = shared
        .entrances
        .get(serial)
        .map_or(0, |own| own.connections);
    let _ = write!(
        text,
        "# server\nserver_name: tfgrid zdb\nserver_revision: {version}\nengine_revision: {version}\n\n\
         # clients\nconnected_clients: {connections}\n\n\
         # internals\nsequential_key_size: 8\ndata_version: 3\nindex_version: 4\n\n"
    );
}

/// What programs for Redis look for, with the line ends without which `redis-cli --stat` fails.
fn redis_text(text: &mut String, memory_bytes: u64, sum: &Stats) {
    let entries = sum.entries;
    let _ = write!(
        text,
        "\n# redis\r\nused_memory:{memory_bytes}\r\ndb0:keys={entries},expires=0,avg_ttl=0\r\n"
    );
}

fn totals(shared: &Shared) -> Stats {
    let mut sum = Stats::default();
    for name in shared.engine.names() {
        let space = shared
            .engine
            .find(&name)
            .and_then(|id| shared.engine.namespace(id).ok());
        let Some(stats) = space.map(Space::stats) else {
            continue;
        };
        sum.entries += stats.entries;
        sum.index_memory_bytes += stats.index_memory_bytes;
        sum.data_bytes += stats.data_bytes;
        sum.index_bytes += stats.index_bytes;
        sum.data_errors += stats.data_errors;
        sum.index_errors += stats.index_errors;
        sum.damaged += stats.damaged;
    }
    sum
}

fn figures_text(text: &mut String, shared: &Shared) {
    let (figures, sum) = (&shared.figures, totals(shared));
    let executed: u64 = figures.by_command.iter().sum();
    let _ = write!(
        text,
        "# stats\ncommands_executed: {executed}\ncommands_failed: {}\ncommands_unauthorized: {}\n",
        figures.unknown, figures.unauthorized
    );
    for (name, errors, bytes) in [
        ("index", sum.index_errors, sum.index_bytes),
        ("data", sum.data_errors, sum.data_bytes),
    ] {
        let _ = write!(
            text,
            "{name}_disk_errors: {errors}\n{name}_disk_bytes: {bytes}\n{name}_disk_mb: {:.2}\n",
            megabytes(bytes)
        );
    }
    for (name, bytes) in [("rx", figures.received), ("tx", figures.sent)] {
        let _ = write!(
            text,
            "network_{name}_bytes: {bytes}\nnetwork_{name}_mb: {:.2}\n",
            megabytes(bytes)
        );
    }
    let _ = writeln!(text, "damaged_records: {}", sum.damaged);
}

/// `NSINFO namespace`
pub(super) fn nsinfo(call: &mut Call<'_>) -> Handled {
    exactly(&call.args, 2)?;
    let name = namespace_name(&call.args, 1)?;
    let id = name
        .and_then(|name| call.shared.engine.find(name))
        .filter(|id| visible(call, *id));
    let id = id.ok_or("Namespace not found")?;
    let space = call.shared.engine.namespace(id).map_err(refusal)?;
    let mut text = String::with_capacity(1024);
    space_text(&mut text, space);
    if call.client.entrance.is_none() {
        disk_text(&mut text, call.shared);
    }
    if let Some(password) = space
        .properties()
        .password
        .as_ref()
        .filter(|_| call.client.master)
    {
        let _ = writeln!(
            text,
            "password_raw: {}",
            String::from_utf8_lossy(password.reveal())
        );
    }
    if call.client.admin {
        paths_text(
            &mut text,
            space,
            &call.shared.options.data,
            &call.shared.options.index,
        );
    }
    reply::bulk(call.out, text.as_bytes());
    Ok(Outcome::Done)
}

const fn yes(value: bool) -> &'static str {
    if value {
        "yes"
    } else {
        "no"
    }
}

fn space_text(text: &mut String, space: &Space) {
    let (stats, properties) = (space.stats(), space.properties());
    let mode = match space.mode() {
        Mode::User => "userkey",
        Mode::Sequential => "sequential",
    };
    let _ = write!(
        text,
        "# namespace\nname: {}\nentries: {}\npublic: {}\nworm: {}\nlocked: {}\nfrozen: {}\npassword: {}\n",
        space.name(),
        stats.entries,
        yes(properties.public),
        yes(properties.worm),
        yes(properties.lock || properties.freeze),
        yes(properties.freeze),
        yes(properties.password.is_some()),
    );
    let _ = write!(
        text,
        "data_size_bytes: {}\ndata_size_mb: {:.2}\ndata_limits_bytes: {}\n\
         data_disk_bytes: {}\ndata_limits_disk_bytes: {}\nentries_limit: {}\n\
         index_size_bytes: {}\nindex_size_kb: {:.2}\nnext_internal_id: 0x{:08x}\nmode: {mode}\n",
        stats.payload_bytes,
        megabytes(stats.payload_bytes),
        properties.max_bytes,
        stats.disk_bytes,
        properties.max_disk_bytes,
        properties.max_keys,
        stats.index_bytes,
        stats.index_bytes as f64 / 1024.0,
        stats.next_id.swap_bytes(),
    );
    let _ = write!(
        text,
        "stats_index_io_errors: {}\nstats_index_io_error_last: 0\nstats_index_faults: 0\n\
         stats_data_io_errors: {}\nstats_data_io_error_last: 0\nstats_data_faults: {}\n\
         data_file_bytes: {}\nindex_memory_bytes: {}\nhistory: {}\n",
        stats.index_errors,
        stats.data_errors,
        stats.damaged,
        stats.data_bytes,
        stats.index_memory_bytes,
        history(properties.history),
    );
    if let Some(reason) = space.read_only() {
        let _ = writeln!(text, "read_only: {}", reason.replace('\n', " "));
    }
    if properties.max_bytes > 0 {
        let available = properties.max_bytes.saturating_sub(stats.payload_bytes);
        let _ = writeln!(text, "space_available: {available}");
    }
}

fn history(policy: HistoryPolicy) -> String {
    match policy {
        HistoryPolicy::KeepAll => "all".to_owned(),
        HistoryPolicy::KeepLast(count) => format!("last:{count}"),
        HistoryPolicy::KeepSince(time) => format!("since:{time}"),
    }
}

fn disk_text(text: &mut String, shared: &Shared) {
    for (name, root) in [("index", Root::Index), ("data", Root::Data)] {
        if let Ok(free) = shared.engine.disk().free_bytes(root) {
            let _ = write!(
                text,
                "{name}_disk_freespace_bytes: {free}\n{name}_disk_freespace_mb: {:.2}\n",
                megabytes(free)
            );
        }
    }
}

fn paths_text(text: &mut String, space: &Space, data: &Path, index: &Path) {
    let (stats, name) = (space.stats(), space.name());
    for (word, letter, root) in [("data", 'd', data), ("index", 'i', index)] {
        let folder = root.join(name);
        let active = folder.join(format!("{letter}{}", stats.data_file));
        let _ = write!(
            text,
            "{word}_path: {}\n{word}_active: {}\n",
            folder.display(),
            active.display()
        );
    }
    let _ = write!(
        text,
        "data_current_id: {}\ndata_current_offset: {}\n",
        stats.data_file, stats.data_offset
    );
}

/// One family of metrics under way.
struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn new(text: &'a mut String, name: &'static str, kind: &str, help: &str) -> Self {
        let _ = write!(text, "# HELP zdb_{name} {help}\n# TYPE zdb_{name} {kind}\n");
        Self { text, name }
    }

    fn value(&mut self, label: Option<(&str, &str)>, value: f64) {
        let _ = match label {
            None => writeln!(self.text, "zdb_{} {value}", self.name),
            Some((label, of)) => {
                let of = of
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                writeln!(self.text, "zdb_{}{{{label}=\"{of}\"}} {value}", self.name)
            }
        };
    }
}

/// Everything, in the text format of Prometheus.
#[must_use]
pub fn metrics(shared: &Shared) -> String {
    let figures = &shared.figures;
    let mut text = String::with_capacity(8192);
    let mut one =
        |name, kind, help, value: f64| Family::new(&mut text, name, kind, help).value(None, value);
    one(
        "up_seconds",
        "gauge",
        "time since start",
        shared.boot.elapsed().as_secs_f64(),
    );
    one(
        "cache_bytes",
        "gauge",
        "bytes of data files kept in memory for reading",
        shared.engine.cached_bytes() as f64,
    );
    one(
        "clients",
        "gauge",
        "connections now",
        shared.connected as f64,
    );
    one(
        "clients_total",
        "counter",
        "connections since start",
        figures.clients as f64,
    );
    one(
        "clients_refused_total",
        "counter",
        "connections refused",
        figures.refused as f64,
    );
    one(
        "clients_cut_total",
        "counter",
        "clients cut because they did not read",
        figures.cut as f64,
    );
    one(
        "received_bytes_total",
        "counter",
        "bytes from clients",
        figures.received as f64,
    );
    one(
        "sent_bytes_total",
        "counter",
        "bytes to clients",
        figures.sent as f64,
    );
    one(
        "requests_malformed_total",
        "counter",
        "requests that could not be read",
        figures.malformed as f64,
    );
    one(
        "requests_unknown_total",
        "counter",
        "requests for no known command",
        figures.unknown as f64,
    );
    one(
        "unauthorized_total",
        "counter",
        "admin commands of others",
        figures.unauthorized as f64,
    );
    one(
        "denied_total",
        "counter",
        "wrong passwords",
        figures.denied as f64,
    );
    one(
        "commits_total",
        "counter",
        "commits that had something to write",
        figures.commits as f64,
    );
    one(
        "commit_seconds_total",
        "counter",
        "time in them",
        figures.commit_time.as_secs_f64(),
    );
    one(
        "commits_failed_total",
        "counter",
        "commits of a namespace that failed",
        figures.commits_failed as f64,
    );
    one(
        "hooks_dropped_total",
        "counter",
        "hooks that found the queue full",
        shared.hooks.dropped as f64,
    );
    let mut family = Family::new(&mut text, "commands_total", "counter", "commands executed");
    for (index, count) in figures
        .by_command
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
    {
        family.value(Some(("command", name_of(index))), *count as f64);
    }
    spaces_metrics(&mut text, shared);
    let mut family = Family::new(&mut text, "entrance_clients", "gauge", "connections now");
    for entrance in shared.entrances.all() {
        family.value(
            Some(("entrance", &entrance.name)),
            entrance.connections as f64,
        );
    }
    text
}

type Column = (&'static str, &'static str, &'static str, fn(&Space) -> f64);

const COLUMNS: [Column; 12] = [
    ("keys", "gauge", "live keys", |space| {
        space.stats().entries as f64
    }),
    (
        "payload_bytes",
        "gauge",
        "payload bytes of live keys",
        |space| space.stats().payload_bytes as f64,
    ),
    ("payload_bytes_max", "gauge", "quota, 0 if none", |space| {
        space.properties().max_bytes as f64
    }),
    (
        "keys_max",
        "gauge",
        "quota of live keys, 0 if none",
        |space| space.properties().max_keys as f64,
    ),
    (
        "disk_bytes",
        "gauge",
        "bytes of data and index files, waiting ones included",
        |space| space.stats().disk_bytes as f64,
    ),
    (
        "disk_bytes_max",
        "gauge",
        "quota of them, 0 if none",
        |space| space.properties().max_disk_bytes as f64,
    ),
    ("data_bytes", "gauge", "bytes of data files", |space| {
        space.stats().data_bytes as f64
    }),
    ("index_bytes", "gauge", "bytes of index files", |space| {
        space.stats().index_bytes as f64
    }),
    (
        "index_memory_bytes",
        "gauge",
        "memory of the index",
        |space| space.stats().index_memory_bytes as f64,
    ),
    (
        "damaged_records_total",
        "counter",
        "damaged records met",
        |space| space.stats().damaged as f64,
    ),
    (
        "disk_errors_total",
        "counter",
        "failed reads and writes",
        |space| (space.stats().data_errors + space.stats().index_errors) as f64,
    ),
    ("read_only", "gauge", "1 after a disk failure", |space| {
        f64::from(u8::from(space.read_only().is_some()))
    }),
];

fn spaces_metrics(text: &mut String, shared: &Shared) {
    let names = shared.engine.names();
    for (name, kind, help, of) in COLUMNS {
        let mut family = Family::new(text, name, kind, help);
        for namespace in &names {
            let space = shared
                .engine
                .find(namespace)
                .and_then(|id| shared.engine.namespace(id).ok());
            if let Some(space) = space {
                family.value(Some(("namespace", namespace)), of(space));
            }
        }
    }
}
