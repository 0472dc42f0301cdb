//! `cargo banger setup` installs nothing but the release that it names.

use camino::Utf8Path;
use fs_err as fs;

use crate::common::{TestEnvironment, skip};

/// The release that is installed.
const TAG: &str = "v1.12.1";

#[test]
fn what_is_not_the_release_is_refused() {
    let env = TestEnvironment::without_vm();
    if !Utf8Path::new("/usr/bin/curl").exists() {
        return skip("there is no `curl`, which fetches the release");
    }
    let setup = |mirror: &str| env.banger(["setup", "--mirror", mirror]).run().code(241);
    let mirror = format!("file://{}", env.work());
    setup(&mirror).says(&["cannot fetch", TAG, "--mirror"]);

    let release = env.work().join(TAG).join(format!("release-{TAG}-x86_64"));
    fs::create_dir_all(&release).unwrap();
    for program in ["firecracker", "jailer"] {
        fs::write(release.join(format!("{program}-{TAG}-x86_64")), "#!/bin/sh\n").unwrap();
    }
    let archive = format!("firecracker-{TAG}-x86_64.tgz");
    let tar = env.program("tar").args(["-czf", &archive, release.file_name().unwrap()]);
    tar.directory(env.work().join(TAG)).run().code(0);
    setup(&mirror).says(&["`firecracker` has the checksum", "not installed"]);
    assert!(!env.home().join("state/programs/firecracker-1.12.1").exists());
}
