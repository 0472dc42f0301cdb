use tokio::process::Command;

use super::tidy::LONGEST_CHAIN;
use super::*;
use crate::process::{find_program, run_tool};
use crate::rundir::Layout;

const SIZE: u64 = 1 << 30;

/// A place for disks, unless a tool is missing.
fn layout() -> Option<(tempfile::TempDir, Layout)> {
    let path = std::env::var_os("PATH");
    let missing = |tool: &&str| find_program(tool, path.as_deref()).is_none();
    if ["qemu-io", "qemu-img", "mke2fs"].iter().any(missing) {
        eprintln!("left out: no qemu-io, no qemu-img or no mke2fs");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
    Some((dir, layout))
}

fn place(layout: &Layout, workspace: &str, run: &str) -> Place {
    Place::new(layout, workspace.into(), run, DiskFormat::Qcow2, SIZE)
}

async fn open(layout: &Layout, run: &str, part: Part) -> WorkspaceDisk {
    WorkspaceDisk::open(&place(layout, "/w", run), part).await.unwrap()
}

/// Runs one command of qemu-io on a disk.
async fn qemu_io(disk: &Utf8Path, command: &str) {
    qemu_ios(disk, &[command.to_owned()]).await;
}

/// Runs commands of qemu-io on a disk.
async fn qemu_ios(disk: &Utf8Path, commands: &[String]) {
    let mut qemu_io = Command::new("qemu-io");
    qemu_io.args(["-f", "qcow2"]);
    qemu_io.args(commands.iter().flat_map(|command| ["-c", command.as_str()])).arg(disk);
    let said = run_tool(&mut qemu_io).await.unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains("verification failed"), "{commands:?}: {said}");
}

/// Gives a file the other as its backing file, as a VMM does that covers one by the other.
async fn rebase(over: &Utf8Path, under: &Utf8Path) -> Result<(), OverlayError> {
    let mut rebase = Command::new("qemu-img");
    rebase.args(["rebase", "-u", "-F", "qcow2", "-b", under.as_str(), over.as_str()]);
    run_tool(&mut rebase).await.unwrap();
    Ok(())
}

/// Publishes what the disk holds now, with a manifest that says so.
async fn publish(disk: &mut WorkspaceDisk, says: &str) -> bool {
    let under = disk.top().to_owned();
    disk.seal(async |over| rebase(over, &under).await).await.unwrap();
    let save = |_: &str, path: &Utf8Path| fs::write(path, says);
    disk.publish(&["root".to_owned()], save).await.unwrap()
}

/// What the manifest says of the generation that a disk stands on.
fn manifest(disk: &WorkspaceDisk) -> Option<String> {
    fs::read_to_string(disk.manifest("root")?).ok()
}

#[tokio::test]
async fn every_generation_holds_what_those_before_it_hold() {
    let Some((_dir, layout)) = layout() else { return };
    // Far from what the filesystem holds, which is at the start.
    let at = |number: usize| (512 << 20) + number * (1 << 20);
    for number in 1..=2 * LONGEST_CHAIN + 3 {
        let disk = open(&layout, "run", Part::Build).await;
        let read = |earlier: usize| format!("read -P {earlier} {} 64k", at(earlier));
        let write = format!("write -P {number} {} 64k", at(number));
        let all: Vec<_> = (1..number).map(read).chain([write]).collect();
        qemu_ios(disk.top(), &all).await;
        assert!(disk.commit().await.unwrap());
        tidy(&place(&layout, "/w", "run")).await.unwrap();
    }
    let disk = open(&layout, "run", Part::Build).await;
    assert!(disk.parent.as_ref().unwrap().chain.len() <= LONGEST_CHAIN);
}

#[tokio::test]
async fn what_is_written_after_the_seal_is_never_in_a_generation() {
    let Some((_dir, layout)) = layout() else { return };
    let at = 512 << 20;
    let mut one = open(&layout, "one", Part::Sources).await;
    qemu_io(one.top(), &format!("write -P 1 {at} 64k")).await;
    assert!(publish(&mut one, "first").await);
    // What has the file open minds no other name of it; qemu-io is yet to open it.
    rebase(one.top(), &one.newest().unwrap()).await.unwrap();
    // Others start from it while the run that made it goes on.
    let other = open(&layout, "other", Part::Sources).await;
    qemu_io(one.top(), &format!("write -P 66 {at} 64k")).await;
    qemu_io(other.top(), &format!("read -P 1 {at} 64k")).await;
    drop(one);
    drop(other);
    let next = open(&layout, "next", Part::Sources).await;
    qemu_io(next.top(), &format!("read -P 1 {at} 64k")).await;
    assert_eq!(manifest(&next).as_deref(), Some("first"));
}

#[tokio::test]
async fn a_raw_disk_is_sealed_as_a_copy() {
    let Some((_dir, layout)) = layout() else { return };
    let place = Place::new(&layout, "/w".into(), "run", DiskFormat::Raw, SIZE);
    let write = |path: &Utf8Path, text: &str| {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.file().write_all_at(text.as_bytes(), 512 << 20).unwrap();
    };
    let mut disk = WorkspaceDisk::open(&place, Part::Sources).await.unwrap();
    write(disk.top(), "sent");
    let cover = async |_: &Utf8Path| Err(OverlayError::Io(io::Error::other("it cannot")));
    disk.seal(cover).await.unwrap();
    write(disk.top(), "evil");
    assert!(disk.publish(&[], |_, _| Ok(())).await.unwrap());
    write(disk.top(), "evil");
    drop(disk);
    let next = WorkspaceDisk::open(&place, Part::Sources).await.unwrap();
    let mut content = [0; 4];
    let file = fs::File::open(next.top()).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(file.file(), &mut content, 512 << 20).unwrap();
    assert_eq!(&content, b"sent");
}

