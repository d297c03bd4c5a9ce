//! ls: list directories.
#![no_std]
#![no_main]
use ulib::abi::file::{T_DEVICE, T_DIR, T_PIPE, T_SOCKET};
use ulib::prelude::*;

ulib::main!(
    main,
    "ls [-1a] [FILE...]\n\
     List directories or files: kind, inode, size, name.\n\
     -1 names only  -a also . and .."
);

fn main() -> Result<()> {
    let mut options = env::options("1a")?;
    if options.operands.is_empty() {
        options.operands.push(".");
    }
    for path in &options.operands {
        let found = fs::metadata(path)?;
        let show = |kind: i16, ino: u64, size: u64, name: &str| match options.has('1') {
            true => println!("{name}"),
            false => println!("{} {ino:6} {size:10} {name}", letter(kind)),
        };
        if !found.is_dir() {
            show(found.0.kind, found.0.ino.into(), found.size(), path);
            continue;
        }
        if options.operands.len() > 1 {
            println!("{path}:");
        }
        if options.has('a') {
            for name in [".", ".."] {
                let stat = fs::metadata(&fs::join(path, name))?;
                show(stat.0.kind, stat.0.ino.into(), stat.size(), name);
            }
        }
        for entry in fs::read_dir(path)? {
            show(entry.kind, entry.ino, entry.size, &entry.name);
        }
    }
    Ok(())
}

fn letter(kind: i16) -> char {
    match kind {
        T_DIR => 'd',
        T_DEVICE => 'c',
        T_SOCKET => 's',
        T_PIPE => 'p',
        _ => '-',
    }
}
