//! The one virtual processor: its registers, how it is stepped over an instruction, and how an
//! exception gets into it.

use alloc::boxed::Box;

use crate::defects::{self, Defect};
use crate::vmcb::{Control, Save, Segment, Vmcb, intercept_1, intercept_2};

/// The general registers that the VMCB does not hold, in the order the world switch uses.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Registers {
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// RBP.
    pub rbp: u64,
    /// R8 to R15.
    pub r8_to_r15: [u64; 8],
}

/// Bits of RFLAGS, CR0, CR4 and EFER that the exits look at.
pub mod bits {
    /// RFLAGS.TF: single step.
    pub const RFLAGS_TF: u64 = 1 << 8;
    /// RFLAGS.IF: interrupts are on.
    pub const RFLAGS_IF: u64 = 1 << 9;
    /// RFLAGS.DF: string instructions go down.
    pub const RFLAGS_DF: u64 = 1 << 10;
    /// RFLAGS.RF: resume.
    pub const RFLAGS_RF: u64 = 1 << 16;
    /// RFLAGS.VM: virtual 8086 mode.
    pub const RFLAGS_VM: u64 = 1 << 17;
    /// RFLAGS.AC.
    pub const RFLAGS_AC: u64 = 1 << 18;
    /// CR0.PE.
    pub const CR0_PE: u64 = 1 << 0;
    /// CR0.ET, always 1.
    pub const CR0_ET: u64 = 1 << 4;
    /// CR0.WP.
    pub const CR0_WP: u64 = 1 << 16;
    /// CR0.PG.
    pub const CR0_PG: u64 = 1 << 31;
    /// CR4.PSE.
    pub const CR4_PSE: u64 = 1 << 4;
    /// CR4.PAE.
    pub const CR4_PAE: u64 = 1 << 5;
    /// CR4.LA57.
    pub const CR4_LA57: u64 = 1 << 12;
    /// CR4.OSXSAVE.
    pub const CR4_OSXSAVE: u64 = 1 << 18;
    /// CR4.SMEP.
    pub const CR4_SMEP: u64 = 1 << 20;
    /// CR4.SMAP.
    pub const CR4_SMAP: u64 = 1 << 21;
    /// CR4.PKE.
    pub const CR4_PKE: u64 = 1 << 22;
    /// EFER.LME.
    pub const EFER_LME: u64 = 1 << 8;
    /// EFER.LMA.
    pub const EFER_LMA: u64 = 1 << 10;
    /// EFER.NXE.
    pub const EFER_NXE: u64 = 1 << 11;
    /// EFER.SVME.
    pub const EFER_SVME: u64 = 1 << 12;
    /// DR6.BS: the trap is a single step.
    pub const DR6_BS: u64 = 1 << 14;
}

const INVALID_OPCODE: u64 = 6;
/// The vector of #GP, the one exception that exits.
pub const GENERAL_PROTECTION: u64 = 13;

/// An exception for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// #DB.
    Debug,
    /// #UD.
    InvalidOpcode,
    /// #DF.
    DoubleFault,
    /// #GP with its error code.
    GeneralProtection(u32),
    /// #PF with its error code and address.
    PageFault {
        /// The error code.
        code: u32,
        /// What CR2 will hold.
        address: u64,
    },
}

/// The virtual processor.
pub struct Vcpu {
    /// What the processor reads and writes at a world switch.
    pub vmcb: Box<Vmcb>,
    /// The other general registers.
    pub registers: Registers,
}

impl Vcpu {
    /// A processor as Multiboot2 wants a guest entered (Multiboot2 specification 3.3): 32-bit
    /// protected mode, no paging, interrupts off, flat segments.
    pub fn multiboot2(entry: u32, magic: u32, info: u32, tables: &Tables) -> Self {
        const CODE: u16 = 0xc9b;
        const DATA: u16 = 0xc93;
        let mut vmcb = Box::new(Vmcb::empty());
        let control = &mut vmcb.control;
        control.intercepts_1 = intercept_1::CPUID
            | intercept_1::INVLPGA
            | intercept_1::IOIO
            | intercept_1::MSR
            | intercept_1::SHUTDOWN;
        control.intercepts_2 = intercept_2::VMRUN
            | intercept_2::VMMCALL
            | intercept_2::VMLOAD
            | intercept_2::VMSAVE
            | intercept_2::STGI
            | intercept_2::CLGI
            | intercept_2::SKINIT;
        control.intercept_exceptions = 1 << GENERAL_PROTECTION;
        if defects::planted(Defect::ForeignCallTaken) {
            control.intercept_exceptions |= 1 << INVALID_OPCODE;
        }
        control.iopm_base = tables.iopm;
        control.msrpm_base = tables.msrpm;
        control.asid = 1;
        control.tlb_control = 1;
        control.nested_control = 1;
        control.nested_cr3 = tables.nested_root;

        let save = &mut vmcb.save;
        save.cs = Segment::flat(0x08, CODE);
        for segment in [
            &mut save.ss,
            &mut save.ds,
            &mut save.es,
            &mut save.fs,
            &mut save.gs,
        ] {
            *segment = Segment::flat(0x10, DATA);
        }
        save.gdtr.limit = 0;
        save.idtr.limit = 0;
        save.ldtr = Segment {
            attributes: 0x82,
            ..Segment::default()
        };
        save.tr = Segment {
            attributes: 0x8b,
            limit: 0x67,
            ..Segment::default()
        };
        save.efer = bits::EFER_SVME;
        save.cr0 = bits::CR0_PE | bits::CR0_ET;
        save.dr6 = 0xffff_0ff0;
        save.dr7 = 0x400;
        save.rflags = 2;
        save.pat = 0x0007_0406_0007_0406;
        save.rip = u64::from(entry);
        save.rax = u64::from(magic);
        Self {
            vmcb,
            registers: Registers {
                rbx: u64::from(info),
                ..Registers::default()
            },
        }
    }

