//! The index in memory: 32 bits of hash and a place for each key, thirteen bytes a slot.
//!
//! Extendible hashing: a directory of the hash's upper bits names buckets, and a bucket that is full
//! splits in two. So no insertion ever moves more than one bucket, whatever the number of keys, and
//! memory grows with the keys. Which of several keys of one hash is meant, the caller finds out by
//! reading the record.

use hashbrown::hash_table::{Entry, HashTable};

use crate::Place;

/// Slots of a full bucket: seven eighths of 4096.
const BUCKET_SLOTS_MAX: usize = 3584;
/// Records up to here are read by way of the cache; bigger ones cost more to copy than to ask for.
const SMALL_BYTES_MAX: usize = 8448;
/// Beyond this many bits of directory a bucket grows instead.
const DEPTH_MAX: u8 = 24;
/// Bytes that one slot takes in a bucket, its control byte included.
const SLOT_BYTES: usize = std::mem::size_of::<Slot>() + 1;

/// How long a record is, roughly: enough to read it with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class(u8);

impl Class {
    /// The record of a delete.
    pub const TOMBSTONE: Self = Self(7);
    const BYTES: [usize; 8] = [64, 128, 320, 768, 2304, 8448, 65792, 384];

    /// The class of a record of a value.
    pub fn of(total_bytes: usize) -> Self {
        let fits = Self::BYTES[..6]
            .iter()
            .position(|&limit| total_bytes <= limit);
        Self(fits.unwrap_or(6) as u8)
    }

    /// Whether a record of it is kept in the cache.
    pub fn is_small(self) -> bool {
        self.bytes() <= SMALL_BYTES_MAX
    }

    /// How many bytes to read at first.
    pub fn bytes(self) -> usize {
        Self::BYTES[usize::from(self.0)]
    }
}

/// A place and its class in 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    file: u32,
    packed: u32,
}

impl Location {
    /// Of a place, which is a multiple of eight.
    pub fn new(place: Place, class: Class) -> Self {
        Self {
            file: place.file,
            packed: place.offset | u32::from(class.0),
        }
    }

    /// No location at all.
    pub const fn nowhere() -> Self {
        Self { file: 0, packed: 0 }
    }

    /// From what an index file holds.
    pub fn unpack(file: u32, packed: u32) -> Self {
        Self { file, packed }
    }

    /// For an index file.
    pub fn packed(self) -> u32 {
        self.packed
    }

    /// The place.
    pub fn place(self) -> Place {
        Place {
            file: self.file,
            offset: self.packed & !7,
        }
    }

    /// The class.
    pub fn class(self) -> Class {
        Class((self.packed & 7) as u8)
    }

    /// Whether a delete is there.
    pub fn is_tombstone(self) -> bool {
        self.class() == Class::TOMBSTONE
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    location: Location,
}

#[derive(Debug)]
struct Bucket {
    depth: u8,
    slots: HashTable<Slot>,
}

/// All keys of a namespace, by hash.
#[derive(Debug)]
pub struct Table {
    depth: u8,
    directory: Vec<u32>,
    buckets: Vec<Bucket>,
    count: usize,
    /// Slots that a bucket gets with its first key.
    room: usize,
}

/// Spreads a hash for a bucket, whose own bits are the lower ones and the uppermost seven.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Table {
    /// Without keys.
    pub fn new() -> Self {
        let bucket = Bucket {
            depth: 0,
            slots: HashTable::new(),
        };
        Self {
            depth: 0,
            directory: vec![0],
            buckets: vec![bucket],
            count: 0,
            room: 0,
        }
    }

    /// Without keys, but with buckets for so many; each takes its memory with its first key, and no more later.
    pub fn with_room(keys: u64) -> Self {
        let buckets = keys
            .div_ceil(BUCKET_SLOTS_MAX as u64 * 15 / 16)
            .next_power_of_two();
        let depth = (buckets.ilog2() as u8).min(DEPTH_MAX);
        let each = (keys >> depth) as usize;
        // Hashes do not spread evenly: a bucket with a little more does not have to be moved.
        let room = (each + each / 32).min(BUCKET_SLOTS_MAX);
        let bucket = || Bucket {
            depth,
            slots: HashTable::new(),
        };
        Self {
            depth,
            directory: (0..1 << depth).collect(),
            buckets: (0..1 << depth).map(|_| bucket()).collect(),
            count: 0,
            room,
        }
    }

