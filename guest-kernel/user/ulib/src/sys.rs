//! System calls: the entry point of a program, the `syscall` instruction and one safe function per call.
//!
//! Numbers come from [`abi::syscall::number`]. Functions take what Rust can check (slices, strings,
//! structures) and return [`Errno`] on failure; modules above this one give them std's shape.
#![expect(
    unsafe_code,
    reason = "the syscall instruction and the arguments the kernel put on the stack"
)]

pub mod wild;

use abi::info::{MemoryInfo, ProcessInfo, TimeSpec, TraceStats};
use abi::net::{FdSet, TimeVal};
use abi::probe::{self, ExecRequest, ExecResponse, MachineInfo};
use abi::syscall::number as nr;
use abi::{DirEntry, Errno, OpenFlags, Stat};
use alloc_crate::ffi::CString;
use alloc_crate::vec::Vec;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A file descriptor.
pub type Fd = i32;

/// Result of a system call.
pub type SysResult<T> = Result<T, Errno>;

// The kernel enters with argc in rdi and argv in rsi and an arbitrary stack alignment; the C ABI
// wants rsp to be a multiple of 16 before the call.
#[cfg(target_os = "none")]
core::arch::global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {entry}",
    "ud2",
    entry = sym entry,
);

static ARGC: AtomicUsize = AtomicUsize::new(0);
static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());

#[cfg(target_os = "none")]
extern "C" fn entry(argc: usize, argv: *mut *const c_char) -> ! {
    unsafe extern "Rust" {
        safe fn ulib_main() -> i32;
    }
    ARGC.store(argc, Ordering::Relaxed);
    ARGV.store(argv, Ordering::Relaxed);
    exit(ulib_main())
}

/// Argument `index` as the kernel put it on the stack, `None` past the last.
pub fn argument(index: usize) -> Option<&'static [u8]> {
    if index >= ARGC.load(Ordering::Relaxed) {
        return None;
    }
    let argv = ARGV.load(Ordering::Relaxed);
    // SAFETY: exec put argc pointers to NUL-terminated strings at argv, above the stack's first
    // frame, where nothing writes and nothing is ever freed; `index` is below argc.
    let string = unsafe { CStr::from_ptr(*argv.add(index)) };
    Some(string.to_bytes())
}

/// Executes `syscall` with any number and arguments; the raw value of `rax`.
///
/// # Safety
/// The call must not write to memory of this process that Rust believes to own, nor take such memory
/// away: pointers among the arguments are valid for what the call does with them, or lie outside.
pub unsafe fn raw(number: usize, arguments: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: `syscall` clobbers rax, rcx and r11 only (abi::syscall); what the kernel does with
    // memory is the caller's promise.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {{
        let given: &[usize] = &[$($argument as usize),*];
        let mut arguments = [0; 6];
        arguments[..given.len()].copy_from_slice(given);
        // SAFETY: every use below passes integers, pointers with the length of a live slice, or
        // pointers to structures of the size the ABI states; exclusive borrows where the kernel writes.
        Errno::from_result(unsafe { raw($number, arguments) })
    }};
}

fn c_string(text: &str) -> SysResult<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

/// Clones the process; `None` in the child, its pid in the parent.
pub fn fork() -> SysResult<Option<i32>> {
    Ok(match call!(nr::fork)? {
        0 => None,
        pid => Some(pid as i32),
    })
}

/// Ends the process.
pub fn exit(status: i32) -> ! {
    let _ = call!(nr::exit, status);
    unreachable!("exit returned")
}

/// Waits for any child to end; its pid and status.
pub fn wait() -> SysResult<(i32, i32)> {
    let mut status = 0i32;
    let pid = call!(nr::wait, &mut status as *mut i32)?;
    Ok((pid as i32, status))
}

/// A pipe: read end, write end.
pub fn pipe() -> SysResult<(Fd, Fd)> {
    let mut fds = [0i32; 2];
    call!(nr::pipe, fds.as_mut_ptr())?;
    Ok((fds[0], fds[1]))
}

