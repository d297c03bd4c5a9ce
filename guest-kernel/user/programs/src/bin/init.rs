//! init: the first process.
#![no_std]
#![no_main]
use core::time::Duration;
use ulib::abi::OpenFlags;
use ulib::abi::file::CONSOLE_MAJOR;
use ulib::abi::net::Interface;
use ulib::prelude::*;
use ulib::time::Instant;

ulib::main!(
    main,
    "init\n\
     The first process: opens the console and keeps a shell running. With the boot setting\n\
     start=COMMAND it runs that once (commas stand for blanks), when the network has its address\n\
     or some seconds later, and switches the machine off."
);

const CONSOLE: &str = "/console";
/// What a shell reports of a command that was killed; a byte, since QEMU's status is one.
const STATUS_MASK: i32 = 0xff;

/// How long a command waits for the network's address, and how often it is looked for.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(5);
const ADDRESS_LOOK: Duration = Duration::from_millis(20);
/// How long to wait before a shell is tried again.
const RETRY_TICKS: u32 = 10;

fn main() -> Result<()> {
    open_console()?;
    if let Some(command) = env::setting("start").filter(|command| !command.is_empty()) {
        wait_for_address();
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

/// Nobody can type the command again if DHCP was not done yet.
fn wait_for_address() {
    let start = Instant::now();
    let coming = |interface: Interface| interface.mtu > 0 && interface.up == 0;
    while sys::interface().is_ok_and(coming) && start.elapsed() < ADDRESS_PATIENCE {
        ulib::thread::sleep(ADDRESS_LOOK);
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
