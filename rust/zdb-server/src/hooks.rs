//! Hooks: a program that is told what happens to namespaces and files.
//!
//! The program is run without a shell as `PROGRAM HOOK ADDRESS ARGUMENTS...`, where the address names this server. Hooks wait in a bounded queue and
//! run one after the other on a thread of their own, in the order of what happened; one that fails is tried again
//! with growing pauses. The server waits for `ready` alone, which decides whether it starts, and at the end for
//! `close`, for a bounded time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::log::{self, Field, Level};

const QUEUE_MAX: usize = 1024;
const JOURNAL_MAX: usize = 1024;
const KEPT_SECONDS: u64 = 300;
const ATTEMPTS_MAX: u32 = 8;
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const CLOSE_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// One run of the program, as HOOKS lists it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which hook.
    pub hook: String,
    /// What it was told.
    pub arguments: Vec<String>,
    /// Its process, 0 when it could not be started.
    pub pid: u32,
    /// Unix seconds.
    pub started: u64,
    /// Unix seconds, 0 while it runs.
    pub finished: u64,
    /// Its exit code; 128 and the signal that ended it.
    pub status: i32,
}

type Journal = Arc<Mutex<VecDeque<Run>>>;

struct Event {
    hook: &'static str,
    arguments: Vec<String>,
}

/// The front of the queue; without a program nothing is queued.
pub struct Hooks {
    teller: Option<Teller>,
    queue: Option<SyncSender<Event>>,
    done: Option<Receiver<()>>,
    /// Hooks that found the queue full, since start.
    pub dropped: u64,
}

#[derive(Clone)]
struct Teller {
    program: PathBuf,
    identity: String,
    journal: Journal,
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

fn lock(journal: &Journal) -> MutexGuard<'_, VecDeque<Run>> {
    journal
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Teller {
    fn start(&self, event: &Event) -> Option<Child> {
        let mut command = Command::new(&self.program);
        command
            .arg(event.hook)
            .arg(&self.identity)
            .args(&event.arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let run = Run {
            hook: event.hook.to_owned(),
            arguments: event.arguments.clone(),
            pid: child.as_ref().map_or(0, Child::id),
            started: unix_now(),
            finished: if child.is_ok() { 0 } else { unix_now() },
            status: if child.is_ok() { 0 } else { 127 },
        };
        let mut journal = lock(&self.journal);
        let oldest = unix_now().saturating_sub(KEPT_SECONDS);
        journal.retain(|run| run.finished == 0 || run.finished >= oldest);
        while journal.len() >= JOURNAL_MAX {
            journal.pop_front();
        }
        journal.push_back(run);
        child.ok()
    }

    fn finished(&self, status: i32) {
        if let Some(run) = lock(&self.journal).back_mut() {
            (run.finished, run.status) = (unix_now(), status);
        }
    }

    /// Run once and wait; the exit code.
    fn tell(&self, event: &Event, until: Option<Instant>) -> i32 {
        let Some(mut child) = self.start(event) else {
            return 127;
        };
        let status = wait(&mut child, until);
        self.finished(status);
        status
    }

    fn serve(&self, queue: &Receiver<Event>) {
        while let Ok(event) = queue.recv() {
            let mut pause = PAUSE_FIRST;
            for attempt in 1..=ATTEMPTS_MAX {
                let status = self.tell(&event, None);
                if status == 0 {
                    break;
                }
                let fields = [
                    ("hook", Field::Text(event.hook)),
                    ("status", Field::Number(status.unsigned_abs().into())),
                    ("attempt", Field::Number(attempt.into())),
                ];
                log::write(Level::Warning, "a hook failed", &fields);
                if attempt < ATTEMPTS_MAX {
                    thread::sleep(pause);
                    pause *= 2;
                }
            }
        }
    }
}

fn wait(child: &mut Child, until: Option<Instant>) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let status = match until {
        None => child.wait(),
        Some(until) => loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if Instant::now() < until => thread::sleep(POLL),
                Ok(None) => {
                    let _ = child.kill();
                    break child.wait();
                }
                Err(error) => break Err(error),
            }
        },
    };
    status.map_or(127, |status| {
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    })
}

