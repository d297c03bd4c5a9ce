//! Segments and the task state segment: one set for each CPU.
#![expect(unsafe_code, reason = "loading descriptor tables")]

use crate::arch::cpu::MAX_CPUS;
use ::x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use ::x86_64::instructions::tables::load_tss;
use ::x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use ::x86_64::structures::tss::TaskStateSegment;
use ::x86_64::{PrivilegeLevel, VirtAddr};
use core::cell::UnsafeCell;
use spin::Once;

/// Kernel code.
pub const KERNEL_CODE: SegmentSelector = SegmentSelector::new(1, PrivilegeLevel::Ring0);
/// Kernel data.
pub const KERNEL_DATA: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);
/// User data; before user code, because sysret takes them in this order.
pub const USER_DATA: SegmentSelector = SegmentSelector::new(3, PrivilegeLevel::Ring3);
/// User code.
pub const USER_CODE: SegmentSelector = SegmentSelector::new(4, PrivilegeLevel::Ring3);

/// Size of each interrupt stack.
const IST_STACK_SIZE: usize = 8 * 1024;
/// Vectors with a stack of their own: #DB, NMI, #DF, #MC.
const IST_VECTORS: [u8; 4] = [1, 2, 8, 18];

/// IST index (1 to 7, 0 for none) of a vector.
pub(super) fn ist_of(vector: u8) -> u8 {
    IST_VECTORS
        .iter()
        .position(|&v| v == vector)
        .map_or(0, |index| index as u8 + 1)
}

#[repr(align(16))]
struct IstStack(UnsafeCell<[u8; IST_STACK_SIZE]>);

struct TssCell(UnsafeCell<TaskStateSegment>);

// SAFETY: the CPU alone uses the stacks; nothing here reads or writes their bytes.
unsafe impl Sync for IstStack {}
// SAFETY: each CPU writes only its own TSS, in `init` and `set_kernel_stack`, with interrupts off.
unsafe impl Sync for TssCell {}

static IST_STACKS: [[IstStack; IST_VECTORS.len()]; MAX_CPUS] =
    [const { [const { IstStack(UnsafeCell::new([0; IST_STACK_SIZE])) }; IST_VECTORS.len()] };
        MAX_CPUS];
static TSS: [TssCell; MAX_CPUS] =
    [const { TssCell(UnsafeCell::new(TaskStateSegment::new())) }; MAX_CPUS];
static GDT: [Once<GlobalDescriptorTable>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];

/// Builds and loads GDT and TSS of the CPU with this number.
pub fn init(cpu: usize) {
    // SAFETY: `init` runs once on each CPU, for its own number, before that CPU takes any trap.
    let tss: &'static TaskStateSegment = unsafe {
        let tss = &mut *TSS[cpu].0.get();
        for (slot, stack) in IST_STACKS[cpu].iter().enumerate() {
            tss.interrupt_stack_table[slot] =
                VirtAddr::new(stack.0.get() as u64 + IST_STACK_SIZE as u64);
        }
        // No I/O bitmap: its offset lies at the limit, so every port access from ring 3 faults.
        tss.iomap_base = size_of::<TaskStateSegment>() as u16;
        &*TSS[cpu].0.get()
    };
    let mut task = SegmentSelector::NULL;
    let gdt = GDT[cpu].call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        gdt.append(Descriptor::kernel_code_segment());
        gdt.append(Descriptor::kernel_data_segment());
        gdt.append(Descriptor::user_data_segment());
        gdt.append(Descriptor::user_code_segment());
        task = gdt.append(Descriptor::tss_segment(tss));
        gdt
    });
    gdt.load();
    // SAFETY: the selectors name entries of the table just loaded, in the order above.
    unsafe {
        CS::set_reg(KERNEL_CODE);
        SS::set_reg(KERNEL_DATA);
        DS::set_reg(SegmentSelector::NULL);
        ES::set_reg(SegmentSelector::NULL);
        load_tss(task);
    }
}

/// Sets the stack that a trap from user mode starts on.
pub(super) fn set_kernel_stack(cpu: usize, top: u64) {
    // SAFETY: a CPU calls this for itself, with interrupts off; the CPU reads the field only on a trap
    // from ring 3. `TaskStateSegment` is packed, so the write is unaligned-safe.
    unsafe {
        let field = &raw mut (*TSS[cpu].0.get()).privilege_stack_table[0];
        field.write_unaligned(VirtAddr::new(top));
    }
}
