//! snfschaos: work on a remote folder whose every loss and every repetition shows, while somebody disturbs.
#![no_std]
#![no_main]
use ulib::abi::OpenFlags;
use ulib::prelude::*;

ulib::main!(
    main,
    "snfschaos FOLDER [SEED]\n\
     Make FOLDER; append, write, create, rename and remove there until FOLDER/stop exists; then compare all of it\n\
     with what was done. Every answer must be the one that doing each thing once gives."
);

const DATA_BYTES: u64 = 96 * 1024;
/// How often to look whether it is time to stop.
const LOOK: u64 = 16;

/// The same seed, the same operations (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct Chaos {
    folder: String,
    random: Random,
    log: fs::File,
    appends: u64,
    data: fs::File,
    content: Vec<u8>,
    /// What each name must hold; None is a folder.
    names: Vec<(String, Option<String>)>,
    fresh: u64,
}

fn main() -> Result<()> {
    let operands = env::operands();
    let (folder, seed) = match operands[..] {
        [folder] => (folder, 1),
        [folder, seed] => (folder, seed.parse().map_err(|_| Error::Usage)?),
        _ => return Err(Error::Usage),
    };
    fs::create_dir(folder)?;
    let mut chaos = Chaos {
        folder: folder.into(),
        random: Random(seed | 1),
        log: fs::File::append(&format!("{folder}/log"))?,
        appends: 0,
        data: fs::File::create(&format!("{folder}/data"))?,
        content: Vec::new(),
        names: Vec::new(),
        fresh: 0,
    };
    println!("snfschaos: at work");
    let mut rounds = 0u64;
    while !rounds.is_multiple_of(LOOK) || fs::metadata(&format!("{folder}/stop")).is_err() {
        rounds += 1;
        match chaos.random.below(4) {
            0 => chaos.append()?,
            1 => chaos.write()?,
            2 => chaos.read()?,
            _ => chaos.rename_and_such()?,
        }
    }
    chaos.compare()?;
    println!(
        "snfschaos: {rounds} operations, {} appends: as it must be",
        chaos.appends
    );
    Ok(())
}

fn record(number: u64) -> [u8; 16] {
    let mut record = [0; 16];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    record
}

impl Chaos {
    fn append(&mut self) -> Result<()> {
        for _ in 0..=self.random.below(4) {
            self.log.write_all(&record(self.appends))?;
            self.appends += 1;
        }
        Ok(())
    }

    /// Written behind: several under way when the server goes, in an order that shows.
    fn write(&mut self) -> Result<()> {
        for _ in 0..=self.random.below(6) {
            let start = self.random.below(DATA_BYTES) as usize;
            let len = 1 + self.random.below(20_000) as usize;
            let byte = self.random.below(256) as u8;
            if self.content.len() < start + len {
                self.content.resize(start + len, 0);
            }
            self.content[start..start + len].fill(byte);
            self.data.seek(start as u64)?;
            self.data.write_all(&vec![byte; len])?;
        }
        if self.random.below(8) == 0 {
            self.data.sync_all()?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        if self.content.is_empty() {
            return Ok(());
        }
        let start = self.random.below(self.content.len() as u64) as usize;
        let len = (self.content.len() - start).min(30_000);
        let mut bytes = vec![0; len];
        // By a descriptor of its own half of the time.
        if self.random.below(2) == 0 {
            self.data.seek(start as u64)?;
            self.data.read_exact(&mut bytes)?;
        } else {
            let mut other = fs::File::open(&format!("{}/data", self.folder))?;
            other.seek(start as u64)?;
            other.read_exact(&mut bytes)?;
        }
        same("a read", &bytes, &self.content[start..start + len])
    }

    fn rename_and_such(&mut self) -> Result<()> {
        self.fresh += 1;
        let new = format!("{}/n{}", self.folder, self.fresh);
        let victim = match self.names.len() as u64 {
            0 => None,
            count => Some(self.random.below(count) as usize),
        };
        match (self.random.below(4), victim) {
            (1, _) => {
                fs::create_dir(&new)?;
                self.names.push((new, None));
            }
            (0, _) | (_, None) => {
                let flags = OpenFlags::WRONLY | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
                let mut file = fs::File::with_flags(&new, flags)?;
                file.write_all(new.as_bytes())?;
                sys::close(file.into_raw())?;
                self.names.push((new.clone(), Some(new)));
            }
            (2, Some(at)) => {
                fs::rename(&self.names[at].0, &new)?;
                self.names[at].0 = new;
            }
            (_, Some(at)) => {
                let (name, _) = self.names.swap_remove(at);
                fs::remove_file(&name)?;
            }
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<()> {
        self.data.sync_all()?;
        let log: Vec<u8> = (0..self.appends).flat_map(record).collect();
        same("the log", &fs::read(&format!("{}/log", self.folder))?, &log)?;
        same(
            "the data",
            &fs::read(&format!("{}/data", self.folder))?,
            &self.content,
        )?;
        let mut found: Vec<String> = fs::read_dir(&self.folder)?
            .into_iter()
            .map(|entry| format!("{}/{}", self.folder, entry.name))
            .collect();
        for own in ["log", "data", "stop"] {
            found.retain(|name| *name != format!("{}/{own}", self.folder));
        }
        self.names.sort_unstable();
        let expected: Vec<&String> = self.names.iter().map(|(name, _)| name).collect();
        if found.iter().ne(expected) {
            return Err(Error::from("other names than were made"));
        }
        for (name, content) in &self.names {
            if let Some(content) = content {
                same(name, &fs::read(name)?, content.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn same(what: &str, found: &[u8], expected: &[u8]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    Err(Error::Message(format!(
        "{what}: {} bytes instead of {}, different from byte {} on",
        found.len(),
        expected.len(),
        differs.unwrap_or(found.len().min(expected.len()))
    )))
}
