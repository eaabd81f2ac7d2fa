//! Applying one record to the index, in the order of the log.

use super::Namespace;
use crate::canary::{sings, Canary};
use crate::format::{RecordHeader, COUNT_END, RECORD_HEADER_BYTES};
use crate::index::{is_some, Entry, Index, Totals, NOWHERE};
use crate::table::{Class, Location};
use crate::{Direction, Disk, Error, Mode, Place, Result, Scratch, KEY_BYTES_MAX};

impl<D: Disk> Namespace<D> {
    /// Put a record into the index.
    pub(super) fn take_in(
        &mut self,
        header: &RecordHeader,
        key: &[u8],
        hash: u32,
        indexed: &mut Option<Index<D::File>>,
    ) -> Result<()> {
        let meta = header.meta;
        let class = if meta.deleted {
            Class::TOMBSTONE
        } else {
            Class::of(header.total())
        };
        let location = Location::new(meta.place, class);
        let parent = match meta.parent.is_some() {
            true => Location::new(meta.parent, Class::of(0)),
            false => NOWHERE,
        };
        let id = <[u8; 8]>::try_from(key).map(u64::from_le_bytes);
        let id = id.ok().filter(|id| *id < COUNT_END);
        if let (Mode::Sequential, Some(id)) = (self.manifest.mode, id) {
            // Also of ids that are only updated or deleted here: their making may have been torn.
            let made = !meta.parent.is_some() && !meta.deleted;
            let least = if made { id } else { id + 1 };
            if !sings(Canary::IdsReused) {
                self.totals.next_id = self.totals.next_id.max(least);
            }
        }
        let mut entry = self.index_entry(location, parent, hash);
        if let (Some(id), false, false) = (id, meta.parent.is_some(), meta.deleted) {
            if self.manifest.mode == Mode::Sequential {
                entry.mark = id as u32;
            }
        }
        let old = self.replay(&entry, Some(key))?;
        let mut freed = 0;
        let own = old.is_some_and(|old| old.place() == meta.parent);
        // A version before that is gone may still be in the totals, whether an older one is found instead or none.
        self.totals.inexact |= !own && meta.parent.is_some();
        if let Some(old) = old {
            let known = self.lengths.of(old.place(), key.len()).filter(|_| own);
            match known.map_or_else(|| self.length_at(old.place()), Some) {
                Some(length) => freed = u64::from(length),
                None => self.totals.inexact = true,
            }
        }
        self.lengths.push(header);
        let was_live = old.is_some_and(|old| !old.is_tombstone());
        let took_id = self.manifest.mode == Mode::Sequential && !meta.deleted;
        let took_id = took_id && !sings(Canary::IdsReused);
        let before = self.totals;
        // Made anew rather than changed in place: a copy of what was just changed field by field waits for
        // the table, which is written to before.
        let totals = Totals {
            entries: before.entries.saturating_sub(u64::from(was_live)) + u64::from(!meta.deleted),
            payload_bytes: before.payload_bytes.saturating_sub(freed) + u64::from(meta.length),
            next_id: before.next_id + u64::from(took_id),
            end: meta.place.offset + header.total() as u32,
            last: meta.place.offset,
            inexact: before.inexact,
        };
        self.totals = totals;
        if let Some(indexed) = indexed {
            indexed.push(entry, totals);
        }
        Ok(())
    }

    fn length_at(&self, place: Place) -> Option<u32> {
        match self.fetch(place, 0, &mut Scratch::default()) {
            Ok(Some(header)) if !header.void => Some(header.meta.length),
            _ => None,
        }
    }

