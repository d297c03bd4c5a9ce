//! wc: count lines, words and bytes.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "wc [-lwc] [FILE...]\nCount lines, words and bytes.\n-l lines  -w words  -c bytes"
);

fn main() -> Result<()> {
    let options = env::options("lwc")?;
    let chosen = |letter| options.has(letter) || !"lwc".chars().any(|known| options.has(known));
    let show = |counts: [u64; 3], name: &str| {
        for (letter, count) in "lwc".chars().zip(counts) {
            if chosen(letter) {
                print!("{count} ");
            }
        }
        println!("{name}");
    };
    if options.operands.is_empty() {
        show(count(&mut io::stdin())?, "");
    }
    let mut total = [0; 3];
    for file in &options.operands {
        let counts = count(&mut fs::File::open(file)?)?;
        show(counts, file);
        total
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    if options.operands.len() > 1 {
        show(total, "total");
    }
    Ok(())
}

fn count(input: &mut impl Read) -> Result<[u64; 3]> {
    let [mut lines, mut words, mut bytes] = [0; 3];
    let mut in_word = false;
    let mut buffer = [0; io::BUFFER_BYTES];
    loop {
        let count = input.read(&mut buffer)?;
        if count == 0 {
            return Ok([lines, words, bytes]);
        }
        for byte in &buffer[..count] {
            lines += u64::from(*byte == b'\n');
            words += u64::from(!in_word && !byte.is_ascii_whitespace());
            in_word = !byte.is_ascii_whitespace();
        }
        bytes += count as u64;
    }
}
