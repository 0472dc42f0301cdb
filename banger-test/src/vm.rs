//! VMs for code that stays on the host: start one, run commands in it, move files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_protocol::reply::Stream;
use banger_protocol::request::{Request, Run, Start};

use crate::Error;
use crate::supervisor::Supervisor;

/// How much a command may write to a stream, in bytes.
const OUTPUT: usize = 64 << 20;

/// A throwaway VM. Dropping it takes it down, and waits for that.
///
/// ```no_run
/// let mut vm = banger::Vm::builder().ram(512).start()?;
/// let output = vm.run(["uname", "-r"])?;
/// assert!(output.success());
/// vm.shutdown()?;
/// # Ok::<(), banger::Error>(())
/// ```
#[must_use = "dropping the VM takes it down"]
#[derive(Debug)]
pub struct Vm {
    supervisor: Supervisor,
    name: String,
}

/// What a VM is to be like. Settings that are not given come from the `BANGER_*` variables and the
/// `[package.metadata.banger]` of the package whose tests run.
#[must_use = "nothing happens until `start`"]
#[derive(Clone, Debug, Default)]
pub struct Builder {
    start: Start,
    directory: Option<PathBuf>,
}

impl Builder {
    /// Gives it so many virtual CPUs: 1 to 16.
    pub fn vcpu(self, count: u8) -> Self {
        self.setting("vcpu", count.to_string())
    }

    /// Gives it so much memory, in MiB: 128 to 32768.
    pub fn ram(self, mib: u32) -> Self {
        self.setting("ram", mib.to_string())
    }

    /// Boots a Debian suite, such as `bullseye`.
    pub fn image(self, suite: &str) -> Self {
        self.setting("suite", suite)
    }

    /// Decides what the guest reaches: `none`, `auto`, `user`, `tap`, `internet` or `host-loopback`.
    pub fn net(self, net: &str) -> Self {
        self.setting("net", net)
    }

    /// Decides any setting that `cargo banger config` lists. [`start`](Self::start) refuses what is
    /// none.
    pub fn setting(mut self, key: &str, value: impl Into<String>) -> Self {
        self.start.settings.insert(key.to_owned(), value.into());
        self
    }

    /// Names it, for `cargo banger ps` and `shell`: up to 64 of a-z, 0-9 and -.
    pub fn name(mut self, name: &str) -> Self {
        self.start.name = Some(name.to_owned());
        self
    }

