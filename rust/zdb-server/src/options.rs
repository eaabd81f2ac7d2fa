//! The command line of the server: checked whole before any file or socket is opened.

use std::fmt;
use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Secret;

const ADMIN_BYTES_MAX: usize = 128;
/// Smallest and largest `--data-size`.
pub const DATA_SIZE_BYTES: std::ops::Range<u64> = 512 * 1024..4 * 1024 * 1024 * 1024;

/// When a write is on the disk before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Each write by itself.
    Always,
    /// All writes of one turn of the loop together.
    Group,
    /// Answered at once, synced this often.
    Interval(Duration),
    /// When the kernel likes, and whenever a file is closed.
    Never,
}

/// Which kind of keys namespaces have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The client chooses the key.
    User,
    /// The server hands out numbers.
    Sequential,
    /// Each namespace as `NSSET mode` says, user keys at first.
    Mixed,
}

/// What the server was asked to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where data files are.
    pub data: PathBuf,
    /// Where index files are.
    pub index: PathBuf,
    /// Where to listen for TCP, if at all.
    pub tcp: Option<SocketAddr>,
    /// A unix socket beside or instead of TCP.
    pub socket: Option<PathBuf>,
    /// The private unix socket that alone has the admin commands.
    pub admin_socket: Option<PathBuf>,
    /// The kind of keys.
    pub mode: Mode,
    /// The admin's password; without one everybody is admin, unless there is an admin socket.
    pub admin: Option<Secret>,
    /// Durability.
    pub sync: Sync,
    /// Bytes of a data file before the next one is begun.
    pub data_size: u64,
    /// Bytes of data files that may be kept in memory for reading; 0 is none.
    pub cache: usize,
    /// Quota of a new namespace in bytes; 0 is none.
    pub max_size: u64,
    /// Begin a new data file after so long, if anything was written.
    pub rotate: Option<Duration>,
    /// Make the default namespace read-only without the admin's password.
    pub protect: bool,
    /// Where to answer Prometheus.
    pub metrics: Option<SocketAddr>,
    /// The program that is told of events.
    pub hook: Option<PathBuf>,
    /// Connections at a time.
    pub clients_max: usize,
    /// Connections at a time through one entrance.
    pub entrance_clients_max: usize,
    /// The user and group to become once sockets are made.
    pub user: Option<u32>,
    /// How long a client may leave a reply unread before it is cut.
    pub client_timeout: Duration,
    /// What deserves a warning in the log.
    pub warnings: Vec<&'static str>,
}

/// A command line that cannot be served.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every option, for `--help` and for the nearest word.
pub const HELP: &str = "\
usage: zdb --data DIR --index DIR [options]

  --data DIR              where data files are
  --index DIR             where index files are
  --listen ADDR           address to listen on (::)
  --port PORT             TCP port (9900); 0 takes any, which the log tells
  --socket PATH           listen on a unix socket instead of TCP
  --dualnet               listen on TCP beside --socket
  --admin-socket PATH     a private unix socket, the only one with admin commands
  --private               listen on nothing but that
  --mode user|seq|mixed   who chooses keys (mixed)
  --admin-file PATH       the admin's password in a file; - reads standard input
  --admin PASSWORD        the same on the command line, where others may read it
  --protect               the default namespace is read-only without the admin's password
  --sync WHEN             group (default), always, interval=MS or none
  --synctime SECONDS      the same as --sync interval
  --secure                the same as --sync none
  --data-size BYTES       bytes of a data file (268435456)
  --cache BYTES           memory for reading again what was read, all namespaces together (67108864)
  --maxsize BYTES         quota of new namespaces (none)
  --rotate SECONDS        begin a new data file after so long
  --metrics ADDR:PORT     answer Prometheus
  --hook PROGRAM          tell this program of events
  --clients N             connections at a time (10000)
  --entrance-clients N    connections at a time through one entrance (1000)
  --user NUMBER           become this user and group once sockets are made
  --client-timeout SECONDS  how long a reply may stay unread (60)
";

#[derive(Default)]
struct Flags {
    dual: bool,
    private: bool,
}

