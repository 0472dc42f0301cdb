//! What a guest with a network reaches, and what not. The outside is a network namespace, and so is the
//! host, so that nothing leaves this machine: that needs root.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::common::{BANGER, Program, TestEnvironment, Vmm, eventually, processes_of, skip};

/// A server beyond the host, in its LAN; the same with a public address, and where clouds have metadata.
const LAN: &str = "192.168.77.1";
const PUBLIC: &str = "11.0.0.1";
const METADATA: &str = "169.254.169.254";

/// The host's own address there.
const HOST: &str = "192.168.77.2";

/// The port of all servers.
const PORT: u16 = 8077;

/// In a guest: prints what a server at an address says, or that it does not.
const ASK: &str =
    "ask() { timeout 30 bash -c \"cat </dev/tcp/$1/${2:-8077}\" 2>/dev/null || echo \"no $1\"; }; ";

/// A host with its outside. Dropping it removes both.
struct World {
    host: String,
    outside: String,
}

impl World {
    /// Makes them, with a server each; `None`, with the reason printed, where that cannot be.
    fn new() -> Option<Self> {
        let mark = std::process::id();
        let thread = format!("{:?}", thread::current().id());
        let number: String = thread.chars().filter(char::is_ascii_digit).collect();
        let [host, outside] = ["host", "outside"].map(|side| format!("bt{mark}-{number}-{side}"));
        let this = Self { host, outside };
        if !rustix::process::geteuid().is_root() {
            skip("network namespaces need root");
            return None;
        }
        let Self { host, outside } = &this;
        let outward = format!(
            "addr add {HOST}/24 dev out\nlink set out up\nlink set lo up\n\
                               route add default via {LAN}\n"
        );
        let inward = format!(
            "addr add {LAN}/24 dev in\naddr add {PUBLIC}/32 dev in\n\
                              addr add {METADATA}/32 dev in\nlink set in up\nlink set lo up\n"
        );
        let link = format!("link add out netns {host} type veth peer name in netns {outside}\n");
        let made = ip(&["-batch", "-"], &format!("netns add {host}\nnetns add {outside}\n{link}"))
            .and_then(|()| ip(&["-n", host, "-batch", "-"], &outward))
            .and_then(|()| ip(&["-n", outside, "-batch", "-"], &inward));
        if let Err(why) = made {
            skip(&format!("no network namespaces: {why}"));
            return None;
        }
        serve(&this.outside, (Ipv4Addr::UNSPECIFIED, PORT), "hello from outside\n");
        serve(&this.host, (Ipv4Addr::UNSPECIFIED, PORT), "hello from the host\n");
        serve(&this.host, (Ipv4Addr::LOCALHOST, PORT + 1), "hello from its loopback\n");
        name_everything(&this.host);
        Some(this)
    }

    /// `cargo banger run --no-sync ARGS -- sh -c SCRIPT` on that host, whose resolver is its own.
    fn run(&self, env: &TestEnvironment, args: &[&str], script: &str) -> Program {
        let args = ["run", "--no-sync"].iter().chain(args);
        self.banger(env).args(args).args(["--", "sh", "-c"]).arg(format!("{ASK}{script}"))
    }

    fn banger(&self, env: &TestEnvironment) -> Program {
        let resolv = env.work().join("resolv.conf");
        fs::write(&resolv, "nameserver 127.0.0.53\n").unwrap();
        // `ip netns exec` gives it mounts of its own.
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        env.program("ip").args(["netns", "exec", &self.host, "sh", "-c", script]).args([
            resolv.as_str(),
            BANGER,
            "banger",
        ])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for side in [&self.host, &self.outside] {
            drop(ip(&["netns", "delete", side], ""));
        }
    }
}

/// Has `ip` do what a text says.
fn ip(args: &[&str], text: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(told) }
}

/// Makes something in a network namespace, and uses it for as long as the tests run.
fn inside<T: Send + 'static>(
    namespace: &str,
    make: impl FnOnce() -> T + Send + 'static,
    use_it: impl FnOnce(T) + Send + 'static,
) {
    let namespace = fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    let (ready, waiting) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind).unwrap();
        let made = make();
        ready.send(()).unwrap();
        use_it(made);
    });
    waiting.recv().unwrap();
}

