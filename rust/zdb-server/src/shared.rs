//! What all commands share: the engine, the figures, and what has to happen to others after the commit.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tfgrid_zdb::{Engine, Namespace, NamespaceId, RealDisk, Scratch};

use crate::auth::Penalties;
use crate::commands::{Walkers, COMMANDS};
use crate::entrances::Entrances;
use crate::hooks::Hooks;
use crate::log::{self, Field, Level};
use crate::options::Options;
use crate::turn::chores::Chores;
use crate::turn::syncer::{Ended, Syncer};

/// The engine on real files.
pub type Store = Engine<RealDisk>;
/// A namespace on real files.
pub type Space = Namespace<RealDisk>;

/// Counted since start.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Commands by their index in the table.
    pub by_command: [u64; COMMANDS],
    /// Requests whose name is no command's.
    pub unknown: u64,
    /// Admin commands of clients that are none.
    pub unauthorized: u64,
    /// Wrong passwords.
    pub denied: u64,
    /// Requests that could not be read.
    pub malformed: u64,
    /// Connections.
    pub clients: u64,
    /// Connections refused because there were too many, or too much was held for them.
    pub refused: u64,
    /// Clients cut because they did not read.
    pub cut: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Commits that had something to write.
    pub commits: u64,
    /// Time in them.
    pub commit_time: Duration,
    /// Namespaces whose commit failed.
    pub commits_failed: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            by_command: [0; COMMANDS],
            unknown: 0,
            unauthorized: 0,
            denied: 0,
            malformed: 0,
            clients: 0,
            refused: 0,
            cut: 0,
            received: 0,
            sent: 0,
            commits: 0,
            commit_time: Duration::ZERO,
            commits_failed: 0,
        }
    }
}

/// That a command ran in a namespace: for those who WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where.
    pub namespace: NamespaceId,
    /// Which, by its index.
    pub command: usize,
    /// By whom; one does not wake oneself.
    pub client: u64,
}

/// A change, as the feed tells it.
#[derive(Debug)]
pub struct Frame {
    /// Where.
    pub namespace: NamespaceId,
    /// By whom; one does not hear oneself.
    pub client: u64,
    /// The array as it is sent.
    pub bytes: Vec<u8>,
}

/// A reply that says something about writes which are not settled yet.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The connection.
    pub slot: usize,
    /// The namespace it speaks of.
    pub namespace: NamespaceId,
    /// Where it begins in the connection's output.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Whether more of the same reply follows in another turn.
    pub partial: bool,
}

/// A commit of a namespace that failed in this turn.
#[derive(Debug)]
pub struct Failure {
    /// Which namespace.
    pub namespace: NamespaceId,
    /// How many replies of the turn there were by then; only those are concerned.
    pub replies: usize,
    /// How many frames of the feed there were by then.
    pub frames: usize,
}

/// What all commands share.
pub struct Shared {
    /// The namespaces.
    pub engine: Store,
    /// Room to read records into.
    pub scratch: Scratch,
    /// What the server was asked to be.
    pub options: Options,
    /// Whom to tell of events.
    pub hooks: Hooks,
    /// Who guessed passwords.
    pub penalties: Penalties,
    /// Counted since start.
    pub figures: Figures,
    /// Names this run of the server to hooks and in the feed.
    pub instance: u32,
    /// When it began.
    pub boot: Instant,
    /// The same in unix seconds.
    pub boot_seconds: u64,
    /// The start of this turn.
    pub now: Instant,
    /// The same in unix seconds.
    pub seconds: u32,
    /// Connections now.
    pub connected: usize,
    /// Whether the server has to end.
    pub stop: bool,
    /// Namespaces written to since the last commit.
    pub unsettled: Vec<NamespaceId>,
    /// Replies of this turn that a failed commit changes.
    pub replies: Vec<Reply>,
    /// Commits that failed in this turn.
    pub failures: Vec<Failure>,
    /// Clients that WAIT.
    pub watchers: usize,
    /// What ran in this turn, if anybody waits.
    pub notices: Vec<Notice>,
    /// Namespaces that RELOAD gave another id in this turn.
    pub moved: Vec<(NamespaceId, NamespaceId)>,
    /// Clients that MIRROR.
    pub listeners: usize,
    /// What changed in this turn, if anybody listens.
    pub frames: Vec<Frame>,
    /// Ways into one namespace each.
    pub entrances: Entrances,
    /// What is done with namespaces from time to time.
    pub chores: Chores,
    /// The fsyncs that run beside the loop, with `--sync interval`.
    pub syncer: Option<Syncer>,
    /// Writes since the last commit.
    pub writes: u64,
    /// How long the last commit took that had something to write.
    pub commit_took: Duration,
    /// Who lists.
    pub walkers: Walkers,
}

