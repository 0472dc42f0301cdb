//! `cargo banger ps` and `stop`: the VMs that run.

use banger_lifecycle::machine::fleet;
use banger_lifecycle::spec::VmName;

use super::{print_json, vm_name};
use crate::cli::JsonArgs;
use crate::context::Context;
use crate::error::CommandError;

/// Lists the VMs that run.
pub(crate) async fn ps(args: &JsonArgs, context: &Context) -> Result<u8, CommandError> {
    context.sweep().await?;
    let members = fleet::list(&context.layout).await?;
    if args.json {
        let rows: Vec<_> = members
            .iter()
            .map(|member| serde_json::json!({ "meta": member.record.meta, "attended": member.attended }))
            .collect();
        return print_json(&rows);
    }
    if members.is_empty() {
        context.events.note("no VM runs");
        return Ok(0);
    }
    print_plain!("{:<24} {:>5} {:>9} {:<9} {:<20}", "NAME", "VCPU", "RAM", "STATE", "CREATED");
    for member in members {
        let meta = &member.record.meta;
        let state = if member.attended { "running" } else { "kept" };
        let ram = format!("{} MiB", meta.spec.ram);
        print_plain!(
            "{:<24} {:>5} {ram:>9} {state:<9} {:<20}",
            meta.name,
            meta.spec.vcpu,
            meta.created
        );
    }
    Ok(0)
}

/// Stops VMs by name.
pub(crate) async fn stop(names: &[String], context: &Context) -> Result<u8, CommandError> {
    let names: Vec<VmName> =
        names.iter().map(|name| vm_name(name)).collect::<Result<_, CommandError>>()?;
    for name in &names {
        fleet::stop(&context.layout, name).await?;
        context.events.note(format!("{name} is gone"));
    }
    Ok(0)
}
