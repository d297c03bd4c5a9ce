//! User FPU and SSE state. The kernel itself is built without either, so this is switched only
//! between processes.
#![expect(unsafe_code, reason = "fxsave and fxrstor")]

/// An `fxsave` area (AMD64 manual volume 2, 3.44, section 11.4.4).
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct FpuState([u8; 512]);

impl FpuState {
    /// State of a new program: x87 control word 37fh, MXCSR 1f80h, registers zero.
    pub const fn initial() -> Self {
        let mut bytes = [0; 512];
        bytes[0] = 0x7f;
        bytes[1] = 0x03;
        bytes[24] = 0x80;
        bytes[25] = 0x1f;
        Self(bytes)
    }

    /// What this CPU holds now: the state of the user program that entered the kernel here.
    pub fn of_cpu() -> Self {
        let mut state = Self::initial();
        state.save();
        state
    }

    /// Stores the CPU's registers here.
    pub fn save(&mut self) {
        // SAFETY: the area is 512 bytes, aligned to 16; `features::init_cpu` set OSFXSR.
        unsafe {
            core::arch::asm!("fxsave64 [{}]", in(reg) &raw mut self.0, options(nostack, preserves_flags))
        };
    }

    /// Loads the CPU's registers from here.
    pub fn restore(&self) {
        // SAFETY: as above; the bytes come from `initial` or `save`, so MXCSR holds no reserved bit.
        unsafe {
            core::arch::asm!("fxrstor64 [{}]", in(reg) &raw const self.0, options(nostack, readonly, preserves_flags))
        };
    }
}
