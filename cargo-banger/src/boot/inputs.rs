//! What a command in a VM has to do with, without starting one.

use banger_lifecycle::exec::GuestCommand;
use banger_lifecycle::layer::Programs;
use banger_lifecycle::machine::Inputs;

use super::place::Tree;
use super::{Request, contents};
use crate::context::Context;
use crate::error::CommandError;

impl Request {
    /// All that decides what a program of the host's does in the VM that is asked for. Finds or
    /// builds the image.
    pub(crate) async fn inputs(
        &self,
        command: GuestCommand,
        context: &Context,
    ) -> Result<Inputs, CommandError> {
        let boot = self.boot_files(context).await?;
        let tree = if self.settings.sync { self.tree.clone() } else { Tree::Nothing };
        Ok(Inputs {
            programs: Programs {
                paths: self.programs(&self.place.directory),
                guest: boot.glibc(),
                library_path: context.library_path.clone(),
            },
            boot,
            spec: self.settings.spec.clone(),
            directories: self.directories(),
            workspace: contents::workspace_plan(tree, self.builds),
            command,
        })
    }
}
