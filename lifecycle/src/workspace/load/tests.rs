use super::*;

/// The cargo that runs these tests.
fn cargo() -> Utf8PathBuf {
    std::env::var("CARGO").expect("cargo names itself").into()
}

struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    /// Writes packages: a path, and the text of a manifest where `NAME` stands for the package
    /// section.
    fn new(manifests: &[(&str, &str)]) -> Self {
        let tree = Self { dir: tempfile::tempdir().unwrap() };
        for (path, text) in manifests {
            let dir = tree.path(path);
            let name = dir.file_name().unwrap();
            let package =
                format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'");
            fs_err::create_dir_all(dir.join("src")).unwrap();
            fs_err::write(dir.join("src/lib.rs"), "").unwrap();
            fs_err::write(dir.join("Cargo.toml"), text.replace("NAME", &package)).unwrap();
        }
        tree
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        // Cargo's answers are canonical.
        let root = Utf8Path::from_path(self.dir.path()).unwrap().canonicalize_utf8().unwrap();
        root.join(path)
    }

    async fn load(&self, cwd: &str) -> Workspace {
        Workspace::load(&self.path(cwd), &cargo()).await.unwrap().unwrap()
    }
}

fn names(workspace: &Workspace) -> Vec<&str> {
    workspace.members.iter().map(|member| member.name.as_str()).collect()
}

#[tokio::test]
async fn outside_of_any_workspace_there_is_none() {
    let tree = Tree::new(&[]);
    assert_eq!(Workspace::locate(&tree.path(""), &cargo()).await.unwrap(), None);
    assert_eq!(Workspace::load(&tree.path(""), &cargo()).await.unwrap(), None);
}

#[tokio::test]
async fn a_virtual_workspace_is_found_from_within_a_member() {
    let tree = Tree::new(&[
        (
            "w",
            "[workspace]\nmembers = ['a', 'b']\nresolver = '2'\n\
             [workspace.metadata.banger]\ncpus = 2\n",
        ),
        ("w/a", "NAME\n[dependencies]\nb = { path = '../b' }\n"),
        ("w/b", "NAME\n[package.metadata.banger]\ncpus = 4\n"),
    ]);
    let cwd = tree.path("w/a/src");
    assert_eq!(Workspace::locate(&cwd, &cargo()).await.unwrap(), Some(tree.path("w")));
    let workspace = tree.load("w/a/src").await;
    assert_eq!(workspace.root, tree.path("w"));
    assert_eq!(names(&workspace), ["a", "b"]);
    assert_eq!(workspace.metadata_table["cpus"], 2);
    assert_eq!(workspace.outside, Outside::default());
    assert_eq!(workspace.member_at(&cwd).unwrap().name, "a");
    assert_eq!(workspace.member_at(&tree.path("w/b")).unwrap().metadata_table["cpus"], 4);
    assert_eq!(workspace.member_at(&tree.path("w")), None);
    assert!(!workspace.lockfile().exists(), "loading leaves the tree alone");
}

#[tokio::test]
async fn a_nested_excluded_package_is_a_workspace_of_its_own() {
    let tree = Tree::new(&[
        ("w", "NAME\n[workspace]\nexclude = ['fuzz']\n"),
        ("w/fuzz", "NAME\n[dependencies]\nw = { path = '..' }\n"),
    ]);
    let workspace = tree.load("w/fuzz").await;
    assert_eq!(workspace.root, tree.path("w/fuzz"));
    assert_eq!(workspace.outside.dirs, [tree.path("w")]);
    let outer = tree.load("w").await;
    assert_eq!(names(&outer), ["w"]);
    assert_eq!(outer.metadata_table, Value::Null);
}

