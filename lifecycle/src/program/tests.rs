//! Real programs, made with the host's compilers, that run with nothing but what was taken along.
//!
//! Host and guest are one here: another directory plays the guest's.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::program::testing::{TempDir, cc, run, rustc};
use crate::program::{Elf, GlibcVersion, ProgramError, adapt, closure};

/// Says what it is, what it has loaded, and what a child of it has loaded; then panics.
const PROBE: &str = r#"
use std::cell::Cell;
use std::process::Command;

thread_local!(static NUMBER: Cell<u32> = const { Cell::new(7) });

fn main() {
    println!("argv0={}", std::env::args().next().unwrap());
    println!("exe={}", std::fs::read_link("/proc/self/exe").unwrap().display());
    println!("current_exe={}", std::env::current_exe().unwrap().display());
    print_files("own", &std::fs::read_to_string("/proc/self/maps").unwrap());
    let child = Command::new("/bin/sh").args(["-c", "exec cat /proc/self/maps"]).output().unwrap();
    print_files("child", &String::from_utf8(child.stdout).unwrap());
    let add = |n| move || NUMBER.with(|number| { number.set(number.get() + n); number.get() });
    let threads: Vec<_> = (0..3).map(|n| std::thread::spawn(add(n))).collect();
    let sum: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("threads={sum}");
    std::panic::catch_unwind(panics_on_purpose).unwrap_err();
}

fn print_files(whose: &str, maps: &str) {
    for file in maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])) {
        println!("{whose}={file}");
    }
}

#[inline(never)]
fn panics_on_purpose() {
    panic!("{:?}", std::hint::black_box("on purpose"));
}
"#;

#[test]
fn a_rust_program_runs_with_what_was_taken_along_and_nothing_else() {
    // The last ones leave LLVM's linker with no other spare entries than those it needs most.
    const FIXED: &str = "-Crelocation-model=static";
    const FLAGS: &str = "-Clink-arg=-Wl,-z,nodelete";
    for arguments in [&[][..], &["-Clink-arg=-fuse-ld=bfd"], &[FIXED], &[FLAGS], &[FIXED, FLAGS]] {
        let temp = TempDir::new();
        let Some(program) = probe(&temp, arguments) else { return };
        let libraries = take_along(&temp, &program, &[]);
        check_probe(&program, &libraries);
        assert!(Elf::read(&program).unwrap().rpath == [libraries]);
    }
}

#[test]
fn libraries_that_the_hosts_library_path_leads_to_are_taken_along() {
    let temp = TempDir::new();
    let Some(program) = probe(&temp, &["-Cprefer-dynamic"]) else { return };
    let error = closure(&program, &[]).unwrap_err();
    assert!(matches!(error, ProgramError::MissingLibrary { .. }), "{error}");
    let (directory, _) = run(Command::new("rustc").args(["--print", "target-libdir"]));
    let libraries = take_along(&temp, &program, &[directory.trim().into()]);
    check_probe(&program, &libraries);
}

#[test]
fn libraries_of_libraries_are_found_although_these_would_search_elsewhere() {
    for kind in ["-pie", "-no-pie"] {
        let temp = TempDir::new();
        let Some(program) = program_with_libraries(&temp, kind) else { return };
        let libraries = take_along(&temp, &program, &[]);
        fs::remove_dir_all(temp.join("own")).unwrap();
        let (printed, _) = run(&mut Command::new(&program));
        let path = |name| format!("{}\n", libraries.join(name));
        for file in [path("libouter.so"), path("libinner.so"), path("libc.so.6")] {
            assert!(printed.contains(&file), "{file} in {printed}");
        }
        assert!(printed.ends_with("42 plugin\n"), "{printed}");
    }
}

#[test]
fn a_library_that_is_nowhere_is_named() {
    let temp = TempDir::new();
    let Some(program) = program_with_libraries(&temp, "-pie") else { return };
    fs::remove_file(temp.join("own/libinner.so")).unwrap();
    let error = closure(&program, &[]).unwrap_err();
    let text = "needs the library `libinner.so`, which is not on this host";
    assert_eq!(error.to_string(), format!("`{program}` {text}"));
    assert!(error.hint().is_some());
    temp.write("own/libinner.so", "/* GNU ld script */");
    let (inner, elsewhere) = (temp.join("own/libinner.so"), temp.join("elsewhere"));
    assert!(closure(&program, std::slice::from_ref(&elsewhere)).is_err(), "{inner} is a script");
    temp.write("inner.c", "int inner(void) { return 43; }");
    fs::create_dir(&elsewhere).unwrap();
    cc(&temp, &["-shared", "-fPIC", "inner.c", "-o", "elsewhere/libinner.so"]);
    let closure = closure(&program, std::slice::from_ref(&elsewhere)).unwrap();
    assert!(closure.libraries.iter().any(|found| found.path == elsewhere.join("libinner.so")));
}

