use std::os::unix::fs::{MetadataExt as _, symlink};

use fs_err as fs;

use super::*;
use crate::sync::testing::{Session, noise, seconds, session, set_mode, set_seconds, tree};

/// What is made on the way has this in its name.
const HANDLE: &str = "0123abcd";

async fn fetch(session: &Session, guest: &Path, host: &Path) -> Result<Fetched, SyncError> {
    fetch_with(session, guest, host, PullOptions::default()).await
}

async fn fetch_with(
    session: &Session,
    guest: &Path,
    host: &Path,
    options: PullOptions,
) -> Result<Fetched, SyncError> {
    let wanted = Wanted { guest, host, handle: HANDLE, options };
    pull(&session.sftp, wanted, |_| Ok(()), |_, _| {}).await
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
    symlink("no/where", top.join("dangling")).unwrap();
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
    assert_eq!(fetched.skipped, Skipped::default());
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
    let links = PullOptions { outside_links: true, ..PullOptions::default() };
    fetch_with(&session, &top.join("guest/link"), &top.join("host"), links).await.unwrap();
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
    assert_eq!(fetched.skipped.first, [(guest.join("pipe"), false)]);
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
    let links = PullOptions { outside_links: true, ..PullOptions::default() };
    fetch_with(&session, &top.join("guest/out"), &top.join("host"), links).await.unwrap();
    assert!(top.join("host/out/x").is_symlink());
    fetch(&session, &top.join("guest/out"), &top.join("host")).await.unwrap();

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

#[tokio::test]
async fn nothing_is_written_by_way_of_what_an_earlier_fetch_planted() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let top = &fs::canonicalize(directory.path()).unwrap();
    let (guest, host, victim) = (top.join("guest"), top.join("host"), top.join("victim"));
    for path in [&guest, &host, &victim] {
        fs::create_dir(path).unwrap();
    }
    symlink(&victim, guest.join("report")).unwrap();
    write(guest.join("coverage/f"), "x");
    let links = PullOptions { outside_links: true, ..PullOptions::default() };
    // Asked for, a link comes; a directory, it is not.
    fetch_with(&session, &guest.join("report"), &host.join("report"), links).await.unwrap();
    let inner = host.join("report/coverage");
    let error = fetch(&session, &guest.join("coverage"), &inner).await.unwrap_err();
    assert!(matches!(error, SyncError::HostLink { .. }), "{error:?}");
    let error = fetch(&session, &guest.join("coverage"), &host.join("report")).await.unwrap_err();
    assert!(matches!(error, SyncError::InTheWay { .. }), "{error:?}");
    fs::remove_file(guest.join("report")).unwrap();
    write(guest.join("report"), "x");
    fetch(&session, &guest.join("report"), &host.join("report")).await.unwrap();
    assert_eq!(fs::read_to_string(host.join("report")).unwrap(), "x");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
}

#[tokio::test]
async fn links_that_lead_out_stay_in_the_guest_and_are_named() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (guest, host) = (directory.path().join("guest"), directory.path().join("host"));
    write(guest.join("a/b/file"), "x");
    symlink("../..", guest.join("a/b/up")).unwrap();
    symlink("../../a/b/file", guest.join("a/b/near")).unwrap();
    let out = ["/etc/passwd", "../x", "a/b/../../../x", "a/b/up/../x"];
    for (number, target) in out.iter().enumerate() {
        symlink(target, guest.join(format!("out{number}"))).unwrap();
    }
    let fetched = fetch(&session, &guest, &host).await.unwrap();
    assert_eq!((fetched.skipped.count, fetched.skipped.links), (4, 4));
    assert!(fetched.skipped.first.contains(&(guest.join("out0"), true)));
    let there: Vec<_> = fs::read_dir(&host).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(there, ["a"]);
    assert_eq!(fs::read_to_string(host.join("a/b/near")).unwrap(), "x");
    assert!(host.join("a/b/up").is_symlink());

    let only = fetch(&session, &guest.join("out0"), &directory.path().join("one")).await;
    assert!(matches!(only, Err(SyncError::GuestLink { .. })), "{only:?}");
}