/// Reads at most `buffer.len()` bytes; 0 at the end.
pub fn read(fd: Fd, buffer: &mut [u8]) -> SysResult<usize> {
    call!(nr::read, fd, buffer.as_mut_ptr(), buffer.len())
}

/// Writes; the number of bytes taken.
pub fn write(fd: Fd, bytes: &[u8]) -> SysResult<usize> {
    call!(nr::write, fd, bytes.as_ptr(), bytes.len())
}

/// Kills a process.
pub fn kill(pid: i32) -> SysResult<()> {
    call!(nr::kill, pid).map(drop)
}

/// Replaces the program; returns only on failure. `arguments[0]` is the program's name.
pub fn exec(path: &str, arguments: &[&str]) -> Errno {
    let prepare = || -> SysResult<(CString, Vec<CString>)> {
        let strings: SysResult<Vec<_>> = arguments.iter().map(|text| c_string(text)).collect();
        Ok((c_string(path)?, strings?))
    };
    let (path, strings) = match prepare() {
        Ok(prepared) => prepared,
        Err(errno) => return errno,
    };
    let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
    pointers.push(core::ptr::null());
    match call!(nr::exec, path.as_ptr(), pointers.as_ptr()) {
        Ok(_) => unreachable!("exec returned"),
        Err(errno) => errno,
    }
}

/// What an open file is.
pub fn fstat(fd: Fd) -> SysResult<Stat> {
    let mut stat = Stat::default();
    call!(nr::fstat, fd, &mut stat as *mut Stat)?;
    Ok(stat)
}

/// Changes the current directory.
pub fn chdir(path: &str) -> SysResult<()> {
    let path = c_string(path)?;
    call!(nr::chdir, path.as_ptr()).map(drop)
}

/// The lowest free descriptor becomes a copy of `fd`.
pub fn dup(fd: Fd) -> SysResult<Fd> {
    Ok(call!(nr::dup, fd)? as Fd)
}

/// Own process id.
pub fn getpid() -> i32 {
    call!(nr::getpid).map_or(0, |pid| pid as i32)
}

/// Moves the end of the heap; returns the old one.
///
/// # Safety
/// Nothing may live in memory that a negative `delta` gives back.
pub unsafe fn sbrk(delta: isize) -> SysResult<usize> {
    call!(nr::sbrk, delta)
}

/// Sleeps for so many timer ticks ([`abi::info::TICKS_PER_SECOND`]).
pub fn sleep(ticks: u32) -> SysResult<()> {
    call!(nr::sleep, ticks).map(drop)
}

/// Timer ticks since boot.
pub fn uptime() -> u64 {
    call!(nr::uptime).map_or(0, |ticks| ticks as u64)
}

/// Opens a local or remote file.
pub fn open(path: &str, flags: OpenFlags) -> SysResult<Fd> {
    let path = c_string(path)?;
    Ok(call!(nr::open, path.as_ptr(), flags.0)? as Fd)
}

/// Makes a device node.
pub fn mknod(path: &str, major: i16, minor: i16) -> SysResult<()> {
    let path = c_string(path)?;
    call!(nr::mknod, path.as_ptr(), major, minor).map(drop)
}

/// Removes a name, or an empty directory.
pub fn unlink(path: &str) -> SysResult<()> {
    let path = c_string(path)?;
    call!(nr::unlink, path.as_ptr()).map(drop)
}

/// Gives a file a second name.
pub fn link(old: &str, new: &str) -> SysResult<()> {
    let (old, new) = (c_string(old)?, c_string(new)?);
    call!(nr::link, old.as_ptr(), new.as_ptr()).map(drop)
}

/// Makes a directory.
pub fn mkdir(path: &str) -> SysResult<()> {
    let path = c_string(path)?;
    call!(nr::mkdir, path.as_ptr()).map(drop)
}

/// Closes a descriptor.
pub fn close(fd: Fd) -> SysResult<()> {
    call!(nr::close, fd).map(drop)
}

