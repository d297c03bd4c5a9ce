//! The virtual machine control block (APM vol. 2, appendix B): what the processor reads at
//! VMRUN and writes at #VMEXIT. Only the layout; what is done with it is in `vcpu` and `exits`.

use core::mem::offset_of;

/// Bits of [`Control::intercepts_1`] (APM vol. 2, table B-1, offset 00Ch).
pub mod intercept_1 {
    /// CPUID.
    pub const CPUID: u32 = 1 << 18;
    /// INVLPGA.
    pub const INVLPGA: u32 = 1 << 26;
    /// IN, OUT, INS and OUTS to ports whose bit is set in the I/O permission map.
    pub const IOIO: u32 = 1 << 27;
    /// RDMSR and WRMSR of registers whose bit is set in the MSR permission map.
    pub const MSR: u32 = 1 << 28;
    /// Shutdown: what a triple fault ends in.
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// Bits of [`Control::intercepts_2`] (APM vol. 2, table B-1, offset 010h).
pub mod intercept_2 {
    /// VMRUN; must be set.
    pub const VMRUN: u32 = 1 << 0;
    /// VMMCALL: the hypercall.
    pub const VMMCALL: u32 = 1 << 1;
    /// VMLOAD.
    pub const VMLOAD: u32 = 1 << 2;
    /// VMSAVE.
    pub const VMSAVE: u32 = 1 << 3;
    /// STGI.
    pub const STGI: u32 = 1 << 4;
    /// CLGI.
    pub const CLGI: u32 = 1 << 5;
    /// SKINIT.
    pub const SKINIT: u32 = 1 << 6;
}

/// A segment register as the VMCB holds it.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// Access rights, packed: bits 0-7 are descriptor bits 40-47, bits 8-11 are 52-55.
    pub attributes: u16,
    /// The limit, already scaled by the granularity bit.
    pub limit: u32,
    /// The base.
    pub base: u64,
}

impl Segment {
    /// The L bit: 64-bit code.
    pub const LONG: u16 = 1 << 9;
    /// The D/B bit: 32-bit default size.
    pub const DEFAULT_32: u16 = 1 << 10;

    /// A flat 4 GiB segment with the given selector and access rights.
    pub const fn flat(selector: u16, attributes: u16) -> Self {
        Self {
            selector,
            attributes,
            limit: 0xffff_ffff,
            base: 0,
        }
    }
}

/// The control area, at offset 0.
#[repr(C)]
pub struct Control {
    /// Reads (low half) and writes (high half) of control registers.
    pub intercept_cr: u32,
    /// The same for debug registers.
    pub intercept_dr: u32,
    /// One bit for each exception vector.
    pub intercept_exceptions: u32,
    /// See [`intercept_1`].
    pub intercepts_1: u32,
    /// See [`intercept_2`].
    pub intercepts_2: u32,
    reserved_014: [u8; 0x2c],
    /// Physical address of the I/O permission map.
    pub iopm_base: u64,
    /// Physical address of the MSR permission map.
    pub msrpm_base: u64,
    /// Added to the time-stamp counter that the guest reads.
    pub tsc_offset: u64,
    /// Address space identifier; 0 is the host's.
    pub asid: u32,
    /// 1: flush the whole TLB at the next VMRUN.
    pub tlb_control: u32,
    /// Virtual interrupt control; 0: the guest has the real interrupts.
    pub interrupt_control: u64,
    /// Bit 0: the guest is in an interrupt shadow.
    pub interrupt_shadow: u64,
    /// Why the guest stopped.
    pub exit_code: u64,
    /// Depends on the exit code.
    pub exit_info_1: u64,
    /// Depends on the exit code.
    pub exit_info_2: u64,
    /// The event whose delivery was interrupted by the exit.
    pub exit_int_info: u64,
    /// Bit 0: nested paging.
    pub nested_control: u64,
    reserved_098: [u8; 0x10],
    /// An event to deliver at the next VMRUN.
    pub event_injection: u64,
    /// Physical address of the nested page table's root.
    pub nested_cr3: u64,
    reserved_0b8: [u8; 8],
    /// Parts of the VMCB the processor may keep cached; 0: none.
    pub clean_bits: u64,
    /// RIP of the next instruction, on processors with NRIP save.
    pub next_rip: u64,
    reserved_0d0: [u8; 0x330],
}