#[tokio::test]
async fn holes_stay_holes() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (guest, host) = (directory.path().join("guest"), directory.path().join("host"));
    let length = 20 << 20;
    fs::File::create(&guest).unwrap().set_len(length).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&guest).unwrap();
    std::os::unix::fs::FileExt::write_all_at(file.file(), b"end", length - 3).unwrap();
    fetch(&session, &guest, &host).await.unwrap();
    let metadata = fs::metadata(&host).unwrap();
    assert_eq!(metadata.len(), length);
    assert!(metadata.blocks() * 512 <= 64 << 10, "{} blocks", metadata.blocks());
    assert!(fs::read(&host).unwrap() == fs::read(&guest).unwrap());
}

#[tokio::test]
async fn what_is_more_than_may_come_is_an_error_with_the_figure() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (guest, host) = (directory.path().join("guest"), directory.path().join("up/host"));
    for name in 0..20 {
        write(guest.join(name.to_string()), [1; 100]);
    }
    let failed = async |options, guest: &Path| {
        let error = fetch_with(&session, guest, &host, options).await.unwrap_err();
        assert_eq!(fs::read_dir(directory.path().join("up")).unwrap().count(), 0, "{error}");
        error.to_string()
    };
    let few = PullOptions { max_entries: 20, ..PullOptions::default() };
    let text = failed(few, &guest).await;
    assert!(text.ends_with("has more than 20 files, directories and links"), "{text}");
    let small = PullOptions { max_bytes: 1999, ..PullOptions::default() };
    let text = failed(small, &guest).await;
    assert!(text.ends_with("holds more than 1 KiB (1999 bytes)"), "{text}");
    // It gives no size, and has no end.
    let text =
        failed(PullOptions { max_bytes: 3 << 20, ..small }, Path::new("/proc/self/mem")).await;
    assert!(text.starts_with("cannot read"), "{text}");
    let deep: PathBuf = std::iter::repeat_n("d", 130).collect();
    fs::create_dir_all(guest.join(deep)).unwrap();
    let text = failed(PullOptions::default(), &guest).await;
    assert!(text.ends_with("is more than 128 directories deep"), "{text}");
    fetch_with(&session, &guest.join("1"), &host, small).await.unwrap();
}

#[tokio::test]
async fn what_a_fetch_makes_is_known_before_it_is_there_and_goes_when_it_is_dropped() {
    let Some(session) = session().await else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (guest, up) = (directory.path().join("guest"), directory.path().join("up"));
    write(guest.join("long"), noise(1, 8 << 20));
    let host = up.join("host");
    let recorded = Mutex::new(None);
    let record = |path: &Path| {
        assert!(path.parent().unwrap().is_dir() && !path.exists());
        *recorded.lock().unwrap() = Some(path.to_owned());
        Ok(())
    };
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let progress = move |_, _| begun.send(()).unwrap_or_default();
    let wanted =
        Wanted { guest: &guest, host: &host, handle: HANDLE, options: PullOptions::default() };
    {
        let pulling = pull(&session.sftp, wanted, record, progress);
        tokio::pin!(pulling);
        tokio::select! {
            ended = &mut pulling => panic!("it ended: {ended:?}"),
            _ = begins.recv() => {}
        }
        assert!(recorded.lock().unwrap().as_ref().unwrap().is_dir());
    }
    // What threads were about may take a moment.
    let left = async {
        while fs::read_dir(&up).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), left).await.unwrap();
    let denied = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
    pull(&session.sftp, wanted, denied, |_, _| {}).await.unwrap_err();
    assert_eq!(fs::read_dir(&up).unwrap().count(), 0);
}

mod hostile;
