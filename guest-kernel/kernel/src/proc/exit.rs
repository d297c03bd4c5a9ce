//! exit, wait, and dying by kill.

use super::sched;
use super::table::{self, PARENTS, Pid, Process, RunState};
use crate::arch::paging;
use crate::mm::kernel_space;
use crate::sync::Interrupted;
use abi::Errno;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Status of a killed process, as in xv6.
pub const KILLED_STATUS: i32 = -1;

/// Slot of init, which inherits orphans.
static INIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Notes that the calling process is init.
pub fn set_init() {
    INIT.store(table::current().slot(), Ordering::Relaxed);
}

/// Exits if somebody killed the calling process. Called on the way to user mode.
pub fn exit_if_killed() {
    if super::is_killed() {
        exit(KILLED_STATUS);
    }
}

/// Closes files and frees memory, while the process can still sleep.
pub(super) fn drop_resources(process: &Process) {
    let files = process.files.lock().take_all();
    drop(files); // outside the lock: closing may sleep
    let directory = core::mem::replace(
        &mut *process.directory.lock(),
        crate::fs::WorkingDirectory::root(),
    );
    drop(directory);
    crate::probe::process_ended(process.pid());
    // First taken out, so that being switched out and in does not load its tables again.
    let space = process.space.lock().take();
    {
        let _irq = crate::arch::cpu::IrqGuard::new();
        paging::load_root(kernel_space::root());
    }
    drop(space);
}

/// Takes apart a child that never ran.
pub(super) fn drop_unborn(child: &Process) {
    let files = child.files.lock().take_all();
    drop(files);
    let directory = core::mem::replace(
        &mut *child.directory.lock(),
        crate::fs::WorkingDirectory::root(),
    );
    drop(directory);
    let space = child.space.lock().take();
    drop(space);
    table::release(child);
}

/// Ends the calling process.
pub fn exit(status: i32) -> ! {
    let process = table::current();
    let slot = process.slot();
    assert!(
        slot != INIT.load(Ordering::Relaxed),
        "init exited with status {status}"
    );
    drop_resources(process);

    let mut parents = PARENTS.lock();
    // Orphans go to init, which may have to wait for one at once.
    let init = INIT.load(Ordering::Relaxed);
    let mut orphans = false;
    for parent in parents
        .iter_mut()
        .filter(|parent| **parent == Some(slot as u16))
    {
        *parent = (init != usize::MAX).then_some(init as u16);
        orphans = true;
    }
    if orphans && init != usize::MAX {
        table::get(init).child_exited.wake_all();
    }
    if let Some(parent) = parents[slot] {
        table::get(usize::from(parent)).child_exited.wake_all();
    }
    let mut state = process.state.lock();
    state.exit_status = status;
    state.run = RunState::Zombie;
    drop(parents);
    drop(sched::switch_away(state, process));
    unreachable!("a zombie ran");
}

/// Waits for a child to end.
pub fn wait() -> Result<(Pid, i32), Errno> {
    let own = table::current();
    let slot = own.slot() as u16;
    let mut parents = PARENTS.lock();
    loop {
        let mut children = 0;
        for (child_slot, _) in parents
            .iter()
            .enumerate()
            .filter(|(_, parent)| **parent == Some(slot))
        {
            children += 1;
            let child = table::get(child_slot);
            let mut state = child.state.lock();
            if state.run == RunState::Zombie {
                let result = (state.pid, state.exit_status);
                state.run = RunState::Unused;
                drop(state);
                parents[child_slot] = None;
                return Ok(result);
            }
        }
        if children == 0 {
            return Err(Errno::ECHILD);
        }
        let waited: Result<(), Interrupted>;
        (parents, waited) = own.child_exited.wait(parents);
        waited?;
    }
}
