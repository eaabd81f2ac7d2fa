//! Replies: RESP2, appended to a client's output.
//!
//! A client that said HELLO 3 gets RESP3 where it differs: nil is a type of its own, and what is a list of names
//! and values is a map. Newer clients ask for it first and know no way back.

/// Append a status such as `+OK`.
#[inline]
pub fn status(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Append an error; the texts are those of Zero-DB and carry no class word.
pub fn error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Append an integer.
#[inline]
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    if value < 0 {
        out.push(b'-');
    }
    number(out, value.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

/// Append a bulk string.
#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Append nil.
#[inline]
pub fn nil(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

/// Append the head of so many names with their values.
pub fn map(out: &mut Vec<u8>, count: usize, resp3: bool) {
    if resp3 {
        head(out, b'%', count);
    } else {
        head(out, b'*', count * 2);
    }
}

/// Append the head of an array of so many.
#[inline]
pub fn array(out: &mut Vec<u8>, count: usize) {
    head(out, b'*', count);
}

#[inline]
fn head(out: &mut Vec<u8>, mark: u8, length: usize) {
    out.push(mark);
    number(out, length as u64);
    out.extend_from_slice(b"\r\n");
}

/// Append a number in decimal.
#[inline]
pub fn number(out: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        out.push(b'0' + value as u8);
        return;
    }
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_resp2() {
        let mut out = Vec::new();
        status(&mut out, "OK");
        error(&mut out, "Key not found");
        integer(&mut out, -1);
        integer(&mut out, i64::MIN);
        bulk(&mut out, b"a\r\nb");
        nil(&mut out, false);
        array(&mut out, 1024);
        nil(&mut out, true);
        map(&mut out, 2, false);
        map(&mut out, 2, true);
        assert_eq!(
            out,
            b"+OK\r\n-Key not found\r\n:-1\r\n:-9223372036854775808\r\n$4\r\na\r\nb\r\n$-1\r\n*1024\r\n_\r\n*4\r\n%2\r\n"
        );
    }
}
