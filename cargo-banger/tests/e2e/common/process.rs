//! A program under a watchdog: its streams are collected while it runs, and one that does not end
//! in time is killed and reported with what it wrote.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a program may take unless its test says otherwise. Emulated guests on a busy host are
/// slow; a hang is what this is for.
const LIMIT: Duration = Duration::from_secs(240);

/// A program about to be run.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
    /// All it reads; `None` where the test writes as it goes.
    input: Option<Vec<u8>>,
    limit: Duration,
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    what: String,
    began: Instant,
    limit: Duration,
    stdout: Arc<Collected>,
    stderr: Arc<Collected>,
    /// How much of the output earlier waits have gone by.
    seen: usize,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
    what: String,
}

/// What a stream has brought so far.
#[derive(Debug, Default)]
struct Collected {
    state: Mutex<(Vec<u8>, bool)>,
    news: Condvar,
}

impl Program {
    /// In the environment of the tests; see `TestEnvironment` for a hermetic one.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(program), input: Some(Vec::new()), limit: LIMIT }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn directory(mut self, dir: impl AsRef<std::path::Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Leaves standard input open for [`Running::write`].
    pub(crate) fn interactive(mut self) -> Self {
        self.input = None;
        self
    }

    /// Gives it a process group of its own, as a shell does.
    pub(crate) fn group(mut self) -> Self {
        self.command.process_group(0);
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        let command = &mut self.command;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = format!("{command:?}");
        let began = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let interactive = self.input.is_none();
        let mut stdin = child.stdin.take();
        if let (Some(input), Some(mut stdin)) = (self.input, stdin.take_if(|_| !interactive)) {
            // A program that ends without reading it all is no error.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let stdout = Collected::follow(child.stdout.take().unwrap());
        let stderr = Collected::follow(child.stderr.take().unwrap());
        Running { child, stdin, what, began, limit: self.limit, stdout, stderr, seen: 0 }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Outcome {
        self.start().finish()
    }
}

impl Running {
    /// Sends a signal to each of its children; how many those were.
    pub(crate) fn signal_children(&self, signal: Signal) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let children =
            threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")));
        let children = children.collect::<Result<String, _>>().unwrap();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        children.map(|pid| kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap()).count()
    }

    /// Waits until standard output contains a text that earlier waits have
    /// not gone by; returns all there is so far.
    pub(crate) fn wait_for_stdout(&mut self, text: &str) -> String {
        let stdout = Arc::clone(&self.stdout);
        let from = self.seen;
        let found = stdout.wait_until(self.left(), |bytes, closed| {
            let found = contains(&bytes[from..], text).then_some(Some(bytes.to_vec()));
            found.or_else(|| closed.then_some(None))
        });
        let Some(Some(bytes)) = found else {
            self.give_up(&format!("did not write `{text}`"));
        };
        self.seen = bytes.len();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until standard error contains a text.
    pub(crate) fn wait_for_stderr(&mut self, text: &str) {
        let found = self.stderr.wait_until(self.left(), |bytes, closed| {
            let found = contains(bytes, text).then_some(true);
            found.or_else(|| closed.then_some(false))
        });
        if found != Some(true) {
            self.give_up(&format!("did not write `{text}`"));
        }
    }

    /// Writes to standard input of a program that was started for it.
    pub(crate) fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("the program is interactive");
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // One that ended by itself is found by its status.
        let _ = kill_process(pid, signal);
    }

    /// Sends a signal to its group, as the terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.left().is_zero() {
                self.give_up("did not end");
            }
            thread::sleep(Duration::from_millis(5));
        };
        let took = self.began.elapsed();
        for stream in [Arc::clone(&self.stdout), Arc::clone(&self.stderr)] {
            // Something that outlives the program and holds its streams would hang a shell too.
            let closed =
                stream.wait_until(Duration::from_secs(20), |_, closed| closed.then_some(()));
            if closed.is_none() {
                self.give_up("left somebody who holds its output open");
            }
        }
        let stderr = String::from_utf8_lossy(&self.stderr.taken()).into_owned();
        let what = self.what.clone();
        Outcome { status, stdout: self.stdout.taken(), stderr, took, what }
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }

    fn give_up(&mut self, why: &str) -> ! {
        let (what, after) = (&self.what, self.began.elapsed());
        let stdout = excerpt(&self.stdout.taken());
        let stderr = String::from_utf8_lossy(&self.stderr.taken()).into_owned();
        panic!("{why} within {after:.1?}: {what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or we panic.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Outcome {
    /// Fails unless the exit status is this.
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(self.status.code(), Some(expected), "{self}");
        self
    }

    /// Fails unless standard error contains each of these.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "no `{text}` in the errors of {self}");
        }
        self
    }

    /// Fails if standard error contains this.
    #[track_caller]
    pub(crate) fn does_not_say(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "`{text}` is in the errors of {self}");
        self
    }

    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stderr, took, what, .. } = self;
        let signal =
            status.signal().map(|signal| format!(" (signal {signal})")).unwrap_or_default();
        let stdout = excerpt(&self.stdout);
        writeln!(f, "{what}\n--- ended after {took:.1?} with {:?}{signal}", status.code())?;
        write!(f, "--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

impl Collected {
    fn follow(mut stream: impl Read + Send + 'static) -> Arc<Self> {
        let this = Arc::new(Self::default());
        let writer = Arc::clone(&this);
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let read = stream.read(&mut buffer).unwrap_or(0);
                let mut state = writer.state.lock().unwrap();
                state.0.extend(&buffer[..read]);
                state.1 = read == 0;
                writer.news.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        this
    }

    /// Waits until the predicate, given the bytes so far and whether the stream is closed, has an
    /// answer.
    fn wait_until<T>(
        &self,
        limit: Duration,
        mut answer: impl FnMut(&[u8], bool) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + limit;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(answer) = answer(&state.0, state.1) {
                return Some(answer);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.news.wait_timeout(state, left).unwrap().0;
        }
    }

    fn taken(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.lock().unwrap().0)
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The end of an output, for a message.
fn excerpt(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(4000);
    let cut = if start > 0 { "[…] " } else { "" };
    format!("{cut}{}", String::from_utf8_lossy(&bytes[start..]))
}
