//! For the tests of this module: a real SFTP server on a pipe, and trees to compare.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use camino::Utf8Path;
use fs_err as fs;
use tokio::process::{Child, Command};

use super::{Manifest, Plan, Root, Sent, SyncError, push, scan};

const SERVERS: [&str; 3] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// A session with a server of its own; the server dies with it.
pub(super) struct Session {
    pub(super) sftp: super::Session,
    server: Child,
}

impl Session {
    /// Ends the server, as a guest that dies would.
    pub(super) async fn kill(&mut self) {
        self.server.kill().await.unwrap();
    }
}

/// Starts a server, or says why the test is skipped.
pub(super) async fn session() -> Option<Session> {
    let program = server_program()?;
    Some(start(Command::new(program)).await.unwrap())
}

/// Starts a server that has a disk of 4 MiB at `path`, or says why the test is skipped.
pub(super) async fn session_on_small_disk(path: &Path) -> Option<Session> {
    let program = server_program()?;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=4m none \"$0\" && exec \"$1\"").arg(path).arg(program);
    let session = start(command).await;
    if session.is_none() {
        println!("skipped: no mount in a namespace of our own here");
    }
    session
}

fn server_program() -> Option<&'static str> {
    let program = SERVERS.into_iter().find(|path| Path::new(path).exists());
    if program.is_none() {
        println!("skipped: no sftp-server here (package openssh-sftp-server)");
    }
    program
}

async fn start(mut command: Command) -> Option<Session> {
    let mut server =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().ok()?;
    let (input, output) = (server.stdin.take()?, server.stdout.take()?);
    let sftp = super::Session::open(input, output).await.ok()?;
    Some(Session { sftp, server })
}

/// A host tree and its mirror, in one temporary directory.
pub(super) struct Trees {
    _directory: tempfile::TempDir,
    pub(super) root: Root,
    pub(super) mirror: PathBuf,
    pub(super) known: Option<Manifest>,
}

impl Trees {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap();
        fs::create_dir(path.join("host")).unwrap();
        let mirror = path.join("mirrors/one").into_std_path_buf();
        let root = Root::new(path.join("host"));
        Self { _directory: directory, root, mirror, known: None }
    }

    pub(super) fn host(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.host.as_std_path().join(path)
    }

    /// Writes a host file, its directories too.
    pub(super) fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.host(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Scans and plans without sending.
    pub(super) fn plan(&self) -> (Plan, Manifest) {
        let new = scan(&self.root, self.known.as_ref()).unwrap();
        (Plan::between(self.known.as_ref(), &new), new)
    }

    /// One whole run: scan, plan, push, remember.
    pub(super) async fn sync(&mut self, session: &Session) -> Result<(Plan, Sent), SyncError> {
        let (plan, mut new) = self.plan();
        let host = self.root.host.as_std_path();
        let sent = push(&session.sftp, host, &self.mirror, &plan, |_, _| {}).await?;
        new.amend(&sent);
        self.known = Some(new);
        Ok((plan, sent))
    }

    /// Asserts that both trees are the same but for the times of files.
    pub(super) fn assert_same(&self) {
        let (host, mirror) = (tree(self.root.host.as_std_path()), tree(&self.mirror));
        assert_eq!(host, mirror);
    }
}

/// What a tree holds: kind, mode, and content or target, by path.
pub(super) fn tree(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut unseen = vec![top.to_owned()];
    while let Some(directory) = unseen.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.mode() & 0o7777;
            let what = if metadata.is_dir() {
                unseen.push(path.clone());
                format!("directory {mode:o}")
            } else if metadata.is_symlink() {
                format!("link to {:?}", fs::read_link(&path).unwrap())
            } else {
                let hash = blake3::hash(&fs::read(&path).unwrap());
                format!("file {mode:o} {} {hash}", metadata.len())
            };
            found.insert(path.strip_prefix(top).unwrap().to_owned(), what);
        }
    }
    found
}

pub(super) fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path.as_ref(), std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn seconds(path: impl AsRef<Path>) -> i64 {
    fs::symlink_metadata(path.as_ref()).unwrap().mtime()
}

/// Sets a file's modification time.
pub(super) fn set_seconds(path: impl AsRef<Path>, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(seconds * 1000 + 987);
    let file = std::fs::OpenOptions::new().read(true).open(path.as_ref()).unwrap();
    file.set_modified(time).unwrap();
}

/// Content that no two lengths or tags share, and that does not compress to a pattern.
pub(super) fn noise(tag: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&tag.to_le_bytes());
    hasher.finalize_xof().fill(&mut content);
    content
}
