//! Tests that a container cannot run: they mount filesystems, make network namespaces and start
//! systemd services. Each has a VM of its own, so none of that touches the machine that runs them.

#![expect(clippy::disallowed_methods, reason = "an example without fs_err")]

use std::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use example_kernel::{Peer, ScratchFs, Service, run};

type TestResult = Result<(), Box<dyn Error>>;

/// A directory that a test has to itself; gone with the VM.
fn directory(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

#[banger::test]
fn a_full_filesystem_refuses_the_next_byte() -> TestResult {
    let scratch = ScratchFs::create(&directory("full"), 4)?;
    let mut file = File::create(scratch.path().join("file"))?;
    let mut written = 0;
    let error = loop {
        match file.write_all(&[1; 64 << 10]) {
            Ok(()) => written += 64 << 10,
            Err(error) => break error,
        }
        assert!(written <= 4 << 20, "a filesystem of 4 MiB took {written} bytes");
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(written > 1 << 20, "{written}");
    Ok(())
}

#[banger::test]
fn a_read_only_filesystem_keeps_what_it_has_and_takes_nothing() -> TestResult {
    let scratch = ScratchFs::create(&directory("read-only"), 4)?;
    let path = scratch.path().join("file");
    File::create(&path)?.write_all(b"kept")?;
    scratch.make_read_only()?;
    let mut text = String::new();
    File::open(&path)?.read_to_string(&mut text)?;
    assert_eq!(text, "kept");
    let error = File::create(scratch.path().join("other")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    Ok(())
}

#[banger::test]
fn a_dropped_filesystem_leaves_no_mount_and_no_loop_device() -> TestResult {
    let scratch = ScratchFs::create(&directory("dropped"), 4)?;
    let (path, device) = (scratch.path().to_owned(), scratch.device().to_owned());
    assert!(run(&["findmnt", "-n", &path.to_string_lossy()]).is_ok());
    drop(scratch);
    assert!(run(&["findmnt", "-n", &path.to_string_lossy()]).is_err());
    let backing = run(&["losetup", "--noheadings", "--output", "BACK-FILE", &device]);
    assert!(!backing.is_ok_and(|file| file.contains("/dropped/")));
    Ok(())
}

/// What a peer reads that connects to us, or how its attempt ended.
fn read_from_us(peer: &Peer, port: u16) -> Result<String, String> {
    let script = format!("exec 3<>/dev/tcp/{}/{port} && cat <&3", peer.our_address());
    let output = peer.command("timeout").args(["5", "bash", "-c", &script]).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}: {}", output.status, text(&output.stderr)))
    }
}

#[banger::test]
fn a_peer_in_its_own_namespace_connects_over_the_link() -> TestResult {
    let peer = Peer::create("linked", 1)?;
    let listener = TcpListener::bind((peer.our_address(), 0))?;
    let port = listener.local_addr()?.port();
    let server = spawn(move || {
        let (mut stream, from) = listener.accept()?;
        stream.write_all(b"hello, peer")?;
        Ok::<_, std::io::Error>(from.ip())
    });
    assert_eq!(read_from_us(&peer, port)?, "hello, peer");
    assert_eq!(server.join().unwrap()?, peer.address());
    Ok(())
}

#[banger::test]
fn an_unplugged_peer_reaches_nobody() -> TestResult {
    let peer = Peer::create("unplugged", 2)?;
    let listener = TcpListener::bind((peer.our_address(), 0))?;
    peer.unplug()?;
    let error = read_from_us(&peer, listener.local_addr()?.port()).unwrap_err();
    assert!(error.contains("exit status"), "{error}");
    Ok(())
}

#[banger::test]
fn systemd_restarts_a_service_that_was_killed() -> TestResult {
    let service = Service::start("example", "/bin/sleep infinity")?;
    assert_eq!(service.property("ActiveState")?, "active");
    let first = service.property("MainPID")?;
    service.kill()?;
    let killed = Instant::now();
    while service.property("NRestarts")? != "1" || service.property("ActiveState")? != "active" {
        assert!(killed.elapsed() < Duration::from_secs(30), "systemd did not restart it");
        sleep(Duration::from_millis(50));
    }
    let second = service.property("MainPID")?;
    assert!(second != first && second != "0", "{first}, then {second}");
    Ok(())
}
