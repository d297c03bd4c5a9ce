//! The benchmark: this server with the host client, beside a TCP ping-pong on the same machine as the floor and
//! beside diod (a 9P server) on the same files where it is installed. One command, one table.
//!
//! ```text
//! cargo run --release -p nfs-server --bin snfs-bench [-- --seconds 2]
//! ```
//! Every row says what it measured, how many samples, median and 99th percentile of a round trip at depth 1, and
//! operations a second at depth 1 and 16. Numbers of different machines, or of a busy one, compare badly.

mod compare;
mod ninep;
mod pingpong;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use protocol::client::Ticket;
use protocol::codec::Rest;
use protocol::host::{Files, Options, random};
use protocol::message::{Append, Call, Getattr, OpenFlags, Ping, Read, Write};
use protocol::noise::Key;

const TOKEN: &[u8] = b"benchmark-token-of-no-value";
const DEPTH: usize = 16;

/// Measures the server beside a ping-pong and diod.
#[derive(Parser)]
struct Arguments {
    /// Time for each row
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Idle clients for the memory row
    #[arg(long, default_value_t = 1000)]
    clients: usize,
}

/// A server under measurement; killed when dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_server(folder: &Path, security: &str, listen: &str) -> anyhow::Result<Running> {
    let program = std::env::current_exe()?.with_file_name("nfs-server");
    let mut child = Command::new(&program)
        .args(["--listen", listen, security])
        .arg(format!(
            "--export=files={}:rw",
            folder.join("files").display()
        ))
        .arg(format!("--state={}", folder.join("state").display()))
        .env("RUST_LOG", "error")
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "cannot start {}: build it with `cargo build -p nfs-server`",
                program.display()
            )
        })?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    let Some(address) = line.trim().strip_prefix("listening on ") else {
        let _ = child.kill();
        bail!("the server said {line:?}");
    };
    Ok(Running {
        child,
        address: address.parse()?,
    })
}

/// One thing to measure: send one request, receive the oldest answer.
pub trait Exchange {
    /// Sends one request.
    fn send(&mut self) -> anyhow::Result<()>;
    /// Waits for the oldest answer.
    fn receive(&mut self) -> anyhow::Result<()>;
}

/// A request of the host client.
struct Snfs<'a, C> {
    files: &'a mut Files,
    call: C,
    flying: std::collections::VecDeque<Ticket>,
}

impl<C: Call> Exchange for Snfs<'_, C> {
    fn send(&mut self) -> anyhow::Result<()> {
        let ticket = self.files.session().submit(&self.call)?;
        self.flying.push_back(ticket);
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let ticket = self.flying.pop_front().context("nothing is in flight")?;
        self.files.session().wait(ticket)?;
        Ok(())
    }
}

fn snfs<C: Call>(files: &mut Files, call: C) -> Snfs<'_, C> {
    Snfs {
        files,
        call,
        flying: Default::default(),
    }
}

/// Round trips at depth 1, sorted, and operations a second at [`DEPTH`].
fn measure(exchange: &mut dyn Exchange, time: Duration) -> anyhow::Result<(Vec<Duration>, f64)> {
    let mut samples = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time || samples.len() < 20 {
        let start = Instant::now();
        exchange.send()?;
        exchange.receive()?;
        samples.push(start.elapsed());
    }
    samples.sort_unstable();
    let started = Instant::now();
    for _ in 0..DEPTH {
        exchange.send()?;
    }
    let mut done = 0u64;
    while started.elapsed() < time {
        exchange.receive()?;
        exchange.send()?;
        done += 1;
    }
    let rate = done as f64 / started.elapsed().as_secs_f64();
    for _ in 0..DEPTH {
        exchange.receive()?;
    }
    Ok((samples, rate))
}

struct Table {
    time: Duration,
}

