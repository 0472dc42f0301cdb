//! A VM that several tests use, one after another.
//!
//! ```text
//! test ─stdio─► supervise ─socket─┐
//! test ─stdio─► supervise ─socket─┴─► supervise --group: one connection at a time ─► VM
//! ```
//!
//! The VM belongs to a process of its own, since each test may be a process of its own. It lives as
//! long as the test run does: the test process that asked first, or the runner that started that
//! one. The socket is an abstract one, which is gone with whoever listens; both sides look at whose
//! process the other one is.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use banger_protocol::frame;
use banger_protocol::reply::Reply;
use banger_protocol::request::{Request, Start};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, getppid, getuid, pidfd_open};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::session::Session;
use super::wire::{Replies, Requests};
use super::{finish, written};
use crate::context::Context;
use crate::env;
use crate::error::CommandError;
use crate::exit_code;
use crate::interrupt::Interrupts;

/// Serves one test after another, until the test run that owns the group has ended.
pub(super) async fn serve(
    name: &str,
    owner: i32,
    context: &Context,
    session: &mut Session<'_>,
) -> Result<(), CommandError> {
    let Ok(listener) = StdListener::bind_addr(&address(name)?) else {
        // Another one was quicker: it serves whoever had us started, too.
        return Ok(());
    };
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let owner = Pid::from_raw(owner).ok_or_else(|| CommandError::usage("no such owner"))?;
    let Ok(owner) = pidfd_open(owner, PidfdFlags::empty()) else { return Ok(()) };
    // A thread of its own waits for its end; nobody waits for the thread.
    let owner_ended =
        tokio::task::spawn_blocking(move || poll(&mut [PollFd::new(&owner, PollFlags::IN)], None));
    // Whoever had us started waits for this.
    println!("listening");
    let mut interrupts = Interrupts::listen()?;
    let serving = async {
        loop {
            let (stream, _) = listener.accept().await?;
            if is_ours(&stream)? {
                serve_one(stream, session).await;
            }
        }
    };
    context.reporter.clear();
    let served = async {
        tokio::select! {
            ended = serving => ended,
            _ = owner_ended => Ok(()),
        }
    };
    let served = interrupts.end(served).await;
    finish(session, served, &mut interrupts).await
}

async fn serve_one(stream: UnixStream, session: &mut Session<'_>) {
    let (input, output) = stream.into_split();
    let (replies, writing) = Replies::to(output);
    let writing = tokio::spawn(writing);
    session.serve(&mut Requests::from(input), replies).await;
    session.silence().await;
    written(writing).await;
}

/// Hands a test's session on to the group that it asks for, starting that where it is not there.
pub(super) async fn relay(
    start: Start,
    requests: &mut Requests,
    replies: &Replies,
    context: &Context,
) -> Result<(), CommandError> {
    let owner = owner();
    let group = start.shared.clone().unwrap_or_default();
    let program = start.program.clone().unwrap_or_default();
    let key = format!("{} {owner} {} {program} {group}", getuid().as_raw(), context.directory);
    let name = format!("banger-{}", blake3::hash(key.as_bytes()).to_hex());
    let stream = match connect(&name).await {
        Ok(stream) => stream,
        Err(_) => {
            launch(&name, owner, context).await?;
            connect(&name).await.map_err(|error| no_group(&group, &error))?
        }
    };
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    // Its greeting: ours has been sent.
    input.read_until(b'\n', &mut Vec::new()).await?;
    output.write_all(&frame::line(&Request::Start(start))).await?;
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = input.read(&mut buffer).await {
            replies.raw(buffer[..read].to_vec()).await;
        }
    };
    let forth = async {
        while let Some(Ok((request, bytes))) = requests.next().await {
            // The VM is not this test's alone to end.
            if request == Request::Shutdown {
                return true;
            }
            let mut message = frame::line(&request);
            message.extend(bytes);
            if output.write_all(&message).await.is_err() {
                break;
            }
        }
        false
    };
    let leaves = tokio::select! {
        leaves = forth => leaves,
        () = back => false,
    };
    if leaves {
        replies.send(&Reply::Done).await;
    }
    Ok(())
}

/// Starts the process that serves the group, and waits until it listens or another one does.
async fn launch(name: &str, owner: i32, context: &Context) -> io::Result<()> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["banger", "supervise", "--group", name, "--owner", &owner.to_string()]);
    command.current_dir(&context.directory).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // On its own: it outlives us.
    let mut child = tokio::process::Command::from(command).spawn()?;
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_until(b'\n', &mut Vec::new()).await?;
    }
    Ok(())
}

async fn connect(name: &str) -> io::Result<UnixStream> {
    let stream = StdStream::connect_addr(&address(name)?)?;
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    if is_ours(&stream)? { Ok(stream) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// Anybody on this host can connect to an abstract socket, or listen on one.
fn is_ours(stream: &UnixStream) -> io::Result<bool> {
    Ok(stream.peer_cred()?.uid() == getuid().as_raw())
}

/// The process that the test run is: our parent, or the runner that gives each test a process.
fn owner() -> i32 {
    let parent = getppid().map_or(1, Pid::as_raw_pid);
    if env::read(env::NEXTEST_RUN_ID).is_none() {
        return parent;
    }
    // The name stands in parentheses and may have some itself; the parent is the second after it.
    let stat = fs_err::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).unwrap_or(parent)
}

fn no_group(group: &str, error: &io::Error) -> CommandError {
    let message = format!("cannot reach the VM that the tests of `{group}` share");
    CommandError::new(message, exit_code::INTERNAL).caused_by(error)
}
