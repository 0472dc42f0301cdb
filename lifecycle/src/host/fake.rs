//! Programs for tests that stand in for real ones.

use std::path::Path;
use std::process::Command;

/// Makes an executable shell script.
///
/// A child writes it: were the file open in this process, another test's fork could hold it open
/// just when it is to be executed, which the kernel refuses.
pub(crate) fn program(dir: &Path, name: &str, body: &str) {
    let write = "printf '#!/bin/sh\\n%s\\n' \"$2\" >\"$1\" && chmod 755 \"$1\"";
    let file = dir.join(name);
    let status = Command::new("/bin/sh").args(["-c", write, "sh"]).arg(file).arg(body).status();
    assert!(status.unwrap().success());
}
