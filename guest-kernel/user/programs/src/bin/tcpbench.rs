//! tcpbench: measure TCP throughput.
#![no_std]
#![no_main]
use ulib::net::{Shutdown, TcpListener, TcpStream};
use ulib::prelude::*;
use ulib::time::{Duration, Instant};

ulib::main!(
    main,
    "tcpbench -s [-p PORT] | tcpbench [-r] [-p PORT] [-m MEGABYTES] HOST\n\
     Measure TCP throughput. -s serve, one client after another  -r receive instead of sending\n\
     -p port (default 5201)  -m how much (default 16)\n\
     Protocol: the client sends one line, `send N` or `receive N`, then N bytes go that way."
);

const PORT: u16 = 5201;
const PIECE_BYTES: usize = 32 * 1024;
const MEGABYTE: u64 = 1 << 20;

fn main() -> Result<()> {
    let options = env::options("srp:m:")?;
    let port = options.number('p', PORT)?;
    if options.has('s') {
        let listener = TcpListener::bind(ulib::net::any(port))?;
        println!("tcpbench: port {port}");
        loop {
            let (stream, peer) = listener.accept()?;
            if let Err(error) = serve(stream) {
                eprintln!("tcpbench: {peer}: {error}");
            }
        }
    }
    let [host] = options.operands[..] else {
        return Err(Error::Usage);
    };
    let bytes = options.number('m', 16u64)? * MEGABYTE;
    let mut stream = TcpStream::connect(ulib::net::socket_address(host, port)?)?;
    let before = sys::interface()?;
    let start = Instant::now();
    if options.has('r') {
        writeln!(stream, "receive {bytes}")?;
        receive(&mut stream, bytes)?;
    } else {
        writeln!(stream, "send {bytes}")?;
        send(&mut stream, bytes)?;
        // The end of the answer says that all has arrived.
        stream.shutdown(Shutdown::Write)?;
        while stream.read(&mut [0; 64])? > 0 {}
    }
    show(bytes, start.elapsed());
    let after = sys::interface()?;
    let per_megabyte = |after: u64, before: u64| (after - before) * MEGABYTE / bytes.max(1);
    println!(
        "per megabyte: {} interrupts, {} doorbells, {} ISR reads",
        per_megabyte(after.interrupts, before.interrupts),
        per_megabyte(after.notifies, before.notifies),
        per_megabyte(after.isr_reads, before.isr_reads)
    );
    Ok(())
}

fn serve(stream: TcpStream) -> Result<()> {
    let mut reader = io::BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (what, bytes) = line.trim().split_once(' ').ok_or("no request")?;
    let bytes: u64 = bytes.parse().map_err(|_| "not a number of bytes")?;
    match what {
        "send" => receive(&mut reader, bytes)?,
        "receive" => send(&mut stream, bytes)?,
        _ => return Err(Error::from("neither send nor receive")),
    }
    stream.shutdown(Shutdown::Write)
}

fn send(stream: &mut TcpStream, bytes: u64) -> Result<()> {
    let piece = vec![0x55; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE_BYTES as u64);
        stream.write_all(&piece[..now as usize])?;
        left -= now;
    }
    Ok(())
}

fn receive(stream: &mut impl Read, bytes: u64) -> Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE_BYTES as u64);
        match stream.read(&mut piece[..now as usize])? {
            0 => return Err(Error::from("the peer sent too little")),
            count => left -= count as u64,
        }
    }
    Ok(())
}

fn show(bytes: u64, time: Duration) {
    let microseconds = time.as_micros().max(1) as u64;
    let kib_per_second = bytes * 1_000_000 / microseconds / 1024;
    println!(
        "{bytes} bytes in {}.{:03} s: {}.{:02} MiB/s",
        time.as_secs(),
        time.subsec_millis(),
        kib_per_second / 1024,
        kib_per_second % 1024 * 100 / 1024
    );
}
