//! What the tests of layers share: stores in temporary directories, and a look into images.

use std::process::Command;
use std::sync::{Arc, Mutex};

use banger_protocol::event::{Event, Events};
use camino::{Utf8Path, Utf8PathBuf};

use crate::layer::LayerStore;
use crate::process::find_program;
pub(super) use crate::program::testing::TempDir;
use crate::rundir::{BootId, Layout};

impl TempDir {
    pub(super) fn store(&self, events: Events) -> LayerStore {
        self.booted(events, "")
    }

    /// The store as it is in a boot of the host.
    pub(super) fn booted(&self, events: Events, boot: &str) -> LayerStore {
        let layout = Layout::under(&self.join("home")).booted(BootId::new(boot));
        LayerStore::new(&layout, events)
    }
}

/// The texts of all notes, warnings and details.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub(super) fn events(&self) -> Events {
        let heard = Arc::clone(&self.0);
        Events::new(move |event| match event {
            Event::Note { text } | Event::Warning { text, .. } | Event::Detail { text } => {
                heard.lock().unwrap().push(text);
            }
            _ => {}
        })
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

/// Whether images can be made here; says so where not.
pub(super) fn can_pack() -> bool {
    let path = std::env::var_os("PATH");
    let missing = ["mkfs.erofs", "fsck.erofs"]
        .into_iter()
        .find(|tool| find_program(tool, path.as_deref()).is_none());
    if let Some(tool) = missing {
        eprintln!("skipped: `{tool}` is not installed");
    }
    missing.is_none()
}

/// The cargo that runs these tests.
pub(super) fn cargo() -> Utf8PathBuf {
    std::env::var("CARGO").expect("cargo names itself").into()
}

/// Runs a command that has to succeed, and returns what it prints.
pub(super) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Checks an image and unpacks it into a new directory.
pub(super) fn unpack(image: &Utf8Path, into: &Utf8Path) {
    run(Command::new("fsck.erofs").arg(format!("--extract={into}")).arg(image));
}
