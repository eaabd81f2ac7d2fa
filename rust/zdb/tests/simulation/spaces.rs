//! Other namespaces than the default one: making, changing and removing them, and what must be left of it.

use std::collections::{BTreeMap, BTreeSet};

use tfgrid_zdb::{Dice, Engine, Error, Scratch, SimulatedDisk};

const NAMES: [&str; 2] = ["one", "two"];
const KEY: &[u8] = b"key";

/// What a namespace may be: not there, or there with this limit and this value of the one key.
type State = Option<(u64, Option<u64>)>;

/// What is known of each name.
#[derive(Debug, Default)]
pub struct Spaces {
    may: BTreeMap<&'static str, BTreeSet<State>>,
}

impl Spaces {
    fn of(&mut self, name: &'static str) -> &mut BTreeSet<State> {
        self.may.entry(name).or_insert_with(|| [None].into())
    }

    /// Do something with one of them, and commit; says what. `durable`: a commit makes it so.
    pub fn step(
        &mut self,
        engine: &mut Engine<SimulatedDisk>,
        dice: &mut Dice,
        durable: bool,
    ) -> String {
        let name = NAMES[dice.below(2) as usize];
        let Some(id) = engine.find(name) else {
            let made = engine.create(name);
            let states = self.of(name);
            match made {
                Ok(_) => *states = [Some((0, None))].into(),
                Err(_) => drop(states.insert(Some((0, None)))),
            }
            return format!("create {name} {made:?}");
        };
        match dice.below(5) {
            0 => {
                let removed = engine.remove(name);
                let states = self.of(name);
                match removed {
                    Ok(()) => *states = [None].into(),
                    Err(_) => drop(states.insert(None)),
                }
                format!("remove {name} {removed:?}")
            }
            1 => {
                let limit = 1000 + dice.below(1000);
                let namespace = engine.namespace_mut(id).expect("found");
                let mut properties = namespace.properties().clone();
                properties.max_bytes = limit;
                let set = namespace.set_properties(properties);
                self.change(name, set.is_ok(), |(_, value)| (limit, value));
                format!("limit {name} {limit} {set:?}")
            }
            _ => {
                let value = dice.roll();
                let namespace = engine.namespace_mut(id).expect("found");
                let done = namespace.set(KEY, &value.to_le_bytes(), 1);
                let failed = engine.commit(0);
                let certain = durable && done.is_ok() && failed.iter().all(|(of, _)| *of != id);
                self.change(name, certain, |(limit, _)| (limit, Some(value)));
                format!("write {name} {done:?} {failed:?}")
            }
        }
    }

    /// A change that is durable once it succeeded, and may have happened if it failed.
    fn change(
        &mut self,
        name: &'static str,
        done: bool,
        to: impl Fn((u64, Option<u64>)) -> (u64, Option<u64>),
    ) {
        let states = self.of(name);
        let after: BTreeSet<State> = states.iter().map(|state| state.map(&to)).collect();
        match done {
            true => *states = after,
            false => states.extend(after),
        }
    }

    /// Compare after a restart; what is there is certain if a commit makes it durable.
    pub fn verify(
        &mut self,
        engine: &Engine<SimulatedDisk>,
        (damaged, durable): (bool, bool),
        seed: u64,
        trace: &[String],
    ) {
        for name in NAMES {
            let state = engine.find(name).map(|id| {
                let namespace = engine.namespace(id).expect("found");
                let mut scratch = Scratch::default();
                let value = match namespace.get(KEY, &mut scratch) {
                    Ok(record) => {
                        record.map(|found| found.payload.try_into().map(u64::from_le_bytes))
                    }
                    Err(Error::Damaged { .. }) => None,
                    Err(error) => panic!("seed {seed}: {name}: {error}"),
                };
                let value = value.map(|value| value.expect("eight bytes"));
                (namespace.properties().max_bytes, value)
            });
            let states = self.of(name);
            assert!(
                damaged || states.contains(&state),
                "seed {seed}: {name} is {state:?}, {states:?} would be right\n{}",
                trace.join("\n")
            );
            if damaged {
                states.insert(state);
            } else if durable {
                *states = [state].into();
            }
        }
    }
}
