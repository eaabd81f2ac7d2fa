//! Gathering a group: before an fsync, a moment for those who wrote in the groups before.
//!
//! After a commit all its clients are answered at once, but their next requests arrive one by one. Whoever begins
//! the next commit with the first of them makes all others wait for two fsyncs. So a turn that heard fewer
//! writers than the last groups had listens on: for a part of what an fsync takes, and while they keep coming for
//! as long as one takes, for receiving them is work that must be done anyway. A client alone never waits.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::epoll::{Event, EventFlags};

use crate::options::Sync;
use crate::turn::server::Server;

/// The part of the last commit's time in which somebody must be heard, or no more is waited for.
const PAUSE_PART: u32 = 8;
/// What the last commit counts for at most.
const TIME_MAX: Duration = Duration::from_millis(20);
/// Waits shorter than this are spent asking: the kernel's timers are not that exact.
const EXACT: Duration = Duration::from_micros(100);
/// A group that is expected gets smaller by one part in so many.
const FADE: usize = 8;

/// How many write in one group.
///
/// Those of the last two groups are expected in one: two halves that take turns, each ready when the other one's
/// fsync ends, would otherwise go on like that for ever.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Counts groups.
    number: u64,
    /// Clients that wrote in this turn, and those of them that did not write in the group before.
    writers: usize,
    fresh: usize,
    /// Clients that wrote in the group before.
    before: usize,
    expected: usize,
}

impl Group {
    /// A client wrote whose last group is `last`, which becomes this one.
    pub(crate) fn joined(&mut self, last: &mut u64) {
        if *last != self.number + 1 {
            self.fresh += usize::from(*last != self.number || self.number == 0);
            self.writers += 1;
            *last = self.number + 1;
        }
    }

    /// The turn is over.
    pub(crate) fn close(&mut self) {
        if self.writers > 0 {
            let faded = self.expected - self.expected.div_ceil(FADE);
            self.expected = faded.max(self.before + self.fresh);
            self.before = self.writers;
            self.number += 1;
        }
        (self.writers, self.fresh) = (0, 0);
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
            let end = (heard_at + took / PAUSE_PART).min(began + took);
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

    /// A turn in which these clients write; whether it would wait for no others.
    fn turn(group: &mut Group, clients: &mut [u64]) -> bool {
        for last in clients {
            group.joined(last);
        }
        let whole = group.is_whole();
        group.close();
        whole
    }

    #[test]
    fn one_client_alone_never_waits() {
        let (mut group, mut client) = (Group::default(), [0]);
        assert!((0..100).all(|_| turn(&mut group, &mut client)));
    }

    #[test]
    fn many_are_expected_again_until_they_stay_away() {
        let (mut group, mut clients) = (Group::default(), [0; 50]);
        assert!(turn(&mut group, &mut clients));
        assert!(!turn(&mut group, &mut clients[..1]) && !turn(&mut group, &mut clients[1..]));
        assert!(turn(&mut group, &mut clients));
        let waits = (0..100).filter(|_| !turn(&mut group, &mut clients[..1]));
        let waits = waits.count();
        assert!((5..30).contains(&waits), "{waits}");
        assert!(turn(&mut group, &mut clients[..1]));
    }

    #[test]
    fn two_halves_that_take_turns_are_expected_together() {
        let (mut group, mut one, mut other) = (Group::default(), [0; 25], [0; 25]);
        turn(&mut group, &mut one);
        turn(&mut group, &mut other);
        for _ in 0..10 {
            assert!(!turn(&mut group, &mut one) && !turn(&mut group, &mut other));
        }
        assert_eq!(group.expected, 50);
    }

    #[test]
    fn who_writes_twice_in_a_turn_is_one_writer() {
        let (mut group, mut client) = (Group::default(), [0]);
        for _ in 0..5 {
            group.joined(&mut client[0]);
        }
        group.close();
        assert_eq!(group.expected, 1);
    }

    #[test]
    fn a_turn_without_writes_waits_for_nobody() {
        let (mut group, mut clients) = (Group::default(), [0; 50]);
        turn(&mut group, &mut clients);
        assert!(turn(&mut group, &mut []));
        assert!(!turn(&mut group, &mut clients[..1]));
    }
}
