//! Kernel threads: processes without user memory.

use super::table::{self, Name, Pid, RunState};
use super::{exit, sched};
use crate::arch::switch;

/// Starts a preemptible kernel thread. Panics when all slots are taken: threads are started at boot.
pub fn spawn_kernel_thread(name: &'static str, entry: fn()) -> Pid {
    let process = table::allocate(Name::new(name.as_bytes()))
        .expect("a free process slot for a kernel thread");
    switch::prepare_thread(&process.context, process.stack(), entry);
    let mut state = process.state.lock();
    state.kernel = true;
    sched::make_runnable(process, &mut state);
    state.pid
}

/// Ends the calling thread: its entry function returned.
pub fn finish() -> ! {
    let process = table::current();
    exit::drop_resources(process);
    let mut state = process.state.lock();
    state.run = RunState::Unused;
    drop(sched::switch_away(state, process));
    unreachable!("a finished thread ran again");
}