    /// The control area.
    pub fn control(&mut self) -> &mut Control {
        &mut self.vmcb.control
    }

    /// The state save area.
    pub fn save(&mut self) -> &mut Save {
        &mut self.vmcb.save
    }

    /// General register `number`, in the instruction encoding's order.
    pub fn register(&self, number: usize) -> u64 {
        match number {
            0 => self.vmcb.save.rax,
            1 => self.registers.rcx,
            2 => self.registers.rdx,
            3 => self.registers.rbx,
            4 => self.vmcb.save.rsp,
            5 => self.registers.rbp,
            6 => self.registers.rsi,
            7 => self.registers.rdi,
            other => self.registers.r8_to_r15[other - 8],
        }
    }

    /// Sets general register `number`.
    pub fn set_register(&mut self, number: usize, value: u64) {
        *match number {
            0 => &mut self.vmcb.save.rax,
            1 => &mut self.registers.rcx,
            2 => &mut self.registers.rdx,
            3 => &mut self.registers.rbx,
            4 => &mut self.vmcb.save.rsp,
            5 => &mut self.registers.rbp,
            6 => &mut self.registers.rsi,
            7 => &mut self.registers.rdi,
            other => &mut self.registers.r8_to_r15[other - 8],
        } = value;
    }

    /// Whether the guest runs at privilege level 3.
    pub fn is_user(&self) -> bool {
        self.vmcb.save.cpl == 3
    }

    /// 16, 32 or 64: how the guest's current code is decoded.
    pub fn code_bits(&self) -> u32 {
        let save = &self.vmcb.save;
        if save.cr0 & bits::CR0_PE == 0 || save.rflags & bits::RFLAGS_VM != 0 {
            16
        } else if save.efer & bits::EFER_LMA != 0 && save.cs.attributes & Segment::LONG != 0 {
            64
        } else if save.cs.attributes & Segment::DEFAULT_32 != 0 {
            32
        } else {
            16
        }
    }

    /// The linear address of the current instruction.
    pub fn instruction_address(&self) -> u64 {
        let save = &self.vmcb.save;
        if self.code_bits() == 64 {
            save.rip
        } else {
            save.cs.base.wrapping_add(save.rip) & 0xffff_ffff
        }
    }

    /// Goes on behind the current instruction as the processor would have: RIP wraps in its
    /// mode's width, the interrupt shadow and RF end, and a single step traps (APM vol. 2,
    /// 15.7.1 and 13.1.4).
    pub fn finish_instruction(&mut self, length: u64) {
        let wide = self.code_bits() == 64;
        let save = &mut self.vmcb.save;
        save.rip = save.rip.wrapping_add(length);
        if !wide {
            save.rip &= 0xffff_ffff;
        }
        save.rflags &= !bits::RFLAGS_RF;
        let single_step = save.rflags & bits::RFLAGS_TF != 0;
        self.vmcb.control.interrupt_shadow = 0;
        if single_step && !defects::planted(Defect::SingleStepLost) {
            self.vmcb.save.dr6 |= bits::DR6_BS;
            self.inject(Exception::Debug);
        }
    }

    /// Forgets all translations at the next VMRUN: the nested page table changed (APM vol. 2,
    /// 15.16.1).
    pub fn flush_tlb(&mut self) {
        self.vmcb.control.tlb_control = 1;
    }

    /// The event whose delivery the exit interrupted, in the form of an injection; 0 for none.
    pub fn interrupted_delivery(&self) -> u64 {
        const VALID: u64 = 1 << 31;
        let event = self.vmcb.control.exit_int_info;
        if event & VALID != 0 { event } else { 0 }
    }

    /// Delivers an external interrupt at the next VMRUN, also with RFLAGS.IF clear (APM vol. 2,
    /// 15.20).
    pub fn inject_interrupt(&mut self, vector: u8) {
        const VALID: u64 = 1 << 31;
        self.vmcb.control.event_injection = VALID | u64::from(vector);
    }

    /// Delivers `exception` at the next VMRUN (APM vol. 2, 15.20).
    pub fn inject(&mut self, exception: Exception) {
        const VALID: u64 = 1 << 31;
        const HAS_ERROR_CODE: u64 = 1 << 11;
        const TYPE_EXCEPTION: u64 = 3 << 8;
        let event = |vector: u64| VALID | TYPE_EXCEPTION | vector;
        self.vmcb.control.event_injection = match exception {
            Exception::Debug => event(1),
            Exception::InvalidOpcode => event(6),
            Exception::DoubleFault => event(8) | HAS_ERROR_CODE,
            Exception::GeneralProtection(code) => {
                event(13) | HAS_ERROR_CODE | u64::from(code) << 32
            }
            Exception::PageFault { code, address } => {
                self.vmcb.save.cr2 = address;
                event(14) | HAS_ERROR_CODE | u64::from(code) << 32
            }
        };
    }
}

/// Physical addresses of the tables the processor consults while the guest runs.
pub struct Tables {
    /// I/O permission map.
    pub iopm: u64,
    /// MSR permission map.
    pub msrpm: u64,
    /// Root of the nested page table.
    pub nested_root: u64,
}
