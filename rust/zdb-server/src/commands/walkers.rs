//! Who may walk in a turn: listings pass any number of records, and everybody else waits meanwhile.
//!
//! All listings of a turn together have a time; what is not done by then goes on in the next turn. Those who go on
//! stand in a line: the first one walks, and then stands at its end, so that each gets as much as any other however
//! many they are. While nobody stands there, whoever comes walks at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long the listings of one turn may take, and the record that is looked at when it ends.
const TURN: Duration = Duration::from_millis(1);

/// The clients whose listings go on.
#[derive(Debug, Default)]
pub struct Walkers {
    line: VecDeque<u64>,
    /// When walking ends in this turn, once somebody walked.
    until: Option<Instant>,
}

impl Walkers {
    /// Another turn. Whoever was first and did not walk is gone, or does not read what it was sent.
    pub fn tick(&mut self) {
        if self.until.take().is_none() {
            self.line.pop_front();
        }
    }

    /// Until when a client may walk; otherwise it stands in the line and asks again in the next turn.
    pub fn enter(&mut self, client: u64) -> Option<Instant> {
        let now = Instant::now();
        let until = self.until.unwrap_or(now + TURN);
        let first = self.line.front().map_or(true, |first| *first == client);
        if first && now < until {
            self.until = Some(until);
            return Some(until);
        }
        if !self.line.contains(&client) {
            self.line.push_back(client);
        }
        None
    }

    /// A client walked, and goes on or not.
    pub fn leave(&mut self, client: u64, goes_on: bool) {
        if self.line.front() == Some(&client) {
            self.line.pop_front();
        }
        if goes_on {
            self.line.push_back(client);
        }
    }
}
