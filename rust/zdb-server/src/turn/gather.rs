//! Gathering a group: before an fsync, a moment for those who wrote in the groups before.
//!
//! After a commit all its clients are answered at once, but their next requests arrive one by one. Whoever begins
//! the next commit with the first of them makes all others wait for two fsyncs. So a turn that heard fewer
//! writers than the last groups had listens on: for a part of what an fsync takes, and longer while they keep
//! coming, for receiving them is work that must be done anyway. A client alone never waits.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::epoll::{Event, EventFlags};

use crate::options::Sync;
use crate::turn::server::Server;

/// The part of the last commit's time in which somebody must be heard, or no more is waited for.
const PAUSE_PART: u32 = 8;
/// The part of it that is spent at most, while they keep coming.
const WHOLE_PART: u32 = 2;
/// What the last commit counts for at most.
const TIME_MAX: Duration = Duration::from_millis(20);
/// Waits shorter than this are spent asking: the kernel's timers are not that exact.
const EXACT: Duration = Duration::from_micros(100);
/// A group that is expected gets smaller by one part in so many.
const FADE: usize = 8;

/// How many write in one group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Clients that wrote in this turn.
    writers: usize,
    expected: usize,
}

impl Group {
    /// A client wrote.
    pub(crate) fn joined(&mut self) {
        self.writers += 1;
    }

    /// The turn is over.
    pub(crate) fn close(&mut self) {
        if self.writers > 0 {
            let faded = self.expected - self.expected.div_ceil(FADE);
            self.expected = self.writers.max(faded);
        }
        self.writers = 0;
    }

    fn is_whole(&self) -> bool {
        self.writers == 0 || self.writers >= self.expected
    }
}

impl Server {
    /// Hear more writers, where a commit makes durable and some are still to come.
    pub(crate) fn gather(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        if self.shared.options.sync != Sync::Group || self.group.is_whole() {
            return Ok(());
        }
        let took = self.shared.commit_took.min(TIME_MAX);
        let (began, mut heard_at) = (Instant::now(), Instant::now());
        while !self.group.is_whole() {
            let now = Instant::now();
            let end = (heard_at + took / PAUSE_PART).min(began + took / WHOLE_PART);
            let left = end.saturating_duration_since(now);
            if left.is_zero() {
                break;
            }
            let wait = if left < EXACT { Duration::ZERO } else { left };
            self.wait(events, Some(wait))?;
            let mut heard = 0;
            for event in &*events {
                heard += usize::from(self.hear(event.data.u64(), event.flags));
            }
            self.execute_arrived();
            if heard > 0 {
                heard_at = Instant::now();
            } else if !events.is_empty() {
                // Something else waits, and would make every wait end at once.
                break;
            }
        }
        Ok(())
    }

    /// Take what a client sent that did nothing in this turn yet; everything else comes in the next one.
    fn hear(&mut self, data: u64, flags: EventFlags) -> bool {
        let slot = Self::slot(data);
        let known = self.connections.get(slot).and_then(Option::as_ref);
        let fresh = known.is_some_and(|one| one.mark(slot) == data && !one.listed && one.runs());
        if fresh && flags.contains(EventFlags::IN) {
            self.receive(slot);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(group: &mut Group, writers: usize) -> bool {
        for _ in 0..writers {
            group.joined();
        }
        let whole = group.is_whole();
        group.close();
        whole
    }

    #[test]
    fn one_client_alone_never_waits() {
        let mut group = Group::default();
        assert!((0..100).all(|_| turn(&mut group, 1)));
    }

    #[test]
    fn many_are_expected_again_until_they_stay_away() {
        let mut group = Group::default();
        assert!(turn(&mut group, 50));
        assert!(!turn(&mut group, 1) && turn(&mut group, 49));
        let waits = (0..100).filter(|_| !turn(&mut group, 1)).count();
        assert!((5..30).contains(&waits), "{waits}");
        assert!(turn(&mut group, 1));
    }

    #[test]
    fn a_turn_without_writes_waits_for_nobody() {
        let mut group = Group::default();
        turn(&mut group, 50);
        assert!(turn(&mut group, 0));
        assert!(!turn(&mut group, 1));
    }
}