impl Options {
    fn new() -> Self {
        Self {
            data: PathBuf::new(),
            index: PathBuf::new(),
            tcp: None,
            socket: None,
            admin_socket: None,
            mode: Mode::Mixed,
            admin: None,
            sync: Sync::Group,
            data_size: 256 * 1024 * 1024,
            cache: tfgrid_zdb::CACHE_BYTES,
            max_size: 0,
            rotate: None,
            protect: false,
            metrics: None,
            hook: None,
            clients_max: 10_000,
            entrance_clients_max: 1000,
            user: None,
            client_timeout: Duration::from_secs(60),
            warnings: Vec::new(),
        }
    }

    /// Read a command line, without the program's name.
    ///
    /// # Errors
    /// [`Refused`], with the sentence for the person who typed it.
    pub fn parse(arguments: &[String]) -> Result<Self, Refused> {
        let mut options = Self::new();
        let mut listen = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let (mut port, mut flags) = (9900u16, Flags::default());
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name.as_str(), None),
            };
            if options.flag(name, &mut flags) {
                continue;
            }
            let value = inline.or_else(|| rest.next().cloned());
            let value =
                value.ok_or_else(|| Refused(format!("{name} needs a value, or is no option")))?;
            match name {
                "--listen" => listen = parsed(name, &value, "an IP address")?,
                "--port" => port = parsed(name, &value, "a port")?,
                _ => options.set(name, &value)?,
            }
        }
        if flags.private
            && (options.admin_socket.is_none() || options.socket.is_some() || flags.dual)
        {
            return Err(Refused("--private is for --admin-socket alone".to_owned()));
        }
        if !flags.private && (options.socket.is_none() || flags.dual) {
            options.tcp = Some(SocketAddr::new(listen, port));
        }
        options.check()
    }

    fn flag(&mut self, name: &str, flags: &mut Flags) -> bool {
        match name {
            "--dualnet" => flags.dual = true,
            "--private" => flags.private = true,
            "--protect" => self.protect = true,
            "--secure" => self.sync = Sync::Never,
            _ => return false,
        }
        true
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        match name {
            "--data" => self.data = value.into(),
            "--index" => self.index = value.into(),
            "--socket" => self.socket = Some(value.into()),
            "--admin-socket" => self.admin_socket = Some(value.into()),
            "--mode" => self.mode = mode(value)?,
            "--admin" => {
                self.admin = Some(Secret::new(value.as_bytes().to_vec()));
                self.warnings
                    .push("--admin shows the password to all of this machine; use --admin-file");
            }
            "--admin-file" => self.admin = Some(secret_of(value)?),
            "--sync" => self.sync = sync(value)?,
            "--synctime" => self.sync = Sync::Interval(seconds(name, value)?),
            "--data-size" | "--datasize" => {
                self.data_size = parsed(name, value, "a number of bytes")?
            }
            "--cache" => self.cache = parsed(name, value, "a number of bytes")?,
            "--maxsize" => self.max_size = parsed(name, value, "a number of bytes")?,
            "--rotate" => self.rotate = Some(seconds(name, value)?),
            "--metrics" => self.metrics = Some(parsed(name, value, "an address with a port")?),
            "--hook" => self.hook = Some(value.into()),
            "--clients" => self.clients_max = parsed(name, value, "a number")?,
            "--entrance-clients" => self.entrance_clients_max = parsed(name, value, "a number")?,
            "--user" => self.user = Some(parsed(name, value, "the number of a user")?),
            "--client-timeout" => self.client_timeout = seconds(name, value)?,
            _ => return Err(Refused(format!("there is no option {name}"))),
        }
        Ok(())
    }

    fn check(self) -> Result<Self, Refused> {
        let refuse = |text: &str| Err(Refused(text.to_owned()));
        if self.data.as_os_str().is_empty() || self.index.as_os_str().is_empty() {
            return refuse("--data and --index are needed");
        }
        if !DATA_SIZE_BYTES.contains(&self.data_size) {
            return refuse("--data-size is at least 524288 and below 4294967296");
        }
        if self.protect && self.admin.is_none() {
            return refuse(
                "--protect needs --admin-file: nobody could write to the default namespace",
            );
        }
        if self.clients_max == 0 || self.entrance_clients_max == 0 {
            return refuse("--clients and --entrance-clients are at least 1");
        }
        if self.user == Some(u32::MAX) {
            return refuse("--user is no user's number");
        }
        Ok(self)
    }
}

