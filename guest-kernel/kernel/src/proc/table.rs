//! The process table: a fixed array of slots, as in xv6.

use super::NPROC;
use crate::arch::cpu;
use crate::arch::fpu::FpuState;
use crate::arch::switch::Context;
use crate::file::FileTable;
use crate::fs::WorkingDirectory;
use crate::mm::address_space::AddressSpace;
use crate::mm::stacks::KernelStack;
use crate::sync::{SpinLock, WaitQueue};
use abi::Errno;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Process id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Id of the first program.
pub const INIT_PID: Pid = Pid(1);

/// Name of a process: the last part of its program's path.
#[derive(Clone, Copy, Default)]
pub struct Name {
    bytes: [u8; 32],
}

impl Name {
    /// The first 31 bytes of a name.
    pub fn new(name: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let len = name.len().min(bytes.len() - 1);
        bytes[..len].copy_from_slice(&name[..len]);
        Self { bytes }
    }

    /// Padded with zeros.
    pub fn bytes(&self) -> [u8; 32] {
        self.bytes
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.bytes.iter().take_while(|&&byte| byte != 0) {
            // A program's name is the user's choice: nothing of it may act on a terminal.
            let shown = if byte.is_ascii_graphic() { byte } else { b'?' };
            fmt::Write::write_char(f, shown as char)?;
        }
        Ok(())
    }
}

/// What a process is doing; the order of `abi::info::STATE_NAMES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RunState {
    /// The slot is free.
    Unused,
    /// Being made.
    Embryo,
    /// Waits in `sched::park`.
    Sleeping,
    /// In the run queue.
    Runnable,
    /// On a CPU.
    Running,
    /// Dead, until its parent asks.
    Zombie,
}

/// Why a sleeper was woken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// By a queue.
    Event,
    /// By its deadline.
    Deadline,
    /// By `kill`.
    Killed,
}

/// What other CPUs and interrupt handlers look at.
pub struct State {
    /// What it is doing.
    pub run: RunState,
    /// Id; meaningless in a free slot.
    pub pid: Pid,
    /// Name.
    pub name: Name,
    /// Status for the parent.
    pub exit_status: i32,
    /// `kill` ends the present sleep.
    pub interruptible: bool,
    /// Why the last sleep ended.
    pub wake: Wake,
    /// A queue called while it was not asleep (for `WaitSet`).
    pub wake_flag: bool,
    /// A kernel thread.
    pub kernel: bool,
    /// CPU it runs or ran on.
    pub cpu: usize,
    /// Time on a CPU, in ticks of the TSC, up to the last switch.
    pub cpu_ticks: u64,
    /// TSC when it was last switched in.
    pub since: u64,
}

/// One slot.
pub struct Process {
    /// See `State`.
    pub state: SpinLock<State>,
    /// Should unwind and exit. Set under `state`, so that a process that goes to sleep sees it.
    pub killed: AtomicBool,
    /// Where it stopped; belongs to whoever holds `state`.
    pub(super) context: Context,
    /// User memory. Only the process itself, its parent in fork, and `ps` look.
    pub space: SpinLock<Option<AddressSpace>>,
    /// Open files.
    pub files: SpinLock<FileTable>,
    /// Where relative paths start.
    pub directory: SpinLock<WorkingDirectory>,
    /// User FPU registers while it does not run.
    pub(super) fpu: SpinLock<FpuState>,
    /// When to wake, in nanoseconds since boot; `u64::MAX` for never.
    pub(super) deadline: AtomicU64,
    /// Slept on by a parent in `wait`.
    pub(super) child_exited: WaitQueue,
}

static TABLE: [Process; NPROC] = [const {
    Process {
        state: SpinLock::new(
            "process",
            State {
                run: RunState::Unused,
                pid: Pid(0),
                name: Name { bytes: [0; 32] },
                exit_status: 0,
                interruptible: false,
                wake: Wake::Event,
                wake_flag: false,
                kernel: false,
                cpu: 0,
                cpu_ticks: 0,
                since: 0,
            },
        ),
        killed: AtomicBool::new(false),
        context: Context::empty(),
        space: SpinLock::new("address space", None),
        files: SpinLock::new("descriptors", FileTable::new()),
        directory: SpinLock::new("working directory", WorkingDirectory::root()),
        fpu: SpinLock::new("fpu", FpuState::initial()),
        deadline: AtomicU64::new(u64::MAX),
        child_exited: WaitQueue::new(),
    }
}; NPROC];

/// Parent slot of each process. Held while a child exits and while a parent waits, so that no exit is missed.
pub(super) static PARENTS: SpinLock<[Option<u16>; NPROC]> = SpinLock::new("parents", [None; NPROC]);

/// Ids from 2 on: 1 is init's, whenever it is made.
static NEXT_PID: AtomicU32 = AtomicU32::new(INIT_PID.0 + 1);

impl Process {
    /// Its place in the table.
    pub fn slot(&self) -> usize {
        (core::ptr::from_ref(self) as usize - TABLE.as_ptr() as usize) / size_of::<Process>()
    }

    /// Its id.
    pub fn pid(&self) -> Pid {
        self.state.lock().pid
    }

    /// Its kernel stack.
    pub fn stack(&self) -> KernelStack {
        KernelStack::of_slot(self.slot())
    }
}

/// All slots.
pub fn all() -> &'static [Process; NPROC] {
    &TABLE
}

/// The process in a slot.
pub fn get(slot: usize) -> &'static Process {
    &TABLE[slot]
}

/// The process that runs here, if one does.
pub fn try_current() -> Option<&'static Process> {
    cpu::current_slot().map(get)
}

/// The process that runs here. Panics in the scheduler and during boot.
pub fn current() -> &'static Process {
    try_current().expect("this needs a process")
}

/// Takes a free slot and gives it a new id; its state is `Embryo`. None if all are taken.
pub(super) fn allocate(name: Name) -> Option<&'static Process> {
    for process in &TABLE {
        let mut state = process.state.lock();
        if state.run != RunState::Unused {
            continue;
        }
        *state = State {
            run: RunState::Embryo,
            pid: Pid(NEXT_PID.fetch_add(1, Ordering::Relaxed)),
            name,
            exit_status: 0,
            interruptible: false,
            wake: Wake::Event,
            wake_flag: false,
            kernel: false,
            cpu: 0,
            cpu_ticks: 0,
            since: 0,
        };
        process.killed.store(false, Ordering::SeqCst);
        drop(state);
        *process.fpu.lock() = FpuState::initial();
        return Some(process);
    }
    None
}

/// Gives a slot back whose owner never ran or was waited for.
pub(super) fn release(process: &Process) {
    PARENTS.lock()[process.slot()] = None;
    process.state.lock().run = RunState::Unused;
}

/// Marks a process to exit, and wakes it if it sleeps interruptibly.
///
/// # Errors
/// ESRCH if there is no such process; EPERM for init, without which the system ends, and for kernel
/// threads.
pub fn kill(pid: Pid) -> Result<(), Errno> {
    for process in &TABLE {
        let mut state = process.state.lock();
        if state.pid != pid || matches!(state.run, RunState::Unused | RunState::Zombie) {
            continue;
        }
        if state.kernel || pid == INIT_PID {
            return Err(Errno::EPERM);
        }
        process.killed.store(true, Ordering::SeqCst);
        if state.run == RunState::Sleeping && state.interruptible {
            state.wake = Wake::Killed;
            super::sched::make_runnable(process, &mut state);
        }
        return Ok(());
    }
    Err(Errno::ESRCH)
}
