//! `probe(op, request*, request_len, response*, response_len)`: experiments reach the machine through it.
//!
//! The main operation, [`EXEC`], runs machine code with a given register file. The others do what
//! code cannot: allocate and map physical pages, read the boot loader's memory map, wait for the
//! trace to be acknowledged. Results are bytes written to the response; the call returns their
//! number. A fault of the probed code is an answer, never an error of the call.
//!
//! Errors: EPERM (program not named in `probe=`), EINVAL (unknown operation, wrong length, bad
//! field), EFAULT (bad pointer), ENOMEM, ENOBUFS (response too small), EIO (write-ahead failed).

/// Runs code; [`ExecRequest`] to [`ExecResponse`] followed by `samples` tick counts (u64 each).
pub const EXEC: i32 = 1;
/// Allocates contiguous physical pages, zeroed; [`PagesRequest`] to u64 physical address.
pub const PAGES_ALLOC: i32 = 2;
/// Gives pages back; [`PagesRequest`] with `physical`.
pub const PAGES_FREE: i32 = 3;
/// Sets one page of the probe window; [`MapRequest`] to u64 virtual address.
pub const PAGE_MAP: i32 = 4;
/// Reads the page-table entry of one page of the window; u64 index to u64 entry.
pub const PAGE_ENTRY: i32 = 5;
/// Reads memory; [`MemoryRequest`] to the bytes. A fault gives EFAULT.
pub const MEMORY_READ: i32 = 6;
/// Writes memory; [`MemoryRequest`] followed by the bytes. A fault gives EFAULT.
pub const MEMORY_WRITE: i32 = 7;
/// The memory map the boot loader gave; empty to an array of [`MemoryRange`].
pub const MEMORY_MAP: i32 = 8;
/// Takes text from the VMM's log (BitVisor's `log_set_buf`); empty to bytes.
pub const VMM_LOG: i32 = 9;
/// What machine this is; empty to [`MachineInfo`].
pub const MACHINE_INFO: i32 = 10;
/// Records an experiment event and waits until the server has acknowledged it; payload to empty.
pub const CHECKPOINT: i32 = 11;

/// Longest code of [`EXEC`] in bytes.
pub const CODE_MAX: usize = 256;
/// Largest `count` of [`EXEC`].
pub const COUNT_MAX: u32 = 65_536;
/// Largest `count * inner` of [`EXEC`] with interrupts off.
pub const INTERRUPTS_OFF_MAX: u64 = 1_000_000;
/// Pages in the probe window.
pub const WINDOW_PAGES: u64 = 512;
/// Pages behind the window that the kernel uses itself: a scratch page, and code, data and stack of ring 3.
pub const WINDOW_EXTRA: u64 = 8;
/// First address of the probe window: a part of the caller's lower half that only probe maps.
pub const WINDOW_BASE: u64 = 0x0000_6000_0000_0000;
/// Longest transfer of [`MEMORY_READ`] and [`MEMORY_WRITE`] in bytes.
pub const MEMORY_MAX: usize = 65_536;

/// The request is recorded and acknowledged by the server before the code runs.
pub const FLAG_WRITE_AHEAD: u32 = 1 << 0;
/// Interrupts are off while the code runs (ring 0 only).
pub const FLAG_INTERRUPTS_OFF: u32 = 1 << 1;
/// RFLAGS.TF is set when the code starts; every #DB is counted, the first one's place is reported.
pub const FLAG_SINGLE_STEP: u32 = 1 << 2;
/// The instruction before the code is STI (ring 0 only).
pub const FLAG_STI_SHADOW: u32 = 1 << 3;
/// The instruction before the code is a load of SS (ring 0 only).
pub const FLAG_MOV_SS_SHADOW: u32 = 1 << 4;
/// Runs in ring 3 instead of ring 0.
pub const FLAG_RING3: u32 = 1 << 5;
/// Registers are reloaded from the request before every repetition; else they carry over.
pub const FLAG_RELOAD: u32 = 1 << 6;
/// All flags that exist.
pub const FLAGS_ALL: u32 = (1 << 7) - 1;

/// General-purpose registers and flags, 136 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[expect(missing_docs, reason = "registers bear their architectural names")]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    /// Ignored in a request (the probe has a stack of its own); in a response relative to it: 0 = unchanged.
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    /// Of a request only the status flags CF, PF, AF, ZF, SF, DF, OF and AC are used.
    pub rflags: u64,
}

/// Request of [`EXEC`]: 416 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct ExecRequest {
    /// Registers at the start.
    pub registers: Registers,
    /// Timed samples, 1 to [`COUNT_MAX`]; each one's ticks are returned.
    pub count: u32,
    /// Executions of the code in each sample, 1 or more.
    pub inner: u32,
    /// `FLAG_*`.
    pub flags: u32,
    /// Length of the code, 1 to [`CODE_MAX`].
    pub code_len: u32,
    /// The first samples that are run and thrown away.
    pub warm_up: u32,
    /// Zero.
    pub reserved: u32,
    /// Position-independent code that falls through at its end.
    pub code: [u8; CODE_MAX],
}

