//! Descriptors that come with the bytes of a request, as the admin socket alone takes them.
//!
//! A request may carry one, and ENTRANCE ADD alone wants one. What is not wanted is closed: more than one at
//! once, and one as soon as no request is under way that could want it. So a connection never has more than one.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

const READ_BYTES: usize = 64 * 1024;

/// What came with the requests of a connection.
#[derive(Debug, Default)]
pub enum Carried {
    /// Nothing.
    #[default]
    Nothing,
    /// One descriptor.
    One(OwnedFd),
    /// More than one; they are closed.
    Many,
}

impl Carried {
    fn add(&mut self, fd: OwnedFd) {
        *self = match std::mem::take(self) {
            Self::Nothing => Self::One(fd),
            _ => Self::Many,
        };
    }
}

/// Read what arrived behind what is in `buffer`, and take what came with it.
///
/// # Errors
/// What the system says.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    carried: &mut Carried,
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; READ_BYTES];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        flags,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptors.for_each(|fd| carried.add(fd));
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        *carried = Carried::Many;
    }
    buffer.extend_from_slice(&bytes[..got.bytes]);
    Ok(got.bytes)
}