#[test]
fn what_is_no_program_for_this_machine_is_told_apart() {
    let temp = TempDir::new();
    let Some(program) = small_program(&temp, &[]) else { return };
    let whole = fs::read(&program).unwrap();
    let read = |bytes: &[u8]| {
        let path = temp.join("file");
        fs::write(&path, bytes).unwrap();
        Elf::read(&path).unwrap_err()
    };
    let mut foreign = whole.clone();
    foreign[18] = 183;
    let error = read(&foreign);
    assert!(error.to_string().ends_with("is built for aarch64, not for x86_64"), "{error}");
    assert!(matches!(read(b"#!/bin/sh\n"), ProgramError::NotElf { .. }));
    assert!(matches!(read(b""), ProgramError::NotElf { .. }));
    for length in [4, 63, 64, 200, 1000, whole.len() / 2, whole.len() - 1] {
        let error = read(&whole[..length]);
        assert!(matches!(error, ProgramError::Malformed { .. }), "{length}: {error}");
    }
    for path in [temp.join("none"), temp.join("")] {
        let error = Elf::read(&path).unwrap_err();
        assert!(matches!(error, ProgramError::Unreadable { .. }), "{error}");
    }
}

#[test]
fn damaged_files_are_errors_and_nothing_worse() {
    let temp = TempDir::new();
    let Some(program) = small_program(&temp, &[]) else { return };
    let whole = fs::read(&program).unwrap();
    // Every field of the headers and of the tables near them, one after another.
    for offset in (16..whole.len().min(2048)).step_by(2) {
        let mut damaged = whole.clone();
        damaged[offset..offset + 8].fill(0xff);
        fs::write(&program, damaged).unwrap();
        let results = [Elf::read(&program).map(drop), adapt(&program, &temp.join("out"), "/lib")];
        for error in results.into_iter().filter_map(Result::err) {
            assert!(error.to_string().contains(program.as_str()), "{error:?}");
        }
    }
}

#[test]
fn a_static_program_needs_nothing() {
    let temp = TempDir::new();
    let Some(program) = small_program(&temp, &["-static"]) else { return };
    assert!(Elf::read(&program).unwrap().runs_with(None));
    let error = closure(&program, &[]).unwrap_err();
    assert!(matches!(error, ProgramError::Static { .. }));
    let error = adapt(&program, &program, "/lib").unwrap_err();
    assert!(matches!(error, ProgramError::Static { .. }));
}

#[test]
fn a_small_program_runs_where_glibc_is_as_new_as_its_symbols() {
    let temp = TempDir::new();
    let Some(program) = small_program(&temp, &[]) else { return };
    let elf = Elf::read(&program).unwrap();
    assert_eq!(elf.needed, ["libc.so.6"]);
    assert!(elf.glibc.is_some_and(|needed| needed < GlibcVersion::new(2, 99)));
    assert!(elf.runs_with(elf.glibc));
    assert!(!elf.runs_with(Some(GlibcVersion::new(2, 1))));
}

#[test]
fn a_program_without_a_header_to_spare_is_left_alone() {
    let temp = TempDir::new();
    let Some(program) = small_program(&temp, &[]) else { return };
    let mut bytes = fs::read(&program).unwrap();
    let headers = usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
    for start in (0..headers).map(|number| 64 + number * 56) {
        let kind = &mut bytes[start..start + 4];
        if [[4, 0, 0, 0], [0x53, 0xe5, 0x74, 0x64]].iter().any(|spare| kind == spare) {
            kind.copy_from_slice(&[1, 2, 3, 0x6f]);
        }
    }
    fs::write(&program, &bytes).unwrap();
    let error = adapt(&program, &program, "/lib").unwrap_err();
    assert!(matches!(error, ProgramError::NoRoom { .. }), "{error}");
    assert_eq!(fs::read(&program).unwrap(), bytes);
    let error = adapt(&program, &program, "lib").unwrap_err();
    assert_eq!(error.to_string(), "`lib` cannot be a guest's library directory");
}

