//! The kernel's own hypercalls, and what machine this is.

use crate::arch::hypercall::{self, Kernel};
use crate::{time, trace};
use ::hypercall::raw::Instruction;
use ::hypercall::{KNOWN_NAMES, Vmm};
use abi::probe::{HYPERCALL_NONE, HYPERCALL_VMCALL, HYPERCALL_VMMCALL, MachineInfo};
use alloc::vec::Vec;
use raw_cpuid::CpuId;
use spin::Once;

static INSTRUCTION: Once<Option<Instruction>> = Once::new();
static NAME: Once<&'static str> = Once::new();

/// Name that only labvisor's calls have.
pub(super) const LABVISOR_CALL: &core::ffi::CStr = c"lab_trace_ring";

/// Executes both instructions once, with #UD caught, and asks who answers.
pub(super) fn init() {
    let found = INSTRUCTION.call_once(hypercall::detect);
    let name = match vmm() {
        None => "none",
        Some(mut vmm) => match vmm.lookup(LABVISOR_CALL) {
            Ok(Some(_)) => "labvisor",
            // `boot` is registered in every BitVisor (core/vmmcall_boot.c).
            Ok(None) if matches!(vmm.lookup(KNOWN_NAMES[0]), Ok(Some(_))) => "bitvisor",
            _ => "unknown",
        },
    };
    NAME.call_once(|| name);
    crate::println!(
        "hypervisor: {name}{}",
        match found {
            None => "",
            Some(Instruction::Vmcall) => ", answers vmcall",
            Some(Instruction::Vmmcall) => ", answers vmmcall",
        }
    );
}

/// The hypervisor, if one answers.
pub(super) fn vmm() -> Option<Vmm<Kernel>> {
    let instruction = (*INSTRUCTION.get()?)?;
    Some(Vmm::new(Kernel::new(instruction, traced)))
}

/// Records a call of the kernel's own.
fn traced(number: u64, rbx: u64, rcx: u64, reply: Option<(u64, u64)>) {
    use trace_record::Payload;
    use trace_record::payload::{PROBE_KERNEL, Probe, ProbeAnswer};
    let registers = [number, rbx, rcx, 0];
    match reply {
        None => {
            let code = match INSTRUCTION.get() {
                Some(Some(Instruction::Vmcall)) => &[0x0f, 0x01, 0xc1],
                _ => &[0x0f, 0x01, 0xd9],
            };
            let probe = Probe {
                flags: PROBE_KERNEL,
                count: 1,
                inner: 1,
                registers,
                code: code[..].into(),
            };
            trace::emit(&Payload::ProbeRequest(probe));
        }
        Some((rax, rcx)) => {
            let answer = ProbeAnswer {
                request: u32::MAX,
                vector: u32::MAX,
                registers: [rax, rbx, rcx, 0],
                executions: 1,
                rip_offset: 3,
                ..ProbeAnswer::default()
            };
            trace::emit_as(
                trace_record::Class::Hypercall,
                &Payload::ProbeAnswer(answer),
            );
        }
    }
}

/// What the guest took the hypervisor for: `none`, `labvisor`, `bitvisor` or `unknown`.
pub fn hypervisor_name() -> &'static str {
    NAME.get().copied().unwrap_or("none")
}

/// What machine this is.
pub fn machine_info() -> MachineInfo {
    let cpuid = CpuId::new();
    let mut info = MachineInfo {
        hypercall: match INSTRUCTION.get() {
            Some(Some(Instruction::Vmcall)) => HYPERCALL_VMCALL,
            Some(Some(Instruction::Vmmcall)) => HYPERCALL_VMMCALL,
            _ => HYPERCALL_NONE,
        },
        cpus: crate::arch::cpu::online_count() as u32,
        tsc_hz: time::tsc_hz(),
        vendor: [0; 16],
        brand: [0; 48],
        test_device: 0,
        test_device_address: 0,
        reserved: [0; 5],
    };
    if let Some(vendor) = cpuid.get_vendor_info() {
        copy_text(&mut info.vendor, vendor.as_str());
    }
    if let Some(brand) = cpuid.get_processor_brand_string() {
        copy_text(&mut info.brand, brand.as_str());
    }
    if let Some(bdf) = crate::net::test_device() {
        info.test_device = 1;
        info.test_device_address =
            u32::from(bdf.bus) << 8 | u32::from(bdf.device) << 3 | u32::from(bdf.function);
    }
    info
}

fn copy_text(field: &mut [u8], text: &str) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
}

pub(super) fn machine_info_bytes() -> Vec<u8> {
    let info = machine_info();
    let mut out = Vec::with_capacity(size_of::<MachineInfo>());
    out.extend_from_slice(&info.hypercall.to_le_bytes());
    out.extend_from_slice(&info.cpus.to_le_bytes());
    out.extend_from_slice(&info.tsc_hz.to_le_bytes());
    out.extend_from_slice(&info.vendor);
    out.extend_from_slice(&info.brand);
    out.extend_from_slice(&info.test_device.to_le_bytes());
    out.extend_from_slice(&info.test_device_address.to_le_bytes());
    out.resize(size_of::<MachineInfo>(), 0);
    out
}
