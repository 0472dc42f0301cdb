//! `cargo banger gc`: removes what nobody owns, and on request what nobody uses.

use banger_lifecycle::error::Cause;
use banger_lifecycle::event::Stage;
use banger_lifecycle::image::{ImageError, ImageStore};
use banger_lifecycle::layer::{LayerError, LayerStore};
use banger_lifecycle::overlay;
use banger_lifecycle::rundir::Notes;
use banger_lifecycle::teardown::{self, Leftover};
use banger_lifecycle::template::{TemplateInfo, TemplateStore};

use super::print_json;
use crate::cli::GcArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

pub(crate) async fn gc(args: &GcArgs, context: &Context) -> Result<u8, CommandError> {
    let found = if args.check {
        teardown::leftovers(&context.layout).await?
    } else {
        teardown::sweep(&context.layout).await?
    };
    let (stuck, found): (Vec<_>, Vec<_>) = found.into_iter().partition(Leftover::is_stuck);
    for stuck in &stuck {
        context.events.warning(format!("not cleared up: {stuck}"), None);
    }
    let mut lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    if !args.check {
        lines.extend(unfinished(context));
    }
    if args.all {
        lines.extend(unused(context)?);
    }
    if !args.check {
        let budget = if args.all { 0 } else { args.disks.bytes() };
        let disks = overlay::trim_disks(&context.layout, budget)?;
        lines.extend(disks.into_iter().map(|workspace| format!("disks of workspace {workspace}")));
        // After the images: a template without its image is of no use.
        let budget = if args.all { 0 } else { args.templates.bytes() };
        lines.extend(surplus_templates(budget, context)?);
    }
    let unclean = !stuck.is_empty() || (args.check && !lines.is_empty());
    let code = if unclean { exit_code::NOT_CLEAN } else { 0 };
    if args.json {
        let key = if args.check { "found" } else { "removed" };
        return print_json(&serde_json::json!({ key: lines })).map(|_| code);
    }
    let done = if args.check { "found" } else { "removed" };
    lines.iter().for_each(|line| print_plain!("{done} {line}"));
    if lines.is_empty() {
        context.events.note("nothing is left over");
    }
    Ok(code)
}

/// Removes what killed image builds left; layers and templates are the sweep's.
fn unfinished(context: &Context) -> Option<String> {
    let images = ImageStore::new(&context.layout, context.events.clone()).sweep();
    (images > 0).then(|| format!("{images} unfinished image builds"))
}

/// Removes the templates that do not fit into the budget, and those that nothing can use.
fn surplus_templates(budget: u64, context: &Context) -> Result<Vec<String>, CommandError> {
    let store = TemplateStore::new(&context.layout, context.events.clone());
    let removed = store.trim(budget).map_err(|e| Cause::from(e).during(Stage::Teardown))?;
    let line = |t: TemplateInfo| format!("template {} ({})", &t.key[..12.min(t.key.len())], t.what);
    Ok(removed.into_iter().map(line).collect())
}

/// Removes images and layers that no VM uses, be it one that was kept, and notes.
fn unused(context: &Context) -> Result<Vec<String>, CommandError> {
    let mut lines = Vec::new();
    let images = ImageStore::new(&context.layout, context.events.clone());
    let failed = |cause: Cause| CommandError::from(cause.during(Stage::Teardown));
    for image in images.list().map_err(|e| failed(e.into()))? {
        if image.in_use {
            continue;
        }
        match images.rm(image.digest.as_str()) {
            // Somebody has taken it since.
            Err(ImageError::InUse(_)) => {}
            removed => {
                removed.map_err(|e| failed(e.into()))?;
                lines.push(format!("image {}", image.digest.short()));
            }
        }
    }
    let layers = LayerStore::new(&context.layout, context.events.clone());
    for layer in layers.list().map_err(|e| failed(e.into()))? {
        if layer.in_use {
            continue;
        }
        match layers.remove(&layer.id.to_string()) {
            Err(LayerError::InUse { .. }) => {}
            removed => {
                removed.map_err(|e| failed(e.into()))?;
                lines.push(format!("layer {} ({})", layer.id, layer.what));
            }
        }
    }
    let notes = Notes::new(&context.layout).clear()?;
    lines.extend((notes > 0).then(|| format!("{notes} notes, such as lists of tests")));
    Ok(lines)
}
