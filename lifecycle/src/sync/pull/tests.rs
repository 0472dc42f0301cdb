use std::os::unix::fs::{MetadataExt as _, symlink};

use fs_err as fs;

use super::*;
use crate::sync::testing::{Session, noise, seconds, session, set_mode, set_seconds, tree};

async fn fetch(session: &Session, guest: &Path, host: &Path) -> Result<Fetched, SyncError> {
    pull(&session.sftp, guest, host, |_, _| {}).await
}

fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path.as_ref(), content).unwrap();
}

/// A guest tree with something of every kind.
fn sample(top: &Path) {
    write(top.join("a/b/deep"), "x");
    write(top.join("a/long"), noise(1, 3 * CHUNK + 5));
    write(top.join("a/edge"), noise(2, CHUNK));
    write(top.join("empty"), "");
    write(top.join("with space\n"), "x");
    fs::create_dir(top.join("no content")).unwrap();
    for name in 0..300 {
        write(top.join(format!("many/{name}")), name.to_string());
    }
    symlink("a/b", top.join("link")).unwrap();
    symlink("/no/where", top.join("dangling")).unwrap();
    set_mode(top.join("a/long"), 0o640);
    set_mode(top.join("empty"), 0o444);
    set_mode(top.join("no content"), 0o500);
    set_seconds(top.join("empty"), 1_000_000);
    set_seconds(top.join("a"), 2_000_000);
}

#[tokio::test]
async fn a_tree_comes_back_as_it_was() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (guest, host) = (directory.path().join("guest"), directory.path().join("up/host"));
    sample(&guest);
    let fetched = fetch(&session, &guest, &host).await.unwrap();
    assert_eq!(tree(&host), tree(&guest));
    assert_eq!(fetched.files, 305);
    assert_eq!(fetched.skipped, Vec::<PathBuf>::new());
    assert_eq!(seconds(host.join("empty")), 1_000_000);
    assert_eq!(seconds(host.join("a")), 2_000_000);
    let names: Vec<_> = fs::read_dir(directory.path().join("up")).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_directory_on_the_host_is_gone_into_and_merged() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (guest, host) = (directory.path().join("guest"), directory.path().join("host"));
    write(guest.join("out/sub/new"), "new");
    write(guest.join("out/sub/both"), "new");
    set_mode(guest.join("out"), 0o700);
    write(host.join("out/sub/both"), "old");
    write(host.join("out/sub/own"), "old");
    set_mode(host.join("out"), 0o755);
    fetch(&session, &guest.join("out"), &host).await.unwrap();
    let content = |path: &str| fs::read_to_string(host.join(path)).unwrap();
    assert_eq!(content("out/sub/new"), "new");
    assert_eq!(content("out/sub/both"), "new");
    assert_eq!(content("out/sub/own"), "old");
    assert_eq!(fs::metadata(host.join("out")).unwrap().mode() & 0o777, 0o755);
}

#[tokio::test]
async fn single_files_and_links_follow_the_rules_of_cp() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    write(top.join("guest/file"), "new");
    symlink("file", top.join("guest/link")).unwrap();
    fs::create_dir(top.join("host")).unwrap();
    fetch(&session, &top.join("guest/file"), &top.join("host")).await.unwrap();
    fetch(&session, &top.join("guest/link"), &top.join("host")).await.unwrap();
    fetch(&session, &top.join("guest/file"), &top.join("made/here/renamed")).await.unwrap();
    assert_eq!(fs::read_to_string(top.join("host/link")).unwrap(), "new");
    assert!(top.join("host/link").is_symlink());
    assert_eq!(fs::read_to_string(top.join("made/here/renamed")).unwrap(), "new");

    write(top.join("host/file"), "old");
    fetch(&session, &top.join("guest/file"), &top.join("host/file")).await.unwrap();
    assert_eq!(fs::read_to_string(top.join("host/file")).unwrap(), "new");
}

#[tokio::test]
async fn kernel_files_that_claim_to_be_empty_are_read() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    fetch(&session, Path::new("/proc/version"), directory.path()).await.unwrap();
    let fetched = fs::read_to_string(directory.path().join("version")).unwrap();
    assert_eq!(fetched, fs::read_to_string("/proc/version").unwrap());
}

