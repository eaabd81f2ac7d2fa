//! Requests: RESP2 arrays of bulk strings, parsed where they lie.
//!
//! The parser keeps its place between calls, so that a request which arrives one byte at a time costs no more
//! than one that arrives whole, and it copies nothing: an argument is a span of the caller's buffer. Everything
//! is bounded, and each malformed header is refused at its first wrong byte.

/// Arguments of one request, the command's name included.
pub const ARGUMENTS_MAX: usize = 1024;
/// Bytes of one argument.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one whole request: one payload, and room for the keys and headers beside it.
pub const REQUEST_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1024 * 1024;

const DIGITS_MAX: usize = 10;

/// Why a request cannot be read; the connection is closed after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The request does not begin with `*` and a number.
    NotAnArray,
    /// `*0`.
    NoArguments,
    /// More than [`ARGUMENTS_MAX`].
    TooManyArguments,
    /// An argument does not begin with `$` and a number, or does not end where it said.
    NotAString,
    /// An argument of more than [`PAYLOAD_BYTES_MAX`], or a request of more than [`REQUEST_BYTES_MAX`].
    PayloadTooBig,
}

impl Malformed {
    /// The text that the client is told.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotAnArray => "Malformed request, array expected",
            Self::NoArguments => "Missing arguments",
            Self::TooManyArguments => "Too many arguments",
            Self::NotAString => "Malformed query string",
            Self::PayloadTooBig => "Payload too big",
        }
    }
}

/// What one look at the input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole request is in the first so many bytes.
    Whole(usize),
    /// The request needs at least so many bytes, counted from its start.
    Needs(usize),
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    length: u32,
}

/// The place in one request.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<Span>,
    expected: usize,
    at: usize,
    bulk: Option<usize>,
}

enum Line {
    Number(usize, usize),
    Partial,
    Wrong,
    Huge,
}

/// The number of a header whose mark is at `at`, and where the next thing begins.
#[inline]
fn line(input: &[u8], at: usize) -> Line {
    let digits = &input[at + 1..];
    let mut number = 0usize;
    let mut index = 0;
    while let Some(&byte) = digits.get(index) {
        if byte.is_ascii_digit() {
            if index == DIGITS_MAX {
                return Line::Huge;
            }
            number = number * 10 + usize::from(byte - b'0');
            index += 1;
            continue;
        }
        if index == 0 || byte != b'\r' {
            return Line::Wrong;
        }
        return match digits.get(index + 1) {
            None => Line::Partial,
            Some(b'\n') => Line::Number(number, at + index + 3),
            Some(_) => Line::Wrong,
        };
    }
    Line::Partial
}

impl Parser {
    /// Look at the input from the start of the current request; earlier bytes must be unchanged since.
    ///
    /// # Errors
    /// [`Malformed`], after which nothing more can be read from this client.
    #[inline]
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Malformed> {
        if self.expected == 0 && !self.begin(input)? {
            return Ok(Step::Needs(self.at.max(input.len()) + 1));
        }
        while self.spans.len() < self.expected {
            let length = match self.bulk {
                Some(length) => length,
                None => match self.header(input)? {
                    Some(length) => length,
                    None => return Ok(Step::Needs(input.len() + 1)),
                },
            };
            let end = self.at + length;
            // Whoever looks again, after an error too, sees the same.
            self.bulk = Some(length);
            if input.len() < end + 2 {
                return Ok(Step::Needs(end + 2));
            }
            if input[end] != b'\r' || input[end + 1] != b'\n' {
                return Err(Malformed::NotAString);
            }
            self.spans.push(Span {
                start: self.at as u32,
                length: length as u32,
            });
            self.bulk = None;
            self.at = end + 2;
        }
        Ok(Step::Whole(self.at))
    }

    fn begin(&mut self, input: &[u8]) -> Result<bool, Malformed> {
        match input.first() {
            None => return Ok(false),
            Some(b'*') => {}
            Some(_) => return Err(Malformed::NotAnArray),
        }
        match line(input, 0) {
            Line::Partial => Ok(false),
            Line::Wrong => Err(Malformed::NotAnArray),
            Line::Huge => Err(Malformed::TooManyArguments),
            Line::Number(0, _) => Err(Malformed::NoArguments),
            Line::Number(count, _) if count > ARGUMENTS_MAX => Err(Malformed::TooManyArguments),
            Line::Number(count, next) => {
                self.expected = count;
                self.at = next;
                Ok(true)
            }
        }
    }

    #[inline]
    fn header(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        match input.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(_) => return Err(Malformed::NotAString),
        }
        match line(input, self.at) {
            Line::Partial => Ok(None),
            Line::Wrong => Err(Malformed::NotAString),
            Line::Huge => Err(Malformed::PayloadTooBig),
            Line::Number(length, _) if length > PAYLOAD_BYTES_MAX => Err(Malformed::PayloadTooBig),
            Line::Number(length, next) => {
                if next + length + 2 > REQUEST_BYTES_MAX {
                    return Err(Malformed::PayloadTooBig);
                }
                self.at = next;
                Ok(Some(length))
            }
        }
    }

    /// The arguments of a whole request, in the input that [`Parser::step`] saw.
    #[inline]
    #[must_use]
    pub fn arguments<'a>(&'a self, input: &'a [u8]) -> Arguments<'a> {
        Arguments {
            spans: &self.spans,
            input,
        }
    }

    /// Where an argument of a whole request is in the input that [`Parser::step`] saw.
    #[inline]
    #[must_use]
    pub fn place(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let span = self.spans.get(index)?;
        Some(span.start as usize..(span.start + span.length) as usize)
    }

    /// Forget the request: the next one begins.
    #[inline]
    pub fn reset(&mut self) {
        self.spans.clear();
        self.expected = 0;
        self.at = 0;
        self.bulk = None;
    }

    /// Give back the room that a request with many arguments took.
    pub fn shrink(&mut self) {
        if self.spans.is_empty() && self.spans.capacity() > 16 {
            self.spans = Vec::new();
        }
    }
}

