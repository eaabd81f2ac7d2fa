//! Patterns of keys as Redis has them: `*`, `?`, `[a-z]`, `[^a-z]` and `\\` before what is meant as itself.

/// Whether a key is as the pattern says. Takes at most the product of their lengths in steps.
pub(super) fn matches(pattern: &[u8], key: &[u8]) -> bool {
    let (mut at, mut inside) = (0, 0);
    // After the last star: where the pattern goes on, and where the key was then.
    let mut star = None;
    while inside < key.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, inside));
            at += 1;
        } else if let Some(next) = one(pattern, at, key[inside]) {
            (at, inside) = (next, inside + 1);
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            (at, inside) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Where the pattern goes on if a byte is as it says here.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => class(pattern, at + 1, byte),
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(at + 2),
        same => (*same == byte).then_some(at + 1),
    }
}

/// The same for the inside of brackets; without a closing one the rest is inside.
fn class(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    while at < pattern.len() && pattern[at] != b']' {
        if pattern[at] == b'\\' && at + 1 < pattern.len() {
            found |= pattern[at + 1] == byte;
            at += 2;
        } else if pattern.get(at + 1) == Some(&b'-') && at + 2 < pattern.len() {
            let (low, high) = (pattern[at], pattern[at + 2]);
            found |= (low.min(high)..=low.max(high)).contains(&byte);
            at += 3;
        } else {
            found |= pattern[at] == byte;
            at += 1;
        }
    }
    (found != negated).then_some((at + 1).min(pattern.len()))
}

/// The bytes that every key which is as the pattern says begins with.
pub(super) fn prefix(pattern: &[u8]) -> &[u8] {
    let plain = |byte: &u8| !b"*?[\\".contains(byte);
    let length = pattern.iter().take_while(|byte| plain(byte)).count();
    &pattern[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_redis() {
        for (pattern, key, is) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h*llo", "hellos", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "abab", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("[\\]]", "]", true),
            ("[ab", "b", true),
            ("[ab", "c", false),
            ("a[", "a", false),
            ("a\\", "a\\", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), key.as_bytes()),
                is,
                "{pattern} {key}"
            );
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_the_product() {
        let pattern = "*a".repeat(2000) + "b";
        assert!(!matches(pattern.as_bytes(), &[b'a'; 255]));
    }

    #[test]
    fn a_prefix_is_what_is_plain() {
        assert_eq!(prefix(b"user:*"), b"user:");
        assert_eq!(prefix(b"a\\*"), b"a");
        assert_eq!(prefix(b"plain"), b"plain");
    }
}
