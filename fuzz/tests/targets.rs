//! One target for each thing that is read from a guest, from a workspace, or from files of ours that
//! somebody else might have changed. Each runs on its seeds, on the engine's bytes, and on seeds that
//! those change.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use banger_fuzz::{mutated, seeds};
use banger_lifecycle::fuzzing;
use banger_lifecycle::image::{PackageList, packages::Origin};
use banger_lifecycle::network::{Reach, gate};
use banger_lifecycle::rundir::{Layout, Record};
use banger_lifecycle::sync::{Manifest, PullOptions, Root, Session, Wanted, pull, scan};
use banger_protocol::text::plain;
use banger_protocol::verdict::{LONGEST, Verdict};
use camino::Utf8Path;

/// How long one input may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A test that runs a function on all inputs of the target of that name.
macro_rules! target {
    ($name:ident, $run:expr) => {
        #[test]
        fn $name() {
            static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
            let run: fn(&[u8]) = $run;
            let seeds = SEEDS.get_or_init(|| seeds(stringify!($name)));
            seeds.iter().for_each(|seed| run(seed));
            bolero::check!().for_each(move |bytes: &[u8]| {
                run(bytes);
                run(&mutated(seeds, bytes));
            });
        }
    };
}

target!(agent_frames, fuzzing::agent_frames);

target!(console, |bytes| {
    let tail = fuzzing::console(bytes);
    assert!(tail.len() <= 64 << 10, "{} bytes of a console are kept", tail.len());
    let shown = plain(&tail);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");
});

target!(verdict, |bytes| {
    if let Some(verdict) = Verdict::parse(bytes) {
        assert!(bytes.len() <= LONGEST);
        assert_eq!(Verdict::parse(verdict.to_text().as_bytes()), Some(verdict));
    }
});

target!(record, |bytes| {
    let layout = Layout::under(Utf8Path::new("/nowhere/home"));
    let run_dir = layout.runs().join("otter");
    if let Ok(record) = Record::parse(bytes, &layout, &run_dir) {
        let own = layout.workspaces();
        for path in &record.meta.owns {
            assert!(path.starts_with(&own) && !path.as_str().contains(".."), "{path}");
        }
        for device in &record.meta.devices {
            assert!(device.starts_with("banger-") && !device.contains('/'), "{device}");
        }
    }
});

/// What follows the name of the format in a manifest's file, and comes before its checksum.
fn manifest_of(content: &[u8]) -> Vec<u8> {
    let content = [b"banger-manifest1", content].concat();
    let checksum = blake3::hash(&content);
    [&content[..], checksum.as_bytes()].concat()
}

target!(manifest, |bytes| {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let dir = Utf8Path::from_path(dir.path()).expect("its name is text");
    let path = dir.join("manifest");
    std::fs::write(&path, manifest_of(bytes)).expect("a file can be written");
    if let Some(manifest) = Manifest::load(&path) {
        manifest.save(&path).expect("what was read can be written");
        assert_eq!(Manifest::load(&path), Some(manifest));
    }
});

target!(packages, |bytes| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(list) = PackageList::parse(text, Origin::Builtin) {
        for name in list.iter() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "+-.:=~/_^".contains(c);
            assert!(!name.starts_with('-') && name.chars().all(plain), "{name:?}");
        }
    }
});

target!(ignore_file, |bytes| {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let top = Utf8Path::from_path(dir.path()).expect("its name is text");
    std::fs::write(top.join(".gitignore"), bytes).expect("a file can be written");
    std::fs::create_dir_all(top.join("a/b")).expect("a directory can be made");
    std::fs::write(top.join("a/b/c.o"), "").expect("a file can be written");
    // Too many or too long patterns are an error, and nothing else is.
    drop(scan(&Root::new(top), None));
});

target!(sftp_replies, |bytes| {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let target = dir.path().join("outer/target");
    std::fs::create_dir(dir.path().join("outer")).expect("a directory can be made");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(async {
        let fetching = fetch(bytes.to_vec(), &target);
        tokio::time::timeout(LIMIT, fetching).await.expect("a fetch ends with its server");
    });
    let outside = std::fs::read_dir(dir.path()).expect("it is there").count();
    assert_eq!(outside, 1, "something was written beside the target");
});

/// Fetches from a server that says this, whatever it is asked, and then ends.
async fn fetch(says: Vec<u8>, target: &Path) {
    let Ok(session) = Session::open(tokio::io::sink(), std::io::Cursor::new(says)).await else {
        return;
    };
    let options = PullOptions { max_bytes: 1 << 20, max_entries: 1000, outside_links: false };
    let guest = Path::new("/out");
    let wanted = Wanted { guest, host: target, handle: "0123abcd", options };
    drop(pull(&session, wanted, |_| Ok(()), |_, _| {}).await);
}

target!(frames_to_the_outside, |bytes| {
    let (vmm, ours) = UnixStream::pair().expect("sockets can be made");
    let (passt, theirs) = UnixStream::pair().expect("sockets can be made");
    let passed = std::thread::scope(|scope| {
        let gate = scope.spawn(move || gate::run(vmm, passt, Reach::Internet));
        let mut to = &ours;
        drop(to.write_all(bytes));
        drop(ours.shutdown(Shutdown::Write));
        let reading = scope.spawn(move || {
            let mut passed = Vec::new();
            drop((&theirs).read_to_end(&mut passed));
            passed
        });
        drop(gate.join().expect("the gate does not panic"));
        reading.join().expect("reading does not panic")
    });
    assert!(!reaches_loopback(&passed), "a frame to 127.0.0.1 has passed");
});

/// Whether among frames with their lengths before them there is one of IPv4 to the loopback.
fn reaches_loopback(mut frames: &[u8]) -> bool {
    while let Some((length, rest)) = frames.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((frame, rest)) = rest.split_at_checked(length) else { return false };
        if frame.get(12..14) == Some(&[8, 0]) && frame.get(30) == Some(&127) {
            return true;
        }
        frames = rest;
    }
    false
}
