//! The state behind the script functions: the machine, pages, findings.

use crate::{
    guest::{self, Guest},
    report::Findings,
};
use abi::{
    Errno,
    probe::{
        self, CODE_MAX, ExecRequest, ExecResponse, FLAG_RING3, FLAG_WRITE_AHEAD, MachineInfo,
        MapRequest, MemoryRequest, NO_VECTOR, PTE_NO_EXECUTE, PTE_PRESENT, PTE_USER, PTE_WRITE,
        Registers, SPACE_LINEAR, WINDOW_BASE, WINDOW_PAGES,
    },
};
use alloc::{boxed::Box, collections::BTreeMap, format, rc::Rc, string::String, vec::Vec};
use core::cell::RefCell;
use trace_record::run::Parameter;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Status flags that a request sets and an answer is compared in: CF, PF, AF, ZF, SF, DF, OF, AC.
pub(crate) const STATUS_FLAGS: u64 = 0x4_0cd5;
/// RFLAGS.AC, alignment check and access control.
const RFLAGS_AC: u64 = 1 << 18;
/// An ordinary page: readable and writable from both rings, never executed.
pub(crate) const PAGE_NORMAL: u64 = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_NO_EXECUTE;

/// A failure of the engine or of a call, as text for the script's error message.
pub(crate) type Failure = String;

pub(crate) type Shared = Rc<RefCell<Session>>;

/// Pages of the probe window, one after the other, with an absent page behind the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) physical: u64,
    pub(crate) index: u64,
    pub(crate) count: u64,
    pub(crate) owned: bool,
}

impl Pages {
    pub(crate) fn address(&self) -> u64 {
        WINDOW_BASE + self.index * PAGE
    }
}

/// What came of running code.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) before: Registers,
    pub(crate) response: ExecResponse,
    pub(crate) ticks: Rc<Vec<u64>>,
    /// The result of instructions that have one (rdmsr, in).
    pub(crate) value: u64,
}

impl Reply {
    pub(crate) fn faulted(&self) -> bool {
        self.response.vector != NO_VECTOR
    }

    /// `#GP(0)`, `#UD`, `#PF(0x2)`, or nothing.
    pub(crate) fn fault(&self) -> String {
        fault_text(self.response.vector, self.response.error_code)
    }
}

/// The exception's name with its error code, if it has one; empty without exception.
pub(crate) fn fault_text(vector: u32, error_code: u64) -> String {
    const NAMES: [&str; 32] = [
        "#DE",
        "#DB",
        "NMI",
        "#BP",
        "#OF",
        "#BR",
        "#UD",
        "#NM",
        "#DF",
        "vector 9",
        "#TS",
        "#NP",
        "#SS",
        "#GP",
        "#PF",
        "vector 15",
        "#MF",
        "#AC",
        "#MC",
        "#XM",
        "#VE",
        "#CP",
        "vector 22",
        "vector 23",
        "vector 24",
        "vector 25",
        "vector 26",
        "vector 27",
        "#HV",
        "#VC",
        "#SX",
        "vector 31",
    ];
    if vector == NO_VECTOR {
        return String::new();
    }
    let Some(name) = NAMES.get(vector as usize) else {
        return format!("vector {vector}");
    };
    if matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30) {
        if error_code == 0 {
            format!("{name}(0)")
        } else {
            format!("{name}({error_code:#x})")
        }
    } else {
        (*name).into()
    }
}

/// One run of code.
pub(crate) struct Exec<'a> {
    pub(crate) code: &'a [u8],
    pub(crate) registers: Registers,
    pub(crate) flags: u32,
    pub(crate) count: u32,
    pub(crate) inner: u32,
    pub(crate) warm_up: u32,
}

/// Everything one script run has.
pub(crate) struct Session {
    pub(crate) guest: Box<dyn Guest>,
    pub(crate) findings: Findings,
    pub(crate) parameters: BTreeMap<String, Parameter>,
    pub(crate) seed: u64,
    pub(crate) deadline_ns: u64,
    pub(crate) time_limit_s: u32,
    pub(crate) machine: MachineInfo,
    /// Every probe is recorded and acknowledged before it runs.
    pub(crate) write_ahead: bool,
    next_index: u64,
    allocations: Vec<Pages>,
    names: Option<Pages>,
}

impl Session {
    pub(crate) fn new(mut guest: Box<dyn Guest>) -> Result<Session, Failure> {
        let machine =
            guest::machine_info(&mut *guest).map_err(|errno| call_failed("machine info", errno))?;
        Ok(Session {
            guest,
            findings: Findings::default(),
            parameters: BTreeMap::new(),
            seed: 0,
            deadline_ns: u64::MAX,
            time_limit_s: 0,
            machine,
            write_ahead: false,
            next_index: 0,
            allocations: Vec::new(),
            names: None,
        })
    }

