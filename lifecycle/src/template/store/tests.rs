use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::rundir::record::Uses;
use crate::rundir::{BootId, KeyHasher, Record};

fn store() -> (tempfile::TempDir, TemplateStore) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
    fs::create_dir_all(layout.images().join("image")).unwrap();
    (dir, TemplateStore::new(&layout, Events::silent()))
}

fn key(text: &str) -> TemplateKey {
    TemplateKey::of(KeyHasher::default().field("test", text))
}

fn content(what: &str) -> Content {
    Content { what: what.to_owned(), image: Some("image".to_owned()), ..Content::default() }
}

/// Makes a template of one file of 8 KiB.
async fn obtain(store: &TemplateStore, name: &str) -> Template {
    let make = async |made: &Utf8Path, _: &Utf8Path| -> Result<(), TemplateError> {
        fs::write(made.join(MEMORY), [7; 8192]).unwrap();
        Ok(())
    };
    store.obtain(&key(name), &content(name), make).await.unwrap()
}

async fn never(_: &Utf8Path, _: &Utf8Path) -> Result<(), TemplateError> {
    panic!("the template is there");
}

#[tokio::test]
async fn a_template_is_made_once_for_its_owner_alone() {
    let (_dir, store) = store();
    let first = obtain(&store, "a").await;
    let mode = fs::metadata(store.shelf.dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let second: Result<_, TemplateError> = store.obtain(&key("a"), &content("a"), never).await;
    assert_eq!(first.file(MEMORY), second.unwrap().file(MEMORY));
    let listed = store.list().unwrap();
    assert_eq!((listed.len(), listed[0].what.as_str(), listed[0].damaged), (1, "a", false));
}

#[tokio::test]
async fn one_that_was_cut_short_is_made_anew() {
    let (_dir, store) = store();
    let memory = obtain(&store, "a").await.file(MEMORY);
    fs::write(&memory, "short").unwrap();
    assert!(store.list().unwrap()[0].damaged);
    let again = obtain(&store, "a").await;
    assert_eq!(fs::metadata(again.file(MEMORY)).unwrap().len(), 8192);
}

#[tokio::test]
async fn content_that_a_power_cut_took_is_found_and_made_anew() {
    let (dir, store) = store();
    let memory = obtain(&store, "a").await.file(MEMORY);
    content::testing::damage(&memory);
    assert!(store.find(&key("a")).await.unwrap().is_some());
    let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
    let store = TemplateStore::new(&layout.booted(BootId::new("another")), Events::silent());
    assert!(store.find(&key("a")).await.unwrap().is_none());
    assert!(store.list().unwrap()[0].damaged);
    let again = obtain(&store, "a").await;
    assert_eq!(fs::read(again.file(MEMORY)).unwrap(), [7; 8192]);
    assert!(!store.list().unwrap()[0].damaged);
}

#[tokio::test]
async fn a_template_of_a_kept_vm_stays() {
    let (dir, store) = store();
    drop(obtain(&store, "a").await);
    let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
    let run_dir = layout.runs().join("otter");
    fs::create_dir_all(&run_dir).unwrap();
    let uses = Uses { templates: [key("a").to_string()].into(), ..Uses::default() };
    Record::kept("otter", uses).write(&run_dir).unwrap();
    assert!(store.list().unwrap()[0].in_use && store.trim(0).unwrap().is_empty());
    assert!(matches!(store.remove(key("a").as_str()), Err(TemplateError::InUse(_))));
    fs::remove_dir_all(run_dir).unwrap();
    assert_eq!(store.trim(0).unwrap().len(), 1);
}

#[tokio::test]
async fn a_failure_leaves_nothing_and_the_next_tries_again() {
    let (_dir, store) = store();
    let fails = async |made: &Utf8Path, _: &Utf8Path| {
        fs::write(made.join(MEMORY), "half").unwrap();
        Err(TemplateError::Unknown("failure".to_owned()))
    };
    store.obtain(&key("a"), &content("a"), fails).await.unwrap_err();
    assert!(store.list().unwrap().is_empty() && store.shelf.unfinished().unwrap().is_empty());
    drop(obtain(&store, "a").await);
}

#[tokio::test]
async fn one_that_does_not_restore_is_out_of_sight_at_once() {
    let (_dir, store) = store();
    let (mine, others) = (obtain(&store, "a").await, obtain(&store, "a").await);
    store.discard(mine).await.unwrap();
    assert!(store.list().unwrap().is_empty());
    drop(others);
}

#[tokio::test]
async fn trimming_takes_the_oldest_the_orphaned_and_nothing_in_use() {
    let (_dir, store) = store();
    let set_used = |name: &str, seconds: u64| {
        let lock = store.shelf.place(key(name).as_str()).join("lock");
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(lock).unwrap().file().set_modified(at).unwrap();
    };
    let in_use = obtain(&store, "in use").await;
    for name in ["old", "new"] {
        drop(obtain(&store, name).await);
    }
    for (name, seconds) in [("in use", 1), ("old", 2), ("new", 3)] {
        set_used(name, seconds);
    }
    let one = store.list().unwrap()[0].size;
    let names = |removed: Vec<TemplateInfo>| {
        removed.into_iter().map(|template| template.what).collect::<Vec<_>>()
    };
    assert_eq!(names(store.trim(3 * one).unwrap()), [] as [&str; 0]);
    assert_eq!(names(store.trim(2 * one).unwrap()), ["old"]);
    assert_eq!(names(store.trim(0).unwrap()), ["new"]);
    drop(in_use);
    fs::remove_dir(store.images.join("image")).unwrap();
    assert_eq!(names(store.trim(u64::MAX).unwrap()), ["in use"]);
}

#[tokio::test]
async fn uses_are_counted_and_only_one_makes_it() {
    let (_dir, store) = store();
    drop(obtain(&store, "base").await);
    let count = || store.count_use(&key("a")).unwrap();
    assert_eq!([count(), count(), count()], [1, 2, 3]);
    let turn = store.shelf.try_turn(key("a").as_str()).unwrap().unwrap();
    let busy: Result<_, TemplateError> = store.make(&key("a"), &content("a"), never).await;
    assert!(busy.unwrap().is_none());
    drop(turn);
    // Counts are nothing that a listing shows.
    assert_eq!(store.list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_workspace_has_few_and_none_whose_disk_is_gone() {
    let (dir, store) = store();
    let disk = Utf8Path::from_path(dir.path()).unwrap().join("disk");
    fs::write(&disk, "").unwrap();
    let make = async |name: &str| {
        let content = Content {
            what: name.to_owned(),
            workspace: Some("/w".into()),
            stands_on: Some(disk.clone()),
            ..Content::default()
        };
        let making = async |made: &Utf8Path, _: &Utf8Path| -> Result<(), TemplateError> {
            fs::write(made.join(MEMORY), "").unwrap();
            Ok(())
        };
        drop(store.make(&key(name), &content, making).await.unwrap().unwrap());
    };
    for name in ["a", "b", "c", "d", "e", "f"] {
        make(name).await;
    }
    assert_eq!(store.list().unwrap().len(), OF_A_WORKSPACE);
    assert!(store.find(&key("f")).await.unwrap().is_some());
    fs::remove_file(disk).unwrap();
    assert!(store.find(&key("f")).await.unwrap().is_none());
    assert_eq!(store.trim(u64::MAX).unwrap().len(), OF_A_WORKSPACE);
}
