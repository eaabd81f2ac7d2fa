//! Blocks of data files in memory, so that reading again what was read lately needs no system call.
//!
//! One budget for all namespaces. Memory grows by use only, and goes back when a file is replaced or
//! removed: every open data file has a number of its own, so what a compaction, FLUSH or RELOAD replaces
//! cannot be found any more, and is dropped with the last handle of the old file. Nothing in here is
//! believed: whoever reads verifies the checksums of the record, and asks the disk when they are wrong.
//!
//! Blocks live in sets of `WAYS`; neighbouring blocks of a file live in neighbouring sets, so that a file
//! fills all sets alike. A set with room takes in what is missed. At a full one a block may knock when it was
//! missed `MISSES_TO_KNOCK` times while the set remembers it; each knock looks at one block of the set,
//! halves how often that one counts as used, and takes its room when that was nothing. So what is read
//! often stays and what is not leaves, and where all is read alike nothing moves: taking a block in costs
//! several reads of a record.
//!
//! A write looks at the version before. Where that is missed, what it needed was written once and will not be
//! looked at again; what is written now will, by the next write. So for each such miss a new block may
//! knock as it is written, without being read: where nothing is replaced, none enters.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 16 << 10;
/// Blocks of a set.
const WAYS: usize = 8;
/// How often a block must be missed before it may take another one's room.
const MISSES_TO_KNOCK: u8 = 4;
/// For misses of writes, at most so many blocks may enter later.
const WELCOME_MAX: usize = 1024;
/// Bytes that come near together, and stretches of them that are asked for at once.
const LINE_BYTES: usize = 64;
const SPOTS: usize = 64;
/// Uses beyond this many are not counted.
const USES_MAX: u8 = 7;
/// Bits of a tag that number the block; a file has less than 4 GiB.
const BLOCK_BITS: u32 = 18;

/// Some bytes of a file, shared with whoever reads them.
pub type Block = Rc<Vec<u8>>;

/// Blocks of all files, within a budget.
#[derive(Debug)]
pub struct Cache {
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Made at the first miss.
    sets: Vec<Set>,
    set_count: u32,
    /// Blocks that a set may hold.
    ways: usize,
    /// Numbers given to files so far.
    files: u64,
    /// How many new blocks may enter as they are written.
    welcome: usize,
    /// Blocks held.
    held: usize,
}

/// A few blocks, and what was missed lately. A tag of 0 is nobody's.
///
/// Laid out so that finding a block reads no more than a line of tags, one of blocks and one of uses.
#[derive(Debug, Clone, Default)]
#[repr(C, align(64))]
struct Set {
    tags: [u64; WAYS],
    blocks: [Option<Block>; WAYS],
    uses: [u8; WAYS],
    hand: usize,
    missed: [u64; WAYS],
    misses: [u8; WAYS],
    missed_hand: usize,
}

/// One open data file, as the cache knows it.
#[derive(Debug)]
pub struct CachedFile {
    cache: Rc<Cache>,
    number: u64,
}

/// Where in a file somebody wants to read.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// First byte.
    pub at: u32,
    /// How many bytes would be welcome.
    pub count: usize,
    /// Where the bytes that never change again end.
    pub end: u32,
}

impl Wanted {
    /// Offset in its block.
    pub fn inside(&self) -> usize {
        self.at as usize % BLOCK_BYTES
    }

    /// First byte of its block.
    fn block_at(&self) -> u32 {
        self.at - self.inside() as u32
    }

    /// How much of the block there is to read.
    fn block_length(&self) -> usize {
        ((self.end - self.block_at()) as usize).min(BLOCK_BYTES)
    }

    /// How long the block must be to hold what is wanted, as far as it is in this block.
    fn needed(&self) -> usize {
        (self.inside() + self.count).min(self.block_length())
    }
}

