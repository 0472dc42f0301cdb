//! Each option of `#[banger::test]`, seen from inside.

#![forbid(unsafe_code)]
#![deny(missing_docs, nonstandard_style, unreachable_pub, unused, clippy::all)]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests, all of it, with few dependencies"
)]

use std::process::Command;
use std::time::Duration;

/// What a command prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the guest has it");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[banger::test(vcpu = 3, ram = 512)]
fn has_the_shape_that_was_asked_for() {
    assert_eq!(output("nproc", &[]), "3");
    let total = read("/proc/meminfo");
    let kib: u64 = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((400_000..525_000).contains(&kib), "{kib}");
}

#[banger::test(init = "systemd")]
fn has_systemd() {
    assert_eq!(read("/proc/1/comm").trim(), "systemd");
}

#[banger::test(env = ["COLOUR=deep blue", "EMPTY="])]
fn has_variables() {
    assert_eq!(std::env::var("COLOUR").unwrap(), "deep blue");
    assert_eq!(std::env::var("EMPTY").unwrap(), "");
    assert_eq!(std::env::var("CARGO_PKG_NAME").unwrap(), "example-options");
}

#[banger::test(files = ["/etc/passwd:/srv/host/passwd", "tests"])]
fn has_files_of_the_host() {
    assert!(read("/srv/host/passwd").contains("root:"));
    assert!(read("tests/options.rs").contains("has_files_of_the_host"));
}

#[banger::test(user = "nobody")]
fn runs_as_somebody_else() {
    assert_eq!(output("id", &["-un"]), "nobody");
    assert!(std::fs::File::create("/etc/motd").is_err());
}

#[banger::test(user = "ada")]
fn runs_as_somebody_who_is_made_first() {
    assert_eq!(output("id", &["-un"]), "ada");
    assert_eq!(std::env::var("HOME").unwrap(), "/home/ada");
    drop(std::fs::File::create("/home/ada/file").expect("it is hers"));
}

#[banger::test(timeout = "2m")]
async fn has_a_runtime() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (connected, accepted) =
        tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
    assert_eq!(connected.unwrap().local_addr().unwrap(), accepted.unwrap().1);
}

#[banger::test(matrix = ["bookworm"])]
fn runs_on_each_image() {
    assert!(read("/etc/os-release").contains("bookworm"));
}

#[banger::test]
fn may_find_that_it_cannot_run() {
    banger::skip("this machine has no flux capacitor");
}

/// Two tests that use one VM: whichever comes second finds the other's trace.
mod group {
    const TRACES: &str = "/srv/traces";

    fn leave_a_trace(name: &str) -> usize {
        std::fs::create_dir_all(TRACES).unwrap();
        drop(std::fs::File::create(format!("{TRACES}/{name}")).unwrap());
        std::fs::read_dir(TRACES).unwrap().count()
    }

    #[banger::test(shared = "traces")]
    fn one() {
        println!("{} in {}", leave_a_trace("one"), super::read("/etc/hostname"));
    }

    #[banger::test(shared = "traces")]
    fn other() {
        println!("{} in {}", leave_a_trace("other"), super::read("/etc/hostname"));
    }
}

/// On the host: the VM is used from outside.
#[test]
fn host_code_uses_a_vm() -> Result<(), banger::Error> {
    let mut vm = banger::Vm::builder().ram(512).start()?;
    assert_eq!(vm.run(["id", "-un"])?.text(), "root");
    vm.push("Cargo.toml", "/srv/Cargo.toml")?;
    let copy = vm.command(["cat", "/srv/Cargo.toml"]).output()?;
    assert_eq!(copy.text(), read("Cargo.toml").trim_end());
    let reversed = vm.command(["rev"]).input("abc\n").timeout(Duration::from_secs(60)).output()?;
    assert_eq!(reversed.text(), "cba");
    let slow = vm.command(["sleep", "100"]).timeout(Duration::from_millis(300)).output();
    assert!(slow.unwrap_err().is_timeout());
    vm.shutdown()
}

/// Files written in the guest, brought back.
#[test]
fn host_code_gets_files_from_a_vm() -> Result<(), banger::Error> {
    let mut vm = banger::Vm::builder().start()?;
    assert!(vm.run(["sh", "-c", "mkdir /srv/out && uname -r >/srv/out/kernel"])?.success());
    let here = std::env::temp_dir().join(format!("example-options-{}", std::process::id()));
    vm.pull("/srv/out", &here)?;
    let kernel = read(&here.join("kernel").to_string_lossy());
    std::fs::remove_dir_all(&here).unwrap();
    assert_eq!(kernel.trim(), vm.run(["uname", "-r"])?.text());
    Ok(())
}

/// Forms that a test may have, under lints that are errors here.
pub mod forms {
    /// Public, and documented.
    #[banger::test]
    pub fn is_public() {}

    #[banger::test]
    #[expect(non_snake_case, reason = "the standard's name for it")]
    fn returns_EINVAL() -> Result<(), std::io::Error> {
        #[expect(unused_variables, reason = "shows that lints are the test's own")]
        let unused = 0;
        Ok(())
    }

    #[banger::test]
    #[should_panic(expected = "unit")]
    fn returns_unit() -> () {
        panic!("unit")
    }

    #[banger::test]
    fn r#match() {}

    #[banger::test]
    #[cfg(target_os = "none")]
    fn does_not_compile_here() {
        no_such_function();
    }

    mod of_the_same_name {
        #[banger::test]
        fn is_public() {}
    }
}