/// Says hello to whoever connects.
fn serve(namespace: &str, at: (Ipv4Addr, u16), hello: &'static str) {
    let listen = move || TcpListener::bind(at).unwrap();
    inside(namespace, listen, move |listener| greet(&listener, hello));
}

fn greet(listener: &TcpListener, hello: &str) {
    for caller in listener.incoming() {
        drop(caller.and_then(|mut caller: TcpStream| caller.write_all(hello.as_bytes())));
    }
}

/// A resolver at 127.0.0.53, of which every name has the public server's address.
fn name_everything(namespace: &str) {
    let bind = || UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 53), 53)).unwrap();
    inside(namespace, bind, |socket| {
        let mut question = [0; 512];
        while let Ok((length, asking)) = socket.recv_from(&mut question) {
            let asks_for_ipv4 = question[..length].ends_with(&[0, 1, 0, 1]);
            let mut answer = question[..length].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
            if asks_for_ipv4 {
                answer[7] = 1;
                answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 11, 0, 0, 1]);
            }
            drop(socket.send_to(&answer, asking));
        }
    });
}

/// Whether the suite's VMs have the network that these tests are about.
fn has_passt() -> bool {
    let output = |program: &str, args: &[&str]| Command::new(program).args(args).output();
    // Asked for help, some versions of it fail.
    let installed = output("passt", &["--help"]).is_ok();
    let confined = output("unshare", &["--user", "true"]).is_ok_and(|made| made.status.success());
    let missing = match (Vmm::of_the_suite(), installed, confined) {
        (Vmm::Qemu, true, true) => return true,
        (Vmm::Qemu, true, false) => {
            "`passt` confines itself by user namespaces: there are none here"
        }
        _ => "this is about QEMU with `passt`",
    };
    skip(missing);
    false
}

#[test]
fn a_guest_reaches_the_outside_and_by_no_address_the_host() {
    let Some(env) = TestEnvironment::sharing_images(1).filter(|_| has_passt()) else { return };
    let Some(world) = World::new() else { return };
    // Last, what root in a guest can do: have packets to 127.0.0.1 leave it.
    let script = format!(
        "ask {LAN}; ask {PUBLIC}; ask {METADATA}; ask name.test; \
         ask 10.0.2.2 8078; ask {HOST}; ask {HOST} 8078; \
         echo 1 | tee /proc/sys/net/ipv4/conf/*/route_localnet >/dev/null; \
         ip addr delete 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 10.0.2.2 src 10.0.2.15; \
         ask 127.0.0.1 8078; ask 127.0.0.7"
    );
    let outcome = world.run(&env, &["--net"], &script).run().code(0);
    let expected = "hello from outside\n".repeat(4)
        + &format!("no 10.0.2.2\nno {HOST}\nno {HOST}\nno 127.0.0.1\nno 127.0.0.7\n");
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), expected, "{outcome}");
    env.assert_nothing_left();
}

#[test]
fn with_internet_a_guest_reaches_public_addresses_only() {
    let Some(env) = TestEnvironment::sharing_images(1).filter(|_| has_passt()) else { return };
    let Some(world) = World::new() else { return };
    let script = format!("ask {PUBLIC}; ask name.test; ask {LAN}; ask {METADATA}; ask {HOST}");
    let outcome = world.run(&env, &["--net=internet"], &script).run().code(0);
    let expected =
        "hello from outside\n".repeat(2) + &format!("no {LAN}\nno {METADATA}\nno {HOST}\n");
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), expected, "{outcome}");
    env.assert_nothing_left();
}

#[test]
fn the_hosts_loopback_is_reached_where_it_is_asked_for_and_not_else() {
    let Some(env) = TestEnvironment::sharing_images(1).filter(|_| has_passt()) else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || greet(&listener, "hello\n"));
    for (net, answer) in [("--net=host-loopback", "hello\n"), ("--net", "no 10.0.2.2\n")] {
        let script = format!("{ASK} ask 10.0.2.2 {port}");
        let args = ["run", "--no-sync", net, "--", "sh", "-c", &script];
        let outcome = env.banger(args).run().code(0);
        assert_eq!(String::from_utf8_lossy(&outcome.stdout), answer, "{net}: {outcome}");
    }
    env.assert_nothing_left();
}

