//! stressfs: several processes write and read files at once.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "stressfs [-n PROCESSES] [-r ROUNDS]\n\
     Processes that write a file each and read it back, all at the same time."
);

const PIECE: usize = 512;
const PIECES: usize = 20;

fn main() -> Result<()> {
    let options = env::options("n:r:")?;
    let processes: u8 = options.number('n', 5)?;
    let rounds: u32 = options.number('r', 1)?;
    for number in 0..processes {
        process::fork(
            || match (0..rounds).try_for_each(|_| write_and_read(number)) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("stressfs {number}: {error}");
                    1
                }
            },
        )?;
    }
    let mut failed = 0;
    for _ in 0..processes {
        failed += i32::from(sys::wait()?.1 != 0);
    }
    if failed > 0 {
        return Err(Error::Message(format!("{failed} processes failed")));
    }
    println!("stressfs: {processes} processes, OK");
    Ok(())
}

fn write_and_read(number: u8) -> Result<()> {
    let name = format!("stressfs{number}");
    let mut file = fs::File::create(&name)?;
    for _ in 0..PIECES {
        file.write_all(&[b'a' + number % 26; PIECE])?;
    }
    drop(file);
    let content = fs::read(&name)?;
    if content != [b'a' + number % 26; PIECE * PIECES] {
        return Err(Error::Message(format!("{name} has wrong content")));
    }
    fs::remove_file(&name)
}
