use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use banger_protocol::event::Event;
use futures_util::future::BoxFuture;

use super::*;
use crate::image::build::Parts;
use crate::image::manifest::FILE_NAME;
use crate::image::packages::{Origin, PackageList};
use crate::image::stored::{BZIMAGE, INITRD, ROOTFS, VMLINUX};
use crate::rundir::record::Uses;
use crate::rundir::{BootId, Record};

/// Writes four small files, different each time.
#[derive(Default)]
struct Fake {
    builds: AtomicUsize,
    fails: bool,
    /// Writes the same each time.
    reproducible: bool,
}

impl Builder for Fake {
    fn build<'a>(
        &'a self,
        _recipe: &'a Recipe,
        directory: &'a Utf8Path,
        title: &'a str,
    ) -> BoxFuture<'a, Result<Parts, ImageError>> {
        Box::pin(async move {
            assert!(title.starts_with("building image ("));
            let number = self.builds.fetch_add(1, Ordering::SeqCst);
            let number = if self.reproducible { 0 } else { number };
            fs::create_dir_all(directory.join("tmp")).unwrap();
            if self.fails {
                return Err(ImageError::Incomplete("everything".to_owned()));
            }
            for name in [ROOTFS, VMLINUX, BZIMAGE, INITRD] {
                fs::write(directory.join(name), format!("{name} {number}")).unwrap();
            }
            // Let another builder in, if nothing keeps it out.
            tokio::task::yield_now().await;
            Ok(Parts {
                kernel: "6.1".to_owned(),
                architecture: "amd64".to_owned(),
                installed: [("git".to_owned(), "1".to_owned())].into(),
                missing_modules: Vec::new(),
            })
        })
    }
}

struct World {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl World {
    fn new() -> Self {
        Self::with(Fake::default())
    }

    fn with(fake: Fake) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, fake: Arc::new(fake), events: Arc::default() }
    }

    fn layout(&self) -> Layout {
        Layout::under(Utf8Path::from_path(self.dir.path()).unwrap())
    }

    fn store(&self) -> ImageStore {
        self.booted("")
    }

    /// The store as it is in a boot of the host.
    fn booted(&self, boot: &str) -> ImageStore {
        let log = self.events.clone();
        let events = Events::new(move |event| log.lock().unwrap().push(event));
        let layout = self.layout().booted(BootId::new(boot));
        ImageStore::with_builder(&layout, events, self.fake.clone())
    }

    fn builds(&self) -> usize {
        self.fake.builds.load(Ordering::SeqCst)
    }

    fn warnings(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        let warning = |event| match event {
            Event::Warning { text, .. } => Some(text),
            _ => None,
        };
        events.into_iter().filter_map(warning).collect()
    }

    /// Everything in the store that is neither an image nor known to stay.
    fn leftovers(&self) -> Vec<String> {
        leftovers(&self.layout())
    }
}

fn leftovers(layout: &Layout) -> Vec<String> {
    let entries = fs::read_dir(layout.images()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let stays = |name: &String| {
        name == "refs" || name.starts_with(".lock-") || Digest::parse(name).is_some()
    };
    names.filter(|name| !stays(name)).collect()
}

fn recipe(packages: &str, path: &str) -> Recipe {
    let list = PackageList::parse(packages, Origin::File(path.into())).unwrap();
    Recipe::new("bookworm", None, &list).unwrap()
}

#[tokio::test]
async fn the_first_use_builds_and_the_second_does_not() {
    let world = World::new();
    let recipe = recipe("git", "/w/packages.apt");
    assert_eq!(world.store().why_stale(&recipe), Staleness::Missing);
    let first = world.store().ensure(&recipe, false).await.unwrap();
    let second = world.store().ensure(&recipe, false).await.unwrap();
    assert_eq!(first.digest(), second.digest());
    assert_eq!(world.builds(), 1);
    assert_eq!(fs::read_to_string(first.rootfs()).unwrap(), "rootfs.ext4 0");
    for path in [first.rootfs(), first.vmlinux(), first.bzimage(), first.initrd()] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444, "{path}");
    }
    let manifest = first.manifest();
    assert_eq!(manifest.size, manifest.files.values().sum::<u64>());
    assert!(manifest.age(SystemTime::now()) < Duration::from_secs(3600));
    let digest = first.digest().clone();
    assert_eq!(world.store().why_stale(&recipe), Staleness::Fresh { digest });
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_changed_list_warns_and_goes_on_until_a_rebuild() {
    let world = World::new();
    let first = world.store().ensure(&recipe("git", "/w"), false).await.unwrap();
    let edited = recipe("curl", "/w");
    let same = world.store().ensure(&edited, false).await.unwrap();
    assert_eq!(first.digest(), same.digest());
    let expected = "`/w` changed since the image was built: +curl -git";
    assert_eq!(world.warnings(), [expected]);
    let Staleness::Changed { difference, .. } = world.store().why_stale(&edited) else { panic!() };
    assert_eq!(difference.to_string(), "+curl -git");
    let rebuilt = world.store().ensure(&edited, true).await.unwrap();
    assert_ne!(first.digest(), rebuilt.digest());
    let after = world.store().ensure(&edited, false).await.unwrap();
    assert_eq!(after.digest(), rebuilt.digest());
    assert_eq!(world.warnings(), Vec::<String>::new());
    // Back on the old branch the old image is still there.
    let back = world.store().ensure(&recipe("git", "/w"), false).await.unwrap();
    assert_eq!((back.digest(), world.builds()), (first.digest(), 2));
}

