//! init: the first process.
#![no_std]
#![no_main]
use ulib::abi::OpenFlags;
use ulib::abi::file::CONSOLE_MAJOR;
use ulib::prelude::*;

ulib::main!(
    main,
    "init\n\
     The first process: opens the console and keeps a shell running. With the boot setting\n\
     start=COMMAND it runs that once (commas stand for blanks) and switches the machine off."
);

const CONSOLE: &str = "/console";
/// What a shell reports of a command that was killed; a byte, since QEMU's status is one.
const STATUS_MASK: i32 = 0xff;

/// How long to wait before a shell is tried again.
const RETRY_TICKS: u32 = 10;

fn main() -> Result<()> {
    open_console()?;
    if let Some(command) = env::setting("start").filter(|command| !command.is_empty()) {
        let status = run(&["sh", "-c", &command.replace(',', " ")])?;
        sys::poweroff(status & STATUS_MASK)?;
    }
    loop {
        println!("init: starting sh");
        if let Err(error) = run(&["sh"]) {
            // No process or no memory to be had: somebody may give some back.
            eprintln!("init: {error}");
            let _ = sys::sleep(RETRY_TICKS);
        }
    }
}

fn open_console() -> Result<()> {
    if fs::metadata(CONSOLE).is_err() {
        sys::mknod(CONSOLE, CONSOLE_MAJOR, 0)?;
    }
    let stdin = sys::open(CONSOLE, OpenFlags::RDWR)?;
    sys::dup(stdin)?;
    sys::dup(stdin)?;
    Ok(())
}

/// Runs a program to its end and buries, meanwhile, whatever other processes left behind.
fn run(words: &[&str]) -> Result<i32> {
    process::Command::new(words[0]).args(&words[1..]).status()
}
