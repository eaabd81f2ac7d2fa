//! A thread that runs fsyncs beside the loop, for `--sync interval`.
//!
//! The engine begins a sync and is told how it ended; in between the loop serves. The thread owns nothing but an
//! open file for each sync, and wakes the loop through a descriptor that epoll watches.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rustix::event::{eventfd, EventfdFlags};
use tfgrid_zdb::BegunSync;

type Sync = BegunSync<File>;
/// A sync that ran, and what came of it.
pub type Ended = (Sync, io::Result<()>);

/// The thread, and what goes to it and comes back.
pub struct Syncer {
    begun: Option<Sender<Sync>>,
    ended: Receiver<Ended>,
    bell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Start the thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn start() -> io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let ((begun, work), (done, ended), ring) = (channel(), channel(), Arc::clone(&bell));
        let thread = Builder::new()
            .name("zdb-sync".into())
            .spawn(move || serve(&work, &done, &ring))?;
        Ok(Self {
            begun: Some(begun),
            ended,
            bell,
            thread: Some(thread),
        })
    }

    /// Hand a sync over.
    pub fn begin(&self, sync: Sync) {
        let sent = self.begun.as_ref().map(|begun| begun.send(sync));
        assert!(matches!(sent, Some(Ok(()))), "the thread ends last");
    }

    /// A sync that ended, if one did.
    #[must_use]
    pub fn next(&self) -> Option<Ended> {
        self.ended.try_recv().ok()
    }

    /// The next sync that ends; waits for it, and is to be called only while one is under way.
    pub fn wait(&self) -> Ended {
        self.ended.recv().expect("the thread ends last")
    }

    /// Silence the bell, before asking what ended.
    pub fn hush(&self) {
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
    }

    /// Run what was handed over, and end.
    #[must_use]
    pub fn finish(mut self) -> Vec<Ended> {
        self.begun = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.ended.try_iter().collect()
    }
}

impl AsFd for Syncer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn serve(work: &Receiver<Sync>, done: &Sender<Ended>, bell: &OwnedFd) {
    for sync in work {
        let outcome = sync.run();
        if done.send((sync, outcome)).is_err() {
            return;
        }
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tfgrid_zdb::{Engine, Options, RealDisk, SyncMode};

    #[test]
    fn a_sync_runs_beside_and_rings() {
        let folder = std::env::temp_dir().join(format!("zdb-syncer-{}", std::process::id()));
        let disk = RealDisk::new(&folder, &folder).expect("made");
        let options = Options {
            sync: SyncMode::Interval(10),
            sync_beside: true,
            ..Options::new([1; 16])
        };
        let (mut engine, _) = Engine::open(disk, options, 0).expect("opened");
        let id = engine.find("default").expect("always there");
        engine
            .namespace_mut(id)
            .expect("there")
            .set(b"k", b"v", 1)
            .expect("stored");
        assert!(engine.commit(0).is_empty());
        assert!(engine.take_begun_syncs().is_empty());
        assert_eq!(engine.next_due_ms(), Some(5));
        assert!(engine.commit(5).is_empty());
        let syncer = Syncer::start().expect("started");
        for sync in engine.take_begun_syncs() {
            syncer.begin(sync);
        }
        assert_eq!((engine.next_due_ms(), engine.is_overdue(9)), (None, false));
        assert!(engine.is_overdue(10));
        let (sync, outcome) = syncer.wait();
        assert_eq!(engine.end_sync(&sync, outcome), Ok(()));
        assert!(!engine.is_overdue(10));
        assert!(syncer.finish().is_empty());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