/// The arguments of one request; the first is the command's name.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    spans: &'a [Span],
    input: &'a [u8],
}

impl<'a> Arguments<'a> {
    /// How many there are, at least one.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Never: a request has a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// One of them.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        &self.input[span.start as usize..(span.start + span.length) as usize]
    }

    /// All of them, from `from` on.
    pub fn iter(&self, from: usize) -> impl Iterator<Item = &'a [u8]> + '_ {
        (from..self.len()).map(|index| self.get(index))
    }

    /// Without the last one.
    #[must_use]
    pub fn without_last(&self) -> Self {
        Self {
            spans: &self.spans[..self.spans.len() - 1],
            input: self.input,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &[u8]) -> Vec<Vec<u8>> {
        let mut parser = Parser::default();
        assert_eq!(parser.step(input), Ok(Step::Whole(input.len())));
        parser
            .arguments(input)
            .iter(0)
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// Why it is refused, however often one looks.
    fn refused(input: &[u8]) -> Malformed {
        let mut parser = Parser::default();
        let first = parser.step(input).expect_err("malformed");
        assert_eq!(parser.step(input), Err(first));
        first
    }

    #[test]
    fn a_request_is_read_where_it_lies() {
        assert_eq!(
            whole(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n"),
            [b"GET".to_vec(), Vec::new()]
        );
    }

    #[test]
    fn every_split_gives_the_same_request() {
        let input = b"*3\r\n$3\r\nSET\r\n$5\r\nk\r\n\0y\r\n$2\r\n\r\n\r\n";
        for cut in 0..input.len() {
            let mut parser = Parser::default();
            for end in [cut, input.len()] {
                let step = parser.step(&input[..end]).expect("well formed");
                match step {
                    Step::Whole(length) => assert_eq!((length, end), (input.len(), input.len())),
                    Step::Needs(length) => assert!(length > end && length <= input.len()),
                }
            }
            assert_eq!(parser.arguments(input).get(1), b"k\r\n\0y");
        }
    }

    #[test]
    fn one_byte_at_a_time_is_the_same_request() {
        let input = b"*2\r\n$4\r\nPING\r\n$1\r\nx\r\n";
        let mut parser = Parser::default();
        for end in 0..input.len() {
            assert!(
                matches!(parser.step(&input[..end]), Ok(Step::Needs(_))),
                "at {end}"
            );
        }
        assert_eq!(parser.step(input), Ok(Step::Whole(input.len())));
    }

    #[test]
    fn malformed_requests_are_named() {
        for (input, reason) in [
            (&b"PING\r\n"[..], Malformed::NotAnArray),
            (b"*-1\r\n", Malformed::NotAnArray),
            (b"*+1\r\n", Malformed::NotAnArray),
            (b"*1\n", Malformed::NotAnArray),
            (b"*\r\n", Malformed::NotAnArray),
            (b"*0\r\n", Malformed::NoArguments),
            (b"*1025\r\n", Malformed::TooManyArguments),
            (b"*99999999999999999999999", Malformed::TooManyArguments),
            (b"*1\r\n:1\r\n", Malformed::NotAString),
            (b"*1\r\n$-5\r\n", Malformed::NotAString),
            (b"*1\r\n$+3\r\n", Malformed::NotAString),
            (b"*1\r\n$4\r\nPINGxx", Malformed::NotAString),
            (b"*1\r\n$1\r\n$1\r\nX\r\n", Malformed::NotAString),
            (b"*1\r\n$8388609\r\n", Malformed::PayloadTooBig),
            (b"*1\r\n$18446744073709551617\r\n", Malformed::PayloadTooBig),
        ] {
            assert_eq!(refused(input), reason, "{}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn limits_are_exact() {
        let mut many = b"*1024\r\n".to_vec();
        for _ in 0..1024 {
            many.extend_from_slice(b"$1\r\nx\r\n");
        }
        assert_eq!(whole(&many).len(), 1024);
        let mut big = b"*1\r\n$8388608\r\n".to_vec();
        big.resize(big.len() + PAYLOAD_BYTES_MAX, b'v');
        big.extend_from_slice(b"\r\n");
        assert_eq!(whole(&big)[0].len(), PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn a_request_of_two_big_payloads_is_refused_before_it_is_held() {
        let mut input = b"*2\r\n$8388608\r\n".to_vec();
        input.resize(input.len() + PAYLOAD_BYTES_MAX, b'v');
        input.extend_from_slice(b"\r\n$8388608\r\n");
        assert_eq!(refused(&input), Malformed::PayloadTooBig);
    }
}