    pub(crate) fn exec(&mut self, exec: &Exec<'_>) -> Result<Reply, Failure> {
        if exec.code.is_empty() || exec.code.len() > CODE_MAX {
            return Err(format!(
                "code has {} bytes, allowed are 1 to {CODE_MAX}",
                exec.code.len()
            ));
        }
        let mut code = [0; CODE_MAX];
        code[..exec.code.len()].copy_from_slice(exec.code);
        let mut registers = exec.registers;
        if exec.flags & FLAG_RING3 == 0 {
            // The kernel uses SMAP: with AC clear, code in ring 0 could not touch user pages.
            registers.rflags |= RFLAGS_AC;
        }
        let ahead = if self.write_ahead {
            FLAG_WRITE_AHEAD
        } else {
            0
        };
        let request = ExecRequest {
            registers,
            count: exec.count,
            inner: exec.inner,
            flags: exec.flags | ahead,
            code_len: exec.code.len() as u32,
            warm_up: exec.warm_up,
            reserved: 0,
            code,
        };
        let (response, ticks) =
            guest::exec(&mut *self.guest, &request).map_err(|errno| call_failed("exec", errno))?;
        Ok(Reply {
            before: registers,
            response,
            ticks: Rc::new(ticks),
            value: 0,
        })
    }

    /// Runs code once.
    pub(crate) fn run(
        &mut self,
        code: &[u8],
        registers: Registers,
        flags: u32,
    ) -> Result<Reply, Failure> {
        self.exec(&Exec {
            code,
            registers,
            flags,
            count: 1,
            inner: 1,
            warm_up: 0,
        })
    }

