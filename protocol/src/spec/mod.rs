//! What a VM should be: plain, validated settings.
//!
//! Each type accepts only values that can work, and its error quotes the value and the accepted
//! form, so that bad input is refused before anything boots.

/// Has a type stand as text in files: parsed where it is read, displayed where it is written.
macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

mod name;
mod number;
mod pool;
mod rate;
mod size;
mod words;

pub use self::name::VmName;
pub use self::number::{Ram, Vcpu};
pub use self::pool::NetPool;
pub use self::rate::Rate;
pub use self::size::OverlaySize;
pub use self::words::{Accel, Init, Net, VmmKind};

use serde::{Deserialize, Serialize};

/// A value that a setting does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: expected {expected}")]
pub struct InvalidValue {
    /// The value as given.
    pub value: String,
    /// What it was meant to be.
    pub what: &'static str,
    /// The accepted form.
    pub expected: &'static str,
}

/// Everything about a VM that is not a file: its shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// How many virtual CPUs.
    pub vcpu: Vcpu,
    /// Memory in MiB.
    pub ram: Ram,
    /// How much the guest may write to its root disk.
    pub overlay_size: OverlaySize,
    /// How large each of its workspace's disks is.
    #[serde(default = "workspace_size")]
    pub workspace_size: OverlaySize,
    /// The VMM; the best one this host can run where `None`.
    pub vmm: Option<VmmKind>,
    /// The accelerator.
    pub accel: Accel,
    /// Process 1 of the guest.
    pub init: Init,
    /// What the guest can reach.
    pub net: Net,
    /// Where its addresses come from, if it has a tap.
    #[serde(default)]
    pub net_pool: NetPool,
    /// How much each of its disks may move; as much as it can where `None`.
    #[serde(default)]
    pub disk_rate: Option<Rate>,
    /// How much its tap may move in each direction.
    #[serde(default)]
    pub net_rate: Option<Rate>,
    /// Whether the VMM is confined to a jail.
    #[serde(default)]
    pub jail: bool,
    /// How long the guest may take to become ready, in ms.
    pub boot_timeout_ms: u64,
}

const fn workspace_size() -> OverlaySize {
    OverlaySize::OF_WORKSPACE_DISKS
}

impl Default for VmSpec {
    fn default() -> Self {
        Self {
            vcpu: Vcpu::default(),
            ram: Ram::default(),
            overlay_size: OverlaySize::default(),
            workspace_size: workspace_size(),
            vmm: None,
            accel: Accel::Auto,
            init: Init::Quick,
            net: Net::None,
            net_pool: NetPool::default(),
            disk_rate: None,
            net_rate: None,
            jail: false,
            boot_timeout_ms: 90_000,
        }
    }
}
