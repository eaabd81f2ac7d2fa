//! Deliberate defects, one at a time, which the simulation must catch: so that it is known to be able to.
//!
//! Nothing of this is in a build without the feature `canaries`, which only tests use.

/// A defect of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// Records, runs and index pages are believed without any checksum.
    Unchecked,
    /// Header and key of a record are believed without their checksum.
    HeaderUnchecked,
    /// A record is believed wherever it is found.
    PlaceUnchecked,
    /// A payload is believed without its checksum.
    PayloadUnchecked,
    /// What a failed commit wrote goes on being shown.
    FailureShown,
    /// Index entries are written before the data they speak of is durable.
    IndexEarly,
    /// Every record claims that all before it was durable.
    BarrierAlways,
    /// Compaction drops current versions.
    CurrentDropped,
    /// Compaction drops tombstones while what they hide is still there.
    TombstoneDropped,
    /// After damage in the log, ids that it may have held are given out again.
    IdsReused,
    /// A data file is named before the one before it is durable.
    NamedAhead,
    /// The end of the removal of a namespace is taken for the beginning of making it.
    RemovedRevived,
}

#[cfg(feature = "canaries")]
mod chosen {
    use std::cell::Cell;

    use super::Canary;

    thread_local! {
        static CHOSEN: Cell<Option<Canary>> = const { Cell::new(None) };
    }

    /// From now on this thread's engines have this defect, or none.
    pub fn choose(canary: Option<Canary>) {
        CHOSEN.set(canary);
    }

    pub(crate) fn sings(canary: Canary) -> bool {
        CHOSEN.get() == Some(canary)
    }
}

#[cfg(feature = "canaries")]
pub use chosen::choose;
#[cfg(feature = "canaries")]
pub(crate) use chosen::sings;

/// Whether this defect is wanted: never, without the feature.
#[cfg(not(feature = "canaries"))]
#[inline(always)]
pub(crate) const fn sings(_: Canary) -> bool {
    false
}
