//! QEMU's gdb server, as far as stopping at an address needs it (GDB manual, appendix E, "Remote Serial Protocol").

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A connection to the gdb server of one QEMU, whose machine it holds.
#[derive(Debug)]
pub(crate) struct Debugger {
    stream: UnixStream,
}

impl Debugger {
    /// Connects; every answer must come within `patience`, and so must the socket: QEMU opens it last.
    pub(crate) fn connect(socket: &Path, patience: Duration) -> Result<Debugger> {
        let deadline = Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).context("cannot reach QEMU's gdb server");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Debugger { stream })
    }

    /// Runs the machine until it is about to execute the instruction at `address`.
    pub(crate) fn run_to(&mut self, address: u64) -> Result<()> {
        self.expect_ok(&format!("Z1,{address:x},1"))?;
        let stopped = self.ask("c")?;
        if !stopped.starts_with("T05") {
            bail!("the machine stopped elsewhere: {stopped}");
        }
        self.expect_ok(&format!("z1,{address:x},1"))
    }

    /// Turns a stop at a breakpoint into a plain pause at the same instruction: lets a jump to itself run in its place
    /// for a moment. QEMU resumes a kept machine only from a plain pause.
    pub(crate) fn pause_at(&mut self, address: u64) -> Result<()> {
        const JUMP_TO_ITSELF: &str = "ebfe";
        let original = self.ask(&format!("m{address:x},2"))?;
        self.expect_ok(&format!("M{address:x},2:{JUMP_TO_ITSELF}"))?;
        self.send("c")?;
        self.stream.write_all(b"\x03")?;
        let stopped = self.answer()?;
        if !stopped.starts_with("T02") {
            bail!("the machine did not pause: {stopped}");
        }
        self.expect_ok(&format!("M{address:x},2:{original}"))
    }

    fn expect_ok(&mut self, packet: &str) -> Result<()> {
        match self.ask(packet)?.as_str() {
            "OK" => Ok(()),
            other => bail!("QEMU's gdb server answers `{other}` to `{packet}`"),
        }
    }

    fn ask(&mut self, packet: &str) -> Result<String> {
        self.send(packet)?;
        self.answer()
    }

    fn send(&mut self, packet: &str) -> Result<()> {
        Ok(self.stream.write_all(framed(packet).as_bytes())?)
    }

    /// The next packet, acknowledged; acknowledgements of ours before it are passed over.
    fn answer(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !is_whole(&bytes) {
            self.stream
                .read_exact(&mut byte)
                .context("QEMU's gdb server does not answer")?;
            if byte[0] == b'$' {
                bytes.clear();
            }
            bytes.push(byte[0]);
        }
        self.stream.write_all(b"+")?;
        let content = &bytes[1..bytes.len() - 3];
        Ok(String::from_utf8_lossy(content).into_owned())
    }
}

/// `$content#` and two hexadecimal digits.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'$') && bytes.len() > 3 && bytes[bytes.len() - 3] == b'#'
}

fn framed(packet: &str) -> String {
    let sum = packet.bytes().fold(0u8, u8::wrapping_add);
    format!("${packet}#{sum:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_their_checksum() {
        // The example of the GDB manual's overview: the checksum of "OK" is 9a.
        assert_eq!(framed("OK"), "$OK#9a");
        assert!(is_whole(b"$OK#9a") && !is_whole(b"$OK#9") && !is_whole(b"+"));
    }

    #[test]
    fn a_server_that_opens_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gdb");
        let late = socket.clone();
        let server = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            let listener = std::os::unix::net::UnixListener::bind(late).unwrap();
            listener.accept().map(|_| ()).unwrap();
        });
        assert!(Debugger::connect(&socket, Duration::from_secs(20)).is_ok());
        server.join().unwrap();
        let nowhere = folder.path().join("nowhere");
        assert!(Debugger::connect(&nowhere, Duration::from_millis(1)).is_err());
    }

    #[test]
    fn answers_are_found_behind_acknowledgements() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut debugger = Debugger { stream: ours };
        theirs.write_all(b"+$T05thread:01;#07").unwrap();
        assert_eq!(debugger.answer().unwrap(), "T05thread:01;");
        theirs.write_all(b"+$E22#a9").unwrap();
        let error = debugger.expect_ok("Z1,0,1").unwrap_err().to_string();
        assert!(error.contains("E22") && error.contains("Z1,0,1"), "{error}");
    }
}
