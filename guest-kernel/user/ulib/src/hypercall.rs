//! Hypercalls by `probe(2)`: for programs named in the setting `probe=`.

use crate::error::{Error, Result};
use crate::sys;
use abi::probe::{
    CODE_MAX, ExecRequest, HYPERCALL_VMCALL, HYPERCALL_VMMCALL, Registers, STATUS_DONE,
};
use alloc_crate::vec::Vec;
use core::ffi::CStr;
pub use hypercall::{
    DebugShell, Number, Reply, ShellInput, StatusError, Transport, Undefined, Vmm,
};

/// `vmcall`.
const VMCALL: [u8; 3] = [0x0f, 0x01, 0xc1];
/// `vmmcall`.
const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];
/// RFLAGS.AC: ring-0 code may touch user pages although SMAP is on.
const RFLAGS_AC: u64 = 1 << 18;

/// Makes hypercalls from ring 0, with the instruction that answers on this machine.
#[derive(Debug)]
pub struct Probe {
    instruction: [u8; 3],
}

impl Probe {
    /// Asks the kernel which instruction answers.
    ///
    /// # Errors
    /// EPERM if `probe=` does not name this program; a message without a hypervisor.
    pub fn new() -> Result<Self> {
        let instruction = match sys::machine_info()?.hypercall {
            HYPERCALL_VMCALL => VMCALL,
            HYPERCALL_VMMCALL => VMMCALL,
            _ => {
                return Err(Error::Message(alloc_crate::string::ToString::to_string(
                    &Undefined,
                )));
            }
        };
        Ok(Self { instruction })
    }

    /// Executes the instruction with these registers; the registers after it.
    pub fn execute(&self, registers: Registers) -> Result<Registers> {
        let mut code = [0; CODE_MAX];
        code[..self.instruction.len()].copy_from_slice(&self.instruction);
        let request = ExecRequest {
            registers: Registers {
                rflags: registers.rflags | RFLAGS_AC,
                ..registers
            },
            count: 1,
            inner: 1,
            flags: 0,
            code_len: self.instruction.len() as u32,
            warm_up: 0,
            reserved: 0,
            code,
        };
        let response = sys::probe_once(&request)?;
        match response.status {
            STATUS_DONE => Ok(response.registers),
            _ => Err(Error::Message(alloc_crate::format!(
                "the hypercall raised exception {}",
                response.vector
            ))),
        }
    }
}

impl Transport for Probe {
    fn call(&mut self, number: u64, rbx: u64, rcx: u64) -> core::result::Result<Reply, Undefined> {
        let registers = Registers {
            rax: number,
            rbx,
            rcx,
            ..Registers::default()
        };
        let after = self.execute(registers).map_err(|_| Undefined)?;
        Ok(Reply {
            rax: after.rax,
            rcx: after.rcx,
        })
    }
}

/// The number of a hypercall, by name.
pub fn lookup(vmm: &mut Vmm<Probe>, name: &str) -> Result<Number> {
    // The hypervisor reads the name by its linear address: a copy on the heap is surely there.
    let mut bytes: Vec<u8> = name.bytes().collect();
    bytes.push(0);
    let name_of_call =
        CStr::from_bytes_with_nul(&bytes).map_err(|_| Error::from("NUL in a name"))?;
    match vmm.lookup(name_of_call) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(Error::Message(alloc_crate::format!(
            "this hypervisor has no {name}"
        ))),
        Err(error) => Err(Error::Message(alloc_crate::format!("{error}"))),
    }
}
