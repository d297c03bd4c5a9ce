//! wget: fetch a file by HTTP.
#![no_std]
#![no_main]
use ulib::net::TcpStream;
use ulib::prelude::*;
use ulib::time::Instant;

ulib::main!(
    main,
    "wget [-q] [-O FILE] URL\n\
     Fetch http://HOST[:PORT]/PATH (HTTP/1.1) into a local or remote file.\n\
     -O name of the file, - for standard output  -q say nothing"
);

const REDIRECTIONS_MAX: u32 = 5;
const PIECE_BYTES: usize = 16 * 1024;
/// A line of the answer's head, and of a chunk's size.
const LINE_MAX: usize = 8192;

type Reader = io::BufReader<TcpStream>;

fn main() -> Result<()> {
    let options = env::options("qO:")?;
    let [url] = options.operands[..] else {
        return Err(Error::Usage);
    };
    let start = Instant::now();
    let (mut reader, head) = request(url)?;
    let name = options
        .value('O')
        .unwrap_or(match fs::file_name(parse(url)?.2) {
            "" => "index.html",
            name => name,
        });
    let mut out: Box<dyn Write> = match name {
        "-" => Box::new(io::stdout()),
        name => Box::new(fs::File::create(name)?),
    };
    let bytes = match (head.chunked, head.length) {
        (true, _) => chunks(&mut reader, &mut *out)?,
        (false, Some(length)) => exactly(&mut reader, &mut *out, length)?,
        (false, None) => io::copy(&mut reader, &mut *out)?,
    };
    if !options.has('q') {
        let took = start.elapsed();
        eprintln!(
            "{name}: {bytes} bytes in {}.{:03} s",
            took.as_secs(),
            took.subsec_millis()
        );
    }
    Ok(())
}

/// Host (of an IPv6 address without its brackets, RFC 3986 section 3.2.2), port and path.
fn parse(url: &str) -> Result<(&str, u16, &str)> {
    let rest = url.strip_prefix("http://").ok_or("only http:// is known")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, port) = match authority.strip_prefix('[').map(|v6| v6.split_once(']')) {
        Some(Some((v6, ""))) => (v6, None),
        Some(Some((v6, port))) => (v6, Some(port.strip_prefix(':').ok_or("bad port")?)),
        Some(None) => return Err(Error::from("a [ without its ]")),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| "bad port")?,
        None => 80,
    };
    Ok((host, port, path))
}

/// What the answer's head says about its body.
#[derive(Default)]
struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    location: Option<String>,
}

fn request(url: &str) -> Result<(Reader, Head)> {
    let mut url = url.to_owned();
    for _ in 0..REDIRECTIONS_MAX {
        let (host, port, path) = parse(&url)?;
        let mut stream = TcpStream::connect(ulib::net::socket_address(host, port)?)?;
        let authority = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: hvlab-wget\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut reader = io::BufReader::new(stream);
        let head = read_head(&mut reader)?;
        url = match (head.status, head.location.as_deref()) {
            (200, _) => return Ok((reader, head)),
            (301 | 302 | 303 | 307 | 308, Some(to)) if to.starts_with('/') => {
                format!("http://{authority}{to}")
            }
            (301 | 302 | 303 | 307 | 308, Some(to)) => to.to_owned(),
            (status, _) => return Err(Error::Message(format!("{url}: HTTP status {status}"))),
        };
    }
    Err(Error::from("too many redirections"))
}

fn line(reader: &mut Reader) -> Result<String> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        if reader.read(&mut byte)? == 0 {
            return Err(Error::from("the answer ends in its head"));
        }
        match byte[0] {
            b'\n' => break,
            _ if line.len() == LINE_MAX => return Err(Error::from("a line is too long")),
            byte => line.push(byte),
        }
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn read_head(reader: &mut Reader) -> Result<Head> {
    let first = line(reader)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1));
    let mut head = Head {
        status: status
            .and_then(|status| status.parse().ok())
            .ok_or("not an HTTP answer")?,
        ..Head::default()
    };
    loop {
        let field = line(reader)?;
        if field.is_empty() {
            return Ok(head);
        }
        let Some((name, value)) = field.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = Some(value.parse().map_err(|_| "bad length")?),
            "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
            "location" => head.location = Some(value.to_owned()),
            _ => {}
        }
    }
}

fn exactly(reader: &mut Reader, out: &mut dyn Write, length: u64) -> Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = length;
    while left > 0 {
        let wanted = left.min(PIECE_BYTES as u64) as usize;
        match reader.read(&mut piece[..wanted])? {
            0 => return Err(Error::Message(format!("{left} bytes are missing"))),
            count => {
                out.write_all(&piece[..count])?;
                left -= count as u64;
            }
        }
    }
    Ok(length)
}

/// RFC 9112, section 7.1.
fn chunks(reader: &mut Reader, out: &mut dyn Write) -> Result<u64> {
    let mut total = 0;
    loop {
        let size = line(reader)?;
        let size = size.split(';').next().unwrap_or("").trim();
        match u64::from_str_radix(size, 16).map_err(|_| "bad size of a chunk")? {
            0 => return Ok(total),
            size => {
                total += exactly(reader, out, size)?;
                line(reader)?;
            }
        }
    }
}
