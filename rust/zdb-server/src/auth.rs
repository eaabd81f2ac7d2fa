//! Passwords: compared without telling how much was right, answered by challenge, and not guessed at speed.
//!
//! A challenge is eight random bytes in hexadecimal. Its answer is the hexadecimal SHA-1 of
//! `challenge:password`, which existing clients send, or SHA-256 of the same, told apart by length. Who guesses
//! wrong is slowed: from the fourth failure on, the attempts of one source wait, each twice as long as the one
//! before, and are forgotten after a quiet minute.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};

const SOURCES_MAX: usize = 4096;
const FREE_FAILURES: u32 = 3;
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// A password, which shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keep a password.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes: for computing a challenge's answer, never for showing.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

/// Whether two passwords are the same; takes the same time wherever they differ.
#[must_use]
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    same(&Sha256::digest(left), &Sha256::digest(right))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

fn same(left: &[u8], right: &[u8]) -> bool {
    let differing = left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b));
    left.len() == right.len() && std::hint::black_box(differing) == 0
}

/// Sixteen hexadecimal digits that a client must answer; good for one attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge(String);

/// What an answer to a challenge came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It proves the password.
    Right,
    /// It does not.
    Wrong,
    /// It is neither a SHA-1 nor a SHA-256 in hexadecimal.
    BadLength,
}

impl Challenge {
    /// A fresh one; None when the system has no random bytes to give.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(hexadecimal(&bytes)))
    }

    /// As it is sent.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Judge an answer.
    #[must_use]
    pub fn judge(&self, password: &[u8], given: &[u8]) -> Answer {
        let expected = match given.len() {
            40 => hexadecimal(&self.digest::<Sha1>(password)),
            64 => hexadecimal(&self.digest::<Sha256>(password)),
            _ => return Answer::BadLength,
        };
        let given = given.to_ascii_lowercase();
        if same(expected.as_bytes(), &given) {
            Answer::Right
        } else {
            Answer::Wrong
        }
    }

    fn digest<D: Digest>(&self, password: &[u8]) -> Vec<u8> {
        let mut hasher = D::new();
        hasher.update(self.0.as_bytes());
        hasher.update(b":");
        hasher.update(password);
        hasher.finalize().to_vec()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug)]
struct Record {
    failures: u32,
    last: Instant,
    until: Instant,
}

/// Who failed to authenticate of late, by where they come from.
#[derive(Debug, Default)]
pub struct Penalties {
    sources: HashMap<Box<str>, Record>,
}

impl Penalties {
    /// Until when an attempt from `source` has to wait, if it has to.
    #[must_use]
    pub fn wait_until(&self, source: &str, now: Instant) -> Option<Instant> {
        self.sources
            .get(source)
            .map(|record| record.until)
            .filter(|until| *until > now)
    }

    /// Count a failure.
    pub fn failed(&mut self, source: &str, now: Instant) {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(source) {
            self.sources
                .retain(|_, record| now < record.last + FORGOTTEN_AFTER);
            if self.sources.len() >= SOURCES_MAX {
                return;
            }
        }
        let fresh = Record {
            failures: 0,
            last: now,
            until: now,
        };
        let record = self.sources.entry(source.into()).or_insert(fresh);
        if now >= record.last + FORGOTTEN_AFTER {
            record.failures = 0;
        }
        record.failures += 1;
        record.last = now;
        if record.failures > FREE_FAILURES {
            let doublings = (record.failures - FREE_FAILURES - 1).min(16);
            record.until = now + (WAIT_FIRST * (1 << doublings)).min(WAIT_MAX);
        }
    }

    /// Forget a source that proved itself.
    pub fn succeeded(&mut self, source: &str) {
        self.sources.remove(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_hashes_of_challenge_and_password() {
        let challenge = Challenge("0123456789abcdef".into());
        for (answer, judged) in [
            ("098613a9ee6db421f3ddebac4196b182ca060784", Answer::Right),
            (
                "3B88415231CFA404CEB966B4306E6AA1D1443B8BD1B85C331BB7DF851F4EF68C",
                Answer::Right,
            ),
            ("198613a9ee6db421f3ddebac4196b182ca060784", Answer::Wrong),
            (
                "098613a9ee6db421f3ddebac4196b182ca0607840",
                Answer::BadLength,
            ),
            ("", Answer::BadLength),
        ] {
            assert_eq!(
                challenge.judge(b"password", answer.as_bytes()),
                judged,
                "{answer}"
            );
        }
    }

    #[test]
    fn challenges_differ_and_have_sixteen_digits() {
        let (one, other) = (Challenge::new(), Challenge::new());
        assert!(one != other);
        assert_eq!(one.expect("random bytes").text().len(), 16);
    }

    #[test]
    fn guessing_slows_one_source_and_not_its_neighbour() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        for _ in 0..FREE_FAILURES {
            penalties.failed("a", now);
        }
        assert_eq!(penalties.wait_until("a", now), None);
        penalties.failed("a", now);
        assert_eq!(penalties.wait_until("a", now), Some(now + WAIT_FIRST));
        for _ in 0..40 {
            penalties.failed("a", now);
        }
        assert_eq!(penalties.wait_until("a", now), Some(now + WAIT_MAX));
        assert_eq!(penalties.wait_until("b", now), None);
        let later = now + FORGOTTEN_AFTER + WAIT_MAX;
        penalties.failed("a", later);
        assert_eq!(penalties.wait_until("a", later), None);
    }

    #[test]
    fn the_number_of_sources_is_bounded() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        for source in 0..SOURCES_MAX * 2 {
            penalties.failed(&source.to_string(), now);
        }
        assert_eq!(penalties.sources.len(), SOURCES_MAX);
    }

    #[test]
    fn a_secret_is_equal_to_itself_alone() {
        for other in [&b"abcd"[..], b"ab", b"abd", b""] {
            assert!(!equal(b"abc", other));
        }
        assert!(equal(b"abc", b"abc"));
        let secret = Secret::new(b"abc".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
