use std::process::Command;

use banger_protocol::event::Events;

use super::*;
use crate::layer::testing::{Heard, TempDir, can_pack, cargo, run, unpack};

fn package(name: &str, source: &str) -> LockedPackage {
    let (name, source) = (name.to_owned(), source.to_owned());
    LockedPackage { name, version: "1.0.0".to_owned(), source, checksum: None }
}

fn none() -> WorkspaceSources {
    WorkspaceSources::read("/nonexistent".into()).unwrap()
}

#[test]
fn the_key_covers_each_package_and_keeps_fields_apart() {
    let id = |packages: &[LockedPackage]| layer_id(packages, &none());
    let one = id(&[package("a", "registry+x")]);
    assert_eq!(one, id(&[package("a", "registry+x")]));
    let checksum = Some("00".to_owned());
    for other in [
        package("b", "registry+x"),
        package("a", "registry+y"),
        LockedPackage { checksum, ..package("a", "registry+x") },
        LockedPackage { version: "1.0.1".to_owned(), ..package("a", "registry+x") },
        LockedPackage { version: String::new(), ..package("a1.0.0", "registry+x") },
    ] {
        assert_ne!(one, id(std::slice::from_ref(&other)), "{other:?}");
    }
}

#[tokio::test]
async fn without_anything_to_vendor_there_is_no_layer() {
    let temp = TempDir::new();
    let heard = Heard::default();
    let store = temp.store(heard.events());
    let (manifest, lockfile) = (temp.join("Cargo.toml"), temp.join("Cargo.lock"));
    let ask = || store.dependencies("/no/cargo".into(), &manifest, &lockfile);
    assert!(matches!(ask().await.unwrap_err(), LayerError::ReadLockfile(_)));
    temp.write("Cargo.lock", "version = 4\n[[package]]\nname = 'a'\nversion = '0.1.0'\n");
    assert!(ask().await.unwrap().is_none());
    temp.write(
        "Cargo.lock",
        "version = 4\n[[package]]\nname = 'a'\nversion = '0.1.0'\nsource = 'registry+x'\n",
    );
    assert!(matches!(ask().await.unwrap_err(), LayerError::Cargo(_)));
    temp.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = 'v'\n[source.v]\ndirectory = 'vendor'\n",
    );
    fs::create_dir(temp.join("vendor")).unwrap();
    assert!(ask().await.unwrap().is_none());
    assert!(heard.contains("its own crates"));
}

#[tokio::test]
async fn cargos_words_are_kept_where_vendoring_fails() {
    let temp = TempDir::new();
    temp.write("app/Cargo.toml", "[package]\nname = 'app'\nversion = '0.1.0'\nedition = '2021'\n");
    temp.write("app/src/lib.rs", "");
    let stale = "version = 4\n[[package]]\nname = 'b'\nversion = '0.1.0'\n\
                 source = 'registry+https://github.com/rust-lang/crates.io-index'\n";
    temp.write("app/Cargo.lock", stale);
    let store = temp.store(Events::silent());
    let lockfile = temp.join("app/Cargo.lock");
    let result = store.dependencies(&cargo(), &temp.join("app/Cargo.toml"), &lockfile).await;
    let error = result.unwrap_err();
    assert!(error.to_string().contains("Cargo.lock"), "{error}");
    assert!(error.hint().unwrap().contains("cargo update"), "{error}");
    assert_eq!(fs::read_to_string(lockfile).unwrap(), stale, "the user's tree is left alone");
}

/// A crate that depends on `itoa` and on a crate in a git repository, both in a temporary place.
struct App {
    temp: TempDir,
    store: LayerStore,
}

impl App {
    fn new() -> Self {
        let temp = TempDir::new();
        temp.write(
            "dep/Cargo.toml",
            "[package]\nname = 'dep'\nversion = '0.1.0'\nedition = '2021'\n",
        );
        let git = temp.join("dep");
        run(Command::new("git").args(["init", "-q", git.as_str()]));
        let manifest = format!(
            "[package]\nname = 'app'\nversion = '0.1.0'\nedition = '2021'\n[dependencies]\n\
             itoa = '1'\ndep = {{ git = 'file://{git}' }}\n"
        );
        temp.write("app/Cargo.toml", &manifest);
        let main = "fn main() { print!(\"{}\", itoa::Buffer::new().format(dep::VALUE)) }\n";
        temp.write("app/src/main.rs", main);
        let store = temp.store(Events::silent());
        let app = Self { temp, store };
        app.commit(1);
        app
    }

    /// Commits a new value to the git repository, under the same version.
    fn commit(&self, value: u32) {
        self.temp.write("dep/src/lib.rs", &format!("pub const VALUE: u32 = {value};\n"));
        let git = |args: &[&str]| {
            let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
            run(Command::new("git").arg("-C").arg(self.temp.join("dep")).args(who).args(args))
        };
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "value"]);
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.args(args).current_dir(self.temp.join("app"));
        command.env("CARGO_TARGET_DIR", self.temp.join("target"));
        command
    }

    async fn layer(&self) -> Layer {
        let app = |name| self.temp.join("app").join(name);
        let (manifest, lockfile) = (app("Cargo.toml"), app("Cargo.lock"));
        let layer = self.store.dependencies(&cargo(), &manifest, &lockfile).await;
        layer.unwrap().unwrap()
    }

    /// Runs the crate offline with nothing but what the layer holds, as in a guest.
    fn run_with(&self, layer: &Layer, home: &str) -> String {
        let vendored = self.temp.join("mounted").join(home);
        fs::create_dir_all(vendored.parent().unwrap()).unwrap();
        unpack(layer.image(), &vendored);
        let config = fs::read_to_string(vendored.join(CARGO_CONFIG)).unwrap();
        assert!(config.contains(VENDOR_MOUNT), "{config}");
        // A test has no say over /opt; so link what a guest mounts there.
        let mount = self.temp.join("mount");
        fs::remove_file(&mount).ok();
        std::os::unix::fs::symlink(&vendored, &mount).unwrap();
        let config = config.replace(VENDOR_MOUNT, mount.as_str());
        self.temp.write(&format!("{home}/config.toml"), &config);
        run(self.cargo(&["run", "-q", "--offline"]).env("CARGO_HOME", self.temp.join(home)))
    }
}

#[tokio::test]
async fn a_crate_builds_offline_with_its_layer() {
    if !can_pack() {
        return;
    }
    let app = App::new();
    if !app.cargo(&["generate-lockfile"]).status().unwrap().success() {
        eprintln!("skipped: the registry is out of reach");
        return;
    }
    let first = app.layer().await;
    assert_eq!(first.mount_point(), VENDOR_MOUNT);
    assert_eq!(first.bin(), None);
    assert_eq!(app.store.list().unwrap()[0].what, "2 crates");
    assert_eq!(app.run_with(&first, "home1"), "1");
    // Another commit under the same version has to reach a warm target directory.
    app.commit(2);
    run(&mut app.cargo(&["update", "-q", "-p", "dep"]));
    let second = app.layer().await;
    assert_ne!(first.id(), second.id());
    assert_eq!(app.run_with(&second, "home2"), "2");
}