/// [`ExecResponse::status`]: the code fell through at its end.
pub const STATUS_DONE: u32 = 0;
/// [`ExecResponse::status`]: an exception stopped it.
pub const STATUS_FAULT: u32 = 1;
/// [`ExecResponse::vector`] without an exception.
pub const NO_VECTOR: u32 = 0xffff_ffff;

/// Answer of [`EXEC`]: 200 bytes, followed by the ticks of the samples that finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct ExecResponse {
    /// Registers after the last execution, or at the exception.
    pub registers: Registers,
    /// `STATUS_*`.
    pub status: u32,
    /// Exception vector or [`NO_VECTOR`].
    pub vector: u32,
    /// Error code the CPU pushed, 0 if none.
    pub error_code: u64,
    /// CR2 at a page fault, else 0.
    pub cr2: u64,
    /// RIP at the exception minus the start of the code; the code's length when it fell through.
    pub rip_offset: i64,
    /// Samples that finished, warm-up not counted; so many u64 follow.
    pub samples: u32,
    /// #DB exceptions seen with [`FLAG_SINGLE_STEP`].
    pub debug_exceptions: u32,
    /// RIP offset of the first such #DB.
    pub first_debug_offset: i64,
    /// Interrupts that arrived while the samples ran.
    pub interrupts: u64,
    /// Executions that finished, warm-up included.
    pub executions: u64,
}

/// Pages for [`PAGES_ALLOC`] and [`PAGES_FREE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct PagesRequest {
    /// Physical address, a multiple of 4096; 0 in [`PAGES_ALLOC`].
    pub physical: u64,
    /// Number of pages, 1 to 256.
    pub pages: u64,
}

/// Page-table entry bits that [`MapRequest::entry_flags`] may hold: present.
pub const PTE_PRESENT: u64 = 1 << 0;
/// Writable.
pub const PTE_WRITE: u64 = 1 << 1;
/// Accessible from ring 3.
pub const PTE_USER: u64 = 1 << 2;
/// Uncached (PCD and PWT).
pub const PTE_UNCACHED: u64 = 3 << 3;
/// Accessed.
pub const PTE_ACCESSED: u64 = 1 << 5;
/// Dirty.
pub const PTE_DIRTY: u64 = 1 << 6;
/// A bit that is reserved in every entry while physical addresses are shorter than 52 bits: bit 51.
pub const PTE_RESERVED: u64 = 1 << 51;
/// No execution.
pub const PTE_NO_EXECUTE: u64 = 1 << 63;

/// Request of [`PAGE_MAP`]: 24 bytes. `entry_flags` 0 makes the page absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct MapRequest {
    /// Page of the window, 0 to [`WINDOW_PAGES`] - 1.
    pub index: u64,
    /// Physical address, a multiple of 4096. Anything goes: RAM, MMIO, missing memory.
    pub physical: u64,
    /// Raw bits of the entry, `PTE_*`.
    pub entry_flags: u64,
}

/// [`MemoryRequest::space`]: a linear address of the caller, accessed with supervisor rights.
pub const SPACE_LINEAR: u32 = 0;
/// [`MemoryRequest::space`]: a physical address.
pub const SPACE_PHYSICAL: u32 = 1;

/// Request of [`MEMORY_READ`] and [`MEMORY_WRITE`]: 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct MemoryRequest {
    /// Address.
    pub address: u64,
    /// Length in bytes, at most [`MEMORY_MAX`].
    pub len: u64,
    /// `SPACE_*`.
    pub space: u32,
    /// 0, or the width of every access in bytes: 1, 2, 4 or 8 (MMIO).
    pub width: u32,
}

/// [`MemoryRange::kind`]: usable RAM, as in the Multiboot2 memory map.
pub const RANGE_USABLE: u32 = 1;

/// One range of the memory map, as the boot loader gave it: 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct MemoryRange {
    /// First physical address.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
    /// Multiboot2 type: 1 usable, 2 reserved, 3 ACPI reclaimable, 4 ACPI NVS, 5 defective.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`MachineInfo::hypercall`]: both instructions raise #UD.
pub const HYPERCALL_NONE: u32 = 0;
/// [`MachineInfo::hypercall`]: `vmcall` (Intel) answers.
pub const HYPERCALL_VMCALL: u32 = 1;
/// [`MachineInfo::hypercall`]: `vmmcall` (AMD) answers.
pub const HYPERCALL_VMMCALL: u32 = 2;

/// Answer of [`MACHINE_INFO`]: 128 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct MachineInfo {
    /// `HYPERCALL_*`, found by executing both instructions at boot.
    pub hypercall: u32,
    /// CPUs that run.
    pub cpus: u32,
    /// TSC frequency in Hz.
    pub tsc_hz: u64,
    /// CPU vendor of CPUID leaf 0, 12 bytes, zero-padded.
    pub vendor: [u8; 16],
    /// CPU brand of CPUID leaves 80000002h-4h, zero-padded.
    pub brand: [u8; 48],
    /// 1 if the second virtio network device (the device under test) was found.
    pub test_device: u32,
    /// PCI address of the device under test: bus << 8 | device << 3 | function.
    pub test_device_address: u32,
    /// Zero.
    pub reserved: [u64; 5],
}

/// Names in the setting `probe=` by default.
pub const DEFAULT_PROGRAMS: &str = "hx,hc,dbgsh";