    /// Brings an executable along that was built on the host, under its own path, with the
    /// workspace around it and the libraries that the guest lacks.
    pub fn program(mut self, path: impl AsRef<Path>) -> Self {
        self.start.program = Some(path.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Brings along the workspace, the host's Rust toolchain and the crates of its Cargo.lock, so
    /// that cargo works in it, offline. What it builds is gone with the VM.
    pub fn toolchain(mut self) -> Self {
        self.start.toolchain = true;
        self
    }

    /// Allows [`Vm::keep`].
    pub fn may_be_kept(mut self) -> Self {
        self.start.may_be_kept = true;
        self
    }

    /// Takes the workspace and its settings from this directory, in place of the current one.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Starts it. Blocks until commands can run; the first VM of its kind takes longer, since its
    /// image or template is made first.
    ///
    /// # Errors
    /// Where `cargo-banger` is missing or too old, a setting is wrong, the host lacks something, or
    /// the guest does not come up.
    pub fn start(self) -> Result<Vm, Error> {
        let directory = self.directory.unwrap_or_else(|| ".".into());
        let mut supervisor = Supervisor::launch(&directory)?;
        let name = supervisor.start(self.start)?;
        Ok(Vm { supervisor, name })
    }
}

impl Vm {
    /// Begins to describe one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a program in the guest, as root, to its end.
    ///
    /// # Errors
    /// Where the guest is lost; that the program fails is no error.
    pub fn run<S: Into<String>>(
        &mut self,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<Output, Error> {
        self.command(argv).output()
    }

    /// Describes a command for the guest.
    pub fn command<S: Into<String>>(&mut self, argv: impl IntoIterator<Item = S>) -> Command<'_> {
        let run = Run { argv: argv.into_iter().map(Into::into).collect(), ..Run::default() };
        Command { vm: self, run, input: Vec::new() }
    }

    /// Copies a file or directory of the host to that very path in the guest, as `cp -a` would; it
    /// belongs to root there.
    ///
    /// # Errors
    /// Where it cannot be read here or written there.
    pub fn push(&mut self, host: impl AsRef<Path>, guest: impl AsRef<Path>) -> Result<(), Error> {
        let host = std::path::absolute(host.as_ref()).unwrap_or_else(|_| host.as_ref().to_owned());
        self.supervisor.perform(&Request::Push { host: text(&host), guest: text(guest.as_ref()) })
    }

    /// Copies a file or directory of the guest to the host, as `cp -a` would: into a directory that
    /// is there, or else under the new name.
    ///
    /// The guest chooses no place on the host: no symbolic link on the way to `host` is followed, but
    /// for those of the system, and one at its end is replaced. Links in the guest that lead out of
    /// what is copied stay there, and so do sockets, pipes and devices; a warning names them. How
    /// much comes is bounded by the settings `fetch-limit` and `fetch-entries`.
    ///
    /// # Errors
    /// Where it is not there, is a link that leads elsewhere, is more than may come, or cannot be
    /// written here.
    pub fn pull(&mut self, guest: impl AsRef<Path>, host: impl AsRef<Path>) -> Result<(), Error> {
        let host = std::path::absolute(host.as_ref()).unwrap_or_else(|_| host.as_ref().to_owned());
        self.supervisor.perform(&Request::Pull { guest: text(guest.as_ref()), host: text(&host) })
    }

    /// Leaves it running under its name: `cargo banger shell NAME` enters it, `stop NAME` ends it.
    ///
    /// # Errors
    /// Where it was not built with [`Builder::may_be_kept`]; it ends then.
    pub fn keep(mut self) -> Result<String, Error> {
        self.supervisor.perform(&Request::Keep)?;
        Ok(self.name)
    }

    /// Takes it down, and tells where that left something behind.
    ///
    /// # Errors
    /// Where something of it could not be removed.
    pub fn shutdown(mut self) -> Result<(), Error> {
        self.supervisor.perform(&Request::Shutdown)
    }
}

/// A command for the guest.
#[must_use = "nothing happens until `output`"]
#[derive(Debug)]
pub struct Command<'a> {
    vm: &'a mut Vm,
    run: Run,
    input: Vec<u8>,
}

impl Command<'_> {
    /// Starts it in a directory of the guest; root's home unless said otherwise.
    pub fn directory(mut self, path: impl AsRef<Path>) -> Self {
        self.run.directory = Some(text(path.as_ref()));
        self
    }

    /// Sets a variable: `[A-Za-z_][A-Za-z0-9_]*`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.run.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has it read this; nothing unless said otherwise.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs it as somebody else, who is made first where the guest has nobody of that name.
    pub fn user(mut self, name: &str) -> Self {
        self.run.user = Some(name.to_owned());
        self
    }

    /// Gives it so much time.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.run.timeout_ms = Some(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// Where the guest is lost, the time is up ([`Error::is_timeout`]), or it has written more than 64 MiB to
    /// one of its streams; that the command fails is no error.
    pub fn output(self) -> Result<Output, Error> {
        let mut output = Output { status: 0, stdout: Vec::new(), stderr: Vec::new() };
        let Self { vm, run, input } = self;
        let mut over = false;
        let take = &mut |stream, bytes: &[u8]| {
            let to = match stream {
                Stream::Stdout => &mut output.stdout,
                Stream::Stderr => &mut output.stderr,
            };
            let room = OUTPUT - to.len();
            to.extend(&bytes[..bytes.len().min(room)]);
            over |= bytes.len() > room;
        };
        output.status = vm.supervisor.run(run, &input, take)?.status;
        if over { Err(Error::too_much(OUTPUT)) } else { Ok(output) }
    }
}

/// How a command ended, and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 128+n if signal n killed it.
    pub status: u8,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// For messages: its status, and what it wrote.
impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [stdout, stderr] =
            [&self.stdout, &self.stderr].map(|text| String::from_utf8_lossy(text));
        write!(f, "exit status {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", self.status)
    }
}

impl Output {
    /// Whether its exit status is 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// What it wrote to standard output, as text without the last line end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