    /// Bits of a hash that say which bucket it is in; buckets of fewer bits are there too.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory in use.
    pub fn memory_bytes(&self) -> usize {
        let slots = |bucket: &Bucket| (bucket.slots.capacity() * 8 / 7).next_power_of_two();
        let tables: usize = self
            .buckets
            .iter()
            .map(|bucket| slots(bucket) * SLOT_BYTES)
            .sum();
        tables
            + self.directory.capacity() * std::mem::size_of::<u32>()
            + self.buckets.capacity() * std::mem::size_of::<Bucket>()
    }

    fn bucket_of(&self, hash: u32) -> usize {
        self.directory[(u64::from(hash) >> (32 - self.depth)) as usize] as usize
    }

    /// The first location of this hash that `is` says yes to.
    pub fn find<E>(
        &self,
        hash: u32,
        mut is: impl FnMut(Location) -> Result<bool, E>,
    ) -> Result<Option<Location>, E> {
        let mut failed = None;
        let bucket = &self.buckets[self.bucket_of(hash)];
        let found = bucket.slots.find(spread(hash), |slot| {
            slot.hash == hash
                && failed.is_none()
                && is(slot.location).unwrap_or_else(|error| {
                    failed = Some(error);
                    false
                })
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(found.map(|slot| slot.location)),
        }
    }

    /// The first location of this hash, whosesoever it is.
    #[inline]
    pub fn glimpse(&self, hash: u32) -> Option<Location> {
        let bucket = &self.buckets[self.bucket_of(hash)];
        let found = bucket.slots.find(spread(hash), |slot| slot.hash == hash);
        found.map(|slot| slot.location)
    }

    /// Whether the record at a place is the current one of its key.
    pub fn is_current(&self, hash: u32, place: Place) -> bool {
        let bucket = &self.buckets[self.bucket_of(hash)];
        let is = |slot: &Slot| slot.hash == hash && slot.location.place() == place;
        bucket.slots.find(spread(hash), is).is_some()
    }

    /// The slots of a bucket that a key is about to enter.
    #[inline]
    fn slots_mut(&mut self, index: usize) -> &mut HashTable<Slot> {
        let slots = &mut self.buckets[index].slots;
        if slots.capacity() == 0 {
            slots.reserve(self.room, |slot| spread(slot.hash));
        }
        slots
    }

    /// Add a key.
    pub fn insert(&mut self, hash: u32, location: Location) {
        let mut index = self.bucket_of(hash);
        while self.buckets[index].slots.len() >= BUCKET_SLOTS_MAX
            && self.buckets[index].depth < DEPTH_MAX
        {
            self.split(index, hash);
            index = self.bucket_of(hash);
        }
        let slots = self.slots_mut(index);
        slots.insert_unique(spread(hash), Slot { hash, location }, |slot| {
            spread(slot.hash)
        });
        self.count += 1;
    }

    /// Add a key unless there is one of the same hash; says whether it was added.
    pub fn insert_new(&mut self, hash: u32, location: Location) -> bool {
        let index = self.bucket_of(hash);
        if self.buckets[index].slots.len() >= BUCKET_SLOTS_MAX {
            let same = |slot: &Slot| slot.hash == hash;
            let free = self.buckets[index].slots.find(spread(hash), same).is_none();
            if free {
                self.insert(hash, location);
            }
            return free;
        }
        let slots = self.slots_mut(index);
        match slots.entry(
            spread(hash),
            |slot| slot.hash == hash,
            |slot| spread(slot.hash),
        ) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Slot { hash, location });
                self.count += 1;
                true
            }
        }
    }

    /// Move the key at `old` to `new`; false when there is none.
    pub fn replace(&mut self, hash: u32, old: Place, new: Location) -> bool {
        let index = self.bucket_of(hash);
        let is = |slot: &Slot| slot.hash == hash && slot.location.place() == old;
        match self.buckets[index].slots.find_mut(spread(hash), is) {
            Some(slot) => {
                slot.location = new;
                true
            }
            None => false,
        }
    }

    /// Remove the key at `old`; false when there is none.
    pub fn remove(&mut self, hash: u32, old: Place) -> bool {
        let index = self.bucket_of(hash);
        let is = |slot: &Slot| slot.hash == hash && slot.location.place() == old;
        let slots = &mut self.buckets[index].slots;
        match slots.entry(spread(hash), is, |slot| spread(slot.hash)) {
            Entry::Occupied(slot) => {
                slot.remove();
                self.count -= 1;
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    /// The bucket that covers a hash: its locations sorted by hash, and where the next one begins.
    pub fn stretch(&self, hash: u32) -> (Vec<(u32, Location)>, u64) {
        let bucket = &self.buckets[self.bucket_of(hash)];
        let mut found: Vec<_> = bucket
            .slots
            .iter()
            .map(|slot| (slot.hash, slot.location))
            .collect();
        found.sort_unstable_by_key(|&(hash, location)| (hash, location.place()));
        let width = 1u64 << (32 - bucket.depth);
        (found, (u64::from(hash) / width + 1) * width)
    }

    /// Every location, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Location)> + '_ {
        let slots = self.buckets.iter().flat_map(|bucket| bucket.slots.iter());
        slots.map(|slot| (slot.hash, slot.location))
    }

    fn split(&mut self, index: usize, hash: u32) {
        let depth = self.buckets[index].depth + 1;
        if depth > self.depth {
            self.directory = self
                .directory
                .iter()
                .flat_map(|&bucket| [bucket; 2])
                .collect();
            self.depth += 1;
        }
        let slots = std::mem::take(&mut self.buckets[index].slots);
        let half = slots.len() / 2 + slots.len() / 32;
        let mut parts = [
            HashTable::with_capacity(half),
            HashTable::with_capacity(half),
        ];
        for slot in slots {
            let part = &mut parts[(slot.hash >> (32 - depth) & 1) as usize];
            part.insert_unique(spread(slot.hash), slot, |slot| spread(slot.hash));
        }
        let [lower, upper] = parts;
        self.buckets[index] = Bucket {
            depth,
            slots: lower,
        };
        let new = u32::try_from(self.buckets.len()).expect("fewer buckets than hashes");
        self.buckets.push(Bucket {
            depth,
            slots: upper,
        });
        // The upper half of the stretch of the directory that named the old bucket.
        let width = 1usize << (self.depth - depth);
        let first = ((u64::from(hash) >> (32 - depth)) as usize | 1) * width;
        self.directory[first..first + width].fill(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(number: u32) -> Location {
        Location::new(
            Place {
                file: number / 1000,
                offset: number * 8,
            },
            Class::of(100),
        )
    }

    /// Keys stay findable through splits, moves and removals, and memory stays below forty bytes each.
    #[test]
    fn keeps_keys_in_little_memory() {
        let mut table = Table::new();
        let hash =
            |number: u32| (u64::from(number).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32;
        for number in 1..=60_000 {
            table.insert(hash(number), location(number));
            // At every size, and so also where a bucket was just split.
            if number >= 2_000 && number % 61 == 0 {
                let bytes = table.memory_bytes();
                assert!(bytes < 40 * number as usize, "{bytes} bytes, {number} keys");
            }
        }
        for number in (1..=60_000).step_by(3) {
            assert!(table.remove(hash(number), location(number).place()));
            assert!(!table.remove(hash(number), location(number).place()));
        }
        for number in 1..=60_000 {
            let there = table.is_current(hash(number), location(number).place());
            assert_eq!(there, number % 3 != 1, "{number}");
        }
        assert_eq!(table.len(), table.iter().count());
    }

    /// A table with room behaves as one that grew, and has no more memory for any number of keys.
    #[test]
    fn has_room_for_what_is_expected() {
        for keys in (1..40u32).map(|step| 2_000 * step * step + step) {
            let mut table = Table::with_room(u64::from(keys));
            let few = keys.min(30_000);
            // From one end of the hashes to the other, so that each bucket has some.
            let hash = |number: u32| number.wrapping_mul(u32::MAX / few);
            for number in 1..=few {
                assert!(table.insert_new(hash(number), location(number)));
            }
            let bytes = table.memory_bytes();
            assert!(bytes < 40 * keys as usize, "{bytes} bytes, {keys} keys");
            assert!(bytes > 13 * keys as usize, "{bytes} bytes, {keys} keys");
            for number in 1..=few {
                assert!(table.is_current(hash(number), location(number).place()));
            }
        }
    }

    /// Keys that share one hash are all kept, and each can be replaced alone.
    #[test]
    fn keeps_keys_of_one_hash_apart() {
        let mut table = Table::new();
        for number in 1..=5000 {
            table.insert(7, location(number));
        }
        assert!(table.replace(7, location(4000).place(), location(9000)));
        assert!(table.is_current(7, location(9000).place()));
        assert!(!table.is_current(7, location(4000).place()));
        assert_eq!(table.len(), 5000);
    }

    /// The stretches of a table cover every key exactly once, in order.
    #[test]
    fn stretches_cover_all() {
        let mut table = Table::new();
        for number in 1..=30_000u32 {
            table.insert(number.wrapping_mul(0x9e37_79b9), location(number));
        }
        let (mut next, mut seen) = (0u64, Vec::new());
        while next <= u64::from(u32::MAX) {
            let (part, after) = table.stretch(next as u32);
            assert!(part
                .iter()
                .all(|&(hash, _)| (next..after).contains(&u64::from(hash))));
            seen.extend(part);
            next = after;
        }
        assert_eq!(seen.len(), 30_000);
    }
}
