//! Two clones of one template are no twins: each promise of the README's chapter on clones.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;

use crate::common::{Running, TestEnvironment, Vmm};

/// Prints what must differ, a name and a value a line.
const TRAITS: &str = r#"
    bytes() { od -An -v -N16 -tx1 "$1" | tr -d ' \n'; echo; }
    echo "urandom $(bytes /dev/urandom)"
    echo "getrandom $(perl -e '$b = "\0" x 16; syscall(318, $b, 16, 0); print unpack("H*", $b)')"
    echo "openssl $(openssl rand -hex 16)"
    echo "hostname $(hostname)"
    echo "name $(cat /etc/hostname)"
    echo "machine-id $(cat /etc/machine-id)"
    echo "boot-id $(cat /proc/sys/kernel/random/boot_id)"
    [ -e /sys/class/net/eth0 ] && echo "mac $(cat /sys/class/net/eth0/address)"
    true
"#;

/// Two clones that were started at once, each with a shell of the test's.
fn two_clones(env: &TestEnvironment) -> [Clone; 2] {
    // Made first, so that both start from it.
    env.sh("true").run().code(0);
    let mut clones = ["one", "two"].map(|name| Clone::start(env, name));
    for clone in &mut clones {
        clone.shell.wait_for_stdout("up\n");
    }
    clones
}

struct Clone {
    name: &'static str,
    shell: Running,
}

impl Clone {
    fn start(env: &TestEnvironment, name: &'static str) -> Self {
        let args = ["--quiet", "run", "--no-sync", "--name", name, "--", "sh"];
        let mut shell = env.banger(args).interactive().start();
        shell.write("echo up\n");
        Self { name, shell }
    }

    /// The lines that a script prints.
    fn ask(&mut self, script: &str) -> Vec<String> {
        self.shell.write(&format!("echo :begin; {script}\necho :end\n"));
        let text = self.shell.wait_for_stdout(":end\n");
        let answer = text.rsplit_once(":begin\n").unwrap().1;
        answer.lines().take_while(|line| *line != ":end").map(str::to_owned).collect()
    }

    fn end(mut self) {
        self.shell.write("exit 0\n");
        self.shell.finish().code(0);
    }
}

#[test]
fn two_clones_of_one_template_have_nothing_of_their_own_in_common() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let [mut one, mut two] = two_clones(&env);
    let (ones, twos) = (one.ask(TRAITS), two.ask(TRAITS));
    let has_link = Vmm::of_the_suite() == Vmm::Qemu;
    assert_eq!(ones.len(), if has_link { 8 } else { 7 }, "{ones:?}");
    for (one, two) in ones.iter().zip(&twos) {
        let ((name, one), (_, two)) = (one.split_once(' ').unwrap(), two.split_once(' ').unwrap());
        assert!(!one.is_empty() && one != two, "{name}: `{one}` and `{two}`");
    }
    assert_eq!((ones[3].as_str(), ones[4].as_str()), ("hostname one", "name one"));
    // The sshd of a network drew its first random numbers before the template was frozen, and lives
    // on in both.
    assert_ne!(key_exchange_cookie(&env, one.name), key_exchange_cookie(&env, two.name));
    one.end();
    two.end();
    env.assert_nothing_left();
}

#[test]
fn a_clones_clocks_are_right() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let mut clones = two_clones(&env);
    for clone in &mut clones {
        let ask = |clone: &mut Clone, what: &str| clone.ask(what)[0].clone();
        let before = now_ms();
        let guest: u128 = ask(clone, "date +%s%3N").parse().unwrap();
        let after = now_ms();
        let tolerance = 200;
        assert!(
            before <= guest + tolerance && guest <= after + tolerance,
            "{before} {guest} {after}"
        );
        let uptime = |clone: &mut Clone| -> f64 {
            ask(clone, "cut -d' ' -f1 /proc/uptime").parse().unwrap()
        };
        let (first, second) = (uptime(clone), uptime(clone));
        assert!(first <= second && second < 3600.0, "up for {first} s, then for {second} s");
    }
    clones.into_iter().for_each(Clone::end);
}

#[test]
fn a_clone_inherits_no_connection_and_has_a_source_of_entropy() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let mut clones = two_clones(&env);
    for clone in &mut clones {
        // Of all that do more than listen (0A).
        let script = "cat /proc/net/tcp /proc/net/tcp6 | awk '$4 ~ /^[0-9A-F][0-9A-F]$/ && $4 != \"0A\"' | wc -l";
        assert_eq!(clone.ask(script), ["0"]);
        assert_eq!(clone.ask("cat /sys/class/misc/hw_random/rng_current"), ["virtio_rng.0"]);
    }
    clones.into_iter().for_each(Clone::end);
}

/// The random bytes with which the guest's sshd opens a key exchange (RFC 4253, 7.1).
fn key_exchange_cookie(env: &TestEnvironment, name: &str) -> [u8; 16] {
    const KEXINIT: u8 = 20;
    let run = env.home().join("state/runs").join(name);
    let config = fs::read_to_string(run.join("ssh_config")).unwrap();
    let mut packet = match config.lines().find_map(|line| line.strip_prefix("Port ")) {
        Some(port) => {
            let port = port.parse::<u16>().unwrap();
            first_packet(TcpStream::connect(("127.0.0.1", port)).unwrap())
        }
        None => {
            // How Firecracker leads to a port of the guest's vsock.
            let mut stream = UnixStream::connect(run.join("vsock.sock")).unwrap();
            stream.write_all(b"CONNECT 22\n").unwrap();
            read_line(&mut stream);
            first_packet(stream)
        }
    };
    // Four bytes of length, one of padding, the message's number.
    let cookie = packet.split_off(4 + 1 + 1);
    assert_eq!(packet[5], KEXINIT);
    cookie.try_into().unwrap()
}

/// What sshd sends once both have said who they are.
fn first_packet(mut stream: impl Read + Write) -> Vec<u8> {
    stream.write_all(b"SSH-2.0-test\r\n").unwrap();
    read_line(&mut stream);
    let mut packet = vec![0; 4 + 1 + 1 + 16];
    stream.read_exact(&mut packet).unwrap();
    packet
}

fn read_line(stream: &mut impl Read) {
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).unwrap();
    }
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}