impl Cache {
    /// A cache of so many bytes; `None` when not one block fits.
    pub fn new(bytes: usize) -> Option<Rc<Self>> {
        let blocks = bytes / BLOCK_BYTES;
        let ways = blocks.min(WAYS);
        let set_count = u32::try_from(blocks.checked_div(ways)?).unwrap_or(u32::MAX);
        let inner = RefCell::new(Inner {
            sets: Vec::new(),
            set_count,
            ways,
            files: 0,
            welcome: 0,
            held: 0,
        });
        Some(Rc::new(Self { inner }))
    }

    /// Bytes of blocks held.
    pub fn bytes(&self) -> usize {
        self.inner.borrow().held * BLOCK_BYTES
    }

    /// Bring near the bytes of some spots, as far as they are in one block that is held; counts neither as use nor as a miss.
    ///
    /// A step for all of them before the next step for any, for each waits for memory: the set, the block, its bytes.
    pub fn touch(&self, spots: &[Spot]) -> u8 {
        let (inner, mut seen) = (self.inner.borrow(), 0);
        for spots in spots.chunks(SPOTS) {
            let (mut blocks, mut held) = ([None; SPOTS], [&[][..]; SPOTS]);
            for (block, spot) in blocks.iter_mut().zip(spots) {
                *block = inner.peek(spot.tag);
            }
            for (bytes, block) in held.iter_mut().zip(&blocks) {
                *bytes = block.map_or(&[], |block| block.as_slice());
            }
            for (held, spot) in held.iter().zip(spots) {
                let end = (spot.inside + spot.count).min(held.len());
                let bytes = held.get(spot.inside..end).unwrap_or(&[]);
                seen ^= bytes
                    .iter()
                    .step_by(LINE_BYTES)
                    .fold(0, |seen, byte| seen ^ byte);
                seen ^= bytes.last().unwrap_or(&0);
            }
        }
        seen
    }

    /// Begin to know an open file.
    pub fn file(self: &Rc<Self>) -> Rc<CachedFile> {
        let mut inner = self.inner.borrow_mut();
        inner.files += 1;
        Rc::new(CachedFile {
            cache: Rc::clone(self),
            number: inner.files,
        })
    }
}

/// Some bytes of a file, as the cache finds them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spot {
    tag: u64,
    inside: usize,
    count: usize,
}

impl CachedFile {
    fn tag(&self, wanted: &Wanted) -> u64 {
        (self.number << BLOCK_BITS) | (u64::from(wanted.at) / BLOCK_BYTES as u64)
    }

    /// The block that holds what is wanted, as far as it is in one block. `read` reads from the file.
    ///
    /// `None` when it is not there and does not enter, or cannot be read: read for yourself.
    #[inline]
    pub fn block(
        &self,
        wanted: &Wanted,
        read: impl FnOnce(&mut [u8], u64) -> io::Result<usize>,
    ) -> Option<Block> {
        let tag = self.tag(wanted);
        let inner = &mut *self.cache.inner.borrow_mut();
        inner
            .hit(tag, wanted, true)
            .or_else(|| inner.miss(tag, wanted, read))
    }

    /// The same for a write, if it is there: no use, for what it looks at it replaces. If it is not there, a block
    /// that is written may enter.
    #[inline]
    pub fn held(&self, wanted: &Wanted) -> Option<Block> {
        let inner = &mut *self.cache.inner.borrow_mut();
        let found = inner.hit(self.tag(wanted), wanted, false);
        inner.welcome += usize::from(found.is_none() && inner.welcome < WELCOME_MAX);
        found
    }

