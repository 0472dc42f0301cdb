//! The life of a throwaway VM, step by step.
//!
//! ```text
//! spec ─ image ─ layer ─ overlay ─ vmm ─ session ─ sync ─ exec ─ teardown
//!        └──────── machine runs them all, from a template ─────────┘
//! ```
//!
//! Modules stand in lifecycle order, and a module may use only those above it. The crate prints
//! nothing and reads no environment: directories, settings and an event sink come in as values.

/// What happened, stage by stage.
pub use banger_protocol::event;
/// What a VM should be.
pub use banger_protocol::spec;

// Child processes that cannot outlive us.
pub mod process;
// Small files that somebody else may have written.
pub mod input_file;
// What device-mapper has on this host.
mod device_mapper;
// Paths on disk, locks, and the record of each VM.
pub mod rundir;
// Executables of the host, and what they need where they run.
pub mod program;
// What this host can do: KVM, tools, memory, disk.
pub mod host;
// The cargo workspace a command runs in.
pub mod workspace;
// Immutable guests: root filesystem, kernel, initrd.
pub mod image;
// Read-only drives shared by many VMs: toolchain and dependencies.
pub mod layer;
// The private writable disks of one VM.
pub mod overlay;
// The network that a VM has to itself.
pub mod network;
// SSH to a guest whose agent is somebody else's.
pub mod session;
// What the guest's own process of ours is told to do.
mod agent;
// What a guest is told at boot.
mod seed;
// The process that runs a VM.
pub mod vmm;
// Booted guests that VMs start from as clones.
pub mod template;
// What to send into the guest, and sending it.
pub mod sync;
// Running a command in the guest.
pub mod exec;
// Making sure that nothing stays.
pub mod teardown;
// The one error of a whole run.
pub mod error;
// A VM from plan to teardown.
pub mod machine;
// For fuzz targets.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
