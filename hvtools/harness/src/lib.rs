//! Machines to test on.
//!
//! ```no_run
//! use std::time::Duration;
//! use harness::{Hypervisor, Machine, MachineConfig};
//!
//! # fn main() -> anyhow::Result<()> {
//! let config = MachineConfig::new(Hypervisor::Labvisor, "disk.img".into(), "logs".into());
//! let mut machine = Machine::start(config)?;
//! let mut console = machine.console()?;
//! console.wait_for("$ ", Duration::from_secs(30))?;
//! console.type_line("echo hi")?;
//! # Ok(())
//! # }
//! ```
//! A [`Machine`] is one QEMU in a process group of its own; dropping it ends it. When the thread that started
//! it dies, the kernel ends it (`setpriv --pdeathsig`), so nothing is left behind however `hv` ends.

mod boot;
mod console;
mod debugger;
mod effort;
mod hypervisor;
mod kept;
mod machine;
mod network;
mod outcome;
mod qmp;
mod relay;
mod server;
mod settings;
mod text;
mod watch;

pub use boot::{Boot, LABVISOR_PRODUCT};
pub use console::{Console, Silence};
pub use effort::{Effort, Patience};
pub use hypervisor::{Hypervisor, UnknownHypervisor};
pub use kept::keep;
pub use machine::{Accelerator, Ended, Machine, MachineConfig};
pub use network::{Forward, Network, Protocol, Tap};
pub use outcome::Outcome;
pub use qmp::Qmp;
pub use relay::{Counts, Faults, Rate, Relay, Side};
pub use server::{Export, Mode, Secret, Server, ServerConfig, seen_from_guest};
pub use settings::Settings;
pub use text::{escaped, last_lines};
pub use watch::{Sign, Watch};
