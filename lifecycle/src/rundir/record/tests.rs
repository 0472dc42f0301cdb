use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};

use super::*;

/// A place with a run directory and a record in it that names one of everything.
fn place() -> (tempfile::TempDir, Layout, Utf8PathBuf, Record) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
    let run_dir = layout.runs().join("otter");
    fs::create_dir_all(&run_dir).unwrap();
    let one = |name: &str| BTreeSet::from([name.to_owned()]);
    let mut record = Record::kept(
        "otter",
        Uses {
            images: one(&"0123".repeat(16)),
            layers: one("toolchain-0123"),
            templates: one("0123"),
            workspaces: one("0123abcd-raw"),
        },
    );
    record.config = json!(["-M", "microvm"]);
    let meta = &mut record.meta;
    meta.image = Some("0123".repeat(16));
    meta.owns = vec![layout.workspaces().join("0123abcd/run-otter.disk")];
    meta.devices = vec!["banger-0123abcd".to_owned(), "banger-0123abcd-base".to_owned()];
    meta.network = Some(NetworkRecord {
        namespace: "banger-0123abcd".to_owned(),
        link: "bgr-0123abcd".to_owned(),
        table: "banger_0123abcd".to_owned(),
        address: Some([10, 231, 0, 1].into()),
        internet: None,
    });
    meta.directory = Some("/work/crate".into());
    (dir, layout, run_dir, record)
}

#[test]
fn what_is_written_reads_back_and_is_its_owners_alone() {
    let (_dir, layout, run_dir, record) = place();
    assert_eq!(Record::read(&layout, &run_dir).unwrap(), None);
    record.write(&run_dir).unwrap();
    assert_eq!(Record::read(&layout, &run_dir).unwrap(), Some(record));
    assert_eq!(fs::metadata(run_dir.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_record_that_names_what_is_no_vms_is_not_believed() {
    let (_dir, layout, run_dir, record) = place();
    let workspaces = layout.workspaces();
    let outside = format!("{workspaces}/0123abcd/../../../etc/run-x");
    let twice = format!("{workspaces}//0123abcd/run-x");
    let other = format!("{workspaces}/0123abcd/head.json");
    let deep = format!("{workspaces}/0123abcd/x/run-x");
    let changes = [
        ("format", json!(99)),
        ("name", json!("stoat")),
        ("image", json!("../images")),
        ("created", json!("now\u{1b}[2J")),
        ("owns", json!(["/etc/passwd"])),
        ("owns", json!(["/etc/x/run-x"])),
        ("owns", json!(["run-x"])),
        ("owns", json!([outside])),
        ("owns", json!([twice])),
        ("owns", json!([other])),
        ("owns", json!([deep])),
        ("devices", json!(["vg-root"])),
        ("devices", json!(["banger-0123ABCD"])),
        ("devices", json!(["banger-0123abcd-base-base"])),
        ("devices", json!(["--force"])),
        ("uses", json!({ "images": [".."] })),
    ];
    for (name, value) in changes {
        let mut changed = serde_json::to_value(&record).unwrap();
        changed["meta"][name] = value;
        assert_refused(&changed, name, &layout, &run_dir);
    }
    for (name, value) in [
        ("namespace", "host"),
        ("link", "eth0"),
        ("link", "bgr-../../.."),
        ("table", "filter"),
        ("table", "banger_0 { }\ntable ip filter"),
    ] {
        let mut changed = serde_json::to_value(&record).unwrap();
        changed["meta"]["network"][name] = json!(value);
        assert_refused(&changed, name, &layout, &run_dir);
    }
}

#[track_caller]
fn assert_refused(record: &Value, field: &str, layout: &Layout, run_dir: &Utf8Path) {
    fs::write(run_dir.join(FILE), record.to_string()).unwrap();
    let error = Record::read(layout, run_dir).unwrap_err().to_string();
    assert!(error.contains(field), "{field}: {error}");
    assert!(!error.contains(char::is_control), "{error}");
}

#[test]
fn the_same_place_under_another_name_is_ours() {
    let (dir, layout, run_dir, mut record) = place();
    symlink(".", dir.path().join("same")).unwrap();
    fs::create_dir_all(layout.workspaces()).unwrap();
    let same = Layout::under(&Utf8Path::from_path(dir.path()).unwrap().join("same"));
    record.meta.owns = vec![same.workspaces().join("0123abcd/run-otter.disk")];
    record.write(&run_dir).unwrap();
    Record::read(&layout, &run_dir).unwrap().unwrap();
}

#[test]
fn what_others_can_have_written_is_not_read() {
    let (_dir, layout, run_dir, record) = place();
    let file = run_dir.join(FILE);
    let refused = || Record::read(&layout, &run_dir).unwrap_err();
    record.write(&run_dir).unwrap();
    for mode in [0o620, 0o602] {
        fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(refused(), RecordError::Writable(_)));
    }
    fs::rename(&file, run_dir.join("elsewhere")).unwrap();
    symlink("elsewhere", &file).unwrap();
    assert!(matches!(refused(), RecordError::Io(_)));
    fs::remove_file(&file).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, file.as_std_path(), fifo, mode, 0).unwrap();
    assert!(matches!(refused(), RecordError::NoFile));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(refused(), RecordError::NoFile));
    fs::remove_dir(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(refused(), RecordError::TooLong));
    if rustix::process::geteuid().is_root() {
        record.write(&run_dir).unwrap();
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        assert!(matches!(refused(), RecordError::Foreign(65534)));
    }
}

/// Of a record with bytes changed, cut or added nothing is believed that is not a VM's.
#[test]
fn any_bytes_are_refused_or_harmless() {
    let (_dir, layout, run_dir, record) = place();
    let whole = serde_json::to_vec(&record).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for _ in 0..5000 {
        let mut text = whole.clone();
        for _ in 0..=next(3) {
            let (at, byte) = (next(text.len()), u8::try_from(next(256)).unwrap());
            match next(4) {
                0 => text.truncate(at + 1),
                1 => text.insert(at, byte),
                2 => drop(text.remove(at)),
                _ => text[at] = byte,
            }
            text.push(b' ');
        }
        if let Ok(record) = Record::parse(&text, &layout, &run_dir) {
            let below = |path: &Utf8PathBuf| path.starts_with(layout.workspaces());
            assert!(record.meta.owns.iter().all(below), "{record:?}");
            assert!(record.meta.devices.iter().all(|name| name.starts_with("banger-")));
        }
    }
    let nested = "[".repeat(100_000);
    assert!(Record::parse(nested.as_bytes(), &layout, &run_dir).is_err());
}
