//! Looking ahead: the keys of requests that came together are brought near together.
//!
//! Looking up a key waits for memory several times. When many requests are there to be executed, the engine is
//! shown their keys first, so that these waits overlap; what is then executed finds everything at hand.
//! Whatever their commands: the first argument of most is a key, and of the others nothing comes of it.

use tfgrid_zdb::NamespaceId;

use crate::shared::Store;
use crate::wire::resp::{Parser, Step};

/// Requests that are looked at together.
const REQUESTS: usize = 64;

/// Bring near what the requests at the start of `input` need; how many of its bytes they are.
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

/// Keys that requests of several clients name, gathered until there are enough of one namespace.
pub(crate) struct Keys<'a> {
    store: &'a Store,
    namespace: Option<NamespaceId>,
    keys: [&'a [u8]; REQUESTS],
    count: usize,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            namespace: None,
            keys: [&[]; REQUESTS],
            count: 0,
        }
    }

    /// Gather the key of a request, if `input` is exactly one; the parser keeps what it learnt.
    pub(crate) fn show(&mut self, namespace: NamespaceId, parser: &mut Parser, input: &'a [u8]) {
        if parser.step(input) != Ok(Step::Whole(input.len())) {
            return;
        }
        let Some(place) = parser.place(1) else { return };
        if self.namespace != Some(namespace) || self.count == REQUESTS {
            self.warm();
            self.namespace = Some(namespace);
        }
        self.keys[self.count] = &input[place];
        self.count += 1;
    }

    /// Bring near what was gathered.
    pub(crate) fn warm(&mut self) {
        let count = std::mem::take(&mut self.count);
        let found = self.namespace.map(|id| self.store.namespace(id));
        if let (true, Some(Ok(namespace))) = (count > 1, found) {
            namespace.warm(&self.keys[..count]);
        }
    }
}