    /// The instruction that enters this machine's hypervisor: what answers, else the vendor's own.
    pub(crate) fn hypercall_code(&self) -> [u8; 3] {
        const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];
        const VMCALL: [u8; 3] = [0x0f, 0x01, 0xc1];
        match self.machine.hypercall {
            probe::HYPERCALL_VMCALL => VMCALL,
            probe::HYPERCALL_VMMCALL => VMMCALL,
            _ if self.machine.vendor.starts_with(b"GenuineIntel") => VMCALL,
            _ => VMMCALL,
        }
    }

    /// Hypercall 0, `get_vmmcall_number`: the number of the named hypercall, 0 if there is none.
    pub(crate) fn hypercall_number(&mut self, name: &str) -> Result<u64, Failure> {
        if name.len() + 1 > PAGE as usize {
            return Err(format!(
                "a name of {} bytes does not fit a page",
                name.len()
            ));
        }
        let pages = match self.names.clone() {
            Some(pages) => pages,
            None => {
                let pages = self.pages(1, PAGE_NORMAL)?;
                self.names = Some(pages.clone());
                pages
            }
        };
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.poke(pages.address(), &bytes)?;
        let registers = Registers {
            rbx: pages.address(),
            ..Registers::default()
        };
        let reply = self.run(&self.hypercall_code(), registers, 0)?;
        if reply.faulted() {
            return Ok(0);
        }
        Ok(reply.response.registers.rax)
    }

    /// A request whose answer is known, to see whether the machine still works: the number of `dbgsh`
    /// and the highest basic leaf of CPUID.
    pub(crate) fn reference(&mut self) -> Result<(u64, u64), Failure> {
        let number = self.hypercall_number("dbgsh")?;
        let reply = self.run(&[0x0f, 0xa2], Registers::default(), 0)?;
        Ok((number, reply.response.registers.rax))
    }

    fn reserve(&mut self, count: u64) -> Result<u64, Failure> {
        // One page more stays absent.
        let index = self.next_index;
        if count == 0 || index + count + 1 > WINDOW_PAGES {
            return Err(format!(
                "{count} pages do not fit the probe window, {} are left",
                WINDOW_PAGES - index
            ));
        }
        self.next_index = index + count + 1;
        Ok(index)
    }

    fn map(&mut self, index: u64, physical: u64, entry_flags: u64) -> Result<(), Failure> {
        let request = MapRequest {
            index,
            physical,
            entry_flags,
        };
        let address = guest::page_map(&mut *self.guest, &request)
            .map_err(|errno| call_failed("map a page", errno))?;
        if address == WINDOW_BASE + index * PAGE {
            Ok(())
        } else {
            Err(format!(
                "the kernel mapped window page {index} at {address:#x}"
            ))
        }
    }

    /// Allocates pages, contiguous in both address spaces.
    pub(crate) fn pages(&mut self, count: u64, flags: u64) -> Result<Pages, Failure> {
        let index = self.reserve(count)?;
        let physical = guest::pages_alloc(&mut *self.guest, count)
            .map_err(|errno| call_failed("allocate pages", errno))?;
        let pages = Pages {
            physical,
            index,
            count,
            owned: true,
        };
        self.allocations.push(pages.clone());
        for page in 0..count {
            self.map(index + page, physical + page * PAGE, flags)?;
        }
        Ok(pages)
    }

    /// Maps physical memory that is not ours: MMIO, missing memory.
    pub(crate) fn map_physical(
        &mut self,
        physical: u64,
        count: u64,
        flags: u64,
    ) -> Result<Pages, Failure> {
        if !physical.is_multiple_of(PAGE) {
            return Err(format!(
                "physical address {physical:#x} is no multiple of 4096"
            ));
        }
        let index = self.reserve(count)?;
        let pages = Pages {
            physical,
            index,
            count,
            owned: false,
        };
        self.allocations.push(pages.clone());
        for page in 0..count {
            self.map(index + page, physical + page * PAGE, flags)?;
        }
        Ok(pages)
    }

    /// Changes the entry of one page; flags 0 make it absent.
    pub(crate) fn protect(
        &mut self,
        pages: &Pages,
        page: u64,
        physical: u64,
        flags: u64,
    ) -> Result<(), Failure> {
        if page >= pages.count {
            return Err(format!("page {page} of {} pages", pages.count));
        }
        self.map(pages.index + page, physical, flags)
    }

    pub(crate) fn page_entry(&mut self, pages: &Pages, page: u64) -> Result<u64, Failure> {
        if page >= pages.count {
            return Err(format!("page {page} of {} pages", pages.count));
        }
        guest::page_entry(&mut *self.guest, pages.index + page)
            .map_err(|errno| call_failed("read an entry", errno))
    }

    /// Unmaps pages and gives them back; the last ones' place in the window is used again.
    pub(crate) fn release(&mut self, pages: &Pages) -> Result<(), Failure> {
        let Some(at) = self.allocations.iter().position(|known| known == pages) else {
            return Err("these pages were released before".into());
        };
        self.allocations.remove(at);
        self.unmap_and_free(pages)?;
        if pages.index + pages.count + 1 == self.next_index {
            self.next_index = pages.index;
        }
        Ok(())
    }

    fn unmap_and_free(&mut self, pages: &Pages) -> Result<(), Failure> {
        for page in 0..pages.count {
            self.map(pages.index + page, 0, 0)?;
        }
        if pages.owned {
            guest::pages_free(&mut *self.guest, pages.physical, pages.count)
                .map_err(|errno| call_failed("free pages", errno))?;
        }
        Ok(())
    }

    /// Gives everything back at the end of a script.
    pub(crate) fn release_all(&mut self) -> Result<(), Failure> {
        self.names = None;
        self.next_index = 0;
        for pages in core::mem::take(&mut self.allocations) {
            self.unmap_and_free(&pages)?;
        }
        Ok(())
    }

    pub(crate) fn peek(
        &mut self,
        address: u64,
        len: u64,
        space: u32,
        width: u32,
    ) -> Result<Vec<u8>, Failure> {
        if len > probe::MEMORY_MAX as u64 {
            return Err(format!(
                "{len} bytes at once, allowed are {}",
                probe::MEMORY_MAX
            ));
        }
        let request = MemoryRequest {
            address,
            len,
            space,
            width,
        };
        guest::memory_read(&mut *self.guest, &request)
            .map_err(|errno| call_failed(&format!("read {len} bytes at {address:#x}"), errno))
    }

    pub(crate) fn poke(&mut self, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.poke_in(address, bytes, SPACE_LINEAR, 0)
    }

    pub(crate) fn poke_in(
        &mut self,
        address: u64,
        bytes: &[u8],
        space: u32,
        width: u32,
    ) -> Result<(), Failure> {
        if bytes.len() > probe::MEMORY_MAX {
            return Err(format!(
                "{} bytes at once, allowed are {}",
                bytes.len(),
                probe::MEMORY_MAX
            ));
        }
        let request = MemoryRequest {
            address,
            len: bytes.len() as u64,
            space,
            width,
        };
        guest::memory_write(&mut *self.guest, &request, bytes).map_err(|errno| {
            call_failed(
                &format!("write {} bytes at {address:#x}", bytes.len()),
                errno,
            )
        })
    }
}

pub(crate) fn call_failed(what: &str, errno: Errno) -> Failure {
    format!("{what}: {} ({})", errno.text(), errno.name())
}
