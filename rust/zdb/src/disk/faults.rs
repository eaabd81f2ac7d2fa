//! What goes wrong with a simulated disk: how often, how, and what it says about it.

const SECTOR_BYTES: usize = 512;

/// How often calls fail or go wrong, each one time in so many; 0 is never.
///
/// The first five are failures that the caller is told of. The last three are lies: the call succeeds,
/// and what it did is not what is found once the cache is gone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A write fails with ENOSPC or EIO after some of its bytes.
    pub write: u32,
    /// A write is short.
    pub short: u32,
    /// A read fails.
    pub read: u32,
    /// A sync fails.
    pub sync: u32,
    /// Making, renaming or removing a file or syncing its folder fails, and may have happened all the same.
    pub folder: u32,
    /// A write never reaches the medium.
    pub lost: u32,
    /// A write lands elsewhere in the file.
    pub misdirected: u32,
    /// One bit of a write is another on the medium.
    pub flipped: u32,
}

impl Faults {
    /// Whether the disk may hold what nobody wrote, without having said so.
    #[must_use]
    pub fn lies(&self) -> bool {
        self.lost > 0 || self.misdirected > 0 || self.flipped > 0
    }
}

/// What a careless caller would do, done below it: with any of these an engine must be caught losing data.
///
/// Each makes a call a lie that succeeds, for files whose path ends so (`Some("")` is all of them).
#[derive(Debug, Clone, Copy, Default)]
pub struct Omissions {
    /// Files are never synced.
    pub sync: Option<&'static str>,
    /// A sync that failed is taken for one that did not.
    pub sync_error: Option<&'static str>,
    /// Folders are never synced.
    pub folder: Option<&'static str>,
    /// A short write is taken for a whole one.
    pub short: Option<&'static str>,
    /// A file is never cut.
    pub truncate: Option<&'static str>,
}

pub(super) fn omitted(omission: Option<&str>, path: &str) -> bool {
    omission.is_some_and(|end| path.ends_with(end))
}

/// A small generator of numbers: SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    /// True one time in `times`; never for 0.
    pub fn one_in(&mut self, times: u32) -> bool {
        times > 0 && self.below(u64::from(times)) == 0
    }
}

/// A change of a file that is not durable yet.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    pub fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => file.resize(*length, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// Apply what a power cut leaves of it: any of its sectors, and of one perhaps only the beginning.
    ///
    /// The length of the file may be there before the bytes are.
    pub fn tear(&self, file: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { offset, bytes } = self else {
            if dice.one_in(2) {
                self.apply(file);
            }
            return;
        };
        let longer = offset + bytes.len();
        if file.len() < longer && dice.one_in(4) {
            file.resize(longer, 0);
        }
        let mut from = 0;
        while from < bytes.len() {
            let to = ((offset + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
            let to = to.min(bytes.len());
            if dice.one_in(2) {
                let end = match dice.one_in(16) {
                    true => from + dice.below((to - from) as u64) as usize,
                    false => to,
                };
                let part = bytes[from..end].to_vec();
                let offset = offset + from;
                Self::Write {
                    offset,
                    bytes: part,
                }
                .apply(file);
            }
            from = to;
        }
    }

    /// The same change as a medium takes it that lies: not at all, elsewhere, or with another bit.
    pub fn betrayed(self, faults: &Faults, length: usize, dice: &mut Dice) -> Option<Self> {
        let Self::Write { offset, mut bytes } = self else {
            return Some(self);
        };
        if dice.one_in(faults.lost) {
            return None;
        }
        if dice.one_in(faults.misdirected) {
            let sectors = (length / SECTOR_BYTES) as u64;
            let offset = dice.below(sectors) as usize * SECTOR_BYTES + offset % SECTOR_BYTES;
            return Some(Self::Write { offset, bytes });
        }
        if !bytes.is_empty() && dice.one_in(faults.flipped) {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.below(8);
        }
        Some(Self::Write { offset, bytes })
    }
}
