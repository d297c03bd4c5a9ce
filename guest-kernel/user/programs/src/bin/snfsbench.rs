//! snfsbench: remote files beside what the network and the cipher alone give, in the same minutes.
#![no_std]
#![no_main]
use protocol::noise::{Channel, Key};
use ulib::net::{Shutdown, SocketAddr, TcpStream};
use ulib::prelude::*;
use ulib::time::Instant;

ulib::main!(
    main,
    "snfsbench [-m MEGABYTES] [-n ROUNDS] HOST:PORT FILE\n\
     Measure remote files beside raw TCP and the cipher, round by round, and show medians and shares.\n\
     HOST:PORT answers as `tcpbench -s` does; FILE is written over, read, and removed\n\
     -m how much in each measurement (default 16)  -n rounds (default 5)\n\
     What cipher and TCP in series allow: each byte passes first one, then the other."
);

const PIECE_BYTES: usize = 64 * 1024;
const MEGABYTE: u64 = 1 << 20;

/// What is measured, in the order of a round.
#[derive(Clone, Copy)]
enum What {
    TcpOut,
    FileOut,
    SealAlone,
    TcpIn,
    FileIn,
    OpenAlone,
}

const ALL: [(What, &str); 6] = [
    (What::TcpOut, "TCP, sending"),
    (What::FileOut, "file, writing"),
    (What::SealAlone, "cipher, sealing"),
    (What::TcpIn, "TCP, receiving"),
    (What::FileIn, "file, reading"),
    (What::OpenAlone, "cipher, opening"),
];

fn main() -> Result<()> {
    let options = env::options("m:n:")?;
    let [host, path] = options.operands[..] else {
        return Err(Error::Usage);
    };
    let bytes = options.number('m', 16u64)? * MEGABYTE;
    let rounds = options.number('n', 5usize)?.max(1);
    let (host, port) = host.split_once(':').ok_or(Error::Usage)?;
    let port = port.parse().map_err(|_| Error::Usage)?;
    let host = ulib::net::socket_address(host, port)?;
    let mut speeds: [Vec<u64>; ALL.len()] = Default::default();
    for round in 0..rounds {
        print!("round {}, KiB/s:", round + 1);
        for ((what, _), speeds) in ALL.iter().zip(&mut speeds) {
            let start = Instant::now();
            let nanoseconds = match what {
                What::TcpOut => send(host, bytes).map(|()| None),
                What::TcpIn => receive(host, bytes).map(|()| None),
                What::FileOut => write(path, bytes).map(|()| None),
                What::FileIn => read(path, bytes).map(|()| None),
                What::SealAlone => cipher(bytes).map(|(seal, _)| Some(seal)),
                What::OpenAlone => cipher(bytes).map(|(_, open)| Some(open)),
            }?;
            let nanoseconds = nanoseconds.unwrap_or(start.elapsed().as_nanos());
            let speed = u128::from(bytes) * 1_000_000_000 / nanoseconds.max(1) / 1024;
            print!(" {speed}");
            speeds.push(speed as u64);
        }
        println!();
    }
    fs::remove_file(path)?;
    let medians = speeds.map(median);
    for ((_, name), median) in ALL.iter().zip(medians) {
        println!("{name:16} {:>8} KiB/s", median);
    }
    let [tcp_out, file_out, seal, tcp_in, file_in, open] = medians;
    show("writing", file_out, tcp_out, seal);
    show("reading", file_in, tcp_in, open);
    Ok(())
}

/// The file's share of TCP alone, and of TCP and cipher one after the other.
fn show(what: &str, file: u64, tcp: u64, cipher: u64) {
    let series = tcp * cipher / (tcp + cipher).max(1);
    println!(
        "{what}: {} % of TCP, {} % of what TCP and cipher in series allow ({series} KiB/s)",
        file * 100 / tcp.max(1),
        file * 100 / series.max(1)
    );
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn send(host: SocketAddr, bytes: u64) -> Result<()> {
    let mut stream = TcpStream::connect(host)?;
    writeln!(stream, "send {bytes}")?;
    pieces(bytes, |piece| stream.write_all(piece))?;
    // The end of the answer says that all has arrived.
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}

fn receive(host: SocketAddr, bytes: u64) -> Result<()> {
    let mut stream = TcpStream::connect(host)?;
    writeln!(stream, "receive {bytes}")?;
    drain(&mut stream, bytes)
}

fn write(path: &str, bytes: u64) -> Result<()> {
    let mut file = fs::File::create(path)?;
    pieces(bytes, |piece| file.write_all(piece))?;
    // Written means answered.
    Ok(sys::close(file.into_raw())?)
}

fn read(path: &str, bytes: u64) -> Result<()> {
    drain(&mut fs::File::open(path)?, bytes)
}

fn pieces(bytes: u64, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let piece = vec![0x55; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE_BYTES as u64);
        put(&piece[..now as usize])?;
        left -= now;
    }
    Ok(())
}

fn drain(from: &mut impl Read, bytes: u64) -> Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE_BYTES as u64);
        match from.read(&mut piece[..now as usize])? {
            0 => return Err(Error::from("it ended too early")),
            count => left -= count as u64,
        }
    }
    Ok(())
}

/// Nanoseconds to encrypt and to decrypt so much, by the channel that remote files in noise mode use.
fn cipher(bytes: u64) -> Result<(u128, u128)> {
    // For a key that protects nothing.
    let random = |buf: &mut [u8]| {
        buf.fill(ulib::time::tsc().0 as u8);
        true
    };
    let failed = |_| Error::from("the cipher failed");
    let key = Key::generate(random).ok_or("no key")?;
    let mut plain = Vec::new();
    let mut client = Channel::client(&key, random).map_err(failed)?;
    let mut server = Channel::server(random);
    server
        .receive(client.output(), &mut plain, &|_| Some(key.clone()))
        .map_err(failed)?;
    client.sent(usize::MAX / 2);
    client
        .receive(server.output(), &mut plain, &|_| None)
        .map_err(failed)?;
    let (mut seal, mut open) = (0, 0);
    pieces(bytes, |piece| {
        let start = Instant::now();
        client.send(piece).map_err(failed)?;
        let sealed = Instant::now().since_boot();
        plain.clear();
        server
            .receive(client.output(), &mut plain, &|_| None)
            .map_err(failed)?;
        let opened = Instant::now().since_boot();
        let len = client.output().len();
        client.sent(len);
        seal += (sealed - start.since_boot()).as_nanos();
        open += (opened - sealed).as_nanos();
        Ok(())
    })?;
    Ok((seal, open))
}