#[test]
fn clones_at_once_have_networks_of_their_own_and_one_that_stays_keeps_its() {
    let Some(env) = TestEnvironment::sharing_images(2).filter(|_| has_passt()) else { return };
    let Some(world) = World::new() else { return };
    world.run(&env, &["--net"], "true").run().code(0);
    let script = format!("ask {LAN}; read line; ask {LAN}");
    let mut both = [0, 1].map(|_| world.run(&env, &["--net"], &script).interactive().start());
    both.iter_mut().for_each(|one| drop(one.wait_for_stdout("hello from outside")));
    both.iter_mut().for_each(|one| one.write("go on\n"));
    for one in both {
        let outcome = one.finish().code(0);
        let expected = "hello from outside\n".repeat(2);
        assert_eq!(String::from_utf8_lossy(&outcome.stdout), expected, "{outcome}");
    }
    env.assert_nothing_left();

    world.run(&env, &["--net", "--keep", "--name", "stays"], "true").run().code(0);
    let shell = || world.banger(&env).args(["shell", "stays"]);
    let mut first = shell().interactive().start();
    first.write("echo up$((40 + 2))\n");
    first.wait_for_stdout("up42");
    // By SSH, as the agent is the first one's.
    let second = shell().input(format!("{ASK}\nask {LAN}\n")).run().code(0);
    assert!(second.text().contains("hello from outside"), "{second}");
    first.write("exit\n");
    first.finish().code(0);
    assert_eq!(env.kill_vmms(), 1);
    eventually(Duration::from_secs(20), "what served the VM has ended with it", || {
        processes_of(env.home()).is_empty()
    });
    env.banger(["gc"]).run().code(0);
    env.assert_nothing_left();
}

#[test]
fn whoever_is_killed_nothing_of_a_network_stays() {
    let Some(env) = TestEnvironment::sharing_images(1).filter(|_| has_passt()) else { return };
    let args = ["run", "--no-sync", "--net", "--", "sh", "-c", "echo up; read line"];
    for victim in ["/passt ", "/banger-gate ", "qemu-system-x86_64", ""] {
        let mut run = env.banger(args).interactive().start();
        run.wait_for_stdout("up");
        let found = processes_of(env.home());
        assert_eq!(found.len(), 3, "{found:#?}");
        match victim {
            "" => run.signal(Signal::KILL),
            _ => {
                let (pid, _) = found.iter().find(|(_, line)| line.contains(victim)).unwrap();
                kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL).unwrap();
            }
        }
        // A VM outlives its network.
        if victim.starts_with('/') {
            run.write("go on\n");
            run.finish().code(0);
        } else {
            drop(run.finish());
        }
        eventually(Duration::from_secs(20), "they end with each other", || {
            processes_of(env.home()).is_empty()
        });
        env.banger(["gc"]).run().code(0);
        env.assert_nothing_left();
    }
}

#[test]
fn a_passt_that_does_not_come_up_says_why_before_anything_boots() {
    let Some(env) = TestEnvironment::sharing_images(1).filter(|_| has_passt()) else { return };
    let programs = env.work().join("bin");
    fs::create_dir(&programs).unwrap();
    let fake = programs.join("passt");
    fs::write(&fake, "#!/bin/sh\necho \"Couldn't create user namespace: not here\" >&2\nexit 1\n")
        .unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(&fake, mode).unwrap();
    let mut path = vec![programs.into_std_path_buf()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let run = env.banger(["run", "--no-sync", "--cold", "--net", "--", "true"]);
    run.env("PATH", std::env::join_paths(path).unwrap())
        .run()
        .code(242)
        .says(&["`passt` exited with 1: Couldn't create user namespace", "--net=host-loopback"]);
    env.assert_nothing_left();
}
