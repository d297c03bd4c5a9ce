//! Labvisor's own descriptor tables. It takes no interrupts, so every trap is its own fault:
//! it says what happened and panics.
#![expect(unsafe_code, reason = "loads descriptor tables")]

use core::arch::global_asm;

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::idt::InterruptDescriptorTable;

// One stub for each exception vector, 16 bytes apart: an error code where the processor pushes
// none, the vector, and on to Rust with the frame's address.
global_asm!(
    ".text",
    ".balign 16",
    "trap_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".balign 16",
    ".if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)",
    "push 0",
    ".endif",
    "push vector",
    "jmp trap_common",
    ".set vector, vector + 1",
    ".endr",
    "trap_common:",
    "mov rdi, rsp",
    "and rsp, -16",
    "call labvisor_trap",
    "ud2",
);

unsafe extern "C" {
    static trap_stubs: u8;
}

#[repr(C)]
struct Frame {
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
}

#[unsafe(no_mangle)]
extern "C" fn labvisor_trap(frame: &Frame) -> ! {
    let cr2 = x86_64::registers::control::Cr2::read_raw();
    let Frame {
        vector,
        error,
        rip,
        cs,
        rflags,
        rsp,
    } = frame;
    panic!(
        "trap {vector} error {error:#x} rip {cs:#x}:{rip:#x} rsp {rsp:#x} rflags {rflags:#x} cr2 {cr2:#x}"
    );
}

static GDT: Once<(GlobalDescriptorTable, SegmentSelector, SegmentSelector)> = Once::new();
static IDT: Once<InterruptDescriptorTable> = Once::new();

/// Loads the tables.
pub fn init() {
    let (gdt, code, data) = GDT.call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        let code = gdt.append(Descriptor::kernel_code_segment());
        let data = gdt.append(Descriptor::kernel_data_segment());
        (gdt, code, data)
    });
    gdt.load();
    // SAFETY: the selectors are those of flat segments in the table just loaded.
    unsafe {
        CS::set_reg(*code);
        DS::set_reg(*data);
        ES::set_reg(*data);
        SS::set_reg(*data);
    }
    IDT.call_once(table).load();
}

fn table() -> InterruptDescriptorTable {
    let mut idt = InterruptDescriptorTable::new();
    let stub = |vector: u64| VirtAddr::new(&raw const trap_stubs as u64 + 16 * vector);
    // SAFETY: each stub is the code for its vector, pushes an error code where there is none,
    // and never returns.
    unsafe {
        idt.divide_error.set_handler_addr(stub(0));
        idt.debug.set_handler_addr(stub(1));
        idt.non_maskable_interrupt.set_handler_addr(stub(2));
        idt.breakpoint.set_handler_addr(stub(3));
        idt.overflow.set_handler_addr(stub(4));
        idt.bound_range_exceeded.set_handler_addr(stub(5));
        idt.invalid_opcode.set_handler_addr(stub(6));
        idt.device_not_available.set_handler_addr(stub(7));
        idt.double_fault.set_handler_addr(stub(8));
        idt.invalid_tss.set_handler_addr(stub(10));
        idt.segment_not_present.set_handler_addr(stub(11));
        idt.stack_segment_fault.set_handler_addr(stub(12));
        idt.general_protection_fault.set_handler_addr(stub(13));
        idt.page_fault.set_handler_addr(stub(14));
        idt.alignment_check.set_handler_addr(stub(17));
        idt.machine_check.set_handler_addr(stub(18));
    }
    idt
}
