//! `cargo banger config`: the settings in force and where each came from.

use banger_lifecycle::workspace::Workspace;

use super::print_json;
use crate::boot::resolved;
use crate::cli::ConfigArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::settings::Effective;

pub(crate) async fn config(args: &ConfigArgs, context: &Context) -> Result<u8, CommandError> {
    let root = Workspace::locate(&context.directory, &context.cargo).await.map_err(|error| {
        CommandError::usage("cannot read the cargo workspace").caused_by(&error)
    })?;
    let settings = resolved(context, &args.vm.flags(), root.as_deref())?;
    Effective::check(&settings)?;
    if args.json {
        let rows: serde_json::Map<_, _> = settings
            .iter()
            .map(|setting| {
                let row = serde_json::json!({
                    "value": setting.text,
                    "origin": setting.origin.to_string(),
                    "variable": setting.key.variable,
                    "meaning": setting.key.meaning,
                });
                (setting.key.name.to_owned(), row)
            })
            .collect();
        return print_json(&rows);
    }
    for setting in &settings {
        let (name, text) = (setting.key.name, &setting.text);
        print_plain!("{name:<13} {text:<12} # {}", setting.origin);
    }
    Ok(0)
}