#[tokio::test]
async fn of_two_runs_side_by_side_the_first_wins_with_its_own_manifest() {
    let Some((_dir, layout)) = layout() else { return };
    let mut one = open(&layout, "one", Part::Sources).await;
    let mut other = open(&layout, "other", Part::Sources).await;
    assert!(publish(&mut one, "one").await);
    assert!(!other.is_newest());
    assert!(!publish(&mut other, "other").await);
    drop(one);
    drop(other);
    assert_eq!(manifest(&open(&layout, "next", Part::Sources).await).as_deref(), Some("one"));
    // Nothing of a run's own stays.
    let names = fs::read_dir(place(&layout, "/w", "x").dir()).unwrap();
    let names: Vec<_> = names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("run-")), "{names:?}");
}

#[tokio::test]
async fn a_disk_that_starts_over_stands_on_nothing_and_its_generations_are_forgotten() {
    let Some((_dir, layout)) = layout() else { return };
    let mut made = open(&layout, "made", Part::Sources).await;
    assert!(publish(&mut made, "first").await);
    drop(made);
    assert!(open(&layout, "build", Part::Build).await.commit().await.unwrap());
    let mut disk = open(&layout, "run", Part::Sources).await;
    assert!(!disk.is_fresh());
    disk.start_over(false).await.unwrap();
    assert!(!disk.is_fresh());
    disk.start_over(true).await.unwrap();
    assert!(disk.is_fresh() && disk.top().exists());
    assert!(open(&layout, "next", Part::Sources).await.is_fresh());
    // The other disk is none of its business.
    assert!(!open(&layout, "next", Part::Build).await.is_fresh());
}

#[tokio::test]
async fn a_generation_that_another_run_made_meanwhile_is_not_forgotten() {
    let Some((_dir, layout)) = layout() else { return };
    let mut doubted = open(&layout, "doubted", Part::Sources).await;
    let mut other = open(&layout, "other", Part::Sources).await;
    assert!(publish(&mut other, "good").await);
    doubted.start_over(true).await.unwrap();
    assert!(doubted.is_fresh());
    assert_eq!(manifest(&open(&layout, "next", Part::Sources).await).as_deref(), Some("good"));
    // What it makes from nothing does not replace the good one.
    assert!(!publish(&mut doubted, "late").await);
}

#[tokio::test]
async fn a_generation_is_never_taken_for_one_that_was_forgotten() {
    let Some((_dir, layout)) = layout() else { return };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut disk = open(&layout, "run", Part::Sources).await;
        assert!(publish(&mut disk, "x").await);
        seen.push((disk.newest().unwrap(), disk.manifest("root").unwrap()));
        disk.forget().await.unwrap();
    }
    assert!(seen[0].0 != seen[1].0 && seen[0].1 != seen[1].1, "{seen:?}");
}

#[tokio::test]
async fn disks_used_longest_ago_go_first_and_those_in_use_stay() {
    let Some((_dir, layout)) = layout() else { return };
    let names = ["/old", "/new", "/used"];
    for (name, age) in names.iter().zip([300, 200, 100]) {
        let place = place(&layout, name, "run");
        let disk = WorkspaceDisk::open(&place, Part::Build).await.unwrap();
        qemu_io(disk.top(), "write -P 1 512M 1M").await;
        assert!(disk.commit().await.unwrap());
        let lock = fs::File::open(place.dir().join("lock")).unwrap();
        let then = SystemTime::now() - std::time::Duration::from_secs(age);
        lock.file().set_modified(then).unwrap();
    }
    // Of a format that nothing reads any more.
    let outdated = layout.workspaces().join("0123456789abcdef01234567");
    fs::create_dir_all(&outdated).unwrap();
    fs::write(outdated.join("head.json"), r#"{"format":2}"#).unwrap();
    let used = WorkspaceDisk::open(&place(&layout, "/used", "run"), Part::Sources).await.unwrap();
    assert_eq!(trim_disks(&layout, u64::MAX).unwrap(), [outdated]);
    let size = |name: &str| {
        let entries = fs::read_dir(place(&layout, name, "x").dir()).unwrap();
        let files = entries.map(|it| Utf8PathBuf::from_path_buf(it.unwrap().path()).unwrap());
        files.map(|path| qcow2::allocated(&path).unwrap()).sum::<u64>()
    };
    // What the host's filesystem counts changes by some blocks when it writes them out.
    let two = size("/used") + size("/new") + (256 << 10);
    assert_eq!(trim_disks(&layout, two).unwrap(), ["/old"]);
    assert_eq!(trim_disks(&layout, 0).unwrap(), ["/new"]);
    drop(used);
    assert_eq!(trim_disks(&layout, 0).unwrap(), ["/used"]);
}
