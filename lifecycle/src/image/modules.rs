//! Which kernel modules to load, and in which order. Works on the text of `modules.dep` and
//! `modules.builtin`; reads no file and loads nothing.

use std::collections::{BTreeMap, BTreeSet};

/// What can be loaded of one kernel.
#[derive(Debug, Default)]
pub struct ModuleIndex {
    modules: BTreeMap<String, Module>,
    builtin: BTreeSet<String>,
}

#[derive(Debug)]
struct Module {
    path: String,
    needs: Vec<String>,
}

/// The modules for one purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// Paths below the kernel's module directory, each after all that it needs.
    pub ordered: Vec<String>,
    /// Names of modules that the kernel neither has nor has built in.
    pub missing: Vec<String>,
}

impl ModuleIndex {
    /// Reads the two index files that `depmod` and the kernel's build write.
    #[must_use]
    pub fn parse(modules_dep: &str, modules_builtin: &str) -> Self {
        let modules = modules_dep.lines().filter_map(|line| line.split_once(':'));
        let modules = modules.map(|(path, needs)| {
            let needs = needs.split_whitespace().map(module_name).collect();
            (module_name(path), Module { path: path.trim().to_owned(), needs })
        });
        let builtin = modules_builtin.lines().filter(|line| !line.trim().is_empty());
        Self { modules: modules.collect(), builtin: builtin.map(module_name).collect() }
    }

    /// All that `wanted` needs and is not in `loaded`, in an order that loads.
    ///
    /// `loaded` gains the names of the modules returned. Modules built into the kernel are left
    /// out: they are there.
    #[must_use]
    pub fn closure(&self, wanted: &[&str], loaded: &mut BTreeSet<String>) -> Closure {
        let mut closure = Closure::default();
        for name in wanted {
            self.visit(&module_name(name), loaded, &mut closure);
        }
        closure
    }

    /// Depth first: a module's own line may list what it needs in any order, so each dependency
    /// is asked for its own.
    fn visit(&self, name: &str, loaded: &mut BTreeSet<String>, closure: &mut Closure) {
        if self.builtin.contains(name) || loaded.contains(name) {
            return;
        }
        let Some(module) = self.modules.get(name) else {
            if !closure.missing.iter().any(|missing| missing == name) {
                closure.missing.push(name.to_owned());
            }
            return;
        };
        loaded.insert(name.to_owned());
        for need in &module.needs {
            self.visit(need, loaded, closure);
        }
        closure.ordered.push(module.path.clone());
    }
}

/// A module's name as the kernel spells it: no directory, no suffix, underscores.
#[must_use]
pub fn module_name(path: &str) -> String {
    let file = path.trim().rsplit('/').next().unwrap_or_default();
    let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_mmio.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
kernel/lost.ko: kernel/nowhere.ko
";

    fn index() -> ModuleIndex {
        ModuleIndex::parse(DEP, "kernel/fs/ext4/ext4.ko\nkernel/lib/crc16.ko\n\n")
    }

    fn names(closure: &Closure) -> Vec<String> {
        closure.ordered.iter().map(|path| module_name(path)).collect()
    }

    #[test]
    fn a_dependency_comes_before_its_user() {
        let mut loaded = BTreeSet::new();
        let closure = index().closure(&["virtio_mmio", "virtio_blk"], &mut loaded);
        assert_eq!(names(&closure), ["virtio_ring", "virtio", "virtio_mmio", "virtio_blk"]);
        assert_eq!(closure.missing, Vec::<String>::new());
    }

    #[test]
    fn a_second_closure_leaves_out_the_first() {
        let mut loaded = BTreeSet::new();
        let index = index();
        let first = index.closure(&["virtio_mmio"], &mut loaded);
        let second = index.closure(&["virtio-rng", "virtio_mmio"], &mut loaded);
        assert_eq!(names(&first).len(), 3);
        assert_eq!(second.ordered, ["kernel/drivers/char/hw_random/virtio-rng.ko"]);
    }

    #[test]
    fn builtin_is_skipped_and_missing_is_told() {
        let closure = index().closure(&["ext4", "erofs", "lost", "erofs"], &mut BTreeSet::new());
        assert_eq!(names(&closure), ["lost"]);
        assert_eq!(closure.missing, ["erofs", "nowhere"]);
    }

    #[test]
    fn a_cycle_ends() {
        let closure = index().closure(&["a"], &mut BTreeSet::new());
        assert_eq!(names(&closure), ["b", "a"]);
    }

    #[test]
    fn names_are_normalised() {
        for (path, name) in [
            ("kernel/x/virtio-rng.ko.zst", "virtio_rng"),
            ("virtio_blk", "virtio_blk"),
            ("kernel/fs/overlayfs/overlay.ko", "overlay"),
        ] {
            assert_eq!(module_name(path), name);
        }
    }
}
