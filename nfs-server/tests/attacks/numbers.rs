//! Counts, offsets, handles, and what an export allows.

use protocol::codec::{self, Rest};
use protocol::message::{
    Append, Close, Fsync, Getattr, Handle, Lookup, OpenFlags, Read, Readdir, Stat, SyncLevel,
    Truncate, Write,
};
use protocol::name::Path;
use protocol::{Errno, Reason};

use crate::common::{Raw, Server};
use crate::{answers, attach, open, refused};

#[test]
fn numbers_out_of_range_are_refused_cleanly() {
    let server = Server::start();
    std::fs::write(server.path("rw/f"), b"0123456789").unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"rw");
    let both = open(&mut raw, dir, "f", OpenFlags::READ | OpenFlags::WRITE)
        .unwrap()
        .handle;
    let read_only = open(&mut raw, dir, "f", OpenFlags::READ).unwrap().handle;
    let limit = protocol::MAX_FRAME;
    for count in [limit + 1, u32::MAX] {
        let read = raw.call(&Read {
            handle: both,
            offset: 0,
            count,
        });
        assert_eq!(refused(read), (Errno::EINVAL, Reason::CountLimit));
        let list = raw.call(&Readdir {
            handle: dir,
            cookie: 0,
            count,
        });
        assert_eq!(refused(list), (Errno::EINVAL, Reason::CountLimit));
    }
    for offset in [u64::MAX, i64::MAX as u64, (i64::MAX as u64) + 1] {
        let read = raw.call(&Read {
            handle: both,
            offset,
            count: 10,
        });
        assert_eq!(refused(read), (Errno::EINVAL, Reason::Offset));
        let write = raw.call(&Write {
            handle: both,
            offset,
            data: Rest(b"0123456789"),
        });
        assert_eq!(refused(write), (Errno::EINVAL, Reason::Offset));
    }
    assert_eq!(
        refused(raw.call(&Truncate {
            handle: both,
            size: u64::MAX
        })),
        (Errno::EINVAL, Reason::Offset)
    );
    for handle in [Handle(0), Handle(77), Handle(u32::MAX)] {
        assert_eq!(refused(raw.call(&Getattr { handle })).0, Errno::EBADF);
        assert_eq!(
            refused(raw.call(&Read {
                handle,
                offset: 0,
                count: 1
            }))
            .0,
            Errno::EBADF
        );
        assert_eq!(
            refused(raw.call(&Write {
                handle,
                offset: 0,
                data: Rest(b"x")
            }))
            .0,
            Errno::EBADF
        );
        assert_eq!(
            refused(raw.call(&Append {
                handle,
                expected: 0,
                data: Rest(b"x")
            }))
            .0,
            Errno::EBADF
        );
        assert_eq!(
            refused(raw.call(&Fsync {
                handle,
                level: SyncLevel::Data
            }))
            .0,
            Errno::EBADF
        );
        assert_eq!(refused(raw.call(&Close { handle })).0, Errno::EBADF);
        assert_eq!(
            refused(open(&mut raw, handle, "f", OpenFlags::READ)).0,
            Errno::EBADF
        );
    }
    let write = raw.call(&Write {
        handle: read_only,
        offset: 0,
        data: Rest(b"x"),
    });
    assert_eq!(refused(write), (Errno::EBADF, Reason::HandleMode));
    let append = raw.call(&Append {
        handle: read_only,
        expected: 10,
        data: Rest(b"x"),
    });
    assert_eq!(refused(append), (Errno::EBADF, Reason::HandleMode));
    assert_eq!(
        refused(raw.call(&Truncate {
            handle: read_only,
            size: 0
        })),
        (Errno::EBADF, Reason::HandleMode)
    );
    let through = raw.call(&Lookup {
        dir: both,
        path: Path::HERE,
    });
    assert_eq!(refused(through).0, Errno::ENOTDIR);
    assert_eq!(
        refused(raw.call(&Read {
            handle: dir,
            offset: 0,
            count: 1
        }))
        .0,
        Errno::EISDIR
    );
    assert_eq!(std::fs::read(server.path("rw/f")).unwrap(), b"0123456789");
    answers(&mut raw);
}

#[test]
fn changes_on_a_read_only_export_are_refused_even_truncate_on_open() {
    let server = Server::start();
    std::fs::write(server.path("ro/f"), b"kept").unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"ro");
    let write = OpenFlags::WRITE;
    for flags in [
        write,
        write | OpenFlags::TRUNCATE,
        write | OpenFlags::CREATE,
        OpenFlags::APPEND,
    ] {
        assert_eq!(
            refused(open(&mut raw, dir, "f", flags)),
            (Errno::EROFS, Reason::ReadOnlyExport)
        );
    }
    let sly = refused(open(
        &mut raw,
        dir,
        "f",
        OpenFlags::READ | OpenFlags::TRUNCATE,
    ));
    assert_eq!(sly.0, Errno::EINVAL);
    assert_eq!(std::fs::read(server.path("ro/f")).unwrap(), b"kept");
}

#[test]
fn an_append_behind_or_beyond_the_end_leaves_the_file_alone() {
    let server = Server::start();
    std::fs::write(server.path("append/log"), b"12345").unwrap();
    let mut raw = Raw::greeted(&server);
    let dir = attach(&mut raw, b"append");
    let handle = open(&mut raw, dir, "log", OpenFlags::APPEND)
        .unwrap()
        .handle;
    for expected in [0, 4, 6, u64::MAX] {
        let append = raw.call(&Append {
            handle,
            expected,
            data: Rest(b"x"),
        });
        assert_eq!(refused(append), (Errno::ERANGE, Reason::NotTheEnd));
    }
    let stat = codec::decode::<Stat>(&raw.call(&Getattr { handle }).unwrap()).unwrap();
    assert_eq!(stat.size, 5);
}
