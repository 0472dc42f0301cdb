use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::layer::testing::{Heard, TempDir};
use crate::rundir::Record;
use crate::rundir::record::Uses;

/// Makes an image of three bytes.
struct Fake {
    id: LayerId,
    built: AtomicUsize,
    fails: bool,
    /// Told when a build begins.
    begun: Notify,
    /// Waited for by a build, where there is one.
    gate: Option<Notify>,
}

impl Fake {
    fn new(content: &str) -> Self {
        let id = LayerId::new(LayerKind::Toolchain, &blake3::hash(content.as_bytes()));
        let built = AtomicUsize::new(0);
        Self { id, built, fails: false, begun: Notify::new(), gate: None }
    }

    fn built(&self) -> usize {
        self.built.load(Ordering::SeqCst)
    }
}

impl Recipe for Fake {
    fn id(&self) -> &LayerId {
        &self.id
    }

    fn mount_point(&self) -> &Utf8Path {
        "/opt/rust".into()
    }

    fn what(&self) -> String {
        "three bytes".to_owned()
    }

    async fn build(&self, scratch: &Utf8Path, image: &Utf8Path) -> Result<(), LayerError> {
        self.built.fetch_add(1, Ordering::SeqCst);
        fs::write(scratch.join("leftover"), "x").unwrap();
        self.begun.notify_one();
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        fs::write(image, "abc").unwrap();
        let failure = || LayerError::Vendor { text: "no network".to_owned() };
        if self.fails { Err(failure()) } else { Ok(()) }
    }
}

/// Where a layer is being made.
fn scratch(store: &LayerStore, id: &LayerId) -> Utf8PathBuf {
    store.shelf.dir().join(format!(".tmp-{id}"))
}

#[tokio::test]
async fn a_layer_is_built_once_and_then_found() {
    let temp = TempDir::new();
    let store = temp.store(Events::silent());
    assert_eq!(store.list().unwrap(), []);
    let fake = Fake::new("a");
    let first = store.obtain(&fake).await.unwrap();
    let second = store.obtain(&fake).await.unwrap();
    assert_eq!(fake.built(), 1);
    assert_eq!(first.image(), second.image());
    assert_eq!(fs::read(first.image()).unwrap(), b"abc");
    assert_eq!(first.bin().unwrap(), "/opt/rust/bin");
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].size, listed[0].what.as_str()), (3, "three bytes"));
    assert!(listed[0].in_use && !listed[0].damaged);
    drop((first, second));
    assert!(!store.list().unwrap()[0].in_use);
    assert!(!scratch(&store, &fake.id).exists());
}

#[tokio::test]
async fn two_first_users_build_once_and_the_second_says_that_it_waits() {
    let temp = TempDir::new();
    let fake = Fake { gate: Some(Notify::new()), ..Fake::new("a") };
    let waiting = std::sync::Arc::new(Notify::new());
    let told = std::sync::Arc::clone(&waiting);
    let second_store = temp.store(Events::new(move |_| told.notify_one()));
    let first_store = temp.store(Events::silent());
    let second = async {
        fake.begun.notified().await;
        second_store.obtain(&fake).await
    };
    let release = async {
        waiting.notified().await;
        assert_eq!(second_store.sweep().unwrap(), 0, "a build that runs is no leftover");
        fake.gate.as_ref().unwrap().notify_one();
    };
    let (first, second, ()) = tokio::join!(first_store.obtain(&fake), second, release);
    assert_eq!(first.unwrap().image(), second.unwrap().image());
    assert_eq!(fake.built(), 1);
}

#[tokio::test]
async fn a_damaged_layer_is_made_anew() {
    let temp = TempDir::new();
    let heard = Heard::default();
    let store = temp.store(heard.events());
    let fake = Fake::new("a");
    let image = store.obtain(&fake).await.unwrap().image().to_owned();
    fs::write(&image, "ab").unwrap();
    assert!(store.list().unwrap()[0].damaged);
    let layer = store.obtain(&fake).await.unwrap();
    assert_eq!((fake.built(), fs::read(layer.image()).unwrap().len()), (2, 3));
    assert!(heard.contains("damaged"));
    drop(layer);
    fs::write(image.with_file_name("layer.json"), "{").unwrap();
    let layer = store.obtain(&fake).await.unwrap();
    assert_eq!((fake.built(), fs::read(layer.image()).unwrap().len()), (3, 3));
}

