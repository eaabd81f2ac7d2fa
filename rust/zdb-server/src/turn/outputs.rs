//! Room for replies, lent to connections while they have some to send.
//!
//! Whoever is at rest keeps none, and the room that was used last is used next: it is still near.

/// What is kept for the next replies, in bytes.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Room that nobody uses now.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    spare: Vec<Vec<u8>>,
    bytes: usize,
}

impl Outputs {
    /// Give room to an output that has none.
    pub(crate) fn lend(&mut self, output: &mut Vec<u8>) {
        if output.capacity() == 0 {
            if let Some(spare) = self.spare.pop() {
                self.bytes -= spare.capacity();
                *output = spare;
            }
        }
    }

    /// Take the room of an output that has left; more than is kept goes back to the system.
    pub(crate) fn take_back(&mut self, output: &mut Vec<u8>) {
        let bytes = output.capacity();
        if !output.is_empty() || bytes == 0 {
            return;
        }
        let spare = std::mem::take(output);
        if self.bytes + bytes <= KEPT_BYTES_MAX {
            self.bytes += bytes;
            self.spare.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_lent_next() {
        let mut outputs = Outputs::default();
        for size in [100, 200] {
            outputs.take_back(&mut Vec::with_capacity(size));
        }
        let mut output = Vec::new();
        outputs.lend(&mut output);
        assert!(output.capacity() >= 200);
        outputs.take_back(&mut vec![1; 50]);
        outputs.lend(&mut output);
        let mut other = Vec::new();
        outputs.lend(&mut other);
        assert!((100..200).contains(&other.capacity()), "unsent bytes stay");
    }

    #[test]
    fn little_is_kept() {
        let mut outputs = Outputs::default();
        outputs.take_back(&mut Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert!(outputs.spare.is_empty());
        for _ in 0..1000 {
            outputs.take_back(&mut Vec::with_capacity(100_000));
        }
        let kept: usize = outputs.spare.iter().map(Vec::capacity).sum();
        assert!(kept <= KEPT_BYTES_MAX && kept == outputs.bytes);
    }
}
