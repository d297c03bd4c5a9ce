//! Instructions by name, hypercalls among them.

use super::{Api, execution::flags_of};
use crate::{
    asm,
    session::{Failure, Reply, Session},
};
use abi::probe::{self, Registers};
use alloc::format;
use rhai::{Blob, ImmutableString};

pub(super) fn register(api: &mut Api) {
    instructions(api);
    hypercalls(api);
}

fn instructions(api: &mut Api) {
    api.section("Instructions");
    function!(
        api,
        "cpuid",
        "cpuid(leaf [, subleaf]) -> Reply",
        "Executes CPUID.",
        r#"expect("a basic leaf", cpuid(0).rax > 0);"#,
        |session, leaf: i64| -> Reply { cpuid(session, leaf, 0) }
    );
    function!(api, overload "cpuid", |session, leaf: i64, subleaf: i64| -> Reply { cpuid(session, leaf, subleaf) });
    function!(
        api,
        "rdmsr",
        "rdmsr(number) -> Reply",
        "Reads a model-specific register into `value`.",
        r#"expect("EFER.LMA is set", bit(rdmsr(0xc0000080).value, 10));"#,
        |session, number: i64| -> Reply {
            let registers = Registers {
                rcx: number as u64,
                ..Registers::default()
            };
            let mut reply = session.run(&[0x0f, 0x32], registers, 0)?;
            let after = &reply.response.registers;
            reply.value = after.rdx << 32 | after.rax & 0xffff_ffff;
            Ok(reply)
        }
    );
    function!(
        api,
        "wrmsr",
        "wrmsr(number, value) -> Reply",
        "Writes a model-specific register.",
        r#"let old = rdmsr(0xc0000102).value; expect_no_fault("same value", wrmsr(0xc0000102, old));"#,
        |session, number: i64, value: i64| -> Reply {
            let value = value as u64;
            let registers = Registers {
                rcx: number as u64,
                rax: value & 0xffff_ffff,
                rdx: value >> 32,
                ..Registers::default()
            };
            session.run(&[0x0f, 0x30], registers, 0)
        }
    );
    function!(
        api,
        "port_in",
        "port_in(port, width) -> Reply",
        "Reads a port with 1, 2 or 4 bytes into `value`.",
        r#"note(hex(port_in(0x80, 1).value));"#,
        |session, port: i64, width: i64| -> Reply {
            let (code, mask): (&[u8], u64) = match width {
                1 => (&[0xec], 0xff),
                2 => (&[0x66, 0xed], 0xffff),
                4 => (&[0xed], 0xffff_ffff),
                _ => return Err(format!("width {width} is not 1, 2 or 4")),
            };
            let registers = Registers {
                rdx: port as u64 & 0xffff,
                ..Registers::default()
            };
            let mut reply = session.run(code, registers, 0)?;
            reply.value = reply.response.registers.rax & mask;
            Ok(reply)
        }
    );
    function!(
        api,
        "port_out",
        "port_out(port, width, value) -> Reply",
        "Writes a port with 1, 2 or 4 bytes.",
        r#"port_out(0x80, 1, 0);"#,
        |session, port: i64, width: i64, value: i64| -> Reply {
            let code: &[u8] = match width {
                1 => &[0xee],
                2 => &[0x66, 0xef],
                4 => &[0xef],
                _ => return Err(format!("width {width} is not 1, 2 or 4")),
            };
            let registers = Registers {
                rdx: port as u64 & 0xffff,
                rax: value as u64,
                ..Registers::default()
            };
            session.run(code, registers, 0)
        }
    );
    function!(
        api,
        "pci_read",
        "pci_read(address, offset, width) -> int",
        "Reads PCI configuration space through ports CF8h and CFCh; address is bus << 8 | device << 3 | function.",
        r#"note(hex(pci_read(0, 0, 4)));"#,
        |session, address: i64, offset: i64, width: i64| -> i64 {
            pci(session, address, offset, width, None)
        }
    );
    function!(
        api,
        "pci_write",
        "pci_write(address, offset, width, value)",
        "Writes PCI configuration space.",
        r#"let command = pci_read(0, 4, 2); pci_write(0, 4, 2, command);"#,
        |session, address: i64, offset: i64, width: i64, value: i64| -> () {
            pci(session, address, offset, width, Some(value)).map(drop)
        }
    );
}