impl Table {
    fn head(&self) {
        println!(
            "{:<34} {:>8} {:>9} {:>9} {:>10} {:>10} {:>9}",
            "what", "n", "p50 us", "p99 us", "1/s d=1", "1/s d=16", "MB/s d=16"
        );
    }

    /// Measures and prints a row.
    fn row(&self, what: &str, bytes: usize, exchange: &mut dyn Exchange) -> anyhow::Result<()> {
        let (samples, deep) = measure(exchange, self.time).with_context(|| what.to_owned())?;
        self.print(what, bytes, &samples, deep);
        Ok(())
    }

    /// Prints a row of sorted round trips at depth 1 and operations a second at [`DEPTH`].
    fn print(&self, what: &str, bytes: usize, samples: &[Duration], deep: f64) {
        let n = samples.len();
        let us = |at: usize| samples[at.min(n - 1)].as_secs_f64() * 1e6;
        let single = 1.0 / samples[n / 2].as_secs_f64();
        let rate = deep * bytes as f64 / 1e6;
        println!(
            "{what:<34} {n:>8} {:>9.1} {:>9.1} {single:>10.0} {deep:>10.0} {rate:>9.0}",
            us(n / 2),
            us(n * 99 / 100)
        );
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("files"))?;
    let secret = |name: &str, text: &[u8]| -> anyhow::Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path.display().to_string())
    };
    std::fs::write(folder.path().join("files/big"), vec![7; 64 << 20])?;
    let table = Table {
        time: Duration::from_secs_f64(arguments.seconds),
    };
    println!(
        "{} cores, 64 MiB file in the page cache, loopback",
        std::thread::available_parallelism()?
    );
    table.head();

    let plain = start_server(
        folder.path(),
        &format!("--token-file={}", secret("token", TOKEN)?),
        "127.0.0.1:0",
    )?;
    compare::compare(&table, &folder.path().join("files"), plain.address)?;
    snfs_rows(&table, "snfs", Options::new(plain.address, TOKEN))?;
    names_and_restart(&folder, plain)?;

    let key = Key::generate(random).context("no random numbers")?;
    std::fs::remove_dir_all(folder.path().join("state"))?;
    let noise = start_server(
        folder.path(),
        &format!("--key={}", secret("keys", key.to_line().as_bytes())?),
        "127.0.0.1:0",
    )?;
    snfs_rows(
        &table,
        "snfs noise",
        Options::with_key(noise.address, key.clone()),
    )?;
    idle_clients(
        &noise,
        || Options::with_key(noise.address, key.clone()),
        arguments.clients,
    )
}

fn snfs_rows(table: &Table, label: &str, options: Options) -> anyhow::Result<()> {
    let mut files = Files::connect(options)?;
    let big = files.open("files/big", OpenFlags::READ, 0)?.handle;
    table.row(&format!("{label} null"), 0, &mut snfs(&mut files, Ping {}))?;
    table.row(
        &format!("{label} getattr"),
        0,
        &mut snfs(&mut files, Getattr { handle: big }),
    )?;
    let mut read = |count| {
        let call = Read {
            handle: big,
            offset: 0,
            count,
        };
        table.row(
            &format!("{label} read {} KiB", count / 1024),
            count as usize,
            &mut snfs(&mut files, call),
        )
    };
    for count in [4096, 65536, 1 << 19] {
        read(count)?;
    }
    let out = files
        .open(
            "files/out",
            OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE,
            0o644,
        )?
        .handle;
    for count in [4096, 65536, 1 << 19] {
        let data = vec![9; count];
        let call = Write {
            handle: out,
            offset: 0,
            data: Rest(&data),
        };
        table.row(
            &format!("{label} write {} KiB", count / 1024),
            count,
            &mut snfs(&mut files, call),
        )?;
    }
    // What a trace does: many small appends, each answered.
    for batch in [1, 16, 256] {
        let data = vec![b'x'; 64 * batch];
        let log = files
            .open(
                &format!("files/log{batch}"),
                OpenFlags::APPEND | OpenFlags::CREATE,
                0o644,
            )?
            .handle;
        let mut exchange = Appending {
            size: 0,
            inner: snfs(
                &mut files,
                Append {
                    handle: log,
                    expected: 0,
                    data: Rest(&data),
                },
            ),
        };
        table.row(
            &format!("{label} append {batch} x 64 bytes"),
            64 * batch,
            &mut exchange,
        )?;
        files.remove(&format!("files/log{batch}"))?;
    }
    files.remove("files/out")?;
    files.goodbye();
    Ok(())
}