/// Makes a socket (`abi::net`).
pub fn socket(family: i32, kind: i32, protocol: i32) -> SysResult<Fd> {
    Ok(call!(nr::socket, family, kind, protocol)? as Fd)
}

/// Gives a socket its own address; port 0 lets the kernel choose.
pub fn bind(fd: Fd, address: &[u8], port: u16) -> SysResult<()> {
    call!(nr::bind, fd, address.as_ptr(), port, address.len()).map(drop)
}

/// Turns a bound stream socket into a listener.
pub fn listen(fd: Fd) -> SysResult<()> {
    call!(nr::listen, fd).map(drop)
}

/// Connects to a peer.
pub fn connect(fd: Fd, address: &[u8], port: u16) -> SysResult<()> {
    call!(nr::connect, fd, address.as_ptr(), port, address.len()).map(drop)
}

/// Takes the next connection; writes the peer's address, returns descriptor and peer's port.
pub fn accept(fd: Fd, address: &mut [u8]) -> SysResult<(Fd, u16)> {
    let mut port = 0i32;
    let new = call!(
        nr::accept,
        fd,
        address.as_mut_ptr(),
        &mut port as *mut i32,
        address.len()
    )?;
    Ok((new as Fd, port as u16))
}

/// Waits until a descriptor below `max` is ready; the sets then hold the ready ones.
pub fn select(
    max: usize,
    read: Option<&mut FdSet>,
    write: Option<&mut FdSet>,
    except: Option<&mut FdSet>,
    timeout: Option<TimeVal>,
) -> SysResult<usize> {
    let pointer =
        |set: Option<&mut FdSet>| set.map_or(core::ptr::null_mut(), |set| set as *mut FdSet);
    let mut timeout = timeout;
    let timeout = timeout
        .as_mut()
        .map_or(core::ptr::null_mut(), |timeout| timeout as *mut TimeVal);
    call!(
        nr::select,
        max,
        pointer(read),
        pointer(write),
        pointer(except),
        timeout
    )
}

/// Sends on a connected socket.
pub fn send(fd: Fd, bytes: &[u8], flags: i32) -> SysResult<usize> {
    call!(nr::send, fd, bytes.as_ptr(), bytes.len(), flags)
}

/// Receives from a socket.
pub fn recv(fd: Fd, buffer: &mut [u8], flags: i32) -> SysResult<usize> {
    call!(nr::recv, fd, buffer.as_mut_ptr(), buffer.len(), flags)
}

/// Sets the offset of an open file; returns it.
pub fn seek(fd: Fd, offset: i64) -> SysResult<u64> {
    Ok(call!(nr::seek, fd, offset)? as u64)
}

/// Sends a datagram to an address of the socket's family: 4 bytes, or 16. EINVAL for more.
pub fn sendto(fd: Fd, bytes: &[u8], flags: i32, address: &[u8], port: u16) -> SysResult<usize> {
    // The call has no length: the kernel reads as many bytes as the family has.
    let mut padded = [0; 16];
    padded
        .get_mut(..address.len())
        .ok_or(Errno::EINVAL)?
        .copy_from_slice(address);
    call!(
        nr::sendto,
        fd,
        bytes.as_ptr(),
        bytes.len(),
        flags,
        padded.as_ptr(),
        port
    )
}

/// Receives a datagram; length, sender's address (of an IPv4 socket the first four bytes) and port.
pub fn recvfrom(fd: Fd, buffer: &mut [u8], flags: i32) -> SysResult<(usize, [u8; 16], u16)> {
    let mut address = [0u8; 16];
    let mut port = 0i32;
    let len = call!(
        nr::recvfrom,
        fd,
        buffer.as_mut_ptr(),
        buffer.len(),
        flags,
        address.as_mut_ptr(),
        &mut port as *mut i32
    )?;
    Ok((len, address, port as u16))
}