fn parsed<T: std::str::FromStr>(name: &str, value: &str, kind: &str) -> Result<T, Refused> {
    value
        .parse()
        .map_err(|_| Refused(format!("{name} takes {kind}, not {value:?}")))
}

fn seconds(name: &str, value: &str) -> Result<Duration, Refused> {
    let seconds: u32 = parsed(name, value, "a number of seconds")?;
    if seconds == 0 {
        return Err(Refused(format!("{name} is at least 1 second")));
    }
    Ok(Duration::from_secs(u64::from(seconds)))
}

fn mode(value: &str) -> Result<Mode, Refused> {
    match value {
        "user" => Ok(Mode::User),
        "seq" | "sequential" | "direct" => Ok(Mode::Sequential),
        "mixed" | "mix" => Ok(Mode::Mixed),
        _ => Err(Refused(format!(
            "--mode is user, seq or mixed, not {value:?}"
        ))),
    }
}

fn sync(value: &str) -> Result<Sync, Refused> {
    match value.split_once('=') {
        Some(("interval", milliseconds)) => {
            let milliseconds: u64 = parsed("--sync interval", milliseconds, "milliseconds")?;
            if !(1..=3_600_000).contains(&milliseconds) {
                return Err(Refused(
                    "--sync interval is 1 to 3600000 milliseconds".to_owned(),
                ));
            }
            Ok(Sync::Interval(Duration::from_millis(milliseconds)))
        }
        None if value == "always" => Ok(Sync::Always),
        None if value == "group" => Ok(Sync::Group),
        None if value == "none" => Ok(Sync::Never),
        _ => Err(Refused(format!(
            "--sync is group, always, interval=MS or none, not {value:?}"
        ))),
    }
}

fn secret_of(path: &str) -> Result<Secret, Refused> {
    let fault = |why: &dyn fmt::Display| {
        Refused(format!(
            "the admin's password was not read from {path}: {why}"
        ))
    };
    let source: Box<dyn std::io::Read> = if path == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| fault(&error))?)
    };
    let mut bytes = Vec::new();
    source
        .take(ADMIN_BYTES_MAX as u64 + 3)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(&error))?;
    while bytes
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        bytes.pop();
    }
    if bytes.is_empty() || bytes.len() > ADMIN_BYTES_MAX {
        return Err(fault(&"it has 1 to 128 bytes"));
    }
    Ok(Secret::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Refused> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn defaults_are_those_of_zero_db_with_group_commit() {
        let options = parse("--data d --index i").expect("whole");
        assert_eq!(options.tcp.expect("TCP").to_string(), "[::]:9900");
        assert_eq!((options.sync, options.mode), (Sync::Group, Mode::Mixed));
    }

    #[test]
    fn a_socket_turns_tcp_off_unless_both_are_asked() {
        assert!(parse("--data d --index i --socket s")
            .expect("whole")
            .tcp
            .is_none());
        assert!(parse("--data d --index i --socket s --dualnet")
            .expect("whole")
            .tcp
            .is_some());
    }

    #[test]
    fn durability_has_four_words() {
        for (word, sync) in [
            ("always", Sync::Always),
            ("group", Sync::Group),
            ("interval=1000", Sync::Interval(Duration::from_secs(1))),
            ("none", Sync::Never),
        ] {
            assert_eq!(
                parse(&format!("--data d --index i --sync {word}"))
                    .expect("whole")
                    .sync,
                sync
            );
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_in_words() {
        for line in [
            "",
            "--data d",
            "--data d --index i --port 65536",
            "--data d --index i --sync sometimes",
            "--data d --index i --sync interval=0",
            "--data d --index i --data-size 1",
            "--data d --index i --data-size 4294967296",
            "--data d --index i --protect",
            "--data d --index i --private",
            "--data d --index i --nothing x",
            "--data d --index i --entrance-clients 0",
            "--data d --index i --user nobody",
            "--data d --index i --user 4294967295",
            "--data d --index i --mode",
            "--data d --index i --admin-file /nonexistent",
        ] {
            assert!(!parse(line).expect_err(line).to_string().is_empty());
        }
    }

    #[test]
    fn a_password_on_the_command_line_is_warned_of() {
        assert_eq!(
            parse("--data d --index i --admin x")
                .expect("whole")
                .warnings
                .len(),
            1
        );
    }
}
