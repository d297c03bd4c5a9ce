//! What well-behaved programs never do, for tests of the kernel: bad pointers, foreign memory, privileged instructions.
//!
//! No other program has business here. That Rust's own memory stays as it is, even where a kernel lets something
//! pass, has three reasons: 1. reads change nothing, and [`write`] puts back what was there in one instruction;
//! 2. [`call`] and [`execute`] are given addresses of nothing, of somebody else's, or inside [`Grown`] memory, in which
//! no Rust object lies: that is the tests' part; 3. only what a [`Grown`] added is taken away again, and the
//! allocator's heap lies below it.

use super::SysResult;
use abi::Errno;
use abi::syscall::number as nr;
use core::arch::asm;

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// Addresses that no user program has: xv6's two, the top of the lower half, the first
/// non-canonical one, the kernel's half, its direct map and its text.
pub const FOREIGN: [usize; 7] = [
    0x8000_0000,
    usize::MAX,
    0x0000_7fff_ffff_f000,
    0x0000_8000_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_8000_0010_0000,
    0xffff_ffff_8010_0000,
];

/// A system call with any arguments: integers, addresses outside this process's memory or inside [`Grown`] memory.
pub fn call(number: usize, arguments: &[usize]) -> SysResult<usize> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: module head, 2.
    Errno::from_result(unsafe { super::raw(number, all) })
}

/// Reads a byte.
pub fn read(address: usize) -> u8 {
    let value: u8;
    // SAFETY: a read changes nothing; where there is no memory the kernel ends the process.
    unsafe {
        asm!("mov {}, byte ptr [{}]", out(reg_byte) value, in(reg) address, options(nostack, readonly))
    };
    value
}

/// Writes a byte, without changing it.
pub fn write(address: usize) {
    // SAFETY: or with 0 leaves the byte as it is, and is one instruction; without memory, or
    // without the right to write, the kernel ends the process.
    unsafe { asm!("lock or byte ptr [{}], 0", in(reg) address, options(nostack)) };
}

/// Calls the code at an address; callers put a return instruction there.
pub fn execute(address: usize) {
    // SAFETY: the byte there is a `ret`, or the address cannot be executed and the kernel ends the process.
    unsafe { asm!("call {}", in(reg) address, clobber_abi("C")) };
}

/// The machine code of `ret`.
pub const RET: u8 = 0xc3;

/// Address of this program's code.
pub fn text_address() -> usize {
    text_address as fn() -> usize as usize
}

/// The stack pointer.
pub fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack)) };
    pointer
}

/// Moves the end of the heap. Only the memory of the caller's [`Grown`]s may be given back: the
/// runner has prepared the allocator's heap so that it lies below.
pub fn sbrk(delta: isize) -> SysResult<usize> {
    // SAFETY: module head, 3.
    unsafe { super::sbrk(delta) }
}

/// Memory from `sbrk` that belongs to a test.
pub struct Grown {
    start: usize,
    len: usize,
}

impl Grown {
    /// Grows the process.
    pub fn by(len: usize) -> SysResult<Self> {
        let start = sbrk(len as isize)?;
        Ok(Self { start, len })
    }

    /// First address.
    pub fn start(&self) -> usize {
        self.start
    }

    /// One byte behind the last.
    pub fn end(&self) -> usize {
        self.start + self.len
    }

    /// Writes a byte.
    pub fn put(&self, offset: usize, value: u8) {
        assert!(offset < self.len);
        // SAFETY: inside memory that only this object knows.
        unsafe { ((self.start + offset) as *mut u8).write_volatile(value) };
    }

    /// Reads a byte.
    pub fn get(&self, offset: usize) -> u8 {
        assert!(offset < self.len);
        read(self.start + offset)
    }

    /// Gives it all back; it must be the last that was grown.
    pub fn shrink(self) -> SysResult<usize> {
        sbrk(-(self.len as isize))
    }
}

/// Sets the process's size to so many bytes and ends it: with code, stack and all gone, by a fault.
pub fn shrink_to(bytes: usize) -> ! {
    let delta = sbrk(0).map_or(0, |end| bytes as isize - end as isize);
    // SAFETY: never comes back to Rust: it exits if the code is still there, or faults.
    unsafe {
        asm!(
            "syscall",
            "mov eax, {exit}",
            "xor edi, edi",
            "syscall",
            "ud2",
            exit = const nr::exit,
            in("rax") nr::sbrk,
            in("rdi") delta,
            options(noreturn, nostack),
        )
    }
}

/// Executes one instruction that ring 3 may not, or that faults.
macro_rules! instruction {
    ($($(#[$doc:meta])* $name:ident $text:literal)*) => {$(
        $(#[$doc])*
        pub fn $name() {
            // SAFETY: the processor refuses it, and the kernel ends the process; registers it
            // would change are named.
            unsafe { asm!($text, out("rax") _, out("rcx") _, out("rdx") _) };
        }
    )*};
}

instruction! {
    /// Reads an I/O port.
    port_in "mov dx, 0x3f8\nin al, dx"
    /// Writes an I/O port: the place where QEMU would end the machine.
    port_out "mov dx, 0xf4\nmov al, 0\nout dx, al"
    /// Stops the processor.
    hlt "hlt"
    /// Switches interrupts off.
    cli "cli"
    /// Reads a model-specific register.
    rdmsr "mov ecx, 0xc0000080\nrdmsr"
    /// Reads a control register.
    read_cr3 "mov rax, cr3"
    /// No instruction at all.
    ud2 "ud2"
    /// A breakpoint.
    int3 "int3"
    /// A software interrupt that only the kernel may raise.
    int_page_fault "int 14"
    /// Divides by zero.
    divide "xor edx, edx\nmov eax, 1\nxor ecx, ecx\ndiv ecx"
    /// Reads a non-canonical address.
    non_canonical "mov rax, 0x8000000000000000\nmov al, byte ptr [rax]"
    /// Raises #AC or nothing: sets the trap flag and runs on.
    single_step "pushfq\nor qword ptr [rsp], 0x100\npopfq\nnop\nnop"
    /// A far return to a selector that is the kernel's.
    kernel_selector "push 8\nlea rax, [rip + 2f]\npush rax\nretfq\n2:"
}

/// Puts a value into an SSE register, spins while others run, and says whether it is still there.
pub fn sse_survives(value: u64, rounds: u64) -> bool {
    let (low, high): (u64, u64);
    // SAFETY: uses registers only, and names them.
    unsafe {
        asm!(
            "movq xmm0, {value}",
            "movq xmm15, {value}",
            "2:",
            "pause",
            "dec {rounds}",
            "jnz 2b",
            "movq {low}, xmm0",
            "movq {high}, xmm15",
            value = in(reg) value,
            rounds = inout(reg) rounds => _,
            low = out(reg) low,
            high = out(reg) high,
            out("xmm0") _,
            out("xmm15") _,
            options(nomem, nostack),
        );
    }
    low == value && high == value
}

/// Uses so many bytes of stack, a page at a time.
pub fn use_stack(bytes: usize) {
    let bottom = stack_pointer() - bytes;
    let mut address = stack_pointer() & !(PAGE - 1);
    while address > bottom {
        address -= PAGE;
        read(address);
    }
}