/// Unix time.
#[must_use]
pub fn unix() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl Shared {
    /// Begin a turn: read the clocks once.
    pub fn tick(&mut self) {
        self.now = Instant::now();
        self.walkers.tick();
        self.seconds = u32::try_from(unix().as_secs()).unwrap_or(u32::MAX);
    }

    /// The engine's steady milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.now.duration_since(self.boot).as_millis()).unwrap_or(u64::MAX)
    }

    /// Note that a namespace has writes which the next commit settles.
    #[inline]
    pub fn unsettle(&mut self, namespace: NamespaceId) {
        self.writes += 1;
        if !self.unsettled.contains(&namespace) {
            self.unsettled.push(namespace);
        }
    }

    /// Write what waits, durably if so asked; what failed is remembered until the replies are settled.
    pub fn commit(&mut self) {
        let began = Instant::now();
        let failed = self.engine.commit(self.now_ms());
        if let Some(syncer) = &self.syncer {
            for sync in self.engine.take_begun_syncs() {
                syncer.begin(sync);
            }
        }
        if !self.unsettled.is_empty() {
            self.figures.commits += 1;
            self.commit_took = began.elapsed();
            self.figures.commit_time += self.commit_took;
        }
        for namespace in self.unsettled.drain(..) {
            self.chores.wrote(namespace, self.now);
        }
        self.writes = 0;
        for (namespace, error) in failed {
            self.tell_failed(namespace, &error);
            let (replies, frames) = (self.replies.len(), self.frames.len());
            self.failures.push(Failure {
                namespace,
                replies,
                frames,
            });
        }
    }

    fn tell_failed(&mut self, namespace: NamespaceId, error: &tfgrid_zdb::Error) {
        self.figures.commits_failed += 1;
        let (reason, name) = (error.to_string(), self.name(namespace));
        let fields = [
            ("namespace", Field::Text(&name)),
            ("reason", Field::Text(&reason)),
        ];
        log::write(Level::Error, "a commit failed", &fields);
    }

    /// Wait for syncs beside the loop that must end before anything more is answered.
    pub fn await_overdue(&mut self) {
        while let Some(syncer) = &self.syncer {
            if !self.engine.is_overdue(self.now_ms()) {
                return;
            }
            let ended = syncer.wait();
            self.synced(ended);
        }
    }

    /// Learn how a sync beside the loop ended.
    pub fn synced(&mut self, (sync, outcome): Ended) {
        if let Err(error) = self.engine.end_sync(&sync, outcome) {
            self.tell_failed(sync.namespace(), &error);
        }
    }

    /// Learn of all syncs beside the loop that ended.
    pub fn hear_synced(&mut self) {
        if let Some(syncer) = &self.syncer {
            syncer.hush();
        }
        while let Some(ended) = self.syncer.as_ref().and_then(Syncer::next) {
            self.synced(ended);
        }
    }

    /// Meet a namespace that was opened or made.
    pub fn meet(&mut self, namespace: NamespaceId) {
        if let Ok(space) = self.engine.namespace(namespace) {
            self.chores.know(namespace, space.stats().data_file);
        }
    }

    /// Look at a namespace's files and compaction soon.
    pub fn due(&mut self, namespace: NamespaceId) {
        self.chores.wrote(namespace, self.now);
    }

    /// Where a namespace is now, after a RELOAD in this turn.
    #[must_use]
    pub fn current(&self, namespace: NamespaceId) -> NamespaceId {
        self.moved.iter().fold(
            namespace,
            |id, (old, new)| if id == *old { *new } else { id },
        )
    }

    /// A namespace's name, empty when it is gone.
    #[must_use]
    pub fn name(&self, namespace: NamespaceId) -> String {
        self.engine
            .namespace(namespace)
            .map_or_else(|_| String::new(), |space| space.name().to_owned())
    }
}
