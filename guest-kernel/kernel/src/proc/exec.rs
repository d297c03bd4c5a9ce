//! exec: a new program in the old process.

use super::table::{self, Name};
use crate::arch::cpu::IrqGuard;
use crate::arch::fpu::FpuState;
use crate::arch::paging;
use crate::arch::trap::TrapFrame;
use crate::fs;
use crate::mm::address_space::{AddressSpace, Protection};
use crate::mm::layout::PAGE_SIZE;
use abi::Errno;
use alloc::vec::Vec;
use kcore::elf::{self, Access, Limits, Plan};

/// Replaces the calling process's program; returns the registers to start with. On an error the old
/// program goes on as if nothing had happened.
pub fn exec(path: &[u8], arguments: &[Vec<u8>]) -> Result<TrapFrame, Errno> {
    let file = fs::read_program(path)?;
    let content: &[u8] = &file;
    let plan = elf::plan(&mut { content }, &Limits::default()).map_err(elf::ElfError::errno)?;
    let (space, frame) = build(content, &plan, arguments)?;
    drop(file);

    let process = table::current();
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    process.state.lock().name = Name::new(name);
    let old = {
        let _irq = IrqGuard::new();
        paging::load_root(space.root());
        FpuState::initial().restore();
        process.space.lock().replace(space)
    };
    drop(old);
    Ok(frame)
}

/// Image, guard page, stack, heap: xv6's order.
fn build(
    content: &[u8],
    plan: &Plan,
    arguments: &[Vec<u8>],
) -> Result<(AddressSpace, TrapFrame), Errno> {
    let mut space = AddressSpace::new()?;
    for segment in &plan.segments {
        let protection = match segment.access {
            Access::Read => Protection::Read,
            Access::Write => Protection::Write,
            Access::Execute => Protection::Execute,
        };
        space.add_region(segment.address, segment.end(), protection)?;
        let start = segment.file_offset as usize;
        let bytes = content
            .get(start..start + segment.file_size as usize)
            .ok_or(Errno::ENOEXEC)?;
        space.load(segment.address, bytes)?;
    }
    let stack_bottom = plan.image_end() + PAGE_SIZE;
    let stack_top = stack_bottom + plan.stack_size.unwrap_or(PAGE_SIZE);
    space.add_region(stack_bottom, stack_top, Protection::Write)?;
    space.set_heap(stack_top);

    let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let block = kcore::argv::build(&arguments, stack_top)?;
    space.load(block.stack_pointer, &block.bytes)?;
    let mut frame = TrapFrame::for_user(plan.entry, block.stack_pointer);
    frame.rdi = block.argc;
    frame.rsi = block.argv;
    Ok((space, frame))
}
