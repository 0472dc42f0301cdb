//! VMs that are started before the tests that use them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::Error;
use crate::case::Case;
use crate::outside::Lane;

/// What two tests must have in common for one to use the VM that was started for the other.
type Shape = (&'static [(&'static str, &'static str)], &'static [&'static str], &'static str);

/// At most one VM of each shape is started ahead, and only while a test is left that wants it.
#[derive(Debug)]
pub(super) struct Pool(Mutex<HashMap<Shape, Shelf>>);

/// The VMs of one shape.
#[derive(Debug, Default)]
struct Shelf {
    /// How many tests have not come for one yet.
    wanted: usize,
    next: Option<JoinHandle<Result<Lane, Error>>>,
}

impl Pool {
    /// For tests that are going to run.
    pub(super) fn of(cases: Vec<&'static Case>) -> Self {
        let mut shelves: HashMap<Shape, Shelf> = HashMap::new();
        for case in cases.into_iter().filter(|case| case.shared.is_none()) {
            shelves.entry(shape(case)).or_default().wanted += 1;
        }
        Self(Mutex::new(shelves))
    }

    /// A VM for a test: the one that was started ahead, or else a new one.
    pub(super) fn lane(&self, case: &'static Case) -> Result<Lane, Error> {
        if case.shared.is_some() {
            return Lane::start(case);
        }
        let mut shelves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.entry(shape(case)).or_default();
        shelf.wanted = shelf.wanted.saturating_sub(1);
        let ready = shelf.next.take();
        if shelf.wanted > 0 {
            shelf.next = Some(thread::spawn(|| Lane::start(case)));
        }
        drop(shelves);
        match ready.map(JoinHandle::join) {
            Some(Ok(lane)) => lane,
            _ => Lane::start(case),
        }
    }

    /// Takes down what nobody came for.
    pub(super) fn drain(&self) {
        let mut shelves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for shelf in shelves.values_mut() {
            drop(shelf.next.take().map(JoinHandle::join));
        }
    }
}

fn shape(case: &'static Case) -> Shape {
    (case.settings, case.files, case.manifest_dir)
}
