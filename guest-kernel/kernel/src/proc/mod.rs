//! Processes and kernel threads.

pub mod exec;
pub mod exit;
pub mod fault;
pub mod fork;
pub mod init;
pub mod sched;
pub mod table;
pub mod thread;

pub use exit::exit_if_killed;
pub use table::{Pid, Process, current};
pub use thread::spawn_kernel_thread;

/// Most processes, kernel threads included.
pub const NPROC: usize = 256;

/// Id of the process that runs here; 0 in the scheduler and during boot.
pub fn current_pid() -> Pid {
    table::try_current().map_or(Pid(0), Process::pid)
}

/// Id of the process that runs here, without its lock: for the trace, which is written under it.
pub fn trace_pid() -> u16 {
    crate::arch::cpu::this()
        .pid
        .load(core::sync::atomic::Ordering::Relaxed) as u16
}

/// Name of the process that runs here.
pub fn current_name() -> table::Name {
    table::try_current().map_or(table::Name::new(b"boot"), |process| {
        process.state.lock().name
    })
}

/// Whether the process that runs here was killed and should unwind.
pub fn is_killed() -> bool {
    table::try_current()
        .is_some_and(|process| process.killed.load(core::sync::atomic::Ordering::Relaxed))
}

/// What `ps` shows of a process; None for a free slot.
pub fn info(process: &Process) -> Option<abi::info::ProcessInfo> {
    let parent = table::PARENTS.lock()[process.slot()];
    let parent = parent.map_or(0, |slot| table::get(usize::from(slot)).pid().0);
    let pages = process
        .space
        .lock()
        .as_ref()
        .map_or(0, |space| space.resident_pages() as u32);
    let state = process.state.lock();
    if state.run == table::RunState::Unused {
        return None;
    }
    let ns = u128::from(state.cpu_ticks) * 1_000_000_000 / u128::from(crate::time::tsc_hz());
    Some(abi::info::ProcessInfo {
        pid: state.pid.0,
        parent,
        state: state.run as u8,
        kernel: u8::from(state.kernel),
        cpu: state.cpu as u16,
        pages,
        cpu_ns: ns as u64,
        name: state.name.bytes(),
        reserved: 0,
    })
}

/// Prints all processes, for ^P; as xv6's procdump.
pub fn dump() {
    for process in table::all() {
        let Some(state) = process.state.try_lock() else {
            continue;
        };
        if state.run != table::RunState::Unused {
            let word = abi::info::STATE_NAMES[state.run as usize];
            crate::println!("{:5} {word:6} {}", state.pid.0, state.name);
        }
    }
}

/// Who runs here, for panics: takes no lock that could be held.
pub fn describe_current() -> impl core::fmt::Display {
    struct Description(Option<&'static Process>);
    impl core::fmt::Display for Description {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            match self.0.map(|process| process.state.try_lock()) {
                None => write!(f, "no process"),
                Some(Some(state)) => write!(f, "process {} (pid {})", state.name, state.pid),
                Some(None) => write!(f, "a process being switched"),
            }
        }
    }
    Description(table::try_current())
}