    /// Learn what was just written to the file from `at` on.
    pub fn append(&self, mut at: u32, mut bytes: &[u8]) {
        let inner = &mut *self.cache.inner.borrow_mut();
        if inner.sets.is_empty() && inner.welcome == 0 {
            // Whoever only writes new keys pays for no cache.
            return;
        }
        while !bytes.is_empty() {
            let (count, end) = (0, u32::MAX);
            let wanted = Wanted { at, count, end };
            let inside = wanted.inside();
            let (piece, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - inside));
            inner.append(self.tag(&wanted), inside, piece);
            (at, bytes) = (at + piece.len() as u32, rest);
        }
    }

    /// Some bytes to bring near.
    #[inline]
    pub fn spot(&self, wanted: &Wanted) -> Spot {
        Spot {
            tag: self.tag(wanted),
            inside: wanted.inside(),
            count: wanted.count,
        }
    }

    /// Forget the block of this byte: what is in it was not right.
    pub fn distrust(&self, at: u32) {
        let wanted = Wanted {
            at,
            count: 0,
            end: u32::MAX,
        };
        let tag = self.tag(&wanted);
        self.cache.inner.borrow_mut().forget(&|other| other == tag);
    }

    /// Forget every block that may hold bytes from `end` on: they will be others.
    pub fn cut(&self, end: u32) {
        let first = (self.number << BLOCK_BITS) | (u64::from(end) / BLOCK_BYTES as u64);
        let beyond = (self.number + 1) << BLOCK_BITS;
        let mut inner = self.cache.inner.borrow_mut();
        inner.forget(&|tag| (first..beyond).contains(&tag));
    }
}

impl Drop for CachedFile {
    fn drop(&mut self) {
        self.cut(0);
    }
}

impl Inner {
    fn set_of(&self, tag: u64) -> usize {
        // Files begin at sets far apart; the blocks of each go around.
        let begin = ((tag >> BLOCK_BITS) as u32).wrapping_mul(0x9e37_79b9);
        let block = (tag & ((1 << BLOCK_BITS) - 1)) as u32;
        (begin.wrapping_add(block) % self.set_count) as usize
    }

    #[inline]
    fn peek(&self, tag: u64) -> Option<&Block> {
        let set = self.sets.get(self.set_of(tag))?;
        let way = set.tags.iter().position(|&one| one == tag)?;
        set.blocks[way].as_ref()
    }

    #[inline]
    fn find(&mut self, tag: u64) -> Option<(&mut Set, usize)> {
        let index = self.set_of(tag);
        let set = self.sets.get_mut(index)?;
        let way = set.tags.iter().position(|&one| one == tag)?;
        Some((set, way))
    }

    #[inline]
    fn hit(&mut self, tag: u64, wanted: &Wanted, counts: bool) -> Option<Block> {
        let (set, way) = self.find(tag)?;
        let found = set.blocks[way].as_ref()?;
        if found.len() < wanted.needed() {
            return None;
        }
        if counts && set.uses[way] < USES_MAX {
            set.uses[way] += 1;
        }
        Some(Rc::clone(found))
    }

    /// Read a block in, or read on where one ends, if it may enter.
    #[cold]
    fn miss(
        &mut self,
        tag: u64,
        wanted: &Wanted,
        read: impl FnOnce(&mut [u8], u64) -> io::Result<usize>,
    ) -> Option<Block> {
        let (index, ways) = (self.set_for(tag), self.ways);
        let way = self.sets[index].room(tag, ways)?;
        // One that is too short goes on where it ends; another one's memory is used again.
        let goes_on = self.sets[index].tags[way] == tag;
        let mut block = self.take(index, way);
        if Rc::get_mut(&mut block).is_none() {
            block = Rc::new(if goes_on { block.to_vec() } else { Vec::new() });
        }
        let bytes = Rc::get_mut(&mut block)?;
        if !goes_on {
            bytes.clear();
        }
        let begin = bytes.len();
        bytes.reserve_exact(BLOCK_BYTES - begin);
        bytes.resize(wanted.block_length(), 0);
        let got = read(
            &mut bytes[begin..],
            u64::from(wanted.block_at()) + begin as u64,
        )
        .ok()?;
        bytes.truncate(begin + got);
        let whole = bytes.len() >= wanted.needed();
        self.put(index, way, (tag, 1), Rc::clone(&block));
        whole.then_some(block)
    }

    /// The set of a tag, which is there from now on.
    fn set_for(&mut self, tag: u64) -> usize {
        if self.sets.is_empty() {
            self.sets = vec![Set::default(); self.set_count as usize];
        }
        self.set_of(tag)
    }