#[tokio::test]
async fn content_that_a_power_cut_took_is_found_and_made_anew() {
    let temp = TempDir::new();
    let heard = Heard::default();
    let store = temp.store(heard.events());
    let fake = Fake::new("a");
    let image = store.obtain(&fake).await.unwrap().image().to_owned();
    content::testing::damage(&image);
    drop(store.obtain(&fake).await.unwrap());
    assert_eq!(fake.built(), 1);
    let store = temp.booted(heard.events(), "another");
    drop(store.obtain(&fake).await.unwrap());
    assert_eq!((fake.built(), fs::read(&image).unwrap()), (2, b"abc".to_vec()));
    assert!(heard.contains("damaged"));
    drop(store.obtain(&fake).await.unwrap());
    assert_eq!(fake.built(), 2);
}

#[tokio::test]
async fn a_layer_of_a_kept_vm_is_not_removed() {
    let temp = TempDir::new();
    let store = temp.store(Events::silent());
    let fake = Fake::new("a");
    drop(store.obtain(&fake).await.unwrap());
    let run_dir = Layout::under(&temp.join("home")).runs().join("otter");
    fs::create_dir_all(&run_dir).unwrap();
    let uses = Uses { layers: [fake.id.to_string()].into(), ..Uses::default() };
    Record::kept("otter", uses).write(&run_dir).unwrap();
    assert!(store.list().unwrap()[0].in_use);
    assert!(matches!(store.remove(&fake.id.key), Err(LayerError::InUse { .. })));
    store.trim(LayerKind::Toolchain, 0).unwrap();
    fs::remove_dir_all(run_dir).unwrap();
    store.remove(&fake.id.key).unwrap();
}

#[tokio::test]
async fn a_failed_build_leaves_nothing_in_use() {
    let temp = TempDir::new();
    let store = temp.store(Events::silent());
    let fake = Fake { fails: true, ..Fake::new("a") };
    let error = store.obtain(&fake).await.unwrap_err();
    assert!(matches!(error, LayerError::Vendor { .. }));
    assert_eq!(store.list().unwrap(), []);
    assert!(!scratch(&store, &fake.id).exists());
    let works = Fake::new("a");
    drop(store.obtain(&works).await.unwrap());
    assert_eq!(works.built(), 1);
}

#[tokio::test]
async fn what_a_killed_build_left_is_swept() {
    let temp = TempDir::new();
    let store = temp.store(Events::silent());
    let fake = Fake::new("a");
    let leftover = scratch(&store, &fake.id).join("made/layer.erofs");
    fs::create_dir_all(leftover.parent().unwrap()).unwrap();
    fs::write(&leftover, "half").unwrap();
    assert_eq!(store.list().unwrap(), []);
    assert_eq!((store.sweep().unwrap(), store.sweep().unwrap()), (1, 0));
    fs::create_dir_all(leftover.parent().unwrap()).unwrap();
    let layer = store.obtain(&fake).await.unwrap();
    assert_eq!(fs::read(layer.image()).unwrap().len(), 3);
    assert!(!scratch(&store, &fake.id).exists());
}

#[tokio::test]
async fn a_layer_in_use_is_not_removed() {
    let temp = TempDir::new();
    let store = temp.store(Events::silent());
    let (one, two) = (Fake::new("a"), Fake::new("b"));
    let layer = store.obtain(&one).await.unwrap();
    drop(store.obtain(&two).await.unwrap());
    assert!(matches!(store.remove(&one.id.key), Err(LayerError::InUse { .. })));
    assert!(matches!(store.remove("toolchain-"), Err(LayerError::Ambiguous { .. })));
    assert!(matches!(store.remove("nope"), Err(LayerError::Unknown { .. })));
    drop(layer);
    assert_eq!(store.remove(&one.id.key[..8]).unwrap(), one.id);
    assert_eq!(store.list().unwrap().len(), 1);
    // It is made again when it is needed again.
    drop(store.obtain(&one).await.unwrap());
    assert_eq!(one.built(), 2);
}
