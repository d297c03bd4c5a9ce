//! BitVisor's hypercalls, typed.
//!
//! BitVisor has no signature and no hypercall page: the guest executes `vmcall` (Intel) or `vmmcall`
//! (AMD) with the number in `rax`, arguments in `rbx` and `rcx`, and finds the answer in `rax`
//! (`core/x86/vmmcall.c`). Numbers differ between builds, so [`Vmm`] asks for each by name
//! ([`Vmm::lookup`], number 0) and never knows one by heart. The foreign instruction raises #UD, and
//! so do both without a hypervisor; whoever implements [`Transport`] catches that.
//!
//! ```
//! use hypercall::{Transport, Undefined, Vmm};
//!
//! struct Bare;
//! impl Transport for Bare {
//!     fn call(&mut self, _: u64, _: u64, _: u64) -> Result<hypercall::Reply, Undefined> { Err(Undefined) }
//! }
//! assert_eq!(Vmm::new(Bare).lookup(c"dbgsh"), Err(Undefined));
//! ```
#![no_std]

mod log;
pub mod raw;

pub use log::{LOG_HEADER_LEN, LOG_SENTINEL, LogBuild, LogReader};

use core::ffi::CStr;

/// Names BitVisor may know, in the order of its source; which exist depends on the build.
pub const KNOWN_NAMES: [&CStr; 7] = [
    c"boot",
    c"loadcfg",
    c"loadcfg64",
    c"dbgsh",
    c"log_set_buf",
    c"get_status",
    c"iccard",
];

/// The instruction raised #UD: nobody below answers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Undefined;

impl core::fmt::Display for Undefined {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no hypervisor answers the hypercall instruction")
    }
}

impl core::error::Error for Undefined {}

/// Registers after a hypercall. `rcx` is an output of get_status only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Result; a handler that returns silently leaves the number here.
    pub rax: u64,
    /// Length, for get_status.
    pub rcx: u64,
}

/// Executes the hypercall instruction of this CPU.
pub trait Transport {
    /// One hypercall.
    ///
    /// # Errors
    /// [`Undefined`] if the instruction raised #UD.
    fn call(&mut self, number: u64, rbx: u64, rcx: u64) -> Result<Reply, Undefined>;
}

/// A hypercall's number in this build, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(core::num::NonZeroU64);

impl Number {
    /// The value for `rax`.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// Why get_status gave no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusError {
    /// Nobody answers.
    Undefined,
    /// `config.vmm.status` is 0: the call returned with its registers unchanged.
    Disabled,
    /// The buffer is too short or not writable.
    TooShort {
        /// Length the text has now, in bytes.
        needed: u64,
    },
}

impl From<Undefined> for StatusError {
    fn from(_: Undefined) -> Self {
        Self::Undefined
    }
}

/// What the debug shell said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugShell {
    /// Nothing yet; poll again.
    Busy,
    /// It waits for a key.
    WantsKey,
    /// A character; acknowledge it with [`ShellInput::Acknowledge`].
    Character(u8),
    /// The shell ended; acknowledge and stop.
    Ended,
    /// The call returned something else.
    Unknown(u64),
}

/// What the guest answers the debug shell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShellInput {
    /// Nothing: a pure poll.
    Poll,
    /// The character was taken.
    Acknowledge,
    /// A key; NUL is sent as 100h.
    Key(u8),
}

impl ShellInput {
    /// The value for `rbx` (`core/vmmcall_dbgsh.c`: an int, -1 polls).
    pub const fn argument(self) -> u64 {
        match self {
            Self::Poll => u64::MAX,
            Self::Acknowledge => 0,
            Self::Key(0) => 0x100,
            Self::Key(key) => key as u64,
        }
    }
}

impl DebugShell {
    /// The meaning of `rax`.
    pub const fn from_rax(rax: u64) -> Self {
        match rax {
            u64::MAX => Self::Busy,
            0 => Self::WantsKey,
            1..=0xff => Self::Character(rax as u8),
            0x100 => Self::Character(0),
            0x10a => Self::Ended,
            other => Self::Unknown(other),
        }
    }
}

/// BitVisor, or another hypervisor with its calls.
pub struct Vmm<T> {
    transport: T,
}

impl<T: Transport> Vmm<T> {
    /// Calls through this transport.
    pub const fn new(transport: T) -> Self {
        Self { transport }
    }

    /// The number of a hypercall by name; `None` if this build lacks it. The name must lie in memory
    /// that the current page tables map, since the hypervisor reads it by its linear address.
    ///
    /// # Errors
    /// [`Undefined`].
    pub fn lookup(&mut self, name: &CStr) -> Result<Option<Number>, Undefined> {
        let reply = self
            .transport
            .call(0, name.as_ptr().expose_provenance() as u64, 0)?;
        Ok(core::num::NonZeroU64::new(reply.rax).map(Number))
    }

    /// Writes the hypervisor's status text into `buffer` and returns its length.
    ///
    /// # Errors
    /// [`StatusError`].
    pub fn get_status(&mut self, number: Number, buffer: &mut [u8]) -> Result<usize, StatusError> {
        let size = buffer.len() as u64;
        let reply = self.transport.call(
            number.get(),
            buffer.as_mut_ptr().expose_provenance() as u64,
            size,
        )?;
        match reply.rax {
            0 => Ok(reply.rcx.min(size) as usize),
            rax if rax == number.get() && reply.rcx == size => Err(StatusError::Disabled),
            _ => Err(StatusError::TooShort { needed: reply.rcx }),
        }
    }

    /// Makes the hypervisor write its log into physical memory, from now on and for ever; detaches
    /// the buffer before. The range must stay allocated until [`Vmm::log_detach`].
    ///
    /// # Errors
    /// [`Undefined`].
    pub fn log_attach(&mut self, number: Number, physical: u64, len: u64) -> Result<(), Undefined> {
        self.transport.call(number.get(), physical, len).map(|_| ())
    }

    /// Takes the log buffer away from the hypervisor.
    ///
    /// # Errors
    /// [`Undefined`].
    pub fn log_detach(&mut self, number: Number) -> Result<(), Undefined> {
        self.transport.call(number.get(), 0, 0).map(|_| ())
    }

    /// One step of the debug shell's protocol.
    ///
    /// # Errors
    /// [`Undefined`].
    pub fn debug_shell(
        &mut self,
        number: Number,
        input: ShellInput,
    ) -> Result<DebugShell, Undefined> {
        let reply = self.transport.call(number.get(), input.argument(), 0)?;
        Ok(DebugShell::from_rax(reply.rax))
    }
}

#[cfg(test)]
extern crate std;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
