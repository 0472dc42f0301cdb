//! A large tree: sent as a whole beside `sftp`, then with nothing and with one file changed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use fs_err as fs;

use crate::Result;
use crate::banger::{Banger, Run, checked};
use crate::contest::{self, Contender};
use crate::options::Options;
use crate::report::{Line, Table};
use crate::tree;

/// Both tables.
pub(crate) fn tables(banger: &Banger, options: &Options) -> Result<Vec<Table>> {
    let root = tree::large(banger, options.files)?;
    let data = tree::data_of(&root);
    let full = full(banger, &root, &data, options)?;
    let again = again(banger, &root, &data, options);
    Ok(vec![full, again])
}

/// All of the tree, by both, another one first each time.
fn full(banger: &Banger, root: &Path, data: &Path, options: &Options) -> Result<Table> {
    let mut sftp = Line::new("sftp put -r, without its login");
    let mut ours = Line::new("stage sync of cargo banger run -- true");
    for round in 0..options.transfers {
        eprintln!("transfer {} of {}", round + 1, options.transfers);
        let mut by_sftp = || -> Result<()> {
            sftp.add(&send_by_sftp(banger, data)?);
            Ok(())
        };
        let mut by_banger = || -> Result<()> {
            banger.forget_workspaces()?;
            ours.add(&sync_stage(banger, root)?);
            Ok(())
        };
        // The last is cargo-banger, which leaves its disk to the next table, or does so again.
        if round % 2 == 0 {
            by_sftp()?;
            by_banger()?;
        } else {
            by_banger()?;
            by_sftp()?;
        }
    }
    let mut lines = vec![sftp, ours];
    contest::compare(&mut lines);
    let title = format!("{} files of 1 KB into a VM that has none of them", options.files);
    Ok(Table { title, lines, notes: Vec::new() })
}

/// Nothing and one file, in turn.
fn again(banger: &Banger, root: &Path, data: &Path, options: &Options) -> Table {
    let mut wrong = 0;
    let mut number = 0;
    let nothing = Contender::new("stage sync, nothing changed", || sync_stage(banger, root));
    let one = Contender::new("stage sync, one file changed", || {
        number += 1;
        tree::touch(data, number * 7919 % options.files)?;
        let run = sync_stage(banger, root)?;
        wrong += u32::from(!run.told.contains("sent 1 files"));
        Ok(run)
    });
    let lines = contest::hold(vec![nothing, one], options.runs);
    let title = format!("the same {} files once more", options.files);
    let notes = vec![match wrong {
        0 => "each time one file was changed, one file was sent".to_owned(),
        _ => format!("WRONG: not one file was sent, {wrong} times"),
    }];
    Table { title, lines, notes }
}

/// Runs `true` with the workspace; the time that counts is the stage `sync`.
fn sync_stage(banger: &Banger, root: &Path) -> Result<Run> {
    let run = banger.measure(root, &["-v"])?;
    let wall = run.stage("sync").ok_or("there was no stage `sync`")?;
    eprintln!("    the whole run took {:.1} ms", run.wall);
    Ok(Run { wall, told: run.told, ..Run::default() })
}

/// Sends the tree into a fresh VM of the same kind.
fn send_by_sftp(banger: &Banger, data: &Path) -> Result<Run> {
    let vm = banger.open("bench-target", &[])?;
    let config = vm.directory().join("ssh_config");
    let send = |name: &str, text: String| -> Result<f64> {
        let batch = banger.home().join(name);
        fs::write(&batch, text)?;
        let mut command = Command::new("sftp");
        command.args(["-q", "-o", "ControlPath=none"]).arg("-F").arg(&config);
        command.arg("-b").arg(&batch).arg("vm").stdin(Stdio::null());
        let since = Instant::now();
        checked(&mut command)?;
        Ok(since.elapsed().as_secs_f64() * 1e3)
    };
    let login = send("login.sftp", "pwd\n".to_owned())?;
    let all = send("put.sftp", format!("put -r \"{}\" /root/tree\n", data.display()))?;
    eprintln!("  sftp put -r: {all:.1} ms, of which login {login:.1} ms");
    Ok(Run { wall: all - login, ..Run::default() })
}