    /// The block of a way, or an empty one, with nobody in the way any more.
    fn take(&mut self, index: usize, way: usize) -> Block {
        let set = &mut self.sets[index];
        let block = set.blocks[way].take();
        self.held -= usize::from(block.is_some());
        set.tags[way] = 0;
        block.unwrap_or_default()
    }

    fn put(&mut self, index: usize, way: usize, (tag, uses): (u64, u8), block: Block) {
        let set = &mut self.sets[index];
        (set.tags[way], set.uses[way]) = (tag, uses);
        set.blocks[way] = Some(block);
        self.held += 1;
    }

    /// Take in bytes that go on where a block ends, or begin one that is welcome.
    fn append(&mut self, tag: u64, inside: usize, bytes: &[u8]) {
        let (index, ways) = (self.set_for(tag), self.ways);
        let set = &mut self.sets[index];
        if let Some(way) = set.tags.iter().position(|&one| one == tag) {
            if let Some(block) = set.blocks[way].as_mut().filter(|one| one.len() == inside) {
                let block = Rc::make_mut(block);
                block.reserve_exact(BLOCK_BYTES - inside);
                block.extend_from_slice(bytes);
            }
            return;
        }
        if inside > 0 || self.welcome == 0 {
            return;
        }
        self.welcome -= 1;
        let Some(way) = set.free(ways).or_else(|| set.knock(ways)) else {
            return;
        };
        let mut block = self.take(index, way);
        let room = Rc::make_mut(&mut block);
        room.clear();
        room.reserve_exact(BLOCK_BYTES);
        room.extend_from_slice(bytes);
        self.put(index, way, (tag, 0), block);
    }

    fn forget(&mut self, is: &dyn Fn(u64) -> bool) {
        for set in &mut self.sets {
            for way in 0..WAYS {
                if set.tags[way] != 0 && is(set.tags[way]) {
                    set.tags[way] = 0;
                    set.blocks[way] = None;
                    self.held -= 1;
                }
                if is(set.missed[way]) {
                    set.missed[way] = 0;
                }
            }
        }
    }
}

impl Set {
    /// Where a block that was missed may go: its own way, a free one, or that of one little used.
    fn room(&mut self, tag: u64, ways: usize) -> Option<usize> {
        let own = self.tags[..ways].iter().position(|&one| one == tag);
        if let Some(way) = own.or_else(|| self.free(ways)) {
            return Some(way);
        }
        if !self.remember(tag) {
            return None;
        }
        self.knock(ways)
    }

    fn free(&self, ways: usize) -> Option<usize> {
        self.tags[..ways].iter().position(|&one| one == 0)
    }

    /// Look at one block: its way, if it counts as not used.
    fn knock(&mut self, ways: usize) -> Option<usize> {
        let way = self.hand % ways;
        self.hand = way + 1;
        let unused = self.uses[way] == 0;
        self.uses[way] /= 2;
        unused.then_some(way)
    }

