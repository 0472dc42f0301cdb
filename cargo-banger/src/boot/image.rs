//! The image, or the files of the user's own, that a VM boots from.

use banger_lifecycle::error::Cause;
use banger_lifecycle::event::Stage;
use banger_lifecycle::image::{Image, ImageStore, PackageList, Recipe};
use banger_lifecycle::machine::BootFiles;
use camino::Utf8Path;

use crate::context::Context;
use crate::error::CommandError;
use crate::settings::Effective;

/// Finds or builds the image that the settings ask for.
pub(crate) async fn image(
    context: &Context,
    settings: &Effective,
    workspace: Option<&Utf8Path>,
    rebuild: bool,
) -> Result<Image, CommandError> {
    let recipe = recipe(settings, workspace)?;
    let store = ImageStore::new(&context.layout, context.events.clone());
    let image = store.ensure(&recipe, rebuild).await;
    image.map_err(|error| Cause::from(error).during(Stage::Image).into())
}

/// The recipe that the settings ask for.
pub(crate) fn recipe(
    settings: &Effective,
    workspace: Option<&Utf8Path>,
) -> Result<Recipe, CommandError> {
    let failed =
        |error: banger_lifecycle::image::ImageError| CommandError::usage_of(&error, error.hint());
    let of_workspace = || workspace.map(|root| root.join("packages.apt")).filter(|p| p.exists());
    let packages = match settings.packages.clone().or_else(of_workspace) {
        Some(path) => PackageList::read(&path),
        None => Ok(PackageList::builtin()),
    };
    let packages = packages.map_err(|error| failed(error.into()))?;
    Recipe::new(&settings.suite, settings.mirror.clone(), &packages).map_err(|e| failed(e.into()))
}

/// Refuses a user's own file that a VM cannot boot from.
pub(super) fn check_files(settings: &Effective) -> Result<(), CommandError> {
    let Effective { rootfs, kernel, initrd, .. } = settings;
    BootFiles::check(rootfs.as_deref(), kernel.as_deref(), initrd.as_deref())
        .map_err(|error| CommandError::usage_of(&error, None))
}
