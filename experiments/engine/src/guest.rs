//! What the engine needs from the machine it runs on: the probe system call and a few services.
//!
//! `hx` implements [`Guest`] with ulib, [`crate::fake::Fake`] with a model of a machine.

use abi::{
    Errno,
    probe::{
        self, CODE_MAX, ExecRequest, ExecResponse, MachineInfo, MapRequest, MemoryRange,
        MemoryRequest, PagesRequest, Registers,
    },
};
use alloc::{string::String, vec, vec::Vec};

/// The machine as the engine sees it.
pub trait Guest {
    /// The `probe` system call (`abi::probe`).
    fn probe(
        &mut self,
        operation: i32,
        request: &[u8],
        response: &mut [u8],
    ) -> Result<usize, Errno>;

    /// Nanoseconds on a clock that never goes back.
    fn now_ns(&mut self) -> u64;

    /// Sleeps for about so many milliseconds.
    fn sleep_ms(&mut self, milliseconds: u64);

    /// A file of the catalogue, by its path below the catalogue's folder.
    fn catalogue_file(&mut self, path: &str) -> Result<Vec<u8>, Errno>;

    /// A setting of this boot (`hypervisor`, `run`, ...), if there is one.
    fn setting(&mut self, key: &str) -> Option<String>;

    /// Shows a line to whoever watches; not part of the result.
    fn say(&mut self, line: &str);

    /// Puts an experiment event into the trace.
    fn event(&mut self, text: &str);
}

/// Little-endian bytes of structures of `abi::probe`; their layout is pinned by abi's table test.
struct Encoder(Vec<u8>);

impl Encoder {
    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
}

struct Decoder<'a>(&'a [u8]);

impl Decoder<'_> {
    fn u32(&mut self) -> u32 {
        let (head, rest) = self.0.split_at(4);
        self.0 = rest;
        u32::from_le_bytes(head.try_into().expect("split at 4"))
    }

    fn u64(&mut self) -> u64 {
        let (head, rest) = self.0.split_at(8);
        self.0 = rest;
        u64::from_le_bytes(head.try_into().expect("split at 8"))
    }
}

/// Names of [`Registers`]' fields in their order.
pub const REGISTER_NAMES: [&str; 17] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rflags",
];

/// The registers in the order of [`REGISTER_NAMES`].
pub fn register_values(registers: &Registers) -> [u64; 17] {
    let r = registers;
    [
        r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15, r.rflags,
    ]
}

/// The register of this name.
pub fn register_mut<'a>(registers: &'a mut Registers, name: &str) -> Option<&'a mut u64> {
    let r = registers;
    let fields = [
        &mut r.rax,
        &mut r.rbx,
        &mut r.rcx,
        &mut r.rdx,
        &mut r.rsi,
        &mut r.rdi,
        &mut r.rbp,
        &mut r.rsp,
        &mut r.r8,
        &mut r.r9,
        &mut r.r10,
        &mut r.r11,
        &mut r.r12,
        &mut r.r13,
        &mut r.r14,
        &mut r.r15,
        &mut r.rflags,
    ];
    let index = REGISTER_NAMES.iter().position(|known| *known == name)?;
    fields.into_iter().nth(index)
}

fn decode_registers(decoder: &mut Decoder<'_>) -> Registers {
    let mut registers = Registers::default();
    for name in REGISTER_NAMES {
        if let Some(field) = register_mut(&mut registers, name) {
            *field = decoder.u64();
        }
    }
    registers
}

/// Bytes of an [`ExecRequest`].
pub fn encode_exec(request: &ExecRequest) -> Vec<u8> {
    let mut encoder = Encoder(Vec::with_capacity(size_of::<ExecRequest>()));
    for value in register_values(&request.registers) {
        encoder = encoder.u64(value);
    }
    let mut bytes = encoder
        .u32(request.count)
        .u32(request.inner)
        .u32(request.flags)
        .u32(request.code_len)
        .u32(request.warm_up)
        .u32(0)
        .0;
    bytes.extend_from_slice(&request.code);
    bytes
}

/// Reads an [`ExecRequest`], for fakes.
pub fn decode_exec(bytes: &[u8]) -> Option<ExecRequest> {
    if bytes.len() != size_of::<ExecRequest>() {
        return None;
    }
    let mut decoder = Decoder(bytes);
    let registers = decode_registers(&mut decoder);
    let mut word = || decoder.u32();
    let (count, inner, flags, code_len, warm_up, reserved) =
        (word(), word(), word(), word(), word(), word());
    let mut code = [0; CODE_MAX];
    code.copy_from_slice(&bytes[size_of::<ExecRequest>() - CODE_MAX..]);
    Some(ExecRequest {
        registers,
        count,
        inner,
        flags,
        code_len,
        warm_up,
        reserved,
        code,
    })
}