    /// Count a miss; says whether there were enough to knock.
    fn remember(&mut self, tag: u64) -> bool {
        match self.missed.iter().position(|&one| one == tag) {
            Some(way) => {
                self.misses[way] += 1;
                let enough = self.misses[way] >= MISSES_TO_KNOCK;
                if enough {
                    self.missed[way] = 0;
                }
                enough
            }
            None => {
                let way = self.missed_hand % WAYS;
                self.missed_hand = way + 1;
                (self.missed[way], self.misses[way]) = (tag, 1);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u32 = BLOCK_BYTES as u32;

    fn wanted(at: u32, count: usize) -> Wanted {
        Wanted {
            at,
            count,
            end: u32::MAX / 2,
        }
    }

    /// A file whose every byte tells its block.
    fn numbered(buffer: &mut [u8], at: u64) -> io::Result<usize> {
        buffer.fill((at / BLOCK_BYTES as u64) as u8);
        Ok(buffer.len())
    }

    fn unreadable(_: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Other.into())
    }

    /// What is asked for again comes from memory, and is what was asked for.
    #[test]
    fn reads_once() {
        let cache = Cache::new(64 * BLOCK_BYTES).expect("room");
        let file = cache.file();
        for number in 0..64 {
            let block = file.block(&wanted(number * BLOCK + 5, 9), numbered);
            assert_eq!(block.expect("enters")[7], number as u8);
        }
        for number in 0..64 {
            let block = file.block(&wanted(number * BLOCK, BLOCK_BYTES), unreadable);
            assert_eq!(
                block.expect("there")[7],
                number as u8,
                "all sets fill alike"
            );
        }
        assert_eq!(cache.bytes(), 64 * BLOCK_BYTES);
    }

    /// However much is read, by however many files, the budget holds.
    #[test]
    fn stays_within_its_budget() {
        for blocks in [1, 3, 8, 20] {
            let cache = Cache::new(blocks * BLOCK_BYTES + 1).expect("room");
            let files = [cache.file(), cache.file(), cache.file()];
            for round in 0..2000u32 {
                let file = &files[(round % 3) as usize];
                file.block(&wanted(round * 7919 % 500 * BLOCK, 1), numbered);
                assert!(cache.bytes() <= blocks * BLOCK_BYTES);
            }
        }
        assert!(Cache::new(BLOCK_BYTES - 1).is_none());
    }

    /// A file that is closed takes its blocks with it, and no other's.
    #[test]
    fn gives_back_what_is_closed() {
        let cache = Cache::new(64 * BLOCK_BYTES).expect("room");
        let (one, other) = (cache.file(), cache.file());
        for number in 0..20 {
            one.block(&wanted(number * BLOCK, 1), numbered);
            other.block(&wanted(number * BLOCK, 1), numbered);
        }
        drop(one);
        assert_eq!(cache.bytes(), 20 * BLOCK_BYTES);
        assert!(other.block(&wanted(0, 1), unreadable).is_some());
        assert!(cache.file().block(&wanted(0, 1), unreadable).is_none());
        assert_eq!(
            cache.bytes(),
            20 * BLOCK_BYTES,
            "a failed read leaves nothing"
        );
    }

    /// The last block of a file that grows is read on from where it ended, and cut where the file is.
    #[test]
    fn follows_a_file_that_grows() {
        let cache = Cache::new(8 * BLOCK_BYTES).expect("room");
        let file = cache.file();
        let short = |end| Wanted {
            at: 0,
            count: 200,
            end,
        };
        let fill = |byte: u8| {
            move |buffer: &mut [u8], at: u64| {
                assert!(byte == 1 || at == 100, "reads on");
                buffer.fill(byte);
                Ok(buffer.len())
            }
        };
        let first = file.block(&short(100), fill(1)).expect("enters");
        assert_eq!(first.len(), 100);
        let longer = file.block(&short(150), fill(2)).expect("there");
        assert_eq!((longer[99], longer[100], longer.len()), (1, 2, 150));
        assert_eq!(first.len(), 100, "what is lent does not change");
        file.cut(120);
        let again = file.block(&short(150), fill(1)).expect("enters");
        assert_eq!(again[149], 1, "what was cut is not seen again");
    }

    /// One pass over much does not push out what is used.
    #[test]
    fn one_pass_changes_nothing() {
        let cache = Cache::new(16 * BLOCK_BYTES).expect("room");
        let file = cache.file();
        for number in 0..16 {
            file.block(&wanted(number * BLOCK, 1), numbered);
        }
        for number in 16..5000 {
            assert!(file.block(&wanted(number * BLOCK, 1), numbered).is_none());
        }
        for number in 0..16 {
            assert!(file.block(&wanted(number * BLOCK, 1), unreadable).is_some());
        }
        // What is asked for often enough comes in.
        let often = (0..1000).find_map(|_| file.block(&wanted(99 * BLOCK, 1), numbered));
        assert!(often.is_some());
    }
}
