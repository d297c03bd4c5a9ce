//! hexdump: print bytes in hexadecimal.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "hexdump [-s SKIP] [-n COUNT] [FILE]\n\
     Print bytes in hexadecimal and as text.\n\
     -s leave out so many bytes at the start  -n stop after so many bytes"
);

fn main() -> Result<()> {
    let options = env::options("s:n:")?;
    let mut offset: u64 = options.number('s', 0)?;
    let mut left: u64 = options.number('n', u64::MAX)?;
    let mut input: Box<dyn Read> = match options.operands[..] {
        [] => Box::new(io::stdin()),
        [path] => Box::new(fs::File::open(path)?),
        _ => return Err(Error::Usage),
    };
    skip(&mut *input, offset)?;
    let mut out = io::BufWriter::new(io::stdout());
    let mut row = [0; 16];
    loop {
        let wanted = left.min(row.len() as u64) as usize;
        let mut count = 0;
        while count < wanted {
            match input.read(&mut row[count..wanted])? {
                0 => break,
                more => count += more,
            }
        }
        if count == 0 {
            return out.flush();
        }
        write!(out, "{offset:08x} ")?;
        for index in 0..row.len() {
            match row[..count].get(index) {
                Some(byte) => write!(out, " {byte:02x}")?,
                None => write!(out, "   ")?,
            }
        }
        let printable = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        writeln!(
            out,
            "  {}",
            row[..count].iter().map(printable).collect::<String>()
        )?;
        offset += count as u64;
        left -= count as u64;
    }
}

fn skip(input: &mut dyn Read, mut bytes: u64) -> Result<()> {
    let mut buffer = [0; io::BUFFER_BYTES];
    while bytes > 0 {
        let wanted = bytes.min(buffer.len() as u64) as usize;
        match input.read(&mut buffer[..wanted])? {
            0 => break,
            count => bytes -= count as u64,
        }
    }
    Ok(())
}
