use std::path::Path;
use std::process::Stdio;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::*;
use crate::machine::archive;
use crate::sync::{PullOptions, ServerFault, Wanted, pull, silence};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// An agent that serves commands.
fn agent() -> (Channel, Child) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = Command::new(concat!(env!("OUT_DIR"), "/agent"));
    command.arg("commands").stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let agent = command.kill_on_drop(true).spawn().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Channel::over(UnixStream::from_std(ours).unwrap()), agent)
}

/// A shell in a server's place.
fn shell(script: &str) -> GuestCommand {
    let path = vec![("PATH".to_owned(), "/usr/bin:/bin".into())];
    GuestCommand::new(["sh", "-c", script].map(Into::into).into()).environment(path)
}

/// Asks such a server for a file; what it is asked, it is not there.
async fn asked(channel: &Channel, script: &str) -> Result<(), Cause> {
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("host");
    let (guest, options) = (Path::new("/no/such"), PullOptions::default());
    let wanted = Wanted { guest, host: &host, handle: "0123abcd", options };
    let talk = async |session: &Session| {
        pull(session, wanted, |_| Ok(()), |_, _| {}).await?;
        Ok(())
    };
    let served = serve(channel, shell(script), talk);
    tokio::time::timeout(LIMIT, served).await.expect("every wait has an end")
}

/// The version of the protocol, and no extensions.
const HELLO: &str = r"printf '\0\0\0\5\2\0\0\0\3'; ";

/// A status of failure for the first request, with its number, which stands behind the client's
/// version and the request's length and type.
const FAILURE: &str = r"dd bs=1 count=14 of=/dev/null 2>/dev/null
    printf '\0\0\0\21\145'; dd bs=1 count=4 2>/dev/null
    printf '\0\0\0\4\0\0\0\0\0\0\0\0'; ";

#[tokio::test]
async fn a_server_that_does_not_end_is_ended() {
    let (channel, _agent) = agent();
    let script = format!("{HELLO}{FAILURE} exec 2>&-; sleep 600");
    let error = asked(&channel, &script).await.unwrap_err();
    assert!(matches!(&error, Cause::Sync(SyncError::Guest { .. })), "{error:?}");
    // The next one is served.
    let error = asked(&channel, &format!("{HELLO}{FAILURE} cat >/dev/null")).await.unwrap_err();
    assert!(matches!(&error, Cause::Sync(SyncError::Guest { .. })), "{error:?}");
}

#[tokio::test]
async fn a_server_that_floods_is_given_up_and_its_words_are_not_kept() {
    let (channel, _agent) = agent();
    let script = format!("yes >&2 & {HELLO} while :; do printf '\\377\\377\\377\\377'; done");
    let error = asked(&channel, &script).await.unwrap_err();
    let fault = ServerFault::Length { length: u32::MAX };
    let found = matches!(&error, Cause::Sync(SyncError::Server(found)) if *found == fault);
    assert!(found, "{error:?}");
    // Where there is none, its last words say why.
    let script = "seq 100000 >&2; echo no server here >&2; exit 9";
    let error = asked(&channel, script).await.unwrap_err().to_string();
    assert!(
        error.ends_with("failed in the guest with 9: 99997\n99998\n99999\n100000\nno server here"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_ends_early_is_told_by_its_status() {
    let (channel, _agent) = agent();
    for script in
        ["exit 3".to_owned(), format!("{HELLO} exit 3"), "exec <&- >&-; exit 3".to_owned()]
    {
        let error = asked(&channel, &script).await.unwrap_err();
        assert!(error.to_string().contains("failed in the guest with 3"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_takes_nothing_of_an_archive_is_given_up() {
    // Nobody is at the other end.
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let channel = Channel::over(ours);
    let script = ["true".into()];
    let unpacked = archive::unpack(&channel, "unpacking", "", script, &[7; 1 << 20][..]);
    let error = tokio::time::timeout(LIMIT, unpacked).await.unwrap().unwrap_err();
    let expected = format!("the guest took nothing for {} s", silence::QUIET);
    assert_eq!(error.to_string(), expected);
}
