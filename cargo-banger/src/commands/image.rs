//! `cargo banger image`: the guests that VMs boot from.

use banger_lifecycle::error::Cause;
use banger_lifecycle::event::Stage;
use banger_lifecycle::image::{ImageError, ImageStore, Staleness};
use banger_lifecycle::workspace::Workspace;
use camino::Utf8PathBuf;

use super::print_json;
use crate::boot::{recipe, resolved};
use crate::cli::{ImageArgs, ImageCommand, JsonArgs};
use crate::context::Context;
use crate::error::CommandError;
use crate::settings::Effective;

pub(crate) async fn image(command: ImageCommand, context: &Context) -> Result<u8, CommandError> {
    match command {
        ImageCommand::Build { image } => build(&image, context).await,
        ImageCommand::List(args) => list(&args, context),
        ImageCommand::Inspect { digest } => {
            print_json(&store(context).inspect(&digest).map_err(failed)?)
        }
        ImageCommand::Path { digest } => {
            print_plain!("{}", store(context).directory(&digest).map_err(failed)?);
            Ok(0)
        }
        ImageCommand::WhyStale { image, json } => why_stale(&image, &json, context).await,
        ImageCommand::Rm { digests } => remove(&digests, context),
    }
}

async fn build(args: &ImageArgs, context: &Context) -> Result<u8, CommandError> {
    let (settings, root) = settings(args, context).await?;
    let recipe = recipe(&settings, root.as_deref())?;
    let image = store(context).build(&recipe).await.map_err(failed)?;
    context.reporter.clear();
    print_plain!("{}", image.digest());
    Ok(0)
}

fn list(args: &JsonArgs, context: &Context) -> Result<u8, CommandError> {
    let images = store(context).list().map_err(failed)?;
    if args.json {
        let rows: Vec<_> = images
            .iter()
            .map(|image| {
                serde_json::json!({
                    "digest": image.digest.as_str(),
                    "manifest": image.manifest,
                    "damage": image.damage,
                    "size_on_disk": image.size_on_disk,
                    "in_use": image.in_use,
                })
            })
            .collect();
        return print_json(&rows);
    }
    if images.is_empty() {
        context.events.note("there is no image yet: the first run builds one");
        return Ok(0);
    }
    print_plain!("{:<12} {:<10} {:>10} {:<22} KERNEL", "DIGEST", "SUITE", "ON DISK", "BUILT");
    for image in images {
        let size = indicatif::HumanBytes(image.size_on_disk).to_string();
        let digest = image.digest.short();
        match (image.manifest, image.damage) {
            (Some(manifest), None) => print_plain!(
                "{digest:<12} {:<10} {size:>10} {:<22} {}",
                manifest.suite,
                manifest.built,
                manifest.kernel
            ),
            (_, damage) => {
                let damage = damage.unwrap_or_default();
                print_plain!("{digest:<12} {:<10} {size:>10} damaged: {damage}", "?");
            }
        }
    }
    Ok(0)
}

async fn why_stale(
    args: &ImageArgs,
    json: &JsonArgs,
    context: &Context,
) -> Result<u8, CommandError> {
    let (settings, root) = settings(args, context).await?;
    let recipe = recipe(&settings, root.as_deref())?;
    let staleness = store(context).why_stale(&recipe);
    let (state, digest, text) = match &staleness {
        Staleness::Missing => ("missing", None, "there is no image: the next run builds it".into()),
        Staleness::Fresh { digest } => ("fresh", Some(digest), format!("{digest} is up to date")),
        Staleness::Changed { digest, difference, age } => {
            let age = humantime::format_duration(std::time::Duration::from_secs(age.as_secs()));
            let list = recipe.packages().origin();
            (
                "changed",
                Some(digest),
                format!("{digest}, built {age} ago: {list} changed since: {difference}"),
            )
        }
    };
    if json.json {
        let digest = digest.map(banger_lifecycle::image::Digest::as_str);
        return print_json(&serde_json::json!({ "state": state, "digest": digest, "text": text }));
    }
    print_plain!("{text}");
    Ok(0)
}

fn remove(digests: &[String], context: &Context) -> Result<u8, CommandError> {
    let store = store(context);
    for digest in digests {
        let removed = store.rm(digest).map_err(failed)?;
        context.events.note(format!("removed image {removed}"));
    }
    Ok(0)
}

/// The settings that decide an image, and the workspace whose list it may be.
async fn settings(
    args: &ImageArgs,
    context: &Context,
) -> Result<(Effective, Option<Utf8PathBuf>), CommandError> {
    let root = Workspace::locate(&context.directory, &context.cargo).await.map_err(|error| {
        CommandError::usage("cannot read the cargo workspace").caused_by(&error)
    })?;
    let settings = Effective::check(&resolved(context, &args.flags(), root.as_deref())?)?;
    Ok((settings, root))
}

fn store(context: &Context) -> ImageStore {
    ImageStore::new(&context.layout, context.events.clone())
}

fn failed(error: ImageError) -> CommandError {
    Cause::from(error).during(Stage::Image).into()
}
