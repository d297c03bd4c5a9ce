//! A hypervisor that punishes mistakes: the same calls as BitVisor's, in memory.

use crate::{Reply, Transport, Undefined};
use std::ffi::CStr;
use std::string::{String, ToString};
use std::vec::Vec;

/// What the fake can be made to do.
pub(crate) struct Fake {
    pub(crate) names: Vec<(String, u64)>,
    pub(crate) status: Option<&'static [u8]>,
    pub(crate) calls: Vec<(u64, u64, u64)>,
    pub(crate) shell: Vec<u64>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let names = [
            ("boot", 1),
            ("dbgsh", 4),
            ("log_set_buf", 5),
            ("get_status", 6),
        ];
        Self {
            names: names
                .map(|(name, number)| (name.to_string(), number))
                .to_vec(),
            status: Some(b"time: ok\n"),
            calls: Vec::new(),
            shell: Vec::new(),
        }
    }
}

impl Transport for &mut Fake {
    #[expect(
        unsafe_code,
        reason = "the fake reads and writes guest memory by address, as a hypervisor does"
    )]
    fn call(&mut self, number: u64, rbx: u64, rcx: u64) -> Result<Reply, Undefined> {
        self.calls.push((number, rbx, rcx));
        let unchanged = Reply { rax: number, rcx };
        Ok(match number {
            0 => {
                // SAFETY: the tests pass the address of a live CStr.
                let name =
                    unsafe { CStr::from_ptr(core::ptr::with_exposed_provenance(rbx as usize)) };
                let found = self
                    .names
                    .iter()
                    .find(|(known, _)| known.as_bytes() == name.to_bytes());
                Reply {
                    rax: found.map_or(0, |(_, number)| *number),
                    rcx,
                }
            }
            4 => Reply {
                rax: self.shell.pop().unwrap_or(u64::MAX),
                rcx,
            },
            5 => unchanged,
            6 => match self.status {
                None => unchanged,
                Some(text) if text.len() as u64 > rcx => Reply {
                    rax: 1,
                    rcx: text.len() as u64,
                },
                Some(text) => {
                    let target: *mut u8 = core::ptr::with_exposed_provenance_mut(rbx as usize);
                    // SAFETY: the tests pass the address and length of a live buffer, checked above.
                    unsafe { target.copy_from_nonoverlapping(text.as_ptr(), text.len()) };
                    Reply {
                        rax: 0,
                        rcx: text.len() as u64,
                    }
                }
            },
            _ => Reply { rax: 0, rcx },
        })
    }
}