/// The state save area, at offset 400h.
#[repr(C)]
pub struct Save {
    /// ES.
    pub es: Segment,
    /// CS.
    pub cs: Segment,
    /// SS.
    pub ss: Segment,
    /// DS.
    pub ds: Segment,
    /// FS.
    pub fs: Segment,
    /// GS.
    pub gs: Segment,
    /// GDTR (base and limit only).
    pub gdtr: Segment,
    /// LDTR.
    pub ldtr: Segment,
    /// IDTR (base and limit only).
    pub idtr: Segment,
    /// TR.
    pub tr: Segment,
    reserved_4a0: [u8; 0x2b],
    /// Current privilege level.
    pub cpl: u8,
    reserved_4cc: [u8; 4],
    /// EFER, with SVME set as the processor demands.
    pub efer: u64,
    reserved_4d8: [u8; 0x70],
    /// CR4.
    pub cr4: u64,
    /// CR3.
    pub cr3: u64,
    /// CR0.
    pub cr0: u64,
    /// DR7.
    pub dr7: u64,
    /// DR6.
    pub dr6: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    reserved_580: [u8; 0x58],
    /// RSP.
    pub rsp: u64,
    reserved_5e0: [u8; 0x18],
    /// RAX; the other general registers are in [`crate::vcpu::Registers`].
    pub rax: u64,
    /// STAR.
    pub star: u64,
    /// LSTAR.
    pub lstar: u64,
    /// CSTAR.
    pub cstar: u64,
    /// SFMASK.
    pub sfmask: u64,
    /// KernelGSBase.
    pub kernel_gs_base: u64,
    /// SYSENTER_CS.
    pub sysenter_cs: u64,
    /// SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// CR2.
    pub cr2: u64,
    reserved_648: [u8; 0x20],
    /// The guest's PAT.
    pub pat: u64,
    reserved_670: [u8; 0x990],
}

/// A whole VMCB: one page.
#[repr(C, align(4096))]
pub struct Vmcb {
    /// The control area.
    pub control: Control,
    /// The state save area.
    pub save: Save,
}

impl Vmcb {
    /// A VMCB that holds nothing.
    pub const fn empty() -> Self {
        const NONE: Segment = Segment {
            selector: 0,
            attributes: 0,
            limit: 0,
            base: 0,
        };
        Self {
            control: Control {
                intercept_cr: 0,
                intercept_dr: 0,
                intercept_exceptions: 0,
                intercepts_1: 0,
                intercepts_2: 0,
                reserved_014: [0; 0x2c],
                iopm_base: 0,
                msrpm_base: 0,
                tsc_offset: 0,
                asid: 0,
                tlb_control: 0,
                interrupt_control: 0,
                interrupt_shadow: 0,
                exit_code: 0,
                exit_info_1: 0,
                exit_info_2: 0,
                exit_int_info: 0,
                nested_control: 0,
                reserved_098: [0; 0x10],
                event_injection: 0,
                nested_cr3: 0,
                reserved_0b8: [0; 8],
                clean_bits: 0,
                next_rip: 0,
                reserved_0d0: [0; 0x330],
            },
            save: Save {
                es: NONE,
                cs: NONE,
                ss: NONE,
                ds: NONE,
                fs: NONE,
                gs: NONE,
                gdtr: NONE,
                ldtr: NONE,
                idtr: NONE,
                tr: NONE,
                reserved_4a0: [0; 0x2b],
                cpl: 0,
                reserved_4cc: [0; 4],
                efer: 0,
                reserved_4d8: [0; 0x70],
                cr4: 0,
                cr3: 0,
                cr0: 0,
                dr7: 0,
                dr6: 0,
                rflags: 0,
                rip: 0,
                reserved_580: [0; 0x58],
                rsp: 0,
                reserved_5e0: [0; 0x18],
                rax: 0,
                star: 0,
                lstar: 0,
                cstar: 0,
                sfmask: 0,
                kernel_gs_base: 0,
                sysenter_cs: 0,
                sysenter_esp: 0,
                sysenter_eip: 0,
                cr2: 0,
                reserved_648: [0; 0x20],
                pat: 0,
                reserved_670: [0; 0x990],
            },
        }
    }
}

// The processor and the world switch rely on these.
const _: () = {
    assert!(size_of::<Vmcb>() == 4096);
    assert!(offset_of!(Vmcb, save) == 0x400);
    assert!(offset_of!(Control, iopm_base) == 0x40);
    assert!(offset_of!(Control, asid) == 0x58);
    assert!(offset_of!(Control, exit_code) == 0x70);
    assert!(offset_of!(Control, nested_control) == 0x90);
    assert!(offset_of!(Control, event_injection) == 0xa8);
    assert!(offset_of!(Control, nested_cr3) == 0xb0);
    assert!(offset_of!(Control, clean_bits) == 0xc0);
    assert!(offset_of!(Control, next_rip) == 0xc8);
    assert!(offset_of!(Save, tr) == 0x90);
    assert!(offset_of!(Save, cpl) == 0xcb);
    assert!(offset_of!(Save, efer) == 0xd0);
    assert!(offset_of!(Save, cr4) == 0x148);
    assert!(offset_of!(Save, rip) == 0x178);
    assert!(offset_of!(Save, rsp) == 0x1d8);
    assert!(offset_of!(Save, rax) == 0x1f8);
    assert!(offset_of!(Save, cr2) == 0x240);
    assert!(offset_of!(Save, pat) == 0x268);
};
