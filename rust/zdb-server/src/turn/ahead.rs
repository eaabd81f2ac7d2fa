//! Looking ahead: the keys of requests that came together are brought near together.
//!
//! Looking up a key waits for memory several times. When many requests lie in one input, the engine is shown
//! their keys first, so that these waits overlap; what is then executed finds everything at hand.

use tfgrid_zdb::NamespaceId;

use crate::shared::Store;
use crate::wire::resp::{Parser, Step};

/// Requests that are looked at together.
const REQUESTS: usize = 64;

/// Bring near what the requests at the start of `input` need; how many of its bytes they are.
///
/// Whatever their commands: the first argument of most is a key, and of the others nothing comes of it.
pub(crate) fn warm(store: &Store, namespace: NamespaceId, input: &[u8]) -> usize {
    let (mut keys, mut count, mut at) = ([&[][..]; REQUESTS], 0, 0);
    let mut parser = Parser::default();
    while count < REQUESTS {
        let Ok(Step::Whole(length)) = parser.step(&input[at..]) else {
            break;
        };
        if let Some(place) = parser.place(1) {
            keys[count] = &input[at..][place];
        }
        parser.reset();
        (count, at) = (count + 1, at + length);
    }
    if let Ok(namespace) = store.namespace(namespace) {
        namespace.warm(&keys[..count]);
    }
    at
}
