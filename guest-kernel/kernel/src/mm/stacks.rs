//! Kernel stacks: one for each process slot and CPU, made at boot as xv6 does, each above a guard page.

use super::layout::{PAGE_SIZE, STACKS};
use super::{frames, kernel_space};
use crate::arch::cpu::MAX_CPUS;
use crate::proc::NPROC;

/// Pages of a stack.
const STACK_PAGES: u64 = 16;
/// Distance between two stacks: guard page included.
const STRIDE: u64 = (STACK_PAGES + 1) * PAGE_SIZE;

/// Number of stacks.
const STACK_COUNT: u64 = (NPROC + MAX_CPUS) as u64;

/// The stack of one slot.
#[derive(Clone, Copy)]
pub struct KernelStack {
    slot: usize,
}

impl KernelStack {
    /// The stack of this slot.
    pub fn of_slot(slot: usize) -> Self {
        assert!(slot < NPROC, "slot");
        Self { slot }
    }

    /// The stack on which a CPU that another one started runs its scheduler.
    pub fn of_cpu(number: usize) -> Self {
        assert!(number < MAX_CPUS, "cpu");
        Self {
            slot: NPROC + number,
        }
    }

    /// One past its last byte.
    pub fn top(self) -> u64 {
        STACKS + (self.slot as u64 + 1) * STRIDE
    }
}

/// Maps all stacks.
pub fn init() {
    for slot in 0..STACK_COUNT {
        for page in 1..=STACK_PAGES {
            let frame = frames::alloc().expect("memory for kernel stacks");
            kernel_space::map_stack_page(STACKS + slot * STRIDE + page * PAGE_SIZE, frame)
                .expect("memory for kernel stacks");
        }
    }
}

/// Whether an address lies in a guard page: a stack ran over.
pub fn is_guard(address: u64) -> bool {
    (STACKS..STACKS + STACK_COUNT * STRIDE).contains(&address)
        && (address - STACKS) % STRIDE < PAGE_SIZE
}
