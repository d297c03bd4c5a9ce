//! httpd: serve files by HTTP.
#![no_std]
#![no_main]
use ulib::net::{TcpListener, TcpStream};
use ulib::prelude::*;

ulib::main!(
    main,
    "httpd [-p PORT] [-q] [FOLDER]\n\
     Serve the files below a local or remote folder (default /) by HTTP/1.1, to several clients at\n\
     once. -p port (default 80)  -q do not log requests"
);

const LINE_MAX: usize = 2048;
const FIELDS_MAX: usize = 100;
const PIECE_BYTES: usize = 16 * 1024;

fn main() -> Result<()> {
    let options = env::options("p:q")?;
    let port = options.number('p', 80)?;
    let folder = *options.operands.first().unwrap_or(&"/");
    let listener = TcpListener::bind(ulib::net::any(port))?;
    println!("httpd: {folder} on port {port}");
    loop {
        let (stream, peer) = listener.accept()?;
        // The grandchild serves and init buries it, so that this process never waits long.
        let serve = || {
            let result = connection(stream, folder, |line, status| {
                if !options.has('q') {
                    println!("{peer} {status} {}", line.escape_debug());
                }
            });
            i32::from(result.is_err())
        };
        match process::fork(|| i32::from(process::fork(serve).is_err())) {
            Ok(child) => drop(child.wait()?),
            // Out of processes or memory: this client goes away unserved.
            Err(error) => eprintln!("httpd: {error}"),
        }
    }
}

/// Serves requests until the client closes or asks to.
fn connection(stream: TcpStream, folder: &str, log: impl Fn(&str, u16)) -> Result<()> {
    let mut reader = io::BufReader::new(stream.try_clone()?);
    let mut out = io::BufWriter::new(stream);
    loop {
        let Some(first) = line(&mut reader)? else {
            return Ok(());
        };
        let mut close = first.ends_with("HTTP/1.0");
        for index in 0.. {
            let Some(field) = line(&mut reader)? else {
                return Ok(());
            };
            if field.is_empty() {
                break;
            }
            if index == FIELDS_MAX {
                return Err(Error::from("too many fields"));
            }
            close |= field.eq_ignore_ascii_case("connection: close");
        }
        let status = answer(&mut out, &first, folder, close)?;
        out.flush()?;
        log(&first, status);
        if close {
            return Ok(());
        }
    }
}

fn line(reader: &mut impl BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while reader.read(&mut byte)? == 1 {
        match byte[0] {
            b'\n' => return Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())),
            _ if bytes.len() == LINE_MAX => return Err(Error::from("line too long")),
            byte => bytes.push(byte),
        }
    }
    Ok(None)
}

fn answer(out: &mut impl Write, request: &str, folder: &str, close: bool) -> Result<u16> {
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let with_body = method == "GET";
    if !with_body && method != "HEAD" {
        return text(out, 405, "method not allowed\n", close, true);
    }
    let Some(path) = path_below(folder, target) else {
        return text(out, 400, "bad request\n", close, with_body);
    };
    let mut file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(_) => return text(out, 404, "not found\n", close, with_body),
    };
    let found = file.metadata()?;
    if found.is_dir() {
        return text(out, 200, &listing(&path)?, close, with_body);
    }
    if !found.is_file() {
        return text(out, 403, "forbidden\n", close, with_body);
    }
    head(out, 200, found.size(), kind(&path), close)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = if with_body { found.size() } else { 0 };
    while left > 0 {
        let wanted = left.min(PIECE_BYTES as u64) as usize;
        match file.read(&mut piece[..wanted])? {
            // The file became shorter: the client sees it by the closed connection.
            0 => return Err(Error::from("the file became shorter")),
            count => {
                out.write_all(&piece[..count])?;
                left -= count as u64;
            }
        }
    }
    Ok(200)
}

/// The file a request means; `None` if it leads out of the folder.
fn path_below(folder: &str, target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let parts = || path.split('/').filter(|part| !part.is_empty());
    let outside = parts().any(|part| part == ".." || part.contains([':', '\0', '%']));
    (!outside).then(|| fs::join(folder, &parts().collect::<Vec<_>>().join("/")))
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("txt" | "md" | "log" | "rhai" | "jsonl") => "text/plain; charset=utf-8",
        _ if path.ends_with("README") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn listing(path: &str) -> Result<String> {
    let names = fs::read_dir(path)?;
    Ok(names
        .iter()
        .map(|entry| format!("{:10} {}\n", entry.size, entry.name))
        .collect())
}

fn text(
    out: &mut impl Write,
    status: u16,
    body: &str,
    close: bool,
    with_body: bool,
) -> Result<u16> {
    head(
        out,
        status,
        body.len() as u64,
        "text/plain; charset=utf-8",
        close,
    )?;
    if with_body {
        out.write_all(body.as_bytes())?;
    }
    Ok(status)
}

fn head(out: &mut impl Write, status: u16, length: u64, kind: &str, close: bool) -> Result<()> {
    let phrase = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        _ => "Method Not Allowed",
    };
    let connection = if close { "close" } else { "keep-alive" };
    write!(
        out,
        "HTTP/1.1 {status} {phrase}\r\nServer: hvlab\r\nContent-Length: {length}\r\n\
         Content-Type: {kind}\r\nX-Content-Type-Options: nosniff\r\nConnection: {connection}\r\n\r\n"
    )
}
