//! Sockets that take connections: TCP, unix, and the private unix socket of admins.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::{sockopt, AddressFamily, SocketFlags, SocketType};

const BACKLOG: i32 = 1024;
const NONBLOCKING: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Who comes through a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Anybody.
    Public,
    /// Admins, whom the file's mode keeps apart.
    Admin,
    /// Prometheus.
    Metrics,
}

/// One socket that takes connections.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// Who comes here.
    pub audience: Audience,
    /// As it is written in the log.
    pub address: String,
    path: Option<PathBuf>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listen on TCP; the unspecified IPv6 address takes IPv4 too, and stands for IPv4 where there is no IPv6.
///
/// # Errors
/// What the system says.
pub fn tcp(address: SocketAddr, audience: Audience) -> io::Result<Listener> {
    let unspecified = address.is_ipv6() && address.ip().is_unspecified();
    let made = match bind_tcp(address) {
        Err(_) if unspecified => bind_tcp(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            address.port(),
        )),
        made => made,
    };
    let fd = made?;
    let bound = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
    Ok(Listener {
        fd,
        audience,
        address: format!("tcp://{bound}"),
        path: None,
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let fd = rustix::net::socket_with(family, SocketType::STREAM, NONBLOCKING, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, false)?;
    }
    rustix::net::bind(&fd, &address)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd)
}

/// Listen on a unix socket; one that a dead server left behind is replaced.
///
/// # Errors
/// What the system says; `AddrInUse` when a server answers there.
pub fn unix(path: &Path, audience: Audience) -> io::Result<Listener> {
    let address = rustix::net::SocketAddrUnix::new(path)?;
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, NONBLOCKING, None)?;
    let bits = if audience == Audience::Admin {
        0o177
    } else {
        0o117
    };
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(bits));
    let bound = rustix::net::bind(&fd, &address);
    rustix::process::umask(before);
    bound?;
    rustix::net::listen(&fd, BACKLOG)?;
    let shown = format!("unix://{}", path.display());
    Ok(Listener {
        fd,
        audience,
        address: shown,
        path: Some(path.to_owned()),
    })
}

/// A connection that was taken, and where it comes from.
///
/// # Errors
/// What the system says; `WouldBlock` when nobody waits.
pub fn accept(listener: &OwnedFd) -> io::Result<(OwnedFd, Box<str>)> {
    let (fd, address) = rustix::net::acceptfrom_with(listener, NONBLOCKING)?;
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    let Some(address) = address else {
        return Ok((fd, "unix".into()));
    };
    // Replies are collected and sent at once: there is nothing to wait for.
    sockopt::set_tcp_nodelay(&fd, true)?;
    Ok((fd, address.ip().to_canonical().to_string().into()))
}
