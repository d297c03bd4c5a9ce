//! Processes, memory, time and settings.

/// `clock` of `gettime`: since 1970.
pub const CLOCK_REALTIME: i32 = 0;
/// `clock` of `gettime`: since boot, never goes back.
pub const CLOCK_MONOTONIC: i32 = 1;
/// `clock` of `gettime`: raw TSC in `nanoseconds`-sized parts: seconds = TSC Hz, nanoseconds = TSC.
pub const CLOCK_TSC: i32 = 2;
/// Timer ticks per second, the unit of `sleep` and `uptime`.
pub const TICKS_PER_SECOND: u64 = 10;

/// A time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct TimeSpec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: i64,
}

/// Process states in [`ProcessInfo`].
pub const STATE_NAMES: [&str; 6] = ["unused", "used", "sleep", "runble", "run", "zombie"];

/// One process, for `ps`: 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct ProcessInfo {
    /// Process id.
    pub pid: u32,
    /// Parent's id, 0 for none.
    pub parent: u32,
    /// Index into [`STATE_NAMES`].
    pub state: u8,
    /// 1 for a kernel thread.
    pub kernel: u8,
    /// CPU it runs or ran on.
    pub cpu: u16,
    /// Pages of memory.
    pub pages: u32,
    /// Time on a CPU in nanoseconds.
    pub cpu_ns: u64,
    /// Name, NUL-padded.
    pub name: [u8; 32],
    /// Zero.
    pub reserved: u64,
}

/// Memory, for `free`: 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct MemoryInfo {
    /// Usable pages of 4 KiB.
    pub total_pages: u64,
    /// Free pages.
    pub free_pages: u64,
    /// Bytes in use on the kernel heap.
    pub heap_used: u64,
    /// Bytes the kernel heap has.
    pub heap_size: u64,
    /// Open files in the system.
    pub open_files: u64,
    /// Processes.
    pub processes: u64,
    /// CPUs that run.
    pub cpus: u64,
    /// Allocations that failed since boot.
    pub failed_allocations: u64,
}

/// `op` of `tracectl`: returns the bit mask of classes that are on.
pub const TRACE_GET_CLASSES: i32 = 0;
/// `op` of `tracectl`: sets the mask, returns the old one.
pub const TRACE_SET_CLASSES: i32 = 1;
/// `op` of `tracectl`: writes a [`TraceStats`] to `out`.
pub const TRACE_STATS: i32 = 2;
/// `op` of `tracectl`: waits until the server has acknowledged everything recorded so far.
pub const TRACE_FLUSH: i32 = 3;

/// Counters of the trace: 48 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct TraceStats {
    /// Records written into the ring.
    pub recorded: u64,
    /// Records dropped because the ring was full.
    pub dropped: u64,
    /// Records the server has acknowledged.
    pub acknowledged: u64,
    /// Bytes the server has acknowledged.
    pub bytes: u64,
    /// Packets of the trace transport itself, counted and never recorded.
    pub transport_packets: u64,
    /// 1 if a server takes the trace.
    pub connected: u64,
}