    /// Apply one record to the table; returns where the version before it was.
    ///
    /// The parent says which slot is meant. Where it does not (a version between was lost or
    /// dropped), the keys of the hash are read and compared.
    pub(super) fn replay(&mut self, entry: &Entry, key: Option<&[u8]>) -> Result<Option<Location>> {
        let (location, parent) = (entry.location, entry.parent);
        let sequential = self.manifest.mode == Mode::Sequential;
        if sequential && !is_some(parent) && !location.is_tombstone() {
            return Ok(None);
        }
        let fresh = !sequential && !is_some(parent) && !location.is_tombstone();
        if fresh && self.table.insert_new(entry.mark, location) {
            return Ok(None);
        }
        let mut scratch = Scratch::default();
        let mut own = None;
        if sequential && key.is_none() {
            own = self.key_at(location.place(), &mut scratch)?;
            if own.is_none() {
                return self.replay_unreadable(location, parent);
            }
        }
        let hash = match (sequential, key.or(own.as_deref())) {
            (true, Some(key)) => self.manifest.uid.hash(key),
            _ => entry.mark,
        };
        let remove = location.is_tombstone() && !sequential;
        let known = is_some(parent) && self.table.is_current(hash, parent.place());
        let old = if known {
            Some(parent)
        } else if self.table.find(hash, |_| Ok::<_, Error>(true))?.is_some() {
            let own = match key.map(<[u8]>::to_vec).or(own) {
                Some(own) => Some(own),
                None => self.key_at(location.place(), &mut scratch)?,
            };
            // A slot whose record was dropped or cannot be read has nobody else to claim it.
            self.table.find(hash, |other| {
                let other = self.key_at(other.place(), &mut scratch)?;
                Ok::<_, Error>(other.is_none() || own.is_none() || other == own)
            })?
        } else {
            None
        };
        match (old, remove) {
            (Some(old), true) => {
                self.table.remove(hash, old.place());
            }
            (Some(old), false) => {
                self.table.replace(hash, old.place(), location);
            }
            (None, true) => {}
            (None, false) => self.table.insert(hash, location),
        }
        Ok(old.or(Some(parent).filter(|&parent| sequential && is_some(parent))))
    }

    /// Sequential mode: the newest version is unreadable, and only its parent says whose it is.
    ///
    /// It still takes the parent's place, so that reading the id is an error, not an old value.
    fn replay_unreadable(
        &mut self,
        location: Location,
        parent: Location,
    ) -> Result<Option<Location>> {
        let known = self
            .table
            .iter()
            .find(|(_, other)| other.place() == parent.place());
        if let Some((hash, old)) = known {
            self.table.replace(hash, old.place(), location);
        } else if let Some(key) = self.key_at(parent.place(), &mut Scratch::default())? {
            self.table.insert(self.manifest.uid.hash(&key), location);
        } else {
            // Where compaction dropped the parent, the id may show an older version: it is named at least.
            self.unclaimed.push(location.place());
        }
        Ok(Some(parent))
    }

    pub(super) fn key_at(&self, place: Place, scratch: &mut Scratch) -> Result<Option<Vec<u8>>> {
        match self.fetch(place, RECORD_HEADER_BYTES + KEY_BYTES_MAX, scratch) {
            Ok(header) => Ok(header.map(|header| scratch.record_key(&header).to_vec())),
            Err(Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Count payload bytes anew from the live records: what the index knew was not enough.
    pub(super) fn measure(&mut self) -> Result<()> {
        self.totals.inexact = false;
        if self.manifest.mode == Mode::Sequential {
            let (mut entries, mut bytes) = (0, 0);
            self.scan(None, Direction::Forward, &mut |live| {
                if let Some((_, meta)) = live {
                    entries += 1;
                    bytes += u64::from(meta.length);
                }
                true
            })?;
            (self.totals.entries, self.totals.payload_bytes) = (entries, bytes);
            return Ok(());
        }
        let mut scratch = Scratch::default();
        let (mut bytes, mut dropped) = (0, Vec::new());
        for (hash, location) in self.table.iter() {
            match self.fetch(location.place(), 0, &mut scratch) {
                Ok(Some(header)) => bytes += u64::from(header.meta.length),
                // A key whose delete was dropped together with it.
                Ok(None) => dropped.push((hash, location)),
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for (hash, location) in dropped {
            self.table.remove(hash, location.place());
        }
        self.totals.payload_bytes = bytes;
        Ok(())
    }
}
