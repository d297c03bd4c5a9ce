//! grind: random system calls for ever, in parallel.
#![no_std]
#![no_main]
use ulib::abi::OpenFlags;
use ulib::io::AsFd;
use ulib::prelude::*;
use ulib::time::{Duration, Instant};

ulib::main!(
    main,
    "grind [-t SECONDS] [-s SEED]\n\
     Two processes make random system calls in a directory of their own; for ever, or so long.\n\
     Then the free pages are compared with those before."
);

/// Pages that may be missing at the end: the kernel's own caches.
const SLACK_PAGES: u64 = 8;

fn main() -> Result<()> {
    let options = env::options("t:s:")?;
    let seconds: Option<u64> = options
        .value('t')
        .map(|_| options.number('t', 0))
        .transpose()?;
    let seed: u64 = options.number('s', ulib::time::tsc().1)?;
    let limit = seconds.map(Duration::from_secs);
    println!("grind: seed {seed}");
    // Once around before counting, so that both times the same is loaded.
    grind_in_parallel(seed, Some(Duration::from_secs(1)))?;
    let before = free_pages()?;
    grind_in_parallel(seed, limit)?;
    ulib::thread::sleep(Duration::from_secs(1));
    let after = free_pages()?;
    println!("grind: {before} pages free before, {after} after");
    match after + SLACK_PAGES < before {
        true => Err(Error::Message(format!("{} pages lost", before - after))),
        false => Ok(()),
    }
}

fn free_pages() -> Result<u64> {
    let info = sys::meminfo()?;
    Ok(info.free_pages + info.heap_size / 4096)
}

fn grind_in_parallel(seed: u64, limit: Option<Duration>) -> Result<()> {
    let mut ends = Vec::new();
    for number in 0..2 {
        let name = format!("/grind{number}");
        let _ = sys::mkdir(&name);
        ends.push(process::fork(|| {
            let _ = sys::chdir(&name);
            grind(&mut Random(seed + number), limit);
            0
        })?);
    }
    for _ in &ends {
        let (_, status) = sys::wait()?;
        if status != 0 {
            return Err(Error::Message(format!(
                "a process ended with status {status}"
            )));
        }
    }
    for number in 0..2 {
        let name = format!("/grind{number}");
        for entry in fs::read_dir(&name)? {
            let _ = sys::unlink(&fs::join(&name, &entry.name));
        }
        let _ = sys::unlink(&name);
    }
    Ok(())
}

/// A linear congruential generator; the upper bits are used.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn name(&mut self) -> String {
        let depth = self.below(3);
        let mut name = "../".repeat(usize::from(depth == 2));
        if depth == 2 {
            name.push_str(if self.below(2) == 0 {
                "grind0/"
            } else {
                "grind1/"
            });
        } else if depth == 1 {
            name.push_str("d/");
        }
        name.push(char::from(b'a' + self.below(4) as u8));
        name
    }
}

fn grind(random: &mut Random, limit: Option<Duration>) {
    let start = Instant::now();
    let mut file = None;
    let mut rounds = 0u64;
    while limit.is_none_or(|limit| start.elapsed() < limit) {
        rounds += 1;
        if rounds.is_multiple_of(500) {
            print!(".");
        }
        one_call(random, &mut file);
    }
}

fn one_call(random: &mut Random, file: &mut Option<fs::File>) {
    let create = OpenFlags::CREATE | OpenFlags::RDWR;
    let mut buffer = [0; 999];
    match random.below(22) {
        0 | 1 => drop(fs::File::with_flags(&random.name(), create)),
        2 => drop(fs::File::with_flags(
            &random.name(),
            OpenFlags::RDWR | OpenFlags::TRUNC,
        )),
        3 | 4 => *file = fs::File::with_flags(&random.name(), create).ok(),
        5 => *file = None,
        6..=8 => drop(file.as_mut().map(|file| file.write(&buffer))),
        9 | 10 => drop(file.as_mut().map(|file| file.read(&mut buffer))),
        11 => drop(fs::remove_file(&random.name())),
        12 => drop(fs::hard_link(&random.name(), &random.name())),
        13 => drop(fs::rename(&random.name(), &random.name())),
        14 => {
            let _ = sys::mkdir("d");
        }
        15 => drop(process::fork(|| 0).and_then(process::Child::wait)),
        16 => {
            // A child that ends while its own child lives, and one that is killed.
            let child = process::fork(|| {
                let _ = sys::fork();
                let _ = sys::fork();
                0
            });
            drop(child.and_then(process::Child::wait));
            if let Ok(child) = process::fork(|| {
                loop {
                    sys::yield_now();
                }
            }) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        17 => {
            let memory: Vec<u8> = vec![1; 6011 + random.below(50_000) as usize];
            core::hint::black_box(&memory);
        }
        18 => {
            if let Ok((mut reader, mut writer)) = io::pipe() {
                let child = process::fork(|| {
                    let _ = writer.write(b"x");
                    0
                });
                drop(writer);
                let _ = reader.read(&mut buffer[..1]);
                drop(child.and_then(process::Child::wait));
            }
        }
        19 => echo_to_a_pipe(random),
        20 => drop(fs::metadata(&random.name())),
        _ => {
            if let Some(file) = file {
                let _ = sys::ftruncate(file.fd(), random.below(20_000));
                let _ = file.seek(random.below(3000));
            }
        }
    }
}

/// echo hi | cat, and both must arrive.
fn echo_to_a_pipe(random: &mut Random) {
    let word = format!("{}", random.below(1000));
    let pipeline = || -> Result<Vec<u8>> {
        let (reader, writer) = io::pipe()?;
        let echo = process::Command::new("/echo").arg(&word).stdout(writer);
        // The child has its copy of the write end; ours goes with the command.
        let child = echo.spawn()?;
        let (output, _) = process::Command::new("/cat").stdin(reader).output()?;
        let _ = child.wait();
        Ok(output)
    };
    match pipeline() {
        Ok(output) if output != format!("{word}\n").as_bytes() => {
            eprintln!("grind: echo {word} | cat gave {output:?}");
            process::exit(1);
        }
        Ok(_) | Err(_) => {}
    }
}
