//! As much 9P2000.L as it takes to ask diod for attributes and bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::Exchange;

const TVERSION: u8 = 100;
const TATTACH: u8 = 104;
const TWALK: u8 = 110;
const TLOPEN: u8 = 12;
const TREAD: u8 = 116;
const TGETATTR: u8 = 24;
const NOFID: u32 = u32::MAX;

/// A running diod.
pub struct Diod {
    child: Child,
    address: SocketAddr,
    export: String,
}

impl Drop for Diod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What to ask for.
#[derive(Clone, Copy)]
pub enum What {
    /// Attributes.
    Getattr,
    /// The first bytes of the file.
    Read(u32),
}

impl Diod {
    /// Starts it on a free port.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        // Debian has it where only root's PATH looks.
        let apart = Path::new("/usr/sbin/diod");
        let program = if apart.is_file() {
            apart
        } else {
            Path::new("diod")
        };
        let mut command = Command::new(program);
        command
            .args([
                "--foreground",
                "--no-auth",
                "--nwthreads",
                "16",
                "--listen",
                &address.to_string(),
                "--export",
            ])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .context("apt-get install diod to have it beside")?;
        let server = Self {
            child,
            address,
            export: folder.display().to_string(),
        };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("it does not listen on {address}")
    }

    /// A connection with the file `big` open.
    pub fn connect(&self, what: What) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        let mut client = Client {
            stream,
            what,
            reply: Vec::new(),
        };
        let msize = 65536u32;
        client.call(
            TVERSION,
            &[&msize.to_le_bytes()[..], &text("9P2000.L")].concat(),
        )?;
        let ids = |fid: u32| fid.to_le_bytes();
        client.call(
            TATTACH,
            &[
                &ids(0)[..],
                &ids(NOFID),
                &text("root"),
                &text(&self.export),
                &0u32.to_le_bytes(),
            ]
            .concat(),
        )?;
        client.call(
            TWALK,
            &[&ids(0)[..], &ids(1), &1u16.to_le_bytes(), &text("big")].concat(),
        )?;
        client.call(TLOPEN, &[&ids(1)[..], &0u32.to_le_bytes()].concat())?;
        Ok(client)
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    what: What,
    reply: Vec<u8>,
}

impl Client {
    fn put(&mut self, kind: u8, body: &[u8]) -> anyhow::Result<()> {
        let size = 7 + body.len() as u32;
        // The tag may repeat: answers are not told apart here.
        let tag = if kind == TVERSION { u16::MAX } else { 1 };
        let message = [&size.to_le_bytes()[..], &[kind], &tag.to_le_bytes(), body].concat();
        Ok(self.stream.write_all(&message)?)
    }

    fn take(&mut self) -> anyhow::Result<u8> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head)?;
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        self.reply.resize(
            size.checked_sub(7)
                .context("a message shorter than its head")?,
            0,
        );
        self.stream.read_exact(&mut self.reply)?;
        Ok(head[4])
    }

    fn call(&mut self, kind: u8, body: &[u8]) -> anyhow::Result<()> {
        self.put(kind, body)?;
        let answer = self.take()?;
        if answer != kind + 1 {
            bail!("diod answered {kind} with {answer} ({:?})", self.reply);
        }
        Ok(())
    }
}

impl Exchange for Client {
    fn send(&mut self) -> anyhow::Result<()> {
        let fid = 1u32.to_le_bytes();
        match self.what {
            What::Getattr => self.put(TGETATTR, &[&fid[..], &0x7ffu64.to_le_bytes()].concat()),
            What::Read(count) => self.put(
                TREAD,
                &[&fid[..], &0u64.to_le_bytes(), &count.to_le_bytes()].concat(),
            ),
        }
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let answer = self.take()?;
        let expected = match self.what {
            What::Getattr => TGETATTR + 1,
            What::Read(_) => TREAD + 1,
        };
        if answer != expected {
            bail!("diod answered with {answer}");
        }
        Ok(())
    }
}
