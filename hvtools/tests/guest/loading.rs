//! BitVisor's stop at "Loading MBR.", with a stand-in that always stops there.

use crate::support::hv_run;

/// A Multiboot kernel (specification 0.6.96, section 3.1, address fields in the header) that prints `text` on COM1 and
/// halts.
fn prints_and_halts(text: &str) -> Vec<u8> {
    const LOADED_AT: u32 = 0x10_0000;
    const HEADER: u32 = 32;
    const CODE: u32 = 20;
    const MAGIC: u32 = 0x1bad_b002;
    const ADDRESSES_GIVEN: u32 = 1 << 16;
    let checksum = 0u32.wrapping_sub(MAGIC).wrapping_sub(ADDRESSES_GIVEN);
    let header = [
        MAGIC,
        ADDRESSES_GIVEN,
        checksum,
        LOADED_AT, // of the header
        LOADED_AT, // of the first byte loaded
        0,         // to the end of the file
        0,         // no bss
        LOADED_AT + HEADER,
    ];
    let mut image: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    image.push(0xbe); // mov esi, text
    image.extend((LOADED_AT + HEADER + CODE).to_le_bytes());
    image.extend([0xac, 0x84, 0xc0]); // next: lodsb; test al, al
    image.extend([0x74, 0x07]); // jz done
    image.extend([0x66, 0xba, 0xf8, 0x03]); // mov dx, 3f8h
    image.extend([0xee, 0xeb, 0xf4]); // out dx, al; jmp next
    image.extend([0xf4, 0xeb, 0xfd]); // done: hlt; jmp done
    assert_eq!(image.len(), (HEADER + CODE) as usize);
    image.extend(text.bytes());
    image.push(0);
    image
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_stop_at_loading_mbr_is_tried_again_counted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let elf = folder.path().join("stops.elf");
    std::fs::write(&elf, prints_and_halts("Starting\nLoading MBR.\n")).unwrap();
    let hypervisor = format!("bitvisor:{}", elf.display());
    let done = hv_run(&["--hypervisor", &hypervisor, "--only", "hypercall-map"]).finish();
    assert_eq!(done.status, 3, "{}", done.text);
    let (verdict, reason) = done.of("hypercall-map");
    assert_eq!(
        (verdict, reason),
        ("HANG", "BitVisor stopped at \"Loading MBR.\" 3 times"),
        "{}",
        done.text
    );
    assert_eq!(done.run.info.mbr_retries, 2);
    assert!(
        done.text.contains("was started again: 2 time(s)"),
        "{}",
        done.text
    );
    for log in ["vmm.log", "vmm.log.1", "vmm.log.2"] {
        let text = std::fs::read_to_string(done.run.folder.join("m00").join(log)).unwrap();
        assert!(text.contains("Loading MBR."), "{log}: {text}");
    }
}
