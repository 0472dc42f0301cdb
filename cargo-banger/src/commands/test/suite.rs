//! What one VM runs: an executable with all its tests, or with one.

use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;

use banger_lifecycle::exec::{GuestCommand, Streams};
use banger_lifecycle::host::memory;
use banger_lifecycle::machine::Guest;
use banger_protocol::excerpt::Excerpt;
use camino::Utf8Path;
use tokio::io::AsyncWrite;

use super::collect::Call;
use super::harness;
use crate::boot::{Request, Wish, resolved};
use crate::context::Context;
use crate::errand::{Keep, within};
use crate::error::CommandError;
use crate::settings::{Effective, Flags};

/// Memory that is left to the host, in bytes.
const RESERVE: u64 = 1 << 30;

/// How much of a suite's output is kept until it is shown, in bytes.
const OUTPUT: usize = 16 << 20;

/// One executable in one VM.
pub(super) struct Suite {
    call: Call,
    /// The one test that is run, where not all are.
    pub(super) test: Option<String>,
    context: Context,
}

/// How a suite ended.
pub(super) struct Outcome {
    pub(super) status: u8,
    /// Standard output and error, as they came.
    pub(super) output: Vec<u8>,
    /// The VM's name, where it was left running.
    pub(super) kept: Option<String>,
}

impl Suite {
    /// All that a call runs.
    pub(super) fn whole(call: Call, context: &Context) -> Self {
        let context = Context { directory: call.directory.clone(), ..context.clone() };
        Self { call, test: None, context }
    }

    /// One test of a call.
    pub(super) fn one(call: &Call, test: String, context: &Context) -> Self {
        let mut this = Self::whole(call.clone(), context);
        this.call.arguments = harness::exactly(&call.arguments, &test);
        this.test = Some(test);
        this
    }

    /// What it is called, for people: the executable's name without its hash, and the test's.
    pub(super) fn name(&self) -> String {
        let file = self.call.program.file_name().unwrap_or_default();
        let stem = file.rsplit_once('-').map_or(file, |(stem, _)| stem);
        self.test.as_ref().map_or_else(|| stem.to_owned(), |test| format!("{stem} {test}"))
    }

    /// The executable, as cargo shows it.
    pub(super) fn program(&self) -> &Utf8Path {
        &self.call.program
    }

    /// The VM that it wants.
    pub(super) fn wish(&self, flags: &Flags) -> Wish {
        Wish {
            flags: flags.clone(),
            program: Some(self.call.program.clone()),
            single_test: self.test.is_some(),
            ..Wish::default()
        }
    }

    /// Starts the VM, runs the executable, and takes the VM down.
    pub(super) async fn run(&self, wish: Wish) -> Result<Outcome, CommandError> {
        let request = Request::check(&self.context, wish).await?;
        let (keep, timeout) = (request.keep_on_failure(), request.settings.timeout);
        let argv = [self.call.program.as_str()]
            .into_iter()
            .chain(self.call.arguments.iter().map(String::as_str));
        let env = self.call.env.iter().map(|(name, value)| (name.clone(), value.into()));
        let env = env.chain(request.settings.env.iter().cloned()).collect();
        let command = GuestCommand::new(argv.map(Into::into).collect())
            .directory(request.directory())
            .environment(env);
        let mut guest = request.start(&self.context).await?;
        let output = Collector::new();
        let status = run_in(&mut guest, command, &output, timeout).await;
        let failed = !matches!(status, Ok(0));
        let mut kept = None;
        if failed && keep == Keep::OnFailure {
            kept = Some(guest.keep().await?.to_string());
        } else if let (Err(error), Ok(_)) = (guest.shutdown().await, &status) {
            return Err(error.into());
        }
        Ok(Outcome { status: status?, output: output.take(), kept })
    }
}

async fn run_in(
    guest: &mut Guest,
    command: GuestCommand,
    output: &Collector,
    timeout: Option<Duration>,
) -> Result<u8, CommandError> {
    let streams = Streams::to(output.clone(), output.clone());
    let running = async { Ok(guest.run(command, streams, std::future::pending).await?) };
    within(timeout, running).await
}

/// How many VMs of the usual shape this host can run at a time.
pub(super) fn jobs(flags: &Flags, context: &Context) -> Result<usize, CommandError> {
    let settings = Effective::check(&resolved(context, flags, None)?)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let each = u64::from(settings.spec.ram.get()) << 20;
    let room = memory::available(Utf8Path::new("/"))
        .map_or(u64::MAX, |bytes| bytes.saturating_sub(RESERVE));
    let fit = usize::try_from(room / each).unwrap_or(usize::MAX);
    Ok(cores.min(fit).max(1))
}

/// Both output streams in one, in the order in which they came; both ends of it, where it is much.
#[derive(Clone)]
struct Collector(Arc<Mutex<Excerpt>>);

impl Collector {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Excerpt::new(OUTPUT / 2))))
    }

    fn take(&self) -> Vec<u8> {
        let mut excerpt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *excerpt, Excerpt::new(0)).into_bytes()
    }
}

impl AsyncWrite for Collector {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_flood_of_output_is_kept_by_its_ends() {
        let mut collector = Collector::new();
        collector.write_all(b"first\n").await.unwrap();
        for _ in 0..300 {
            collector.write_all(&[b'x'; 64 << 10]).await.unwrap();
        }
        collector.clone().write_all(b"last\n").await.unwrap();
        let output = collector.take();
        assert!(output.len() < OUTPUT + 100, "{}", output.len());
        assert!(output.starts_with(b"first\nx") && output.ends_with(b"xlast\n"));
        let gone = format!("\n[... {} bytes left out ...]\n", 300 * (64 << 10) + 11 - OUTPUT);
        assert!(output.windows(gone.len()).any(|window| window == gone.as_bytes()));
    }
}
