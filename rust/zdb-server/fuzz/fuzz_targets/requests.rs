//! Any bytes, in any pieces: the parser finds the requests that a plain reading of the whole finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tfgrid_zdb_server::resp::{Malformed, Parser, Step};

type Request = Vec<Vec<u8>>;

/// All requests of the input when only its first bytes are there at first, then more, by these steps.
fn in_pieces(input: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<Request>, Option<Malformed>) {
    let (mut parser, mut requests) = (Parser::default(), Vec::new());
    let (mut start, mut end) = (0, 0);
    loop {
        match parser.step(&input[start..end]) {
            Ok(Step::Whole(length)) => {
                assert!(length > 0 && start + length <= end);
                let arguments = parser.arguments(&input[start..end]);
                requests.push(arguments.iter(0).map(<[u8]>::to_vec).collect());
                parser.reset();
                start += length;
            }
            Ok(Step::Needs(length)) => {
                assert!(length > end - start, "asks for what is there");
                if end == input.len() {
                    return (requests, None);
                }
                end = (end + piece().max(1)).min(input.len());
            }
            Err(malformed) => return (requests, Some(malformed)),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, input)) = data.split_first() else {
        return;
    };
    let whole = in_pieces(input, || input.len());
    assert_eq!(whole, in_pieces(input, || 1));
    let mut step = usize::from(seed);
    let pieces = || {
        step = (step * 31 + 7) % 257;
        step
    };
    assert_eq!(whole, in_pieces(input, pieces));
});