/// Compiles the probe, if there is a compiler.
fn probe(temp: &TempDir, arguments: &[&str]) -> Option<Utf8PathBuf> {
    temp.write("probe.rs", PROBE);
    let arguments = [&["--edition=2021", "-g", "probe.rs"], arguments].concat();
    rustc(temp, &arguments).then(|| temp.join("probe"))
}

/// Compiles a program that does nothing, if there is a compiler.
fn small_program(temp: &TempDir, arguments: &[&str]) -> Option<Utf8PathBuf> {
    temp.write("small.c", "int main(void) { return 0; }");
    let arguments = [&["small.c", "-o", "small"], arguments].concat();
    cc(temp, &arguments).then(|| temp.join("small"))
}

/// A program that needs `own/libouter.so` by path and opens `plugins/libplugin.so` by name;
/// `libouter.so` needs `libinner.so` and searches for it in its own directory only.
fn program_with_libraries(temp: &TempDir, kind: &str) -> Option<Utf8PathBuf> {
    temp.write("inner.c", "int inner(void) { return 42; }");
    temp.write("outer.c", "int inner(void);\nint outer(void) { return inner(); }");
    temp.write("plugin.c", "const char *plugin(void) { return \"plugin\"; }");
    temp.write("main.c", MAIN);
    for directory in ["own", "plugins"] {
        fs::create_dir(temp.join(directory)).unwrap();
    }
    let library = ["-shared", "-fPIC", "-Wl,--enable-new-dtags", "-Lown"];
    let compile = |arguments: &[&str]| cc(temp, &[&library, arguments].concat());
    let outer = format!("{}", temp.join("own/libouter.so"));
    let done = compile(&["inner.c", "-o", "own/libinner.so"])
        && compile(&["outer.c", "-o", &outer, "-linner", "-Wl,-rpath,$ORIGIN"])
        && compile(&["plugin.c", "-o", "plugins/libplugin.so"])
        && cc(temp, &[kind, "main.c", "-o", "main", &outer, "-ldl", "-Wl,-rpath,$ORIGIN/plugins"]);
    done.then(|| temp.join("main"))
}

const MAIN: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int outer(void);

int main(void) {
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strchr(line, '/')) fputs(strchr(line, '/'), stdout);
    void *library = dlopen("libplugin.so", RTLD_NOW);
    const char *(*plugin)(void) = (const char *(*)(void)) dlsym(library, "plugin");
    printf("%d %s\n", outer(), plugin());
    return 0;
}
"#;

/// Takes along all that the program needs, and has its altered copy take its place.
fn take_along(temp: &TempDir, program: &Utf8Path, library_path: &[Utf8PathBuf]) -> Utf8PathBuf {
    let libraries = temp.join("a/guest's/directory/with a long name/libraries");
    fs::create_dir_all(&libraries).unwrap();
    closure(program, library_path).unwrap().copy_to(&libraries).unwrap();
    adapt(program, program, libraries.as_str()).unwrap();
    libraries
}

fn check_probe(program: &Utf8Path, libraries: &Utf8Path) {
    let mut command = Command::new(program);
    let (printed, complained) = run(command.env("RUST_BACKTRACE", "1"));
    let values = |key: &str| {
        let key = format!("{key}=");
        printed.lines().filter_map(move |line| line.strip_prefix(key.as_str())).collect::<Vec<_>>()
    };
    for key in ["argv0", "exe", "current_exe"] {
        assert_eq!(values(key), [program.as_str()], "{key}");
    }
    assert_eq!(values("threads"), ["24"]);
    let own = values("own");
    assert!(own.iter().any(|file| file.ends_with("/libc.so.6")), "{printed}");
    let foreign =
        own.iter().find(|file| **file != program && !Utf8Path::new(file).starts_with(libraries));
    assert_eq!(foreign, None);
    let child = values("child");
    assert!(!child.is_empty() && !child.iter().any(|file| file.starts_with(libraries.as_str())));
    for part in ["probe::panics_on_purpose", "probe.rs:", "probe::main"] {
        assert!(complained.contains(part), "{part} in {complained}");
    }
}
