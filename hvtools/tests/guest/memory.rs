//! A machine's physical memory, held still and written to through QEMU's gdb server: so that a device seems to lie.

use std::io::{Read, Write};
use std::net::TcpStream;

use harness::Machine;

use crate::support::{SOON, free_port};

/// QEMU's gdb server, opened once for a machine.
pub struct Debugger(u16);

/// A machine that stands still as long as this lives.
pub struct Memory(TcpStream);

impl Debugger {
    pub fn open(machine: &Machine) -> Debugger {
        let port = free_port();
        machine
            .qmp()
            .and_then(|mut qmp| qmp.monitor(&format!("gdbserver tcp:127.0.0.1:{port}")))
            .expect("QEMU opens its gdb server");
        Debugger(port)
    }

    /// Stops the machine.
    pub fn stop(&self) -> Memory {
        let stream = TcpStream::connect(("127.0.0.1", self.0)).expect("the gdb server is there");
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut memory = Memory(stream);
        assert_eq!(memory.ask("Qqemu.PhyMemMode:1"), "OK");
        memory
    }
}

impl Memory {
    /// One exchange of the remote serial protocol: `$text#checksum`, acknowledged by `+`.
    fn ask(&mut self, question: &str) -> String {
        let sum = question.bytes().fold(0u8, u8::wrapping_add);
        write!(self.0, "${question}#{sum:02x}").unwrap();
        loop {
            let answer = self.packet();
            // That the machine stopped when we came is told whenever it did.
            if !answer.starts_with("T0") {
                return answer;
            }
        }
    }

    fn packet(&mut self) -> String {
        let mut answer = String::new();
        let mut byte = [0];
        while !(answer.contains('$') && answer.contains('#')) {
            self.0
                .read_exact(&mut byte)
                .expect("the gdb server answers");
            answer.push(byte[0].into());
        }
        self.0.read_exact(&mut [0; 2]).expect("a checksum");
        self.0.write_all(b"+").unwrap();
        let start = answer.find('$').map_or(0, |at| at + 1);
        answer[start..answer.len() - 1].to_owned()
    }

    pub fn read_u16(&mut self, address: u64) -> u16 {
        let hex = self.ask(&format!("m{address:x},2"));
        u16::from_str_radix(&hex, 16).expect(&hex).swap_bytes()
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = self.ask(&format!("M{address:x},{:x}:{hex}", bytes.len()));
        assert_eq!(answer, "OK", "writing to {address:#x}");
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Detaching lets the machine go on. It may be gone, when a test failed.
        let _ = self.0.write_all(b"$D#44");
        let _ = self.0.read(&mut [0; 16]);
    }
}