/// Bytes of an [`ExecResponse`], for fakes.
pub fn encode_exec_response(response: &ExecResponse) -> Vec<u8> {
    let mut encoder = Encoder(Vec::with_capacity(size_of::<ExecResponse>()));
    for value in register_values(&response.registers) {
        encoder = encoder.u64(value);
    }
    encoder
        .u32(response.status)
        .u32(response.vector)
        .u64(response.error_code)
        .u64(response.cr2)
        .u64(response.rip_offset as u64)
        .u32(response.samples)
        .u32(response.debug_exceptions)
        .u64(response.first_debug_offset as u64)
        .u64(response.interrupts)
        .u64(response.executions)
        .0
}

/// Runs code; the answer and the ticks of each sample.
pub fn exec(
    guest: &mut dyn Guest,
    request: &ExecRequest,
) -> Result<(ExecResponse, Vec<u64>), Errno> {
    let fixed = size_of::<ExecResponse>();
    let mut bytes = vec![0; fixed + 8 * request.count as usize];
    let len = guest.probe(probe::EXEC, &encode_exec(request), &mut bytes)?;
    if len < fixed {
        return Err(Errno::EIO);
    }
    let mut decoder = Decoder(&bytes[..len]);
    let mut response = ExecResponse {
        registers: decode_registers(&mut decoder),
        ..ExecResponse::default()
    };
    response.status = decoder.u32();
    response.vector = decoder.u32();
    response.error_code = decoder.u64();
    response.cr2 = decoder.u64();
    response.rip_offset = decoder.u64() as i64;
    response.samples = decoder.u32();
    response.debug_exceptions = decoder.u32();
    response.first_debug_offset = decoder.u64() as i64;
    response.interrupts = decoder.u64();
    response.executions = decoder.u64();
    let ticks = decoder
        .0
        .chunks_exact(8)
        .take(response.samples as usize)
        .map(u64_of)
        .collect();
    Ok((response, ticks))
}

fn u64_of(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn answer_u64(guest: &mut dyn Guest, operation: i32, request: &[u8]) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    match guest.probe(operation, request, &mut bytes)? {
        8 => Ok(u64::from_le_bytes(bytes)),
        _ => Err(Errno::EIO),
    }
}

/// Allocates contiguous, zeroed pages; their physical address.
pub fn pages_alloc(guest: &mut dyn Guest, pages: u64) -> Result<u64, Errno> {
    answer_u64(
        guest,
        probe::PAGES_ALLOC,
        &encode_pages(&PagesRequest { physical: 0, pages }),
    )
}

/// Gives pages back.
pub fn pages_free(guest: &mut dyn Guest, physical: u64, pages: u64) -> Result<(), Errno> {
    guest
        .probe(
            probe::PAGES_FREE,
            &encode_pages(&PagesRequest { physical, pages }),
            &mut [],
        )
        .map(drop)
}

fn encode_pages(request: &PagesRequest) -> Vec<u8> {
    Encoder(Vec::new())
        .u64(request.physical)
        .u64(request.pages)
        .0
}

/// Sets one page of the probe window; its virtual address.
pub fn page_map(guest: &mut dyn Guest, request: &MapRequest) -> Result<u64, Errno> {
    let bytes = Encoder(Vec::new())
        .u64(request.index)
        .u64(request.physical)
        .u64(request.entry_flags)
        .0;
    answer_u64(guest, probe::PAGE_MAP, &bytes)
}

/// The page-table entry of a page of the window.
pub fn page_entry(guest: &mut dyn Guest, index: u64) -> Result<u64, Errno> {
    answer_u64(guest, probe::PAGE_ENTRY, &index.to_le_bytes())
}

fn encode_memory(request: &MemoryRequest) -> Vec<u8> {
    Encoder(Vec::new())
        .u64(request.address)
        .u64(request.len)
        .u32(request.space)
        .u32(request.width)
        .0
}

/// Reads memory.
pub fn memory_read(guest: &mut dyn Guest, request: &MemoryRequest) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; request.len as usize];
    let len = guest.probe(probe::MEMORY_READ, &encode_memory(request), &mut bytes)?;
    if len != bytes.len() {
        return Err(Errno::EIO);
    }
    Ok(bytes)
}

