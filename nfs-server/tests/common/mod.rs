//! A real server over a real socket, for each test its own.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use protocol::codec::{self, Field};
use protocol::frame::{self, HEADER, Header};
use protocol::host::{Files, Options};
use protocol::message::{Call, ClientId, Hello, HelloReply};
use protocol::{MAGIC, NO_SLOT, Refusal, VERSION};

pub const TOKEN: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The program `nfs-server`, with four exports in a folder of its own.
pub struct Server {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    /// Folders that the server needs for as long as it lives.
    pub keep: Vec<tempfile::TempDir>,
    child: Child,
    more: Vec<String>,
    under: Vec<String>,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With a configuration file.
    pub fn start_with_config(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, config).unwrap();
        let mut server = Self::start_with(&[&format!("--config={}", file.display())]);
        server.keep.push(folder);
        server
    }

    /// With more options; `{}` in them stands for the folder.
    pub fn start_with(more: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", more)
    }

    /// On an address of this machine.
    pub fn start_at(listen: &str, more: &[&str]) -> Self {
        Self::start_under(&[], listen, more)
    }

    /// Started by another program, which becomes it: its name and options.
    pub fn start_under(under: &[&str], listen: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["ro", "rw", "append"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        write_secret(&folder.path().join("token"), TOKEN);
        let more: Vec<String> = more
            .iter()
            .map(|text| text.replace("{}", &folder.path().display().to_string()))
            .collect();
        let under: Vec<String> = under.iter().map(|&text| text.to_owned()).collect();
        let (child, address) = spawn(folder.path(), &under, listen, &more);
        Self {
            folder,
            address,
            keep: Vec::new(),
            child,
            more,
            under,
        }
    }

    /// A folder of an export, as the host sees it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn options(&self) -> Options {
        Options::new(self.address, TOKEN)
    }

    pub fn files(&self) -> Files {
        Files::connect(self.options()).unwrap()
    }

    /// `kill -9`, at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same address, folders and state.
    pub fn restart(&mut self) {
        let address = self.address.to_string();
        let (child, address) = spawn(self.folder.path(), &self.under, &address, &self.more);
        self.child = child;
        self.address = address;
    }

    /// SIGTERM, and the exit status within five seconds.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that only we may read.
pub fn write_secret(path: &Path, secret: &[u8]) {
    std::fs::write(path, secret).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The program with only these options.
pub fn program(options: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_nfs-server"))
        .args(options)
        .output()
        .unwrap()
}

fn spawn(folder: &Path, under: &[String], listen: &str, more: &[String]) -> (Child, SocketAddr) {
    // Plain mode unless the test brings keys.
    let plain = match more.iter().any(|option| option.starts_with("--key")) {
        true => None,
        false => Some(format!("--token-file={}/token", folder.display())),
    };
    let program = env!("CARGO_BIN_EXE_nfs-server");
    let mut words = under.iter().map(String::as_str).chain([program]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["--listen", listen])
        .arg(format!("--export=ro={}/ro:ro", folder.display()))
        .arg(format!("--export=rw={}/rw:rw", folder.display()))
        .arg(format!(
            "--export=append={}/append:append",
            folder.display()
        ))
        .args(more)
        .args(plain)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped());
    // A port that was just given up may take a moment.
    for _ in 0..100 {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        if let Some(address) = line.trim().strip_prefix("listening on ") {
            return (child, address.parse().unwrap());
        }
        child.wait().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the server did not start");
}

/// A client that may say anything.
pub struct Raw {
    pub stream: TcpStream,
    pub session: u64,
    pub sequence: [u32; 64],
}

impl Raw {
    pub fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            stream,
            session: 0,
            sequence: [0; 64],
        }
    }

    /// Connected and greeted.
    pub fn greeted(server: &Server) -> Self {
        let mut raw = Self::connect(server);
        let reply = raw.hello([7; 16], TOKEN, 0);
        assert_eq!(reply.unwrap().max_frame, protocol::MAX_FRAME);
        raw
    }

    pub fn hello(
        &mut self,
        client: [u8; 16],
        token: &[u8],
        session: u64,
    ) -> Result<HelloReply, (i32, Refusal)> {
        let hello = Hello {
            magic: MAGIC,
            min_version: VERSION,
            max_version: VERSION,
            max_frame: u32::MAX,
            slots: 8,
            client: ClientId(client),
            token,
            name: b"raw",
        };
        self.send(&frame::request(&hello, NO_SLOT, 0, session));
        let (header, payload) = self.receive().expect("a reply to hello");
        if header.status != 0 {
            return Err((header.status, codec::decode(&payload).unwrap()));
        }
        self.session = header.session;
        Ok(codec::decode(&payload).unwrap())
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // The server may have hung up already, and rightly.
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame; `None` when the connection ended.
    pub fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut head = [0; HEADER];
        self.stream.read_exact(&mut head).ok()?;
        let header: Header = codec::decode(&head).unwrap();
        let mut payload = vec![0; header.length as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some((header, payload))
    }

    /// A request with numbers as they should be.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<Vec<u8>, (i32, Refusal)> {
        let mut payload = Vec::new();
        call.put_payload(&mut payload);
        self.call_bytes(C::OPERATION.number(), &payload)
    }

    /// The same with any payload.
    pub fn call_bytes(&mut self, operation: u8, payload: &[u8]) -> Result<Vec<u8>, (i32, Refusal)> {
        self.sequence[0] += 1;
        let header = Header {
            operation,
            slot: 0,
            sequence: self.sequence[0],
            session: self.session,
            ..Header::default()
        };
        self.send(&raw_frame(header, payload));
        let (header, payload) = self.receive().expect("a reply");
        assert!(header.is_reply(), "{header:?}");
        match header.status {
            0 => Ok(payload),
            status => Err((status, codec::decode(&payload).unwrap())),
        }
    }

    /// Reads the goodbye and the end of the connection.
    pub fn expect_goodbye(&mut self) -> (i32, Refusal) {
        let mut last = None;
        while let Some((header, payload)) = self.receive() {
            last = Some((header, payload));
        }
        let (header, payload) = last.expect("a goodbye before the end");
        assert_eq!(header.operation, protocol::Operation::Goodbye.number());
        (header.status, codec::decode(&payload).unwrap())
    }
}

/// A frame whose length is right, whatever else it holds.
pub fn raw_frame(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put(&mut bytes, header, |out| out.extend_from_slice(payload));
    bytes
}

/// The wire form of a path, with names that may be against the rule.
pub fn raw_path(names: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![names.len() as u8];
    for name in names {
        name.put(&mut bytes);
    }
    bytes
}
