//! fork.

use super::table::{self, PARENTS, Pid};
use super::{exit, sched};
use crate::arch::switch;
use crate::arch::trap::TrapFrame;
use abi::Errno;

/// Makes a copy of the calling process that returns 0 from the same system call.
pub fn fork(frame: &TrapFrame) -> Result<Pid, Errno> {
    let parent = table::current();
    let name = parent.state.lock().name;
    let child = table::allocate(name).ok_or(Errno::EAGAIN)?;
    if let Err(error) = copy(parent, child) {
        exit::drop_unborn(child);
        return Err(error);
    }
    switch::prepare_process(
        &child.context,
        child.stack(),
        &TrapFrame { rax: 0, ..*frame },
    );
    PARENTS.lock()[child.slot()] = Some(parent.slot() as u16);
    let mut state = child.state.lock();
    let pid = state.pid;
    sched::make_runnable(child, &mut state);
    Ok(pid)
}

fn copy(parent: &table::Process, child: &table::Process) -> Result<(), Errno> {
    let space = parent
        .space
        .lock()
        .as_mut()
        .map_or(Err(Errno::EINVAL), |space| space.fork())?;
    *child.space.lock() = Some(space);
    let files = parent.files.lock().duplicate();
    *child.files.lock() = files;
    let directory = parent.directory.lock().share();
    *child.directory.lock() = directory;
    let fpu = {
        let _irq = crate::arch::cpu::IrqGuard::new();
        crate::arch::fpu::FpuState::of_cpu()
    };
    *child.fpu.lock() = fpu;
    Ok(())
}
