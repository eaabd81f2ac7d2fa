//! Answering: every record that leaves here has the checksums it should.

use super::{bump, Current, Namespace};
use crate::format::{RecordHeader, RECORD_HEADER_BYTES};
use crate::segment::Segment;
use crate::table::{Class, Location};
use crate::{Disk, Error, Meta, Mode, Place, Record, Result, Scratch, KEY_BYTES_MAX};

impl<D: Disk> Namespace<D> {
    /// GET: the current version, verified; `None` when missing or deleted.
    ///
    /// # Errors
    /// `Read`, `Damaged`.
    pub fn get<'s>(&self, key: &[u8], scratch: &'s mut Scratch) -> Result<Option<Record<'s>>> {
        let Some(header) = self.live(key, usize::MAX, scratch)? else {
            return Ok(None);
        };
        self.complete(&header, scratch)?;
        Ok(Some(scratch.record(&header)))
    }

    /// EXISTS, LENGTH, KEYTIME, KEYCUR: what is known without reading the payload.
    ///
    /// # Errors
    /// `Read`, `Damaged`.
    pub fn meta(&self, key: &[u8]) -> Result<Option<Meta>> {
        let mut scratch = Scratch::default();
        Ok(self.live(key, 0, &mut scratch)?.map(|header| header.meta))
    }

    /// CHECK: whether the payload has its checksum; `None` when missing or deleted.
    ///
    /// # Errors
    /// `Read`; `Damaged` when not even header and key are good.
    pub fn check(&self, key: &[u8], scratch: &mut Scratch) -> Result<Option<bool>> {
        let Some(header) = self.live(key, 0, scratch)? else {
            return Ok(None);
        };
        // Whatever is kept in memory: the question is about the disk.
        let Some(header) = self.fetch(header.meta.place, header.total(), scratch)? else {
            return Ok(None);
        };
        match self.complete(&header, scratch) {
            Ok(()) => Ok(Some(true)),
            Err(Error::Damaged { .. }) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    /// HISTORY: the current version (`at` is `None`), or the one at a place; go on at `meta.parent`.
    ///
    /// # Errors
    /// `NotFound`, `NoRecord` (bad place), `OtherKey`, `Read`, `Damaged`.
    pub fn version<'s>(
        &self,
        key: &[u8],
        at: Option<Place>,
        scratch: &'s mut Scratch,
    ) -> Result<Record<'s>> {
        let Some(at) = at else {
            return self.get(key, scratch)?.ok_or(Error::NotFound);
        };
        match self.raw(at, scratch) {
            Ok(record) if record.key == key => Ok(record),
            Ok(_) => Err(Error::OtherKey),
            Err(Error::EndOfFile) => Err(Error::NoRecord),
            Err(error) => Err(error),
        }
    }

    /// DATA RAW: the record at a place, tombstones included.
    ///
    /// # Errors
    /// `EndOfFile`, `NoRecord`, `Read`, `Damaged`.
    pub fn raw<'s>(&self, at: Place, scratch: &'s mut Scratch) -> Result<Record<'s>> {
        let segment = self.segment(at.file).ok_or(Error::NoRecord)?;
        let end = if at.file == self.manifest.last {
            self.totals.end
        } else {
            segment.end()
        };
        if at.offset >= end {
            return Err(Error::EndOfFile);
        }
        if at.offset % crate::format::ALIGN != 0 || !segment.holds(at.offset) {
            return Err(Error::NoRecord);
        }
        let header = match self.fetch(at, Class::of(RECORD_HEADER_BYTES + 1024).bytes(), scratch) {
            Ok(Some(header)) if !header.void => header,
            Ok(Some(_)) => return Err(Error::NoRecord),
            // Within a record there is none, and nobody can tell that from a damaged one.
            Ok(None) | Err(Error::Damaged { .. }) => return Err(Error::NoRecord),
            Err(error) => return Err(error),
        };
        self.complete(&header, scratch)?;
        Ok(scratch.record(&header))
    }

    /// Header of a live key's record; at most `want` bytes of payload come along.
    fn live(&self, key: &[u8], want: usize, scratch: &mut Scratch) -> Result<Option<RecordHeader>> {
        let found = self
            .current(key, want, false, scratch)?
            .and_then(|found| found.header);
        Ok(found.filter(|header| !header.meta.deleted))
    }

    /// Where the newest record of a key is, a delete in sequential mode included.
    ///
    /// `lenient`: a damaged record of the key's hash counts as the key's, for it may be overwritten.
    pub(super) fn current(
        &self,
        key: &[u8],
        want: usize,
        lenient: bool,
        scratch: &mut Scratch,
    ) -> Result<Option<Current>> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let id = match (self.manifest.mode, <[u8; 8]>::try_from(key)) {
            (Mode::User, _) => None,
            (Mode::Sequential, Ok(id)) => Some(u64::from_le_bytes(id)),
            (Mode::Sequential, Err(_)) => return Ok(None),
        };
        if id.is_some_and(|id| id >= self.totals.next_id) {
            return Ok(None);
        }
        let mut header = None;
        let location = self.table.find(self.manifest.uid.hash(key), |location| {
            header = self.candidate(location, key, want, lenient, scratch)?;
            Ok::<_, Error>(header.is_some())
        })?;
        if let (Some(location), Some(header)) = (location, header) {
            return Ok(Some(Current { location, header }));
        }
        match id {
            Some(id) => self.first_version(id, want, lenient, scratch),
            None => Ok(None),
        }
    }

    /// Whether the record at a location is of a key: `None` when not, else its header if readable.
    #[allow(
        clippy::option_option,
        reason = "matched, but unreadable, is an answer of its own"
    )]
    fn candidate(
        &self,
        location: Location,
        key: &[u8],
        want: usize,
        lenient: bool,
        scratch: &mut Scratch,
    ) -> Result<Option<Option<RecordHeader>>> {
        let want = want
            .min(location.class().bytes())
            .max(RECORD_HEADER_BYTES + key.len());
        match self.glance(location, want, lenient, scratch) {
            Ok(Some(header)) => Ok((scratch.record_key(&header) == key).then_some(Some(header))),
            Ok(None) => Ok(None),
            Err(Error::Damaged { .. }) if lenient => Ok(Some(None)),
            Err(error) => Err(error),
        }
    }

    /// Sequential mode: the record that took an id, if it is the id's own and still there.
    fn first_version(
        &self,
        id: u64,
        want: usize,
        lenient: bool,
        scratch: &mut Scratch,
    ) -> Result<Option<Current>> {
        let later = self.first_ids.partition_point(|first| first.id <= id);
        let mut missing = None;
        for index in (0..later).rev() {
            let file = self.manifest.first + index as u32;
            if self.segment(file).is_some_and(Segment::is_empty) {
                continue;
            }
            let Some(indexed) = self.indexes[index].as_ref() else {
                missing = Some(file);
                continue;
            };
            let found = indexed.find(id, file).map_err(|error| {
                bump(&self.counters.index_errors);
                Error::read("index file", &error)
            })?;
            let Some(location) = found else {
                if self.first_ids[index].certain {
                    break;
                }
                continue;
            };
            let key = id.to_le_bytes();
            let header = self.candidate(location, &key, want, lenient, scratch)?;
            return Ok(header.map(|header| Current { location, header }));
        }
        // The id may have been in a file that is gone.
        let what = "its data file is missing";
        missing.map_or(Ok(None), |file| {
            Err(Error::Damaged {
                file,
                offset: 0,
                what,
            })
        })
    }
}
