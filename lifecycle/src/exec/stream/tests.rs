//! Commands in the agent itself, run on this host over a socket.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::*;
use crate::exec::terminal::Size;

mod replaced;
mod verdicts;

/// An agent that serves commands.
fn agent() -> (Channel, Child) {
    agent_after("")
}

/// The same, after a shell has prepared its process.
fn agent_after(preparation: &str) -> (Channel, Child) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{preparation} exec \"$0\" commands"));
    command.arg(concat!(env!("OUT_DIR"), "/agent"));
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let agent = command.kill_on_drop(true).spawn().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Channel::over(UnixStream::from_std(ours).unwrap()), agent)
}

fn sh(text: &str) -> GuestCommand {
    program(["sh", "-c", text])
}

fn program<const N: usize>(words: [&str; N]) -> GuestCommand {
    let variables = vec![("PATH".to_owned(), "/no/such:/usr/bin:/bin".into())];
    GuestCommand::new(words.map(OsString::from).into()).within(&variables)
}

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a command; its status and what it wrote.
async fn told(channel: &Channel, text: &str) -> (u8, Vec<u8>, Vec<u8>) {
    let command = sh(text);
    let told = tokio::time::timeout(LIMIT, capture(channel, &command)).await;
    told.expect("a command ends").unwrap()
}

/// Runs a command with some input; its status and what it wrote.
async fn run_with(channel: &Channel, text: &str, input: &[u8]) -> (u8, Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = Streams::to(&mut stdout, &mut stderr).reading(io::Cursor::new(input));
    let command = sh(text);
    let ended = tokio::time::timeout(LIMIT, run(channel, &command, streams)).await;
    let status = ended.expect("a command ends").unwrap();
    (status, stdout, stderr)
}