/// Writes memory; the request's length is that of `bytes`.
pub fn memory_write(
    guest: &mut dyn Guest,
    request: &MemoryRequest,
    bytes: &[u8],
) -> Result<(), Errno> {
    let mut message = encode_memory(&MemoryRequest {
        len: bytes.len() as u64,
        ..*request
    });
    message.extend_from_slice(bytes);
    guest
        .probe(probe::MEMORY_WRITE, &message, &mut [])
        .map(drop)
}

/// The memory map that the boot loader gave.
pub fn memory_map(guest: &mut dyn Guest) -> Result<Vec<MemoryRange>, Errno> {
    let mut bytes = vec![0; 256 * size_of::<MemoryRange>()];
    let len = guest.probe(probe::MEMORY_MAP, &[], &mut bytes)?;
    let ranges = bytes[..len]
        .chunks_exact(size_of::<MemoryRange>())
        .map(|chunk| {
            let mut decoder = Decoder(chunk);
            MemoryRange {
                base: decoder.u64(),
                len: decoder.u64(),
                kind: decoder.u32(),
                reserved: decoder.u32(),
            }
        });
    Ok(ranges.collect())
}

/// New bytes of the VMM's log.
pub fn vmm_log(guest: &mut dyn Guest) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; 16_384];
    let len = guest.probe(probe::VMM_LOG, &[], &mut bytes)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// Records an event and waits until the server has it.
pub fn checkpoint(guest: &mut dyn Guest, payload: &[u8]) -> Result<(), Errno> {
    guest.probe(probe::CHECKPOINT, payload, &mut []).map(drop)
}

/// What machine this is.
pub fn machine_info(guest: &mut dyn Guest) -> Result<MachineInfo, Errno> {
    let mut bytes = [0; size_of::<MachineInfo>()];
    if guest.probe(probe::MACHINE_INFO, &[], &mut bytes)? != bytes.len() {
        return Err(Errno::EIO);
    }
    let mut decoder = Decoder(&bytes);
    let (hypercall, cpus, tsc_hz) = (decoder.u32(), decoder.u32(), decoder.u64());
    let (mut vendor, mut brand) = ([0; 16], [0; 48]);
    vendor.copy_from_slice(&decoder.0[..16]);
    brand.copy_from_slice(&decoder.0[16..64]);
    decoder.0 = &decoder.0[64..];
    Ok(MachineInfo {
        hypercall,
        cpus,
        tsc_hz,
        vendor,
        brand,
        test_device: decoder.u32(),
        test_device_address: decoder.u32(),
        reserved: [0; 5],
    })
}

/// Bytes of a [`MachineInfo`], for fakes.
pub fn encode_machine_info(info: &MachineInfo) -> Vec<u8> {
    let mut bytes = Encoder(Vec::new())
        .u32(info.hypercall)
        .u32(info.cpus)
        .u64(info.tsc_hz)
        .0;
    bytes.extend_from_slice(&info.vendor);
    bytes.extend_from_slice(&info.brand);
    let encoder = Encoder(bytes)
        .u32(info.test_device)
        .u32(info.test_device_address);
    info.reserved
        .iter()
        .fold(encoder, |encoder, value| encoder.u64(*value))
        .0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_request_survives_its_bytes() {
        let mut request = ExecRequest {
            registers: Registers {
                rax: 1,
                r15: u64::MAX,
                rflags: 2,
                ..Registers::default()
            },
            count: 3,
            inner: 4,
            flags: 5,
            code_len: 2,
            warm_up: 6,
            reserved: 0,
            code: [0; CODE_MAX],
        };
        request.code[..2].copy_from_slice(&[0x0f, 0xa2]);
        let bytes = encode_exec(&request);
        assert_eq!(bytes.len(), size_of::<ExecRequest>());
        assert_eq!(decode_exec(&bytes), Some(request));
        assert_eq!(decode_exec(&bytes[1..]), None);
    }

    #[test]
    fn lengths_are_those_of_the_structures() {
        assert_eq!(
            encode_exec_response(&ExecResponse::default()).len(),
            size_of::<ExecResponse>()
        );
        let info = MachineInfo {
            hypercall: 2,
            cpus: 1,
            tsc_hz: 3,
            vendor: [0; 16],
            brand: [0; 48],
            test_device: 0,
            test_device_address: 0,
            reserved: [0; 5],
        };
        assert_eq!(encode_machine_info(&info).len(), size_of::<MachineInfo>());
    }
}
