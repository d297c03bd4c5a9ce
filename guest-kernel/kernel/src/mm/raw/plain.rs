//! Structures that cross the border to user memory as bytes.

use abi::Stat;
use abi::file::DirEntry;
use abi::info::{MemoryInfo, ProcessInfo, TimeSpec, TraceStats};
use abi::net::{FdSet, Interface, InterfaceAddress, SocketInfo, TimeVal};

/// A structure without padding of which any bytes are a valid value.
///
/// # Safety
/// Exactly that.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($kind:ty),* $(,)?) => {$(
        // SAFETY: repr(C) (or an integer), all fields integers, no padding: abi's layout test pins the
        // sizes to the sums of the fields.
        unsafe impl Plain for $kind {}
    )*};
}

plain!(
    i32,
    u32,
    u64,
    i64,
    Stat,
    DirEntry,
    MemoryInfo,
    ProcessInfo,
    TimeSpec,
    TraceStats,
    FdSet,
    Interface,
    InterfaceAddress,
    SocketInfo,
    TimeVal,
);

/// The value's bytes.
pub fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain` has no padding, so every byte is initialised.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The value's bytes, to be overwritten.
pub fn bytes_of_mut<T: Plain>(value: &mut T) -> &mut [u8] {
    // SAFETY: as above, and any bytes are a valid `Plain`.
    unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(value).cast(), size_of::<T>()) }
}