impl Hooks {
    /// The hooks of one server, which `identity` names; `None` tells nobody.
    #[must_use]
    pub fn new(program: Option<PathBuf>, identity: String) -> Self {
        let Some(program) = program else {
            return Self {
                teller: None,
                queue: None,
                done: None,
                dropped: 0,
            };
        };
        let teller = Teller {
            program,
            identity,
            journal: Journal::default(),
        };
        let (queue, events) = sync_channel::<Event>(QUEUE_MAX);
        let (finish, done) = sync_channel::<()>(0);
        let worker = teller.clone();
        thread::spawn(move || {
            worker.serve(&events);
            drop(finish);
        });
        Self {
            teller: Some(teller),
            queue: Some(queue),
            done: Some(done),
            dropped: 0,
        }
    }

    /// Run `ready` (or another hook the server must wait for) and give its exit code.
    #[must_use]
    pub fn wait_for(&self, hook: &'static str, arguments: Vec<String>) -> i32 {
        let event = Event { hook, arguments };
        self.teller
            .as_ref()
            .map_or(0, |teller| teller.tell(&event, None))
    }

    /// Queue a hook; a full queue drops it, counts and says so.
    pub fn tell(&mut self, hook: &'static str, arguments: impl FnOnce() -> Vec<String>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(event)) = queue.try_send(Event {
            hook,
            arguments: arguments(),
        }) {
            self.dropped += 1;
            log::write(
                Level::Error,
                "the queue of hooks is full",
                &[("hook", Field::Text(event.hook))],
            );
        }
    }

    /// What ran in the last minutes, oldest first.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        let Some(teller) = &self.teller else {
            return Vec::new();
        };
        let oldest = unix_now().saturating_sub(KEPT_SECONDS);
        let journal = lock(&teller.journal);
        journal
            .iter()
            .filter(|run| run.finished == 0 || run.finished >= oldest)
            .cloned()
            .collect()
    }

    /// Let the queue run dry, then run `close`; both for a bounded time.
    pub fn close(&mut self) {
        drop(self.queue.take());
        let (Some(teller), Some(done)) = (self.teller.take(), self.done.take()) else {
            return;
        };
        if done.recv_timeout(CLOSE_WAIT) == Err(RecvTimeoutError::Timeout) {
            log::write(Level::Warning, "hooks were left in the queue", &[]);
        }
        let event = Event {
            hook: "close",
            arguments: Vec::new(),
        };
        teller.tell(&event, Some(Instant::now() + CLOSE_WAIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_fails_is_tried_again_in_order() {
        let folder = std::env::temp_dir().join(format!("zdb-hooks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (program, told) = (folder.join("hook"), folder.join("told"));
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{told}\n[ $(wc -l <{told}) != 1 ]\n",
            told = told.display()
        );
        std::fs::write(&program, script).expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("a mode");
        let mut hooks = Hooks::new(Some(program), "tcp://x:1".to_owned());
        hooks.tell("jump-data", || vec!["a".into(), "b".into()]);
        hooks.tell("namespace-created", || vec!["n".into()]);
        hooks.close();
        let lines = std::fs::read_to_string(&told).expect("told");
        assert_eq!(
            lines,
            "jump-data tcp://x:1 a b\njump-data tcp://x:1 a b\nnamespace-created tcp://x:1 n\nclose tcp://x:1\n"
        );
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn without_a_program_nothing_is_told_and_ready_is_zero() {
        let mut hooks = Hooks::new(None, String::new());
        hooks.tell("crash", || unreachable!("nobody asks for arguments"));
        assert_eq!(hooks.wait_for("ready", Vec::new()), 0);
        assert!(hooks.runs().is_empty());
        hooks.close();
    }
}