struct Appending<'a, 'd> {
    size: u64,
    inner: Snfs<'a, Append<'d>>,
}

impl Exchange for Appending<'_, '_> {
    fn send(&mut self) -> anyhow::Result<()> {
        self.inner.call.expected = self.size;
        self.size += self.inner.call.data.0.len() as u64;
        self.inner.send()
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        self.inner.receive()
    }
}

fn names_and_restart(folder: &tempfile::TempDir, server: Running) -> anyhow::Result<()> {
    let mut files = Files::connect(Options::new(server.address, TOKEN).patient(None))?;
    for (sync, rounds) in [(false, 1000), (true, 100)] {
        let start = Instant::now();
        for i in 0..rounds {
            let name = format!("files/small{i}");
            let handle = files
                .open(&name, OpenFlags::WRITE | OpenFlags::CREATE, 0o644)?
                .handle;
            files.write_at(handle, 0, &[1; 1024])?;
            if sync {
                files.fsync(handle)?;
            }
            files.close(handle)?;
            files.remove(&name)?;
        }
        let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
        println!(
            "create, write 1 KiB{}, close, unlink: {each:.0} us (n {rounds})",
            if sync { ", fsync" } else { "" }
        );
    }
    for count in [10, 1000, 10_000] {
        let dir = folder.path().join(format!("files/d{count}"));
        std::fs::create_dir(&dir)?;
        for i in 0..count {
            std::fs::write(dir.join(format!("entry-{i:06}")), b"")?;
        }
        let start = Instant::now();
        let seen = files.list(&format!("files/d{count}"))?.len();
        println!(
            "list {seen} names with their stat: {:.2} ms",
            start.elapsed().as_secs_f64() * 1e3
        );
    }
    let (address, mut times) = (server.address, Vec::new());
    let token = format!("--token-file={}", folder.path().join("token").display());
    let mut server = Some(server);
    for _ in 0..10 {
        drop(server.take());
        let start = Instant::now();
        server = Some(start_server(folder.path(), &token, &address.to_string())?);
        files.ping()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "kill -9, start again, first answer: median {:.1} ms, worst {:.1} ms (n 10)",
        times[5].as_secs_f64() * 1e3,
        times[9].as_secs_f64() * 1e3
    );
    Ok(())
}

fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .context("no number")?
        .parse()?)
}

fn idle_clients(
    server: &Running,
    options: impl Fn() -> Options,
    count: usize,
) -> anyhow::Result<()> {
    let before = resident_kib(server.child.id())?;
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(Files::connect(options())?);
    }
    let after = resident_kib(server.child.id())?;
    println!(
        "{count} idle clients (noise): {:.1} KiB of the server each",
        (after - before) as f64 / count as f64
    );
    let start = Instant::now();
    let busy = idle.iter_mut().take(100);
    let mut pings = 0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = busy
            .map(|files| {
                scope.spawn(move || {
                    let mut done = 0u64;
                    while start.elapsed() < Duration::from_secs(2) && files.ping().is_ok() {
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        pings = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0))
            .sum::<u64>();
    });
    let grown = resident_kib(server.child.id())?;
    println!(
        "100 busy clients among them: {:.0} pings/s, {:.1} KiB of the server each",
        pings as f64 / start.elapsed().as_secs_f64(),
        (grown - before) as f64 / count as f64
    );
    Ok(())
}
