//! For fuzz targets: what this crate does with bytes that a guest has sent, where that is no part of the
//! interface. In no build but theirs.

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use crate::exec::{Channel, GuestCommand, stream};
use crate::vmm::console::Console;

/// Runs a command with an agent that says this, and then nothing any more.
///
/// # Panics
/// Where something is wrong with what is fuzzed.
pub fn agent_frames(bytes: &[u8]) {
    runtime().block_on(async {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets can be made");
        let channel = Channel::over(ours);
        let command = GuestCommand::new(vec!["true".into()]);
        let running = stream::capture(&channel, &command);
        let saying = async {
            // Where nobody listens any more, enough was said.
            drop(theirs.write_all(bytes).await);
            drop(theirs);
        };
        let (ended, ()) = tokio::join!(running, saying);
        if let Ok((_, stdout, stderr)) = ended {
            assert!(stdout.len() + stderr.len() <= bytes.len(), "output out of nothing");
        }
    });
}

/// Reads a console that says this. Returns what is told of its end.
///
/// # Panics
/// Where something is wrong with what is fuzzed.
#[must_use]
pub fn console(bytes: &[u8]) -> String {
    runtime().block_on(async {
        let input = tokio::io::sink();
        let mut console = Console::follow(std::io::Cursor::new(bytes.to_vec()), input, None);
        console.drained().await;
        console.tail()
    })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}