fn cpuid(session: &mut Session, leaf: i64, subleaf: i64) -> Result<Reply, Failure> {
    let registers = Registers {
        rax: leaf as u64,
        rcx: subleaf as u64,
        ..Registers::default()
    };
    session.run(&[0x0f, 0xa2], registers, 0)
}

/// One access by mechanism 1, in one piece of code so that nobody changes CF8h between.
pub(super) fn pci(
    session: &mut Session,
    address: i64,
    offset: i64,
    width: i64,
    value: Option<i64>,
) -> Result<i64, Failure> {
    if !matches!(width, 1 | 2 | 4)
        || !(0..256).contains(&offset)
        || !(0..0x1_0000).contains(&address)
    {
        return Err(format!(
            "no such PCI access: address {address:#x}, offset {offset:#x}, width {width}"
        ));
    }
    let select = 0x8000_0000 | (address as u64) << 8 | offset as u64 & 0xfc;
    let register = ["al", "ax", "", "eax"][width as usize - 1];
    let access = match value {
        Some(_) => format!("mov rax, rbx; out dx, {register}"),
        None => format!("xor eax, eax; in {register}, dx"),
    };
    let code = asm::assemble(&format!(
        "mov dx, 0xcf8; out dx, eax; mov rdx, rcx; {access}"
    ))?;
    let registers = Registers {
        rax: select,
        rbx: value.unwrap_or(0) as u64,
        rcx: 0xcfc + (offset as u64 & 3),
        ..Registers::default()
    };
    let reply = session.run(&code, registers, probe::FLAG_INTERRUPTS_OFF)?;
    if reply.faulted() {
        return Err(format!("PCI access raised {}", reply.fault()));
    }
    Ok(reply.response.registers.rax as i64)
}

fn hypercalls(api: &mut Api) {
    api.section("Hypercalls");
    function!(
        api,
        "hypercall",
        "hypercall(number, rbx, rcx [, flags]) -> Reply",
        "Executes the machine's hypercall instruction with the number in rax. Without a hypervisor the reply is a #UD.",
        r#"let reply = hypercall(127, 0, 0);"#,
        |session, number: i64, rbx: i64, rcx: i64| -> Reply {
            hypercall(session, number, rbx, rcx, 0)
        }
    );
    function!(api, overload "hypercall", |session, number: i64, rbx: i64, rcx: i64, flags: i64| -> Reply {
        hypercall(session, number, rbx, rcx, flags_of(flags)?)
    });
    function!(
        api,
        "hypercall_with",
        "hypercall_with(registers [, flags]) -> Reply",
        "The same with a whole register file.",
        r#"let file = pattern_registers(1); file.rax = 127; expect_unchanged("null call", hypercall_with(file), ["rax"]);"#,
        |session, registers: Registers| -> Reply {
            let code = session.hypercall_code();
            session.run(&code, registers, 0)
        }
    );
    function!(api, overload "hypercall_with", |session, registers: Registers, flags: i64| -> Reply {
        let code = session.hypercall_code();
        session.run(&code, registers, flags_of(flags)?)
    });
    function!(
        api,
        "hypercall_code",
        "hypercall_code() -> blob",
        "The machine's hypercall instruction as bytes, to be built into longer code.",
        r#"let twice = hypercall_code() + hypercall_code();"#,
        |session| -> Blob { Ok(session.hypercall_code().to_vec()) }
    );
    function!(
        api,
        "hypercall_number",
        "hypercall_number(name) -> int",
        "The number of the named hypercall, 0 if there is none (or no hypervisor).",
        r#"note(`dbgsh has number ${hypercall_number("dbgsh")}`);"#,
        |session, name: ImmutableString| -> i64 {
            session.hypercall_number(&name).map(|number| number as i64)
        }
    );
}

fn hypercall(
    session: &mut Session,
    number: i64,
    rbx: i64,
    rcx: i64,
    flags: u32,
) -> Result<Reply, Failure> {
    let registers = Registers {
        rax: number as u64,
        rbx: rbx as u64,
        rcx: rcx as u64,
        ..Registers::default()
    };
    let code = session.hypercall_code();
    session.run(&code, registers, flags)
}