#[tokio::test]
async fn streams_and_statuses_arrive() {
    let (channel, _agent) = agent();
    let ended = told(&channel, "echo out; echo err >&2; exit 7").await;
    assert_eq!(ended, (7, b"out\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(told(&channel, "kill -9 $$").await.0, 128 + 9);
}

#[tokio::test]
async fn a_program_is_found_and_started_as_a_shell_would() {
    let dir = tempfile::tempdir().unwrap();
    let dir = camino::Utf8Path::from_path(dir.path()).unwrap();
    let (channel, _agent) = agent();
    let told = async |command: GuestCommand| capture(&channel, &command).await.unwrap();
    let words = program(["printf", "%s|", "a b", "", "'"]);
    assert_eq!(told(words).await, (0, b"a b||'|".to_vec(), Vec::new()));
    let missing = (127, Vec::new(), b"banger: no-such: not found\n".to_vec());
    assert_eq!(told(program(["no-such"])).await, missing);
    let denied = (126, Vec::new(), format!("banger: {dir}: permission denied\n").into_bytes());
    assert_eq!(told(program([dir.as_str()])).await, denied);
    let nowhere = program(["true"]).directory(Some("/no/such".into()));
    let (status, _, stderr) = told(nowhere).await;
    assert_eq!((status, &stderr[..]), (126, &b"banger: /no/such: not found\n"[..]));
    // Without a first line that names who reads it, a script is the shell's.
    let script = dir.join("script");
    fs_err::write(&script, "echo \"$0 $1 $K $PWD\"\n").unwrap();
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let variables = vec![("K".to_owned(), "v".into())];
    let command = program([script.as_str(), "x"]).environment(variables).directory(Some(dir));
    let expected = format!("{script} x v {dir}\n");
    assert_eq!(told(command).await, (0, expected.into_bytes(), Vec::new()));
}

#[tokio::test]
async fn much_of_everything_passes_through_both_ways() {
    let (channel, _agent) = agent();
    let input: Vec<u8> = (0_u32..300_000).flat_map(u32::to_le_bytes).collect();
    let (status, stdout, stderr) = run_with(&channel, "tee /dev/stderr", &input).await;
    assert_eq!((status, stdout == input, stderr == input), (0, true, true));
}

#[tokio::test]
async fn input_that_nobody_reads_is_no_hindrance() {
    let (channel, _agent) = agent();
    let (status, stdout, _) = run_with(&channel, "echo done", &vec![0; 1 << 20]).await;
    assert_eq!((status, &stdout[..]), (0, &b"done\n"[..]));
    let (status, ..) = run_with(&channel, "exec <&-; sleep 0.1; exit 3", &vec![0; 1 << 20]).await;
    assert_eq!(status, 3);
}

#[tokio::test]
async fn a_signal_is_not_behind_input_that_is_not_read() {
    let (channel, _agent) = agent();
    let (ready, mut told) = tokio::io::duplex(64);
    let streams = Streams::to(ready, tokio::io::sink()).reading(tokio::io::repeat(1));
    let command = sh("echo ready; sleep 600");
    let signalling = async {
        told.read_u8().await.unwrap();
        channel.signal(Signal::INT).await;
    };
    let (status, ()) = tokio::join!(run(&channel, &command, streams), signalling);
    assert_eq!(status.unwrap(), 128 + 2);
}

#[tokio::test]
async fn a_signal_right_behind_the_command_is_not_lost() {
    let (channel, _agent) = agent();
    for _ in 0..20 {
        let command = program(["sleep", "600"]);
        let running = tokio::time::timeout(LIMIT, capture(&channel, &command));
        // The command is sent first.
        let (ended, ()) = tokio::join!(biased; running, channel.signal(Signal::TERM));
        assert_eq!(ended.expect("the signal arrives").unwrap().0, 128 + 15);
    }
}

#[tokio::test]
async fn a_command_that_makes_a_group_of_its_own_is_signalled_too() {
    let (channel, _agent) = agent();
    let (ready, mut told) = tokio::io::duplex(64);
    let streams = Streams::to(ready, tokio::io::sink());
    let command = program(["timeout", "600", "sh", "-c", "echo ready; sleep 600"]);
    let signalling = async {
        told.read_u8().await.unwrap();
        channel.signal(Signal::TERM).await;
    };
    let both = async { tokio::join!(run(&channel, &command, streams), signalling) };
    let (status, ()) = tokio::time::timeout(LIMIT, both).await.expect("the signal arrives");
    assert_ne!(status.unwrap(), 0);
}

#[tokio::test]
async fn output_that_nobody_reads_is_a_closed_pipe() {
    let (channel, _agent) = agent();
    let (closed, _) = tokio::io::duplex(64);
    let streams = Streams::to(closed, tokio::io::sink());
    let status = run(&channel, &program(["yes"]), streams).await.unwrap();
    assert_eq!(status, 128 + 13);
}

#[tokio::test]
async fn a_child_that_goes_on_keeps_nobody_waiting() {
    let (channel, _agent) = agent();
    let (status, stdout, _) = told(&channel, "sleep 600 & echo $!").await;
    assert_eq!(status, 0);
    // It is of the last command's group.
    channel.signal(Signal::KILL).await;
    let pid = String::from_utf8_lossy(&stdout);
    let gone = format!("while [ -e /proc/{}/exe ]; do :; done", pid.trim());
    assert_eq!(told(&channel, &gone).await.0, 0);
}

#[tokio::test]
async fn a_command_that_was_given_up_is_killed_by_the_next() {
    let (channel, _agent) = agent();
    {
        let endless = sh("yes");
        let giving_up = capture(&channel, &endless);
        assert!(tokio::time::timeout(Duration::from_millis(50), giving_up).await.is_err());
    }
    let next = told(&channel, "pgrep -P $PPID -x yes; echo next").await;
    assert_eq!(next.1, b"next\n");
}

#[tokio::test]
async fn an_agent_that_ends_is_told() {
    let (channel, mut agent) = agent();
    let kill = async { agent.kill().await.unwrap() };
    let endless = sh("sleep 600");
    let (told, ()) = tokio::join!(capture(&channel, &endless), kill);
    assert!(matches!(told, Err(ExecError::NoStatus)), "{told:?}");
}

#[tokio::test]
async fn a_command_that_is_too_long_is_refused() {
    let (channel, _agent) = agent();
    let long = capture(&channel, &sh(&"x".repeat(256 << 10))).await;
    assert!(matches!(long, Err(ExecError::TooLong { .. })), "{long:?}");
}

#[tokio::test]
async fn a_guest_without_room_for_a_command_says_so() {
    // The agent's own three, and those of its streams: one too few for more.
    let (channel, _agent) = agent_after("ulimit -n 10;");
    let (status, _, stderr) = told(&channel, "true").await;
    assert_eq!((status, &stderr[..]), (126, &b"banger: no process for a command: error 24\n"[..]));
}

#[tokio::test]
async fn both_streams_end_although_one_is_closed_early() {
    let (channel, _agent) = agent();
    let quickly = async || {
        let (closed, _) = tokio::io::duplex(64);
        let mut stderr = Vec::new();
        let streams = Streams::to(closed, &mut stderr);
        let began = std::time::Instant::now();
        let command = sh("echo lost; exec >&-; sleep 0.1; echo told >&2");
        let status = run(&channel, &command, streams).await.unwrap();
        assert_eq!((status, &stderr[..]), (0, &b"told\n"[..]));
        began.elapsed() < LINGER
    };
    // A busy host may take that long itself.
    let quick = quickly().await || quickly().await || quickly().await;
    assert!(quick, "waited for an end that had been told");
}

#[tokio::test]
async fn after_the_agents_end_nothing_is_started() {
    let (channel, mut agent) = agent();
    agent.kill().await.unwrap();
    let ended = async {
        // The first may be sent before the end is seen.
        drop(capture(&channel, &sh("true")).await);
        capture(&channel, &sh("true")).await
    };
    let ended = tokio::time::timeout(LIMIT, ended).await.expect("the end is told");
    assert!(matches!(ended, Err(ExecError::NoStatus)), "{ended:?}");
}

#[tokio::test]
async fn a_command_leads_nothing_and_holds_nothing_but_its_streams() {
    let (channel, _agent) = agent();
    let script = "cut -d ' ' -f 1,5,6 /proc/self/stat; ls /proc/self/fd";
    let (_, stdout, _) = told(&channel, script).await;
    let stdout = String::from_utf8(stdout).unwrap();
    let (stat, files) = stdout.split_once('\n').unwrap();
    let [pid, group, session] = stat.split(' ').collect::<Vec<_>>()[..] else { panic!("{stat}") };
    assert!(group == session && group != pid, "{stat}");
    // The fourth is the directory itself.
    assert_eq!(files, "0\n1\n2\n3\n");
}

/// Runs a command on a terminal, says something once it has shown `ready`, and returns its status and
/// what it showed.
async fn on_terminal(
    channel: &Channel,
    text: &str,
    said: &[u8],
    errors_apart: bool,
) -> (u8, String, String) {
    let (resize, size) = watch::channel(Size { rows: 31, columns: 97 });
    let kind = Some("vt220".into());
    let (mut keys, typed) = tokio::io::duplex(PIECE);
    let (shown, mut screen) = tokio::io::duplex(64);
    let mut stderr = Vec::new();
    let terminal = Terminal { kind, size, errors_apart };
    let streams = Streams::to(shown, &mut stderr).reading(typed).on(terminal);
    let command = sh(text);
    let watching = async {
        let (mut seen, mut told) = (Vec::new(), false);
        while screen.read_buf(&mut seen).await.unwrap() > 0 {
            if !told && seen.ends_with(b"ready\r\n") {
                resize.send_replace(Size { rows: 5, columns: 300 });
                // It may end before it has read them.
                drop(keys.write_all(said).await);
                told = true;
            }
        }
        seen
    };
    let both = async { tokio::join!(run(channel, &command, streams), watching) };
    let (status, seen) = tokio::time::timeout(LIMIT, both).await.expect("a command ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.unwrap(), text(seen), text(stderr))
}

#[tokio::test]
async fn a_terminal_is_one_and_has_its_size() {
    let (channel, _agent) = agent();
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM >/dev/tty; \
         trap 'stty size; exit 9' WINCH; echo ready; while :; do sleep 0.01; done";
    let (status, shown, _) = on_terminal(&channel, script, b"", false).await;
    assert_eq!((status, &shown[..]), (9, "31 97\r\nvt220\r\nready\r\n5 300\r\n"));
}

#[tokio::test]
async fn keys_reach_a_command_and_some_are_signals() {
    let (channel, _agent) = agent();
    let read = "echo ready; read -r line; echo \"<$line>\"";
    let (status, shown, _) = on_terminal(&channel, read, b"a\xc3\xa9\x7fb\r", false).await;
    assert_eq!((status, shown.lines().last()), (0, Some("<ab>")));
    let (status, ..) = on_terminal(&channel, "echo ready; exec sleep 600", b"\x03", false).await;
    assert_eq!(status, 128 + 2);
    let (status, ..) = on_terminal(&channel, "echo ready; cat; exit 4", b"\x04", false).await;
    assert_eq!(status, 4);
}

#[tokio::test]
async fn all_that_was_shown_arrives() {
    let (channel, _agent) = agent();
    for _ in 0..10 {
        let (_, shown, _) = on_terminal(&channel, "seq 20000", b"", false).await;
        assert_eq!(shown.lines().count(), 20000);
        assert!(shown.ends_with("\r\n20000\r\n"));
    }
}

#[tokio::test]
async fn errors_may_go_elsewhere_and_others_may_close_the_terminal() {
    let (channel, _agent) = agent();
    let script = "echo error >&2; exec >&- <&-; sleep 0.1; echo back >/dev/tty";
    let ended = on_terminal(&channel, script, b"", true).await;
    assert_eq!(ended, (0, "back\r\n".to_owned(), "error\n".to_owned()));
}

#[tokio::test]
async fn jobs_can_be_controlled_on_a_terminal() {
    let (channel, _agent) = agent();
    // What says so is what the key is meant for.
    let script = "exec bash --norc -i -c 'set -m; sh -c \"echo ready; exec sleep 600\"; jobs'";
    let (status, shown, _) = on_terminal(&channel, script, b"\x1a", false).await;
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("Stopped") && !shown.contains("no job control"), "{shown}");
}

#[tokio::test]
async fn what_a_command_leaves_on_a_terminal_still_arrives() {
    let (channel, _agent) = agent();
    let script = "(sleep 0.1; echo late) & echo now";
    let ended = on_terminal(&channel, script, b"", false).await;
    assert_eq!(ended, (0, "now\r\nlate\r\n".to_owned(), String::new()));
}

#[tokio::test]
async fn keys_that_nobody_reads_keep_nobody_busy() {
    let (channel, agent) = agent();
    let keys = b"a line\r".repeat(100_000);
    let script = "stty -echo; echo ready; sleep 0.1";
    let (status, ..) = on_terminal(&channel, script, &keys, false).await;
    assert_eq!(status, 0);
    let busy = || {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", agent.id().unwrap())).unwrap();
        let times = stat.split(' ').skip(13).take(2).map(|time| time.parse::<u64>().unwrap());
        times.sum::<u64>()
    };
    let before = busy();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // In hundredths of a second.
    assert!(busy() - before < 25, "the agent is busy with a command that has ended");
}

#[tokio::test]
async fn a_terminal_that_nobody_looks_at_is_hung_up() {
    let (channel, _agent) = agent();
    let (_resize, size) = watch::channel(Size { rows: 5, columns: 5 });
    let terminal = Terminal { kind: None, size, errors_apart: false };
    let (closed, _) = tokio::io::duplex(64);
    let streams = Streams::to(closed, tokio::io::sink()).on(terminal);
    let command = program(["yes"]);
    let ended = tokio::time::timeout(LIMIT, run(&channel, &command, streams)).await;
    assert_ne!(ended.expect("it learns of that").unwrap(), 0);
}

#[tokio::test]
async fn a_command_on_a_terminal_learns_that_the_host_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let told = dir.path().join("told");
    let (channel, _agent) = agent();
    let script = format!("trap '>{}; exit' HUP; echo ready; sleep 600 & wait", told.display());
    let going = async {
        let (_resize, size) = watch::channel(Size { rows: 5, columns: 5 });
        let terminal = Terminal { kind: None, size, errors_apart: false };
        let (ready, mut shown) = tokio::io::duplex(64);
        let streams = Streams::to(ready, tokio::io::sink()).on(terminal);
        let command = sh(&script);
        tokio::select! {
            ended = run(&channel, &command, streams) => panic!("{ended:?}"),
            _ = shown.read_u8() => {}
        }
    };
    tokio::time::timeout(LIMIT, going).await.expect("it is ready");
    drop(channel);
    let learnt = async {
        while !told.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, learnt).await.expect("it learns of that");
}
