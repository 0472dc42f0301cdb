//! `cargo banger nat`: whether VMs with a tap reach beyond this host.

use banger_lifecycle::machine::fleet;
use banger_lifecycle::network::nat::Nat;

use super::{print_json, vm_name};
use crate::cli::NatCommand;
use crate::context::Context;
use crate::error::CommandError;

pub(crate) fn nat(command: &NatCommand, context: &Context) -> Result<u8, CommandError> {
    match command {
        NatCommand::Up { name } => switch(name, Nat::Up, context),
        NatCommand::Down { name } => switch(name, Nat::Down, context),
        NatCommand::Status { name, json } => {
            let nat = fleet::nat(&context.layout, &vm_name(name)?)?;
            if json.json {
                return print_json(&serde_json::json!({ "name": name, "nat": nat }));
            }
            print_plain!("{}", nat.as_str());
            Ok(0)
        }
    }
}

fn switch(name: &str, to: Nat, context: &Context) -> Result<u8, CommandError> {
    fleet::switch_nat(&context.layout, &vm_name(name)?, to)?;
    context.events.note(match to {
        Nat::Up => format!("{name} reaches beyond this host"),
        Nat::Down => format!("{name} reaches this host only"),
    });
    Ok(0)
}