#[tokio::test]
async fn another_workspace_with_the_same_list_shares_the_image() {
    let world = World::new();
    let first = world.store().ensure(&recipe("git", "/one"), false).await.unwrap();
    let second = world.store().ensure(&recipe("git", "/two"), false).await.unwrap();
    assert_eq!(first.digest(), second.digest());
    assert_eq!(world.builds(), 1);
    assert_eq!(world.store().list().unwrap()[0].slots, 2);
}

#[tokio::test]
async fn two_first_runs_build_once() {
    let world = World::new();
    let recipe = recipe("git", "/w");
    let (one, two) = (world.store(), world.store());
    let (first, second) = tokio::join!(one.ensure(&recipe, false), two.ensure(&recipe, false));
    assert_eq!(first.unwrap().digest(), second.unwrap().digest());
    assert_eq!(world.builds(), 1);
    let waited = |event: &Event| matches!(event, Event::Note { text } if text.contains("waiting"));
    assert!(world.events.lock().unwrap().iter().any(waited));
}

#[tokio::test]
async fn a_damaged_image_is_built_anew() {
    for damage in ["truncate", "remove", "manifest"] {
        let world = World::new();
        let recipe = recipe("git", "/w");
        let image = world.store().ensure(&recipe, false).await.unwrap();
        let (digest, rootfs, initrd) = (image.digest().clone(), image.rootfs(), image.initrd());
        drop(image);
        match damage {
            "truncate" => {
                fs::remove_file(&rootfs).unwrap();
                fs::write(&rootfs, "short").unwrap();
            }
            "remove" => fs::remove_file(initrd).unwrap(),
            _ => {
                let manifest = rootfs.with_file_name(FILE_NAME);
                fs::remove_file(&manifest).unwrap();
                fs::write(manifest, "{}").unwrap();
            }
        }
        assert!(world.store().list().unwrap()[0].damage.is_some(), "{damage}");
        assert_eq!(world.store().why_stale(&recipe), Staleness::Missing);
        let image = world.store().ensure(&recipe, false).await.unwrap();
        assert_ne!(image.digest(), &digest);
        assert_eq!(world.warnings().len(), 1, "{damage}");
        assert_eq!(world.store().list().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn content_that_a_power_cut_took_is_found_and_built_anew() {
    let world = World::new();
    let recipe = recipe("git", "/w");
    let image = world.store().ensure(&recipe, false).await.unwrap();
    let (digest, vmlinux) = (image.digest().clone(), image.vmlinux());
    drop(image);
    content::testing::damage(&vmlinux);
    // Nobody looks again before the host has booted.
    drop(world.store().ensure(&recipe, false).await.unwrap());
    assert_eq!((world.builds(), world.warnings()), (1, Vec::new()));
    let image = world.booted("another").ensure(&recipe, false).await.unwrap();
    assert_ne!(image.digest(), &digest);
    let warnings = world.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("another content"), "{warnings:?}");
    assert_eq!(world.store().list().unwrap().len(), 1);
    drop(image);
    drop(world.booted("another").ensure(&recipe, false).await.unwrap());
    assert_eq!((world.builds(), world.warnings()), (2, Vec::new()));
}

#[tokio::test]
async fn a_damaged_image_gives_way_to_the_same_one_whole() {
    let world = World::with(Fake { reproducible: true, ..Fake::default() });
    let recipe = recipe("git", "/w");
    let image = world.store().ensure(&recipe, false).await.unwrap();
    let (digest, rootfs) = (image.digest().clone(), image.rootfs());
    content::testing::damage(&rootfs);
    // Somebody has the damaged one open.
    let again = world.booted("another").ensure(&recipe, false).await.unwrap();
    assert_eq!(again.digest(), &digest);
    assert_eq!(fs::read_to_string(rootfs).unwrap(), "rootfs.ext4 0");
    assert_eq!(world.leftovers(), Vec::<String>::new());
    drop((image, again));
}

#[tokio::test]
async fn what_a_kept_vm_uses_is_not_removed() {
    let world = World::new();
    let image = world.store().ensure(&recipe("git", "/w"), false).await.unwrap();
    let digest = image.digest().clone();
    drop(image);
    let layout = world.layout();
    let uses = Uses { images: [digest.to_string()].into(), ..Uses::default() };
    let record = Record::kept("otter", uses);
    let run_dir = layout.runs().join("otter");
    fs::create_dir_all(&run_dir).unwrap();
    record.write(&run_dir).unwrap();
    assert!(world.store().list().unwrap()[0].in_use);
    assert!(matches!(world.store().rm(digest.short()), Err(ImageError::InUse(_))));
    fs::remove_dir_all(run_dir).unwrap();
    world.store().rm(digest.short()).unwrap();
}

#[tokio::test]
async fn another_versions_image_is_let_be() {
    let world = World::new();
    let recipe = recipe("git", "/w");
    let image = world.store().ensure(&recipe, false).await.unwrap();
    let manifest = image.rootfs().with_file_name(FILE_NAME);
    drop(image);
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, r#"{"format": 99}"#).unwrap();
    let image = world.store().ensure(&recipe, false).await.unwrap();
    assert_ne!(image.rootfs().parent(), manifest.parent());
    assert_eq!(world.warnings(), Vec::<String>::new());
    assert_eq!(world.store().list().unwrap().len(), 2);
}

#[tokio::test]
async fn images_are_found_by_prefix_and_removed_when_free() {
    let world = World::new();
    let store = world.store();
    let recipe = recipe("git", "/w");
    let image = store.ensure(&recipe, false).await.unwrap();
    let short = image.digest().short().to_owned();
    assert_eq!(store.inspect(&short).unwrap(), *image.manifest());
    let other = if short.starts_with('0') { "1" } else { "0" };
    for unknown in [other, ""] {
        assert!(matches!(store.inspect(unknown), Err(ImageError::NotFound(_))));
    }
    assert!(store.list().unwrap()[0].in_use);
    assert!(matches!(store.rm(&short), Err(ImageError::InUse(_))));
    drop(image);
    let listed = &store.list().unwrap()[0];
    assert!(!listed.in_use && listed.size_on_disk > 0);
    assert_eq!(store.rm(&short).unwrap().short(), short);
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.why_stale(&recipe), Staleness::Missing);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn an_ambiguous_prefix_is_an_error() {
    let world = World::new();
    for end in ["0", "1"] {
        let name = format!("{}{end}", "a".repeat(63));
        fs::create_dir_all(world.layout().images().join(name)).unwrap();
    }
    let error = world.store().rm("aa").unwrap_err();
    assert!(matches!(error, ImageError::Ambiguous { .. }));
    assert_eq!(world.store().list().unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_build_leaves_nothing() {
    let world = World::with(Fake { fails: true, ..Fake::default() });
    let error = world.store().ensure(&recipe("git", "/w"), false).await.unwrap_err();
    assert!(matches!(error, ImageError::Incomplete(_)));
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert!(world.store().list().unwrap().is_empty());
}

#[tokio::test]
async fn what_dead_builds_left_is_swept_and_live_ones_are_not() {
    let world = World::new();
    let images = world.layout().images();
    let (dead, live) = (recipe("git", "/w"), recipe("curl", "/w"));
    for name in [
        format!("{}x1", sweep::build_prefix(&dead.content_key())),
        format!("{}x2", sweep::build_prefix(&live.content_key())),
        sweep::gone_name(&Digest::from(blake3::hash(b"x"))),
    ] {
        fs::create_dir_all(images.join(name).join("tmp")).unwrap();
    }
    let lock_path = sweep::lock_path(&images, &live.content_key());
    let lock = FileLock::try_exclusive(&lock_path).unwrap();
    let image = world.store().ensure(&dead, false).await.unwrap();
    assert_eq!(world.leftovers().len(), 1);
    drop((lock, image));
    assert_eq!(world.store().sweep(), 1);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// Needs the network, mmdebstrap and mke2fs. Run it as root and as a user with subordinate ids.
#[tokio::test]
#[ignore = "downloads packages and runs for minutes"]
async fn a_real_image_builds() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
    let events = Events::new(|event| eprintln!("{event:?}"));
    let store = ImageStore::new(&layout, events);
    let recipe = Recipe::new("bookworm", None, &PackageList::builtin()).unwrap();
    let image = store.ensure(&recipe, false).await.unwrap();
    let manifest = image.manifest();
    assert!(manifest.missing_modules.is_empty());
    assert!(manifest.installed.contains_key("openssh-server"));
    assert!(fs::read(image.vmlinux()).unwrap().starts_with(b"\x7fELF"));
    let mut fsck = tokio::process::Command::new("/sbin/e2fsck");
    crate::process::run_tool(fsck.args(["-fn", image.rootfs().as_str()])).await.unwrap();
    let initrd = fs::read(image.initrd()).unwrap();
    let names = crate::image::cpio::testing::read(&initrd).into_iter().map(|entry| entry.0);
    let disk: Vec<String> = names.filter(|name| name.starts_with("modules/disk/")).collect();
    let place = |module: &str| disk.iter().position(|name| name.contains(module)).unwrap();
    assert!(
        place("virtio_ring") < place("virtio_mmio") && place("virtio.ko") < place("virtio_blk")
    );
    assert_eq!(leftovers(&layout), Vec::<String>::new());
}
