//! mv: rename files.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "mv OLD... NEW\nRename a file, or move files into a directory; between file systems by copying."
);

fn main() -> Result<()> {
    let operands = env::operands();
    let (new, olds) = operands.split_last().ok_or(Error::Usage)?;
    if olds.is_empty() || (olds.len() > 1 && !fs::metadata(new)?.is_dir()) {
        return Err(Error::Usage);
    }
    for old in olds {
        let target = fs::target_in(new, old);
        match fs::rename(old, &target) {
            Err(error) if error.errno() == Some(Errno::EXDEV) => {
                io::copy(&mut fs::File::open(old)?, &mut fs::File::create(&target)?)?;
                fs::remove_file(old)?;
            }
            result => result?,
        }
    }
    Ok(())
}