/// Own address of a socket; returns the port.
pub fn getsockname(fd: Fd, address: &mut [u8]) -> SysResult<u16> {
    let mut port = 0i32;
    let pointer = &mut port as *mut i32;
    call!(
        nr::getsockname,
        fd,
        address.as_mut_ptr(),
        pointer,
        address.len()
    )?;
    Ok(port as u16)
}

/// Peer's address of a socket; returns the port.
pub fn getpeername(fd: Fd, address: &mut [u8]) -> SysResult<u16> {
    let mut port = 0i32;
    let pointer = &mut port as *mut i32;
    call!(
        nr::getpeername,
        fd,
        address.as_mut_ptr(),
        pointer,
        address.len()
    )?;
    Ok(port as u16)
}

/// Closes one or both directions of a connection (`abi::net::SHUT_*`).
pub fn shutdown(fd: Fd, how: i32) -> SysResult<()> {
    call!(nr::shutdown, fd, how).map(drop)
}

/// State of the network interface.
pub fn interface() -> SysResult<abi::net::Interface> {
    let mut interface = abi::net::Interface::default();
    call!(
        nr::netinfo,
        abi::net::NETINFO_INTERFACE,
        &mut interface as *mut abi::net::Interface,
        size_of::<abi::net::Interface>()
    )?;
    Ok(interface)
}

/// All sockets; returns how many were written.
pub fn sockets(list: &mut [abi::net::SocketInfo]) -> SysResult<usize> {
    let count = call!(
        nr::netinfo,
        abi::net::NETINFO_SOCKETS,
        list.as_mut_ptr(),
        size_of_val(list)
    )?;
    Ok(count.min(list.len()))
}

/// All addresses of the network interface; returns how many were written.
pub fn addresses(list: &mut [abi::net::InterfaceAddress]) -> SysResult<usize> {
    let count = call!(
        nr::netinfo,
        abi::net::NETINFO_ADDRESSES,
        list.as_mut_ptr(),
        size_of_val(list)
    )?;
    Ok(count.min(list.len()))
}

/// Looks a host name up; returns how many addresses were written, those of IPv4 as ::ffff:a.b.c.d.
pub fn resolve(name: &str, addresses: &mut [[u8; 16]]) -> SysResult<usize> {
    let name = c_string(name)?;
    let count = call!(
        nr::resolve,
        name.as_ptr(),
        addresses.as_mut_ptr(),
        size_of_val(addresses)
    )?;
    Ok(count.min(addresses.len()))
}

/// Sets a socket option (`abi::net::SO_*`).
pub fn setsockopt(fd: Fd, option: i32, value: i64) -> SysResult<()> {
    call!(nr::setsockopt, fd, option, value).map(drop)
}

/// Renames a file or directory.
pub fn rename(old: &str, new: &str) -> SysResult<()> {
    let (old, new) = (c_string(old)?, c_string(new)?);
    call!(nr::rename, old.as_ptr(), new.as_ptr()).map(drop)
}

/// Next entries of an open directory; 0 at the end.
pub fn readdir(fd: Fd, entries: &mut [DirEntry]) -> SysResult<usize> {
    call!(nr::readdir, fd, entries.as_mut_ptr(), entries.len())
}

/// Cuts or extends a file.
pub fn ftruncate(fd: Fd, length: u64) -> SysResult<()> {
    call!(nr::ftruncate, fd, length).map(drop)
}

/// Waits until a file's content is on its medium.
pub fn fsync(fd: Fd) -> SysResult<()> {
    call!(nr::fsync, fd).map(drop)
}

/// One probe operation (`abi::probe`); the number of bytes of the response.
pub fn probe(operation: i32, request: &[u8], response: &mut [u8]) -> SysResult<usize> {
    call!(
        nr::probe,
        operation,
        request.as_ptr(),
        request.len(),
        response.as_mut_ptr(),
        response.len()
    )
}

