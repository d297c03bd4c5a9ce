//! The floor: bytes there, bytes back, nothing in between.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::Exchange;

/// A client of an echo with fixed sizes.
pub struct PingPong {
    stream: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl PingPong {
    /// Starts the other side as a thread.
    pub fn start(request: usize, reply: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        stream.set_nodelay(true)?;
        let (mut other, _) = listener.accept()?;
        other.set_nodelay(true)?;
        std::thread::spawn(move || {
            let (mut buf, answer) = (vec![0; 65536], vec![1; reply]);
            let mut have = 0;
            while let Ok(n @ 1..) = other.read(&mut buf) {
                have += n;
                let whole = answer.repeat(have / request);
                have %= request;
                if other.write_all(&whole).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            stream,
            request: vec![2; request],
            reply: vec![0; reply],
        })
    }
}

impl Exchange for PingPong {
    fn send(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&self.request)?)
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.read_exact(&mut self.reply)?)
    }
}