#[tokio::test]
async fn special_files_are_skipped_and_set_id_bits_stay_behind() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (guest, host) = (directory.path().join("guest"), directory.path().join("host"));
    write(guest.join("tool"), "x");
    set_mode(guest.join("tool"), 0o6755);
    rustix::fs::mkfifoat(rustix::fs::CWD, guest.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let fetched = fetch(&session, &guest, &host).await.unwrap();
    assert_eq!(fetched.skipped, [guest.join("pipe")]);
    assert!(!host.join("pipe").exists());
    assert_eq!(fs::metadata(host.join("tool")).unwrap().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn a_missing_guest_path_is_said_to_be_missing() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("host");
    let error = fetch(&session, Path::new("/no/such/file"), &host).await.unwrap_err();
    assert_eq!(error.to_string(), "`/no/such/file` does not exist in the guest");
    assert!(!host.exists());
}

#[tokio::test]
async fn what_is_in_the_way_is_left_alone() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    write(top.join("guest/out/x/y"), "new");
    write(top.join("host/out/x"), "old");
    let error = fetch(&session, &top.join("guest/out"), &top.join("host")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot put a directory at `"), "{text}");
    assert!(text.ends_with("host/out/x`: a file is there"), "{text}");
    assert_eq!(fs::read_to_string(top.join("host/out/x")).unwrap(), "old");
    assert_eq!(fs::read_dir(top.join("host")).unwrap().count(), 1, "nothing is left behind");
}

#[tokio::test]
async fn links_on_the_host_are_never_written_through() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    write(top.join("outside/victim"), "safe");
    // The guest sends a link first, then, in its place, a directory.
    fs::create_dir_all(top.join("guest/out")).unwrap();
    symlink(top.join("outside"), top.join("guest/out/x")).unwrap();
    fs::create_dir(top.join("host")).unwrap();
    fetch(&session, &top.join("guest/out"), &top.join("host")).await.unwrap();
    assert!(top.join("host/out/x").is_symlink());

    fs::remove_file(top.join("guest/out/x")).unwrap();
    write(top.join("guest/out/x/victim"), "broken");
    let error = fetch(&session, &top.join("guest/out"), &top.join("host")).await.unwrap_err();
    assert!(matches!(error, SyncError::InTheWay { found: "a symbolic link", .. }), "{error:?}");

    // A link in a file's place is replaced, not followed.
    symlink(top.join("outside/victim"), top.join("host/file")).unwrap();
    write(top.join("guest/file"), "new");
    fetch(&session, &top.join("guest/file"), &top.join("host")).await.unwrap();
    assert_eq!(fs::read_to_string(top.join("host/file")).unwrap(), "new");
    assert_eq!(fs::read_to_string(top.join("outside/victim")).unwrap(), "safe");
}

mod hostile {
    //! A server that answers with names no file system would give.

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::sync::sftp_options;

    fn string(bytes: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        out.extend_from_slice(bytes);
        out
    }

    /// Attributes with just a mode.
    fn mode(mode: u32) -> Vec<u8> {
        [4_u32.to_be_bytes(), mode.to_be_bytes()].concat()
    }

    fn listing(names: &[(&str, u32)]) -> Vec<u8> {
        let mut out = u32::try_from(names.len()).unwrap().to_be_bytes().to_vec();
        for (name, bits) in names {
            out.extend(string(name.as_bytes()));
            out.extend(string(b""));
            out.extend(mode(*bits));
        }
        out
    }

    /// Says that everything is a directory, and lists `names` in the first one.
    async fn serve(mut pipe: DuplexStream, names: Vec<(&'static str, u32)>) {
        let mut names = Some(names);
        loop {
            let Ok(length) = pipe.read_u32().await else {
                return;
            };
            let mut packet = vec![0; length as usize];
            pipe.read_exact(&mut packet).await.unwrap();
            let id = packet[1..5].to_vec();
            let status =
                |code: u32| [code.to_be_bytes().to_vec(), string(b""), string(b"")].concat();
            let (kind, body) = match packet[0] {
                1 => (2, 3_u32.to_be_bytes().to_vec()),
                7 => (105, [id, mode(0o040_755)].concat()),
                11 => (102, [id, string(b"h")].concat()),
                12 => match names.take() {
                    Some(names) => (104, [id, listing(&names)].concat()),
                    None => (101, [id, status(1)].concat()),
                },
                _ => (101, [id, status(0)].concat()),
            };
            pipe.write_u32(u32::try_from(body.len() + 1).unwrap()).await.unwrap();
            pipe.write_u8(kind).await.unwrap();
            pipe.write_all(&body).await.unwrap();
        }
    }

    async fn offered(names: Vec<(&'static str, u32)>) -> SyncError {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(serve(theirs, names));
        let (output, input) = tokio::io::split(ours);
        let sftp = Sftp::new(input, output, sftp_options()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let host = directory.path().join("inner/host");
        let outcome = pull(&sftp, Path::new("/out"), &host, |_, _| {}).await;
        assert_eq!(fs::read_dir(directory.path().join("inner")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        server.abort();
        outcome.unwrap_err()
    }

    #[tokio::test]
    async fn names_that_lead_elsewhere_are_refused() {
        for name in ["../evil", "/tmp/evil", "a/../../evil", "sub/evil", "nul\0", ""] {
            let error = offered(vec![("fine", 0o100_644), (name, 0o100_644)]).await;
            assert!(matches!(error, SyncError::Refused { .. }), "{name:?}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_link_and_a_directory_of_one_name_are_refused() {
        let error = offered(vec![("x", 0o120_777), ("x", 0o040_755)]).await;
        assert!(matches!(error, SyncError::Refused { .. }), "{error:?}");
        assert!(error.to_string().ends_with("the same name came twice"), "{error}");
    }
}
