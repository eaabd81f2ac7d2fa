//! RFC 6962 tree hashing over leaf hashes.
//!
//! The root over n leaves splits at the largest power of two below n. Leaves are folded from left to right
//! while only the roots of perfect subtrees are kept, so that the work is one hash for each inner node and the
//! memory is one hash for each bit of n. The readable twin is `tfgrid.core.merkle.root_twin`.

use sha2::{Digest, Sha256};

/// Bytes of one hash.
pub const HASH_BYTES: usize = 32;

/// One SHA-256 hash.
pub type Hash = [u8; HASH_BYTES];

/// The hash of an inner node: SHA-256 of 0x01, left, right.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The root over leaf hashes; over none it is the hash of nothing.
#[must_use]
pub fn root<'a>(leaves: impl Iterator<Item = &'a Hash>) -> Hash {
    let mut perfect: Vec<Hash> = Vec::new();
    for (count, leaf) in leaves.enumerate() {
        let mut carried = *leaf;
        for _ in 0..count.trailing_ones() {
            let left = perfect.pop().expect("one perfect subtree for each bit set");
            carried = node_hash(&left, &carried);
        }
        perfect.push(carried);
    }
    let Some(mut current) = perfect.pop() else {
        return Sha256::digest(b"").into();
    };
    while let Some(left) = perfect.pop() {
        current = node_hash(&left, &current);
    }
    current
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(number: u8) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([0, number]);
        hasher.finalize().into()
    }

    fn twin(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => Sha256::digest(b"").into(),
            1 => leaves[0],
            count => {
                let split = count.next_power_of_two() / 2;
                node_hash(&twin(&leaves[..split]), &twin(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_fold_agrees_with_the_definition() {
        let leaves: Vec<Hash> = (0..=200).map(leaf).collect();
        for count in 0..leaves.len() {
            assert_eq!(
                root(leaves[..count].iter()),
                twin(&leaves[..count]),
                "{count} leaves"
            );
        }
    }
}