#[tokio::test]
async fn path_dependencies_outside_are_followed_with_what_they_inherit_from() {
    let tree = Tree::new(&[
        (
            "app",
            "NAME\n[dependencies]\nx = { path = '../other/x', optional = true }\n\
             [dev-dependencies]\nalone = { path = '../alone' }\n\
             [patch.crates-io]\nitoa = { path = '../patched/itoa' }\n",
        ),
        (
            "other",
            "[workspace]\nmembers = ['x', 'y', 'z']\n[workspace.package]\nrust-version = '1.60'\n",
        ),
        ("other/x", "NAME\nrust-version.workspace = true\n[dependencies]\ny = { path = '../y' }\n"),
        ("other/y", "NAME\n[dev-dependencies]\nz = { path = '../z' }\n"),
        ("other/z", "NAME\n"),
        ("alone", "NAME\n"),
        ("patched/itoa", "NAME\n"),
    ]);
    let outside = tree.load("app").await.outside;
    let dirs = ["alone", "other/x", "other/y", "patched/itoa"].map(|dir| tree.path(dir));
    assert_eq!(outside.dirs, dirs);
    assert_eq!(outside.manifests, [tree.path("other/Cargo.toml")]);
}

#[tokio::test]
async fn what_is_outside_suffices_to_build() {
    let tree = Tree::new(&[
        ("app", "NAME\n[dependencies]\nx = { path = '../other/x' }\n"),
        ("other", "[workspace]\nmembers = ['x', 'gone']\n[workspace.package]\nversion = '3.0.0'\n"),
        ("other/x", "[package]\nname = 'x'\nversion.workspace = true\nedition = '2021'\n"),
        ("other/gone", "NAME\n"),
    ]);
    let workspace = tree.load("app").await;
    assert_eq!(workspace.outside.manifests, [tree.path("other/Cargo.toml")]);
    fs_err::remove_dir_all(tree.path("other/gone")).unwrap();
    workspace.update_lockfile(&cargo()).await.unwrap();
    let lockfile = fs_err::read_to_string(workspace.lockfile()).unwrap();
    assert!(lockfile.contains("3.0.0"), "{lockfile}");
}

#[tokio::test]
async fn a_broken_manifest_comes_with_cargos_words() {
    let tree = Tree::new(&[("w", "[package\n")]);
    for error in [
        Workspace::locate(&tree.path("w"), &cargo()).await.map(drop).unwrap_err(),
        Workspace::load(&tree.path("w"), &cargo()).await.map(drop).unwrap_err(),
    ] {
        let WorkspaceError::Refused { manifest, text } = error else { panic!("{error:?}") };
        assert_eq!(manifest, tree.path("w/Cargo.toml"));
        assert!(text.contains("[package"), "{text}");
    }
}

#[tokio::test]
async fn a_missing_cargo_has_a_hint() {
    let tree = Tree::new(&[("w", "NAME\n")]);
    let error = Workspace::load(&tree.path("w"), "/no/cargo".into()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("rustup"));
}

#[tokio::test]
async fn a_manifest_that_cargo_would_wait_for_or_choke_on_is_named_before_cargo_is_asked() {
    use std::os::unix::fs::symlink;
    let fifo = |path: &Utf8Path| {
        rustix::fs::mkfifoat(rustix::fs::CWD, path.as_str(), rustix::fs::Mode::RUSR)
    };
    for (name, why) in [("fifo", "a FIFO"), ("endless", "a device"), ("huge", "larger than")] {
        let tree = Tree::new(&[("w", "NAME\n[dependencies]\nother = { path = '../other' }\n")]);
        fs_err::create_dir(tree.path("other")).unwrap();
        for at in ["other/Cargo.toml", "w/Cargo.toml"] {
            let path = tree.path(at);
            drop(fs_err::remove_file(&path));
            match name {
                "fifo" => fifo(&path).unwrap(),
                "endless" => symlink("/dev/zero", &path).unwrap(),
                _ => fs_err::File::create(&path).unwrap().set_len(10 << 30).unwrap(),
            }
            let error = Workspace::load(&tree.path("w"), &cargo()).await.unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(at) && cause.contains(why), "{cause}");
        }
    }
}
