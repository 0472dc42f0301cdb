//! `cargo banger template`: the booted guests that VMs start from.

use std::time::SystemTime;

use banger_lifecycle::error::Cause;
use banger_lifecycle::event::Stage;
use banger_lifecycle::template::{TemplateError, TemplateStore};

use super::print_json;
use crate::cli::{JsonArgs, TemplateCommand};
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

pub(crate) fn template(command: &TemplateCommand, context: &Context) -> Result<u8, CommandError> {
    match command {
        TemplateCommand::List(args) => list(args, context),
        TemplateCommand::Rm { keys } => remove(keys, context),
    }
}

fn list(args: &JsonArgs, context: &Context) -> Result<u8, CommandError> {
    let templates = store(context).list().map_err(failed)?;
    let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    if args.json {
        let rows: Vec<_> = templates
            .iter()
            .map(|template| {
                serde_json::json!({
                    "key": template.key,
                    "what": template.what,
                    "image": template.image,
                    "size_on_disk": template.size,
                    "built": time(template.built),
                    "used": time(template.used),
                    "in_use": template.in_use,
                    "damaged": template.damaged,
                })
            })
            .collect();
        return print_json(&rows);
    }
    if templates.is_empty() {
        context.events.note("there is no template yet: the first run makes one");
        return Ok(0);
    }
    print_plain!("{:<12} {:>10} {:<20} WHAT", "KEY", "ON DISK", "LAST USED");
    for template in templates {
        let size = indicatif::HumanBytes(template.size).to_string();
        let what = if template.damaged { "damaged" } else { &template.what };
        let key = template.key.get(..12).unwrap_or(&template.key);
        print_plain!("{key:<12} {size:>10} {:<20} {what}", time(template.used));
    }
    Ok(0)
}

fn remove(keys: &[String], context: &Context) -> Result<u8, CommandError> {
    for key in keys {
        let removed = store(context).remove(key).map_err(failed)?;
        context.events.note(format!("removed template {removed}"));
    }
    Ok(0)
}

fn store(context: &Context) -> TemplateStore {
    TemplateStore::new(&context.layout, context.events.clone())
}

fn failed(error: TemplateError) -> CommandError {
    let usage = matches!(error, TemplateError::Unknown(_) | TemplateError::Ambiguous(_));
    let mut shown = CommandError::from(Cause::from(error).during(Stage::Template));
    if usage {
        shown.code = exit_code::USAGE;
    }
    shown
}