/// Runs probed code once (`abi::probe::EXEC` with a count of 1).
pub fn probe_once(request: &ExecRequest) -> SysResult<ExecResponse> {
    #[derive(Default)]
    #[repr(C)]
    struct Answer {
        response: ExecResponse,
        ticks: [u64; 1],
    }
    if request.count != 1 {
        return Err(Errno::EINVAL);
    }
    let mut answer = Answer::default();
    call!(
        nr::probe,
        probe::EXEC,
        request as *const ExecRequest,
        size_of::<ExecRequest>(),
        &mut answer as *mut Answer,
        size_of::<Answer>()
    )?;
    Ok(answer.response)
}

/// What machine this is (`abi::probe::MACHINE_INFO`).
pub fn machine_info() -> SysResult<MachineInfo> {
    let mut info = MachineInfo {
        hypercall: 0,
        cpus: 0,
        tsc_hz: 0,
        vendor: [0; 16],
        brand: [0; 48],
        test_device: 0,
        test_device_address: 0,
        reserved: [0; 5],
    };
    let pointer = &mut info as *mut MachineInfo;
    let (operation, len) = (probe::MACHINE_INFO, size_of::<MachineInfo>());
    call!(nr::probe, operation, 0, 0, pointer, len)?;
    Ok(info)
}

/// Mask of the trace classes that are on.
pub fn trace_classes() -> SysResult<u64> {
    Ok(call!(nr::tracectl, abi::info::TRACE_GET_CLASSES, 0, 0)? as u64)
}

/// Sets the mask of trace classes; returns the old one.
pub fn set_trace_classes(mask: u64) -> SysResult<u64> {
    Ok(call!(nr::tracectl, abi::info::TRACE_SET_CLASSES, mask, 0)? as u64)
}

/// Counters of the trace.
pub fn trace_stats() -> SysResult<TraceStats> {
    let mut stats = TraceStats::default();
    let pointer = &mut stats as *mut TraceStats;
    call!(nr::tracectl, abi::info::TRACE_STATS, 0, pointer)?;
    Ok(stats)
}

/// Waits until the server has acknowledged all trace records so far.
pub fn trace_flush() -> SysResult<()> {
    call!(nr::tracectl, abi::info::TRACE_FLUSH, 0, 0).map(drop)
}

/// Records an experiment event.
pub fn trace_event(payload: &[u8]) -> SysResult<()> {
    call!(nr::traceevent, payload.as_ptr(), payload.len()).map(drop)
}

/// Reads a clock (`abi::info::CLOCK_*`).
pub fn gettime(clock: i32) -> SysResult<TimeSpec> {
    let mut time = TimeSpec::default();
    call!(nr::gettime, clock, &mut time as *mut TimeSpec)?;
    Ok(time)
}

/// Lists processes; returns how many were written.
pub fn ps(list: &mut [ProcessInfo]) -> SysResult<usize> {
    call!(nr::ps, list.as_mut_ptr(), list.len()).map(|count| count.min(list.len()))
}

/// Memory in use.
pub fn meminfo() -> SysResult<MemoryInfo> {
    let mut info = MemoryInfo::default();
    call!(nr::meminfo, &mut info as *mut MemoryInfo)?;
    Ok(info)
}

/// Value of a boot setting; returns its length.
pub fn getconf(key: &str, value: &mut [u8]) -> SysResult<usize> {
    let key = c_string(key)?;
    call!(nr::getconf, key.as_ptr(), value.as_mut_ptr(), value.len())
}

/// Sets the mode of a console (`abi::file::TTY_*`).
pub fn ttymode(fd: Fd, mode: i32) -> SysResult<()> {
    call!(nr::ttymode, fd, mode).map(drop)
}

/// Reads the kernel's message log from an offset.
pub fn klog(buffer: &mut [u8], offset: u64) -> SysResult<usize> {
    call!(nr::klog, buffer.as_mut_ptr(), buffer.len(), offset)
}

/// Switches the machine off; QEMU's exit status tells `status`.
pub fn poweroff(status: i32) -> SysResult<()> {
    call!(nr::poweroff, status).map(drop)
}

/// Lets others run.
pub fn yield_now() {
    let _ = call!(nr::yield_);
}
