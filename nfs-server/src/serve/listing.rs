//! Directories, exports, space and counters.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use protocol::frame::{self, Header};
use protocol::message::{
    Count, CounterList, Entries, Entry, Export as ExportEntry, ExportList, Kind, Readdir, Statfs,
    StatfsReply,
};
use protocol::{Errno, Reason};
use rustix::fs::FileType;

use super::{Job, check_range};
use crate::export;
use crate::inodes::lock;
use crate::refuse::{Refused, because_of, system};

impl Job<'_> {
    pub(super) fn readdir(&self, call: &Readdir, header: &Header, out: &mut Vec<u8>) {
        let result = self.list(call);
        let result = match &result {
            Ok((end, list)) => Ok(Entries {
                end: *end,
                entries: list
                    .iter()
                    .map(|(cookie, inode, kind, name)| Entry {
                        cookie: *cookie,
                        inode: *inode,
                        kind: *kind,
                        name,
                    })
                    .collect(),
            }),
            Err(refused) => Err(*refused),
        };
        frame::put_reply(out, header, &result);
    }

    #[expect(
        clippy::type_complexity,
        reason = "rows of a listing that lives for one reply"
    )]
    fn list(&self, call: &Readdir) -> Result<(bool, Vec<(u64, u64, Kind, Vec<u8>)>), Refused> {
        let dir = self.dir(call.handle)?;
        self.check_count(call.count)?;
        check_range(call.cookie, 0)?;
        rustix::fs::seek(&dir.fd, rustix::fs::SeekFrom::Start(call.cookie)).map_err(system)?;
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = rustix::fs::RawDir::new(&dir.fd, &mut buffer);
        let mut list = Vec::new();
        // The flag `end` takes one byte.
        let mut left = (call.count as usize).saturating_sub(1);
        while let Some(entry) = reader.next() {
            let entry = entry.map_err(system)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::Unknown => match export::lookup_name(dir.fd.as_fd(), name) {
                    Ok(found) => found.stat.kind,
                    Err(_) => continue,
                },
                _ => continue,
            };
            // cookie, inode, kind, length of the name
            let bytes = 8 + 8 + 1 + 2 + name.len();
            if bytes > left {
                if list.is_empty() {
                    return Err(because_of(
                        Errno::EINVAL,
                        Reason::CountLimit,
                        bytes as u64 + 1,
                    ));
                }
                return Ok((false, list));
            }
            left -= bytes;
            list.push((entry.next_entry_cookie(), entry.ino(), kind, name.to_vec()));
        }
        Ok((true, list))
    }

    pub(super) fn statfs(&self, call: &Statfs) -> Result<StatfsReply, Refused> {
        let node = self.state.node(call.handle)?;
        export::statfs(node.fd.as_fd(), self.export(node).access)
    }

    pub(super) fn exports(&self) -> ExportList<'_> {
        let exports = self.shared.exports.iter();
        ExportList {
            exports: exports
                .map(|e| ExportEntry {
                    access: e.access,
                    name: e.name.as_bytes(),
                })
                .collect(),
        }
    }

    pub(super) fn counters(&self, header: &Header, out: &mut Vec<u8>) {
        let sessions = self.shared.sessions.all();
        let totals = self.shared.totals();
        let mut list = CounterList {
            uptime_ns: u64::try_from(self.shared.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            connections: u32::try_from(totals.connections).unwrap_or(u32::MAX),
            refused: totals.refused,
            counts: Vec::new(),
        };
        let mut left = self.session.max_frame as usize - 64;
        for session in &sessions {
            for (operation, c) in lock(&session.counts).used() {
                let bytes = 8 + 2 + session.name.len() + 8 + 1 + 24;
                if bytes > left {
                    break;
                }
                left -= bytes;
                let ago = c.last.map_or(u64::MAX, |last| {
                    u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX)
                });
                list.counts.push(Count {
                    session: session.id,
                    name: session.name.as_bytes(),
                    ago_ms: ago,
                    operation,
                    calls: c.calls,
                    errors: c.errors,
                    bytes: c.bytes,
                });
            }
        }
        frame::put_reply(out, header, &Ok(list));
    }
}
