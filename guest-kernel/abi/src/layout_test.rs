//! Pins every size and the offsets that C and assembly rely on.

use crate::{file, info, net, probe};
use core::mem::{offset_of, size_of};

#[test]
fn sizes_are_pinned() {
    let sizes = [
        ("Stat", size_of::<file::Stat>(), 24),
        ("DirEntry", size_of::<file::DirEntry>(), 280),
        ("FdSet", size_of::<net::FdSet>(), 32),
        ("TimeVal", size_of::<net::TimeVal>(), 16),
        ("Interface", size_of::<net::Interface>(), 128),
        ("InterfaceAddress", size_of::<net::InterfaceAddress>(), 24),
        ("SocketInfo", size_of::<net::SocketInfo>(), 56),
        ("TimeSpec", size_of::<info::TimeSpec>(), 16),
        ("ProcessInfo", size_of::<info::ProcessInfo>(), 64),
        ("MemoryInfo", size_of::<info::MemoryInfo>(), 64),
        ("TraceStats", size_of::<info::TraceStats>(), 48),
        ("Registers", size_of::<probe::Registers>(), 136),
        ("ExecRequest", size_of::<probe::ExecRequest>(), 416),
        ("ExecResponse", size_of::<probe::ExecResponse>(), 200),
        ("MapRequest", size_of::<probe::MapRequest>(), 24),
        ("MemoryRequest", size_of::<probe::MemoryRequest>(), 24),
        ("MemoryRange", size_of::<probe::MemoryRange>(), 24),
        ("MachineInfo", size_of::<probe::MachineInfo>(), 128),
    ];
    for (name, size, pinned) in sizes {
        assert_eq!(size, pinned, "{name}");
    }
}

#[test]
fn offsets_are_pinned() {
    assert_eq!(offset_of!(file::Stat, ino), 4);
    assert_eq!(offset_of!(file::Stat, kind), 8);
    assert_eq!(offset_of!(file::Stat, nlink), 10);
    assert_eq!(offset_of!(file::Stat, size), 16);
    assert_eq!(offset_of!(file::DirEntry, name), 24);
    assert_eq!(offset_of!(probe::Registers, rflags), 128);
    assert_eq!(offset_of!(probe::ExecRequest, code), 160);
}
