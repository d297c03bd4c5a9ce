//! The header and the stubs for C programs are generated from `abi`: this test writes them when
//! `HVLAB_BLESS` is set, and otherwise compares.

use abi::{DirEntry, Errno, OpenFlags, Stat, file, info, net};
use std::fmt::Write as _;
use std::path::Path;

/// One field of a structure: C type, name with any array bounds, offset in Rust.
type Field = (&'static str, &'static str, usize);

macro_rules! structure {
    ($out:expr, $c_name:literal, $rust:ty, { $($c_type:literal $field:ident $($array:literal)? = $c_field:literal;)* }) => {{
        let fields: &[Field] = &[$(($c_type, $c_field, std::mem::offset_of!($rust, $field)),)*];
        write_structure($out, $c_name, size_of::<$rust>(), fields);
    }};
}

fn write_structure(out: &mut String, name: &str, size: usize, fields: &[Field]) {
    writeln!(out, "\nstruct {name} {{").unwrap();
    for (c_type, field, _) in fields {
        writeln!(out, "  {c_type} {field};").unwrap();
    }
    writeln!(out, "}};").unwrap();
    writeln!(
        out,
        "_Static_assert(sizeof(struct {name}) == {size}, \"{name}\");"
    )
    .unwrap();
    for (_, field, offset) in fields {
        let field = field.split('[').next().unwrap();
        let check = format!("__builtin_offsetof(struct {name}, {field}) == {offset}");
        writeln!(out, "_Static_assert({check}, \"{name}.{field}\");").unwrap();
    }
}

fn header() -> String {
    let mut out = String::from(
        "// Generated from guest-kernel/abi by guest-kernel/user/ulib/tests/c_header.rs: do not edit.\n\
         #ifndef HVLAB_H\n#define HVLAB_H\n\n// The call that failed last; calls return -1 then.\nextern int errno;\n\n",
    );
    for errno in Errno::ALL {
        writeln!(
            out,
            "#define {} {} // {}",
            errno.name(),
            errno.number(),
            errno.text()
        )
        .unwrap();
    }
    out.push('\n');
    for (name, flag) in [
        ("O_RDONLY", OpenFlags::RDONLY),
        ("O_WRONLY", OpenFlags::WRONLY),
        ("O_RDWR", OpenFlags::RDWR),
        ("O_CREATE", OpenFlags::CREATE),
        ("O_TRUNC", OpenFlags::TRUNC),
        ("O_APPEND", OpenFlags::APPEND),
        ("O_EXCL", OpenFlags::EXCLUSIVE),
        ("O_NONBLOCK", OpenFlags::NONBLOCK),
    ] {
        writeln!(out, "#define {name} {:#x}", flag.0).unwrap();
    }
    for (name, value) in [
        ("T_DIR", i64::from(file::T_DIR)),
        ("T_FILE", file::T_FILE.into()),
        ("T_DEVICE", file::T_DEVICE.into()),
        ("T_SOCKET", file::T_SOCKET.into()),
        ("T_PIPE", file::T_PIPE.into()),
        ("TTY_LINE", file::TTY_LINE.into()),
        ("TTY_RAW", file::TTY_RAW.into()),
        ("PATH_MAX", file::PATH_MAX as i64),
        ("AF_INET", net::AF_INET.into()),
        ("AF_INET6", net::AF_INET6.into()),
        ("SOCK_STREAM", net::SOCK_STREAM.into()),
        ("SOCK_DGRAM", net::SOCK_DGRAM.into()),
        ("SOCK_RAW", net::SOCK_RAW.into()),
        ("IPPROTO_ICMP", net::IPPROTO_ICMP.into()),
        ("IPPROTO_ICMPV6", net::IPPROTO_ICMPV6.into()),
        ("MSG_DONTWAIT", net::MSG_DONTWAIT.into()),
        ("MSG_PEEK", net::MSG_PEEK.into()),
        ("SHUT_RD", net::SHUT_RD.into()),
        ("SHUT_WR", net::SHUT_WR.into()),
        ("SHUT_RDWR", net::SHUT_RDWR.into()),
        ("SO_KEEPALIVE_MS", net::SO_KEEPALIVE_MS.into()),
        ("SO_NODELAY", net::SO_NODELAY.into()),
        ("FD_SETSIZE", net::FD_SETSIZE as i64),
        ("CLOCK_REALTIME", info::CLOCK_REALTIME.into()),
        ("CLOCK_MONOTONIC", info::CLOCK_MONOTONIC.into()),
        ("CLOCK_TSC", info::CLOCK_TSC.into()),
        ("TICKS_PER_SECOND", info::TICKS_PER_SECOND as i64),
    ] {
        writeln!(out, "#define {name} {value}").unwrap();
    }
    structure!(&mut out, "stat", Stat, {
        "int" dev = "dev";
        "unsigned int" ino = "ino";
        "short" kind = "type";
        "short" nlink = "nlink";
        "unsigned int" pad = "pad";
        "unsigned long" size = "size";
    });
    structure!(&mut out, "dirent", DirEntry, {
        "unsigned long" ino = "ino";
        "unsigned long" size = "size";
        "short" kind = "type";
        "unsigned short" name_len = "name_len";
        "unsigned int" reserved = "reserved";
        "char" name = "name[256]";
    });
    structure!(&mut out, "fd_set", net::FdSet, { "unsigned long" bits = "bits[4]"; });
    structure!(&mut out, "timeval", net::TimeVal, {
        "long" seconds = "tv_sec";
        "long" microseconds = "tv_usec";
    });
    structure!(&mut out, "timespec", info::TimeSpec, {
        "long" seconds = "tv_sec";
        "long" nanoseconds = "tv_nsec";
    });
    structure!(&mut out, "procinfo", info::ProcessInfo, {
        "unsigned int" pid = "pid";
        "unsigned int" parent = "parent";
        "unsigned char" state = "state";
        "unsigned char" kernel = "kernel";
        "unsigned short" cpu = "cpu";
        "unsigned int" pages = "pages";
        "unsigned long" cpu_ns = "cpu_ns";
        "char" name = "name[32]";
        "unsigned long" reserved = "reserved";
    });
    structure!(&mut out, "meminfo", info::MemoryInfo, {
        "unsigned long" total_pages = "total_pages";
        "unsigned long" free_pages = "free_pages";
        "unsigned long" heap_used = "heap_used";
        "unsigned long" heap_size = "heap_size";
        "unsigned long" open_files = "open_files";
        "unsigned long" processes = "processes";
        "unsigned long" cpus = "cpus";
        "unsigned long" failed_allocations = "failed_allocations";
    });
    out.push_str(
        "\ntypedef struct fd_set fd_set;\n\
         #define FD_SET(fd, set) ((set)->bits[(fd) / 64] |= 1UL << ((fd) % 64))\n\
         #define FD_ISSET(fd, set) (((set)->bits[(fd) / 64] >> ((fd) % 64)) & 1)\n\n",
    );
    for call in abi::syscall::TABLE {
        let end = if call.name == "exit" {
            " __attribute__((noreturn))"
        } else {
            ""
        };
        writeln!(out, "{}{end}; // {}", call.prototype, call.number).unwrap();
    }
    out.push_str("\n#endif\n");
    out
}

