//! Exports, names and directories.

use std::os::fd::AsFd;

use protocol::message::{
    Attach, Attached, Getattr, Handle, Kind, Lookup, Mkdir, Open, OpenFlags, Opened, Rename, Stat,
    Unlink,
};
use protocol::name::{Path, PathBuf};
use protocol::{Errno, Reason};

use super::Job;
use crate::export::{self, Found, Identity};
use crate::inodes::lock;
use crate::journal::{Effect, HandleInfo};
use crate::refuse::{Refused, because, system};
use crate::session::Node;

impl Job<'_> {
    pub(super) fn attach(&mut self, call: &Attach<'_>) -> Result<Attached, Refused> {
        let index = self
            .shared
            .exports
            .iter()
            .position(|export| export.name.as_bytes() == call.export);
        let index = index.ok_or(because(Errno::ENOENT, Reason::NoExport))?;
        let handle = self.state.plan_handle(self.shared.limits.handles)?;
        let export = &self.shared.exports[index];
        let fd = export.attach()?;
        let Found { stat, identity } = export::stat(fd.as_fd())?;
        let info = HandleInfo {
            export: export.name.clone(),
            path: PathBuf::new(),
            identity,
            file: None,
        };
        self.effect = Effect::Opened {
            handle,
            base: 0,
            info,
        };
        let node = Node {
            fd,
            export: index,
            file: None,
            inode: self.shared.inodes.get(identity),
        };
        self.state.add_handle(handle, node);
        Ok(Attached {
            root: Handle(handle),
            access: export.access,
            stat,
        })
    }

    pub(super) fn lookup(&self, call: &Lookup<'_>) -> Result<Stat, Refused> {
        let dir = self.dir(call.dir)?;
        export::lookup(dir.fd.as_fd(), call.path).map(|found| found.stat)
    }

    pub(super) fn getattr(&self, call: &Getattr) -> Result<Stat, Refused> {
        let node = self.state.node(call.handle)?;
        export::stat(node.fd.as_fd()).map(|found| found.stat)
    }

    pub(super) fn open(&mut self, call: &Open<'_>) -> Result<Opened, Refused> {
        let flags = call.flags;
        let makes = flags.has(OpenFlags::CREATE);
        let writes = flags.has(OpenFlags::WRITE) || flags.has(OpenFlags::APPEND);
        let contradiction = flags.has(OpenFlags::EXCLUSIVE) && !makes
            || flags.has(OpenFlags::DIRECTORY) && (makes || writes)
            || flags.has(OpenFlags::TRUNCATE) && !flags.has(OpenFlags::WRITE)
            || flags.0 & (OpenFlags::READ | OpenFlags::WRITE | OpenFlags::APPEND).0 == 0;
        if contradiction {
            return Err(because(Errno::EINVAL, Reason::System));
        }
        let handle = self.state.plan_handle(self.shared.limits.handles)?;
        let dir = self.dir(call.dir)?;
        let export = dir.export;
        if writes || makes {
            self.export(dir).allow_add()?;
        }
        let (fd, found, created) = if call.path.is_empty() {
            if writes || makes {
                return Err(because(Errno::EISDIR, Reason::ExportRoot));
            }
            let fd = export::open_dir(dir.fd.as_fd(), Path::HERE)?;
            let found = export::stat(fd.as_fd())?;
            (fd, found, false)
        } else {
            let (parent, last) = export::open_parent(dir.fd.as_fd(), call.path)?;
            match export::lookup_maybe(parent.as_fd(), last)? {
                None if makes => {
                    self.intend(
                        Identity {
                            device: 0,
                            inode: 0,
                        },
                        self.payload,
                    )?;
                    let (fd, found) = export::create(parent.as_fd(), last, flags, call.mode)?;
                    (fd, found, true)
                }
                None => return Err(because(Errno::ENOENT, Reason::System)),
                Some(_) if flags.has(OpenFlags::EXCLUSIVE) => {
                    return Err(because(Errno::EEXIST, Reason::System));
                }
                Some(before) => {
                    let cuts = flags.has(OpenFlags::TRUNCATE) && before.stat.size > 0;
                    if cuts {
                        self.export(dir).allow_change()?;
                    }
                    let (fd, mut found) = export::open_existing(parent.as_fd(), last, flags)?;
                    if cuts {
                        let inode = self.shared.inodes.get(found.identity);
                        let _order = lock(&inode.order);
                        rustix::fs::ftruncate(&fd, 0).map_err(system)?;
                        inode.changed();
                        found = export::stat(fd.as_fd())?;
                    }
                    (fd, found, false)
                }
            }
        };
        let file = (found.stat.kind == Kind::File).then_some(flags);
        let info = HandleInfo {
            export: self.shared.exports[export].name.clone(),
            path: call.path.to_owned(),
            identity: found.identity,
            file,
        };
        self.effect = Effect::Opened {
            handle,
            base: call.dir.0,
            info,
        };
        let inode = self.shared.inodes.get(found.identity);
        self.state.add_handle(
            handle,
            Node {
                fd,
                export,
                file,
                inode,
            },
        );
        Ok(Opened {
            handle: Handle(handle),
            created,
            stat: found.stat,
        })
    }

    pub(super) fn mkdir(&mut self, call: &Mkdir<'_>) -> Result<Stat, Refused> {
        let dir = self.dir(call.dir)?;
        self.export(dir).allow_add()?;
        if call.path.is_empty() {
            return Err(because(Errno::EEXIST, Reason::ExportRoot));
        }
        let (parent, last) = export::open_parent(dir.fd.as_fd(), call.path)?;
        if export::lookup_maybe(parent.as_fd(), last)?.is_some() {
            return Err(because(Errno::EEXIST, Reason::System));
        }
        self.intend(
            Identity {
                device: 0,
                inode: 0,
            },
            self.payload,
        )?;
        export::mkdir(parent.as_fd(), last, call.mode).map(|found| found.stat)
    }

    pub(super) fn unlink(&mut self, call: &Unlink<'_>) -> Result<(), Refused> {
        let dir = self.dir(call.dir)?;
        self.export(dir).allow_change()?;
        let (parent, last) = export::open_parent(dir.fd.as_fd(), call.path)?;
        let victim = export::check_unlink(parent.as_fd(), last, call.removes)?;
        self.intend(victim.identity, self.payload)?;
        export::unlink(parent.as_fd(), last, victim.stat.kind)?;
        self.shared.inodes.get(victim.identity).changed();
        Ok(())
    }

    pub(super) fn rename(&mut self, call: &Rename<'_>) -> Result<(), Refused> {
        let (from_dir, to_dir) = (self.dir(call.from_dir)?, self.dir(call.to_dir)?);
        if from_dir.export != to_dir.export {
            return Err(because(Errno::EXDEV, Reason::System));
        }
        self.export(from_dir).allow_change()?;
        let (from, from_name) = export::open_parent(from_dir.fd.as_fd(), call.from)?;
        let (to, to_name) = export::open_parent(to_dir.fd.as_fd(), call.to)?;
        let moving = export::lookup_name(from.as_fd(), from_name)?;
        let target = export::lookup_maybe(to.as_fd(), to_name)?;
        if target.is_some() && !call.replace {
            return Err(because(Errno::EEXIST, Reason::System));
        }
        self.intend(moving.identity, self.payload)?;
        export::rename(
            (from.as_fd(), from_name),
            (to.as_fd(), to_name),
            call.replace,
        )?;
        for identity in [Some(moving.identity), target.map(|found| found.identity)]
            .into_iter()
            .flatten()
        {
            self.shared.inodes.get(identity).changed();
        }
        self.effect = moved(call);
        Ok(())
    }
}

/// What a rename does to the paths of handles.
pub fn moved(call: &Rename<'_>) -> Effect {
    Effect::Moved {
        from_base: call.from_dir.0,
        from: call.from.to_owned(),
        to_base: call.to_dir.0,
        to: call.to.to_owned(),
    }
}
