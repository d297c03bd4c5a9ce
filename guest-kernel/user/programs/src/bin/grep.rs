//! grep: print lines that match a pattern.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "grep [-inv] PATTERN [FILE...]\n\
     Print the lines that match. In a pattern ^ and $ are the line's ends, . is any\n\
     character, and * repeats what is before it.\n\
     -i ignore case  -n number the lines  -v print the others\n\
     Status 0 if a line was printed, 1 if not."
);

fn main() -> Result<i32> {
    let options = env::options("inv")?;
    let (pattern, files) = options.operands.split_first().ok_or(Error::Usage)?;
    let fold = |text: &str| match options.has('i') {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    let pattern: Vec<char> = fold(pattern).chars().collect();
    let mut found = false;
    let mut search = |name: &str, input: &mut dyn Read| -> Result<()> {
        for (index, line) in io::BufReader::new(input).lines().enumerate() {
            let line = line?;
            let text: Vec<char> = fold(&line).chars().collect();
            if matches(&pattern, &text) == options.has('v') {
                continue;
            }
            found = true;
            if files.len() > 1 {
                print!("{name}:");
            }
            if options.has('n') {
                print!("{}:", index + 1);
            }
            println!("{line}");
        }
        Ok(())
    };
    if files.is_empty() {
        search("", &mut io::stdin())?;
    }
    for file in files {
        search(file, &mut fs::File::open(file)?)?;
    }
    Ok(i32::from(!found))
}

fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        ['^', rest @ ..] => matches_here(rest, text),
        _ => (0..=text.len()).any(|start| matches_here(pattern, &text[start..])),
    }
}

fn matches_here(pattern: &[char], text: &[char]) -> bool {
    let fits = |wanted: char, index: usize| {
        text.get(index)
            .is_some_and(|&found| wanted == '.' || wanted == found)
    };
    match pattern {
        [] => true,
        ['$'] => text.is_empty(),
        [repeated, '*', rest @ ..] => (0..=text.len())
            .take_while(|&count| count == 0 || fits(*repeated, count - 1))
            .any(|count| matches_here(rest, &text[count..])),
        [one, rest @ ..] => fits(*one, 0) && matches_here(rest, &text[1..]),
    }
}