fn stubs() -> String {
    let mut out = String::from(
        "# Generated from guest-kernel/abi by guest-kernel/user/ulib/tests/c_header.rs: do not edit.\n\
         # The fourth argument travels in r10, since `syscall` takes rcx. Results -4095 to -1 are errors.\n\
         # The names are weak, so that a program may have functions of its own by these names.\n\
         .text\n\nresult:\n    cmp $-4095, %rax\n    jae 1f\n    ret\n1:\n    neg %eax\n    \
         mov %eax, errno(%rip)\n    mov $-1, %rax\n    ret\n",
    );
    for call in abi::syscall::TABLE {
        let name = call.name;
        let fourth = if call.arguments > 3 {
            "    mov %rcx, %r10\n"
        } else {
            ""
        };
        write!(
            out,
            "\n.weak {name}\n{name}:\n{fourth}    mov ${}, %eax\n    syscall\n    jmp result\n",
            call.number
        )
        .unwrap();
    }
    out.push_str("\n.weak errno\n.bss\n.align 4\nerrno:\n    .zero 4\n\n.section .note.GNU-stack, \"\", @progbits\n");
    out
}

fn compare(path: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../c")
        .join(path);
    if std::env::var_os("HVLAB_BLESS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == generated,
        "{} does not fit abi; run this test with HVLAB_BLESS=1",
        path.display()
    );
}

#[test]
fn the_c_header_fits_abi() {
    compare("include/hvlab.h", &header());
}

#[test]
fn the_c_stubs_fit_abi() {
    compare("usys.S", &stubs());
}
